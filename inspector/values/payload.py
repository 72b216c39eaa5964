"""One entry as the objects that `--json` prints; docs/schema has their schemas."""

from __future__ import annotations

from typing import Any

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.formats.payload import checkpoint, scale
from qinspect.inspector.json_text import Json, finite
from qinspect.inspector.values.inspection import Inspection
from qinspect.inspector.values.scale_faults import ScaleFaults
from qinspect.inspector.values.statistics import Statistics
from qinspect.inspector.values.value_text import array_texts, value_text


def scalar(value: object) -> Any:
    """A stored Python value as JSON: strings, and numbers that JSON readers keep, as they are; the rest as text."""
    if isinstance(value, float):
        return finite(value)
    if value is None or isinstance(value, (bool, str)) or (isinstance(value, int) and abs(value) < 1 << 53):
        return value
    return value_text(value)


def faults(f: ScaleFaults) -> Json:
    """Numbers that no scale should be."""
    return {
        "elements": f.n,
        "nan": f.n_nan,
        "inf": f.n_inf,
        "zero": f.n_zero,
        "negative": f.n_negative,
        "denormal": f.n_denormal,
        "first": f.first,
        "value": scalar(f.value),
        "text": str(f),
    }


def statistics(s: Statistics | None) -> Json | None:
    """Statistics of one tensor."""
    if s is None:
        return None
    return {
        "elements": s.n,
        "nan": s.n_nan,
        "inf": s.n_inf,
        "zero": s.n_zero,
        "negative": s.n_negative,
        "minimum": finite(s.minimum),
        "maximum": finite(s.maximum),
        "absmax": finite(s.absmax),
        "mean": finite(s.mean),
        "std": finite(s.std),
        "percentiles": [{"percent": p, "value": finite(v)} for p, v in s.percentiles],
        "percentiles_sampled": s.sampled,
    }


def inspection(fmt: Format, i: Inspection) -> Json:
    """`qinspect show A KEY --json`."""
    e = i.entry
    stored: Json = {"key": i.key, "file": str(e.file.path)}
    if isinstance(e, Tensor):
        stored |= {
            "dtype": e.dtype.name,
            "shape": list(e.shape),
            "strides": list(e.strides) if e.strides is not None else None,
            "offset": e.offset if e.file.stored else None,
            "bytes": e.nbytes,
            "values": _values(i),
            "values_text": None if i.values is None else array_texts(i.values),
        }
    else:
        stored |= {"dtype": e.kind, "value": scalar(e.value)}
    return {
        "schema": "qinspect.show/1",
        "model": checkpoint(fmt),
        "stored": stored,
        "statistics": statistics(i.statistics),
        "scale": {
            **scale(i.scale),
            "copies": [{"key": c.key, "relation": c.relation, "stored": finite(c.stored)} for c in i.copies],
            "unfolded": statistics(i.logical),
        }
        if i.scale
        else None,
        "copy_of": i.copy_of or None,
        "weight": {
            "name": i.weight.name,
            "role": i.weight.role,
            "shape": list(i.weight.shape),
            "bits": i.weight.bits,
            "scheme": i.weight.scheme,
            "scales": list(i.weight.scale_roles),
            "codes": _codes(i),
            "dequantized": statistics(i.dequantized),
        }
        if i.weight
        else None,
        "part": {"said": i.part.said, "another": i.part.another} if i.part else None,
        "problem": i.problem or None,
    }


def _codes(i: Inspection) -> list[Json]:
    """Every code; of one that is no integer, also the number that it stands for."""
    element = i.element
    if element is None or element.kind not in (ElementKind.FLOAT, ElementKind.TABLE):
        return [{"level": level, "count": n} for level, n in (i.codes or {}).items()]
    levels = {level: finite(float(element.said(level))) for level in i.codes or {}}
    return [{"level": level, "value": levels[level], "count": n} for level, n in (i.codes or {}).items()]


def _values(i: Inspection) -> Any:
    if i.values is None:
        return None
    return [scalar(_plain(v)) for v in i.values.reshape(-1)]


def _plain(value: Any) -> object:
    """A numpy or ml_dtypes scalar as the Python number it is."""
    if isinstance(value, (bool, int, float)) or value.dtype.kind in "biufc":
        return value.item() if hasattr(value, "item") and value.dtype.kind != "c" else str(value)
    return float(value)
