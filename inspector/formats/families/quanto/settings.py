"""What is said of the types of modules: by the map that quanto writes, or by transformers' settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import Element, integer, small_float, unsigned
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import visible

METHOD = "quanto"
MAPS = ("quanto_qmap.json", "quantization_map.json")
NONE = "none"
ELEMENTS: Mapping[str, Element] = {
    "qint2": unsigned(2), "qint4": unsigned(4), "qint8": integer(8),
    "qfloat8": small_float("float8_e4m3fn"), "qfloat8_e4m3fn": small_float("float8_e4m3fn"),
    "qfloat8_e5m2": small_float("float8_e5m2"), "qfloat8_e4m3fnuz": small_float("float8_e4m3fnuz"),
}  # fmt: skip
"""Codes by the name that quanto has for their type."""


@dataclass(frozen=True, slots=True)
class Types:
    """Of one module, as quanto calls them: `qint4`, `none`; "" where that is not said."""

    weights: str = ""
    activations: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """where: the file that says it, "" where none does. types: of modules by their roles. whole: of all modules, where
    one sentence is for all."""

    where: str = ""
    types: Mapping[str, Types] = field(default_factory=dict)
    whole: Types | None = None

    def of(self, role: str) -> Types | None:
        """The types of a module; None where nothing is said of it. role: the module's."""
        return self.types.get(role, self.whole)

    @property
    def bits(self) -> tuple[float, ...]:
        """Those of weights that are quantized, each width once."""
        every = [*self.types.values(), *([self.whole] if self.whole else [])]
        return tuple(sorted({float(ELEMENTS[t.weights].bits) for t in every if t.weights in ELEMENTS}))


def settings_of(checkpoint: Checkpoint) -> Settings:
    """What the map says, which is the library's own; else what transformers wrote into config.json."""
    for name in MAPS:
        found = checkpoint.config.get(name)
        if isinstance(found, dict) and found:
            return Settings(name, {strip_root(module): types for module, types in _types(found)})
    said = declared(checkpoint)
    if said.method != METHOD:
        return Settings()
    weights = said.text("weights", "weights_dtype")
    activations = said.text("activations") or (NONE if "activations" in said.settings else "")
    return Settings(said.where, whole=Types(_quantos(weights), _quantos(activations)))


def _types(found: Mapping[str, Any]) -> Iterator[tuple[str, Types]]:
    for module, of in found.items():
        if isinstance(of, dict):
            yield module, Types(_text(of.get("weights")), _text(of.get("activations")))


def _text(found: object) -> str:
    return visible(found, 40) if isinstance(found, str) else ""


def _quantos(name: str) -> str:
    """`int4` of transformers is `qint4`."""
    return f"q{name}" if f"q{name}" in ELEMENTS else name
