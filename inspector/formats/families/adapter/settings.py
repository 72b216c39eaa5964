"""What is said of an adapter beside its tensors: adapter_config.json of peft and of MLX, and the file's metadata."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.text import visible

CONFIG = "adapter_config.json"
_LITERAL = re.compile(r"\^?[\w.\-]+")
_KEEP_BASE = ("gaussian", "eva", "orthogonal", "true", "false")
_VARIANTS = ("use_qalora", "use_bdlora", "kasa_config", "monteclora_config", "alora_invocation_tokens",
             "arrow_config", "block_diagonal", "lora_bias")  # fmt: skip
_MAX_PATTERNS = 10_000
_MAX_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """source: where they stand, "" where nothing is said. method: as it is called there. rank, alpha: of all modules
    that no pattern names. factor: what MLX multiplies by, which no alpha is in. ranks, alphas: by the end of a module's
    name, None where a pattern is an expression, which is not read. rank_stabilized: alpha / sqrt(rank). transposed:
    weights are stored [in, out]. base: the model it was made for, as it is named there. variant: a setting of
    peft under which the update is not what the factors alone say, or is one of another base."""

    source: str = ""
    method: str = ""
    rank: int | None = None
    alpha: float | None = None
    factor: float | None = None
    ranks: Mapping[str, float] | None = field(default_factory=dict)
    alphas: Mapping[str, float] | None = field(default_factory=dict)
    rank_stabilized: bool = False
    transposed: bool = False
    base: str = ""
    variant: str = ""

    @property
    def base_said_by(self) -> str:
        """What names the base."""
        return "the file's metadata" if self.source.startswith("ss_") else self.source

    def alpha_of(self, module: str) -> float | None:
        """Of a module, by its name; None where it is not known."""
        return None if self.alphas is None else _named(self.alphas, module, self.alpha)

    def rank_of(self, module: str) -> float | None:
        """As `alpha_of`."""
        return None if self.ranks is None else _named(self.ranks, module, self.rank)


def _named(patterns: Mapping[str, float], module: str, other: float | None) -> float | None:
    """As peft goes by them: the first whose name is the module's, or its end after a dot."""
    for pattern, number in patterns.items():
        end = pattern.removeprefix("^")
        if module == end or (end == pattern and module.endswith(f".{end}")):
            return number
    return other


def settings_of(checkpoint: Checkpoint) -> Settings:
    """Those of the config beside the file, else of its metadata."""
    config = checkpoint.config.get(CONFIG)
    if isinstance(config, dict):
        if isinstance(config.get("lora_parameters"), dict):
            return _mlx(config)
        return _peft(config, CONFIG)
    metadata = checkpoint.metadata
    if text := metadata.get("lora_adapter_metadata"):
        return _diffusers(text)
    return _kohya(metadata) if any(key.startswith("ss_") for key in metadata) else Settings()


def _peft(config: Mapping[str, Any], source: str) -> Settings:
    method = config.get("peft_type")
    base = config.get("base_model_name_or_path")
    return Settings(
        source, visible(method, 40) if isinstance(method, str) else "", _whole(config.get("r")),
        _number(config.get("lora_alpha", config.get("alpha"))), None, _patterns(config.get("rank_pattern")),
        _patterns(config.get("alpha_pattern")), config.get("use_rslora") is True, config.get("fan_in_fan_out") is True,
        visible(base, 200) if isinstance(base, str) else "", _variant(config),
    )  # fmt: skip


def _variant(config: Mapping[str, Any]) -> str:
    """PiSSA, OLoRA and their like take out of the base what the factors begin with."""
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in _KEEP_BASE:
        return f"init_lora_weights {visible(init, 40)}"
    return next((name for name in _VARIANTS if config.get(name)), "")


def _mlx(config: Mapping[str, Any]) -> Settings:
    """https://github.com/ml-explore/mlx-lm: the scale is multiplied as it is."""
    said, base = config["lora_parameters"], config.get("model")
    return Settings(
        CONFIG, visible(str(config.get("fine_tune_type", "")), 40), _whole(said.get("rank")),
        factor=_number(said.get("scale")), base=visible(base, 200) if isinstance(base, str) else "",
    )  # fmt: skip


def _diffusers(text: str) -> Settings:
    """`lora_adapter_metadata` of diffusers: peft's settings, with the name of the model before each."""
    found = _json(text)
    branches = {key.partition(".")[0] for key in found}
    if len(branches) != 1:  # of several models, which are not told apart here
        return Settings("lora_adapter_metadata", ranks=None, alphas=None)
    (branch,) = branches
    return _peft({k.removeprefix(f"{branch}."): v for k, v in found.items()}, "lora_adapter_metadata")


def _kohya(metadata: Mapping[str, str]) -> Settings:
    """`ss_network_*` of sd-scripts. Alpha stands in the file too, and the file is believed."""
    method = str(_json(metadata.get("ss_network_args", "")).get("algo", ""))
    base = metadata.get("ss_sd_model_name") or metadata.get("ss_base_model_version") or ""
    said = metadata.get("ss_network_dim", "")
    rank = int(said) if said.isascii() and said.isdigit() and len(said) < 9 else None
    return Settings(
        "ss_network_dim", visible(method, 40), rank,
        base=visible(base, 200),
    )  # fmt: skip


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if len(text) <= _MAX_TEXT else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _patterns(value: object) -> Mapping[str, float] | None:
    """None where one is an expression: peft compiles them, and what a file says is not run here."""
    if not value:
        return {}
    if not isinstance(value, dict) or len(value) > _MAX_PATTERNS:
        return None
    found = {key: _number(number) for key, number in value.items()}
    if any(n is None or not _LITERAL.fullmatch(key) for key, n in found.items()):
        return None
    return {key: n for key, n in found.items() if n is not None}
