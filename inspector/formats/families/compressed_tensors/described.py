"""The variant of a checkpoint in a few words: `NVFP4 W4A4, KV FP8, compressed-tensors 0.19.0`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.formats.families.compressed_tensors.declared import Args
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.records import Quantity, ScaleRecord
from qinspect.inspector.text import some

_FLOATS = {"float8_e4m3fn": "FP8", "float4_e2m1fn": "FP4"}
_EXPONENTS = ("uint8", "float8_e8m0fnu")
_MAX_SCHEMES = 4


def described(
    modules: Iterable[QuantizedModule], inputs: dict[str, Args | None], records: Iterable[ScaleRecord], by: str
) -> str:
    """inputs: how what goes into each module is quantized, by its role; those of which nothing is known are absent."""
    schemes = Counter(_scheme(m) + _activation(m, inputs) for m in modules)
    named = [scheme for scheme, _ in schemes.most_common()]
    more = f" + {some(len(named) - _MAX_SCHEMES, 'scheme')} more" if len(named) > _MAX_SCHEMES else ""
    parts = [" + ".join(named[:_MAX_SCHEMES]) + more if named else "weights unquantized"]
    points = {r.role.rpartition(":")[2]: r for r in records if r.quantity is Quantity.SCALE and ":" in r.role}
    for point, word in (("k_cache", "KV"), ("q", "queries")):
        record = points.get(point)
        if record is not None:
            parts.append(f"{word} {short(record.element)}{' a head' if record.grid.cells else ''}")
    return ", ".join((*parts, by))


def short(element: Element) -> str:
    """`INT8`, `FP8`, ..."""
    if element.kind is ElementKind.INTEGER:
        return f"INT{element.bits}"
    return _FLOATS.get(element.name, "of unknown codes" if element.kind is ElementKind.UNKNOWN else element.name)


def _scheme(module: QuantizedModule) -> str:
    """The codes, with the prefix of the formats that have one."""
    scale = module.records[0]
    if module.weight.element.kind is not ElementKind.FLOAT:
        return short(module.weight.element)
    if scale.dtype in _EXPONENTS:
        return f"MX{short(module.weight.element)}"
    nv = any(r.quantity is Quantity.GLOBAL_SCALE for r in module.records)
    return f"{'NV' if nv else ''}{short(module.weight.element)}"


def _activation(module: QuantizedModule, inputs: dict[str, Args | None]) -> str:
    if module.weight.role not in inputs:
        return ""
    args = inputs[module.weight.role]
    return f" W{module.weight.bits}A{16 if args is None or args.bits is None else args.bits}"
