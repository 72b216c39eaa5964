"""Models with one fault each, for what has to be refused before it runs. Small: two layers, widths of 64."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from small_models import saved_model
from torch import Tensor

from qinspect.inspector.models.mamba import MambaLM
from qinspect.inspector.models.mamba_config import MambaConfig
from qinspect.inspector.models.numerics import Numerics

Weights = dict[str, Tensor]
Config = dict[str, Any]
VOCABULARY = 300
MAMBA1: Config = {
    "d_model": 64, "n_layer": 2, "vocab_size": VOCABULARY, "rms_norm": True, "residual_in_fp32": True,
    "pad_vocab_size_multiple": 8, "tie_embeddings": True, "d_intermediate": 0, "attn_layer_idx": [],
    "ssm_cfg": {"layer": "Mamba1", "d_state": 16, "d_conv": 4, "expand": 2},
}  # fmt: skip
MAMBA2: Config = {
    **MAMBA1,
    "ssm_cfg": {"layer": "Mamba2", "d_state": 16, "d_conv": 4, "expand": 2, "headdim": 32, "ngroups": 2},
}


def mamba(folder: Path, version: int = 2, dtype: torch.dtype = torch.float16) -> Path:
    """A state-spaces checkpoint of random weights, its head tied: model.safetensors and config.json."""
    torch.manual_seed(version)
    widths: dict[str, Any] = {"d_model": 64, "n_layers": 2, "vocab_size": 304, "d_inner": 128, "d_state": 16}
    own: dict[str, Any] = {"head_dim": 32, "n_groups": 2, "n_norm_groups": 2} if version == 2 else {"dt_rank": 4}
    model = MambaLM(MambaConfig(version=version, **widths, **own), Numerics(torch.float32, torch.float32))
    weights = {k: w.to(dtype).contiguous() for k, w in model.state_dict().items() if k != "lm_head.weight"}
    save(folder, weights, MAMBA2 if version == 2 else MAMBA1)
    return folder


def save(folder: Path, weights: Weights, config: Config) -> None:
    """Both files, whatever is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


def with_weights(change: Callable[[Weights], None]) -> Callable[[Path], None]:
    """A fault in the tensors."""

    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file({k: w.contiguous() for k, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})

    return apply


def with_config(change: Callable[[Config], None]) -> Callable[[Path], None]:
    """A fault in config.json."""

    def apply(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    return apply


def set_key(key: str, value: object) -> Callable[[Path], None]:
    """config.json with another value at `key`, or at `outer.key`."""

    def change(config: Config) -> None:
        *outer, last = key.split(".")
        for name in outer:
            config = config[name]
        config[last] = value

    return with_config(change)


def set_weight(key: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    """A tensor made into another."""
    return with_weights(lambda weights: weights.__setitem__(key, change(weights[key])))


def added(key: str, w: Tensor) -> Callable[[Path], None]:
    """One tensor more."""
    return with_weights(lambda weights: weights.__setitem__(key, w))


def removed(key: str) -> Callable[[Path], None]:
    """One tensor less."""
    return with_weights(lambda weights: weights.__delitem__(key))


def poisoned(value: float) -> Callable[[Tensor], Tensor]:
    """A copy with one value in it."""

    def change(w: Tensor) -> Tensor:
        made = w.clone()
        made.view(-1)[7] = value
        return made

    return change


def built(folder: Path, kind: str) -> Path:
    """`mamba1`, `mamba2`, or one of small_models.KINDS."""
    return mamba(folder, int(kind[-1])) if kind in ("mamba1", "mamba2") else saved_model(folder, kind)
