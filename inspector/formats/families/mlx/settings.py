"""What config.json says of a model that MLX quantized: of all modules, and of some by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.declared import in_config
from qinspect.inspector.formats.families.mlx.packing import AFFINE
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import visible

_KEY = "quantization"
METHODS = ("mlx", "metal", "auto-round", "intel/auto-round")
"""What `quant_method` may be; MLX itself writes none."""


@dataclass(frozen=True, slots=True)
class Said:
    """Of one module. mode: "" where none is said. bits, group: None where they are not said."""

    mode: str = ""
    bits: int | None = None
    group: int | None = None
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """where: the file and the key; "" where nothing is said. method: `quant_method`. modules: by name, and by what is
    left of it without the words of savers; named: by name alone."""

    where: str = ""
    method: str = ""
    whole: Said = Said()
    modules: Mapping[str, Said] = field(default_factory=dict)
    named: Mapping[str, Said] = field(default_factory=dict)

    def of(self, module: str) -> Said:
        """What is said of a module."""
        if not self.modules:
            return self.whole
        return self.modules.get(module) or self.modules.get(strip_root(module)) or self.whole

    @property
    def bits(self) -> set[int]:
        """Every width that is said."""
        each = (self.whole, *(said for said in self.modules.values() if not said.left_out))
        return {said.bits for said in each if said.bits}


def settings_of(checkpoint: Checkpoint) -> Settings:
    """Those of `quantization`, which MLX writes, or of `quantization_config`, where others keep the same."""
    where, found = next(_places(checkpoint), ("", {}))
    if not where:
        return Settings()
    method = found.get("quant_method")
    named = {name: one for name, said in found.items() if (one := _said_of_module(said))}
    modules = {strip_root(name): one for name, one in named.items()} | named
    return Settings(where, method.strip().lower() if isinstance(method, str) else "", _said(found), modules, named)


def _places(checkpoint: Checkpoint) -> Iterator[tuple[str, Mapping[str, Any]]]:
    config = checkpoint.config
    for part, inside in (("", config), *((f"{k} of ", v) for k, v in config.items() if k.endswith("_config"))):
        found = inside.get(_KEY) if isinstance(inside, dict) else None
        if isinstance(found, dict) and found:
            yield f"{_KEY} in {visible(part, 60)}config.json", found
    for declared in in_config(config):
        yield f"quantization_config in {declared.where}", declared.settings


def _said(found: Mapping[str, Any]) -> Said:
    mode = found.get("mode")
    return Said(
        visible(mode, 40) if isinstance(mode, str) else "" if mode is None else "?", _integer(found.get("bits")),
        _integer(found.get("group_size")),
    )  # fmt: skip


def _said_of_module(found: object) -> Said | None:
    if found is False:
        return Said(left_out=True)
    if not isinstance(found, dict) or not ({"bits", "group_size", "mode"} & found.keys()):
        return None
    said = _said(found)
    return Said(said.mode or AFFINE, said.bits, said.group)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
