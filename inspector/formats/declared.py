"""What config.json, and the files that some libraries write beside it, say of how a model is quantized. Of all
families: what the settings mean, a family says itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.text import visible

_KEYS = ("quantization_config", "compression_config")
SIDE_FILES = ("quantize_config.json", "quant_config.json", "quantization_config.json")
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Declared:
    """Settings of quantization. where: the file that they are from, "" where there are none."""

    where: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.where)

    @property
    def method(self) -> str:
        """`quant_method` in small letters; "" where it is not said."""
        return self.text("quant_method")

    def text(self, *keys: str) -> str:
        """The first of these settings that is a text, in small letters; "" where none is."""
        found = (self.settings.get(key) for key in keys)
        return next((visible(value.strip().lower(), 60) for value in found if isinstance(value, str) and value), "")

    def integer(self, *keys: str) -> int | None:
        """The first of these settings that is an integer; None where none is."""
        found = (self.settings.get(key) for key in keys)
        return next((value for value in found if type(value) is int), None)

    def flag(self, key: str) -> bool | None:
        """A setting that is true or false; None where it is neither."""
        value = self.settings.get(key)
        return value if isinstance(value, bool) else None

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A setting that is an object; {} where it is none."""
        value = self.settings.get(key)
        return value if isinstance(value, dict) else {}


def declared(checkpoint: Checkpoint) -> Declared:
    """The settings in config.json, of the model or of the part of it that is quantized, with what a side file adds to
    them; those of a side file where config.json has none."""
    side = next(_in_side_files(checkpoint.config), Declared())
    main = next(in_config(checkpoint.config), None)
    if main is None:
        return side
    added = side.settings if side.method in ("", main.method) else {}
    return Declared(main.where, {**added, **main.settings})


def every_declared(config: Mapping[str, Any]) -> Iterator[Declared]:
    """All settings that there are, those in config.json before those of side files. config: as of a checkpoint."""
    yield from in_config(config)
    yield from _in_side_files(config)


def in_config(config: Mapping[str, Any]) -> Iterator[Declared]:
    """Those in config.json: at the top, then those of a part of the model (`text_config`)."""
    return _in(config, "", _MAX_DEPTH)


def _in_side_files(config: Mapping[str, Any]) -> Iterator[Declared]:
    for name in SIDE_FILES:
        found = config.get(name)
        if isinstance(found, dict) and found:
            yield Declared(name, found)


def _in(config: Mapping[str, Any], part: str, depth: int) -> Iterator[Declared]:
    for key in _KEYS:
        found = config.get(key)
        if isinstance(found, dict) and found:
            yield Declared(f"{part} of config.json" if part else "config.json", found)
    if depth:
        for key, inner in config.items():
            if isinstance(inner, dict) and key.endswith("_config") and key not in _KEYS:
                yield from _in(inner, visible(key, 60), depth - 1)
