"""What HQQ stores beside codes to read them: a number, a shape or a flag in an entry each."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.formats.small import integers, small_entries

CODES = "W_q"
_META = "meta"
_OWN = (
    CODES, "scale", "zero", "zero_scale", "scale_q", "zero_q", "nbits", "group_size", "axis", "shape", "packing",
    "unpack_view_dtype", "view_as_float", "quant_scale", "quant_zero", "compute_dtype", "channel_wise", "optimize",
    "round_zero", "offload_meta", "stores_quant_config", "encoded_state_dict",
)  # fmt: skip
_READ = ("nbits", "group_size", "axis", "shape")
_WIDTHS = {"int64": 8, "int32": 4, "uint8": 1, "int8": 1, "int16": 2}


@dataclass(slots=True)
class Facts:
    """Of one tensor of codes. codes: its entry. entries: the others by the last part of their names. sizes: the entries
    of a shape that is stored a number each. nested: of codes of scales and zero points, by `scale` and `zero`."""

    codes: str
    entries: Mapping[str, str]
    sizes: tuple[str, ...] = ()
    nested: Mapping[str, Facts] = field(default_factory=dict)
    _numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """All entries of it."""
        inner = (name for facts in self.nested.values() for name in facts.names)
        return {self.codes, *self.entries.values(), *self.sizes, *inner}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the codes are codes of; () where that is not stored."""
        return tuple(int(d) if d == int(d) else 0 for d in self._numbers.get("shape", ()))

    def number(self, name: str) -> float | None:
        """`nbits`, `group_size` or `axis`; None where it is not stored."""
        found = self._numbers.get(name, ())
        return found[0] if len(found) == 1 else None

    @staticmethod
    def read_all(checkpoint: Checkpoint, several: Iterable[Facts]) -> None:
        """Read the numbers of all, in few reads."""
        every = [inner for facts in several for inner in (facts, *facts.nested.values())]
        tensors = {
            name: entry for facts in every for name in facts._wanted() if isinstance(entry := checkpoint[name], Tensor)
        }
        data = small_entries(checkpoint, tensors, 64)
        for facts in every:
            facts._take(checkpoint, tensors, data)

    def _wanted(self) -> list[str]:
        return [*(self.entries[last] for last in _READ if last in self.entries), *self.sizes]

    def _take(self, checkpoint: Checkpoint, tensors: Mapping[str, Tensor], data: Mapping[str, bytes]) -> None:
        for last in _READ:
            name = self.entries.get(last, "")
            names = self.sizes if last == "shape" and self.sizes else (name,) if name else ()
            found: list[float] = []
            for one in names:
                tensor = tensors.get(one)
                found += _of_value(checkpoint[one]) if tensor is None else _of_bytes(tensor, data.get(one, b""))
            self._numbers[last] = tuple(found)


def facts_of(module: str, modules: Mapping[str, Mapping[str, str]]) -> Facts:
    """What stands in a module with codes, or in `meta` in it. modules: as of `by_module`."""
    keys = modules[module]
    meta = f"{module}.{_META}" if module else _META
    inside, where = ({**keys, **modules[meta]}, meta) if meta in modules else (keys, module)
    nested = {
        what: Facts(inside[f"{what}_q"], _own(modules.get(f"{where}.meta_{what}".lstrip("."), {})),
                    _sizes(f"{where}.meta_{what}".lstrip("."), modules))
        for what in ("scale", "zero") if f"{what}_q" in inside
    }  # fmt: skip
    return Facts(keys[CODES], _own(inside), _sizes(where, modules), nested)


def _own(keys: Mapping[str, str]) -> dict[str, str]:
    return {last: keys[last] for last in _OWN if last in keys and last != CODES}


def _sizes(module: str, modules: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The entries `shape.0`, `shape.1`, ... of a module: so a pickle holds a shape."""
    found = modules.get(f"{module}.shape".lstrip("."), {})
    return tuple(found[str(i)] for i in range(len(found)) if str(i) in found)


def _of_value(entry: object) -> list[float]:
    value = entry.value if isinstance(entry, Value) else None
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15 else []


def _of_bytes(tensor: Tensor, data: bytes) -> list[float]:
    name = tensor.dtype.name
    if name == "float32" and len(data) == 4:
        (found,) = struct.unpack("<f", data)
        return [found] if abs(found) < 1e15 else []
    return [float(n) for n in integers(data, _WIDTHS[name]) if abs(n) < 1e15] if name in _WIDTHS else []
