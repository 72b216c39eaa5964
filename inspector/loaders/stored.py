"""How a module is stored, by the last parts of its names, their dtypes and shapes: what engines go by."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import prod

from qinspect.inspector.checkpoint.columns import Form


class Stored(StrEnum):
    """One module."""

    NVFP4 = "NVFP4"
    """FP4 in blocks of 16 under an E4M3 scale each, and one scale over these."""
    MXFP4 = "MXFP4"
    MXFP8 = "MXFP8"
    FP8_TENSOR = "FP8, one scale"
    FP8_CHANNEL = "FP8, a scale a channel"
    FP8_BLOCK = "FP8 in blocks"
    PACKED_INT = "packed integers"
    INT8 = "int8"
    GPTQ = "qweight along the inputs"
    """And what else has `qweight`, `qzeros` and `scales`: engines tell them by the settings."""
    CODES = "codes without scales"
    PLAIN = "not quantized"


FP8 = (Stored.FP8_TENSOR, Stored.FP8_CHANNEL, Stored.FP8_BLOCK)
_FLOATS = ("float32", "bfloat16", "float16", "float64")
_FP8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
_E4M3 = "float8_e4m3fn"
E8M0 = ("float8_e8m0fnu", "uint8")
SCALES = ("weight_scale", "weight_scale_inv", "scale", "scale_weight")
"""Names of the (inner) scale of a weight."""


def stored_as(entries: Mapping[str, Form | None]) -> Stored | None:
    """Of the entries of one module by the last parts of their names; None where it has no weight."""
    if "qweight" in entries:
        return Stored.GPTQ
    weight = entries.get("weight_packed") or entries.get("weight")
    if weight is None:
        return Stored.MXFP4 if "blocks" in entries or "scales" in entries else None
    dtype = weight[0].name
    scale = next((form for name in SCALES if (form := entries.get(name)) is not None), None)
    if dtype in _FP8:
        return _fp8(weight, scale)
    if dtype in ("uint8", "int8") and (scale is None or scale[0].name in (_E4M3, *E8M0) or _outer(entries)):
        return _fp4(dtype, scale, entries)
    if dtype == "int8":
        return Stored.INT8
    if dtype in ("int32", "uint8"):
        return Stored.PACKED_INT if "weight_packed" in entries or scale is not None else None
    return Stored.PLAIN if dtype in _FLOATS else None


def _outer(entries: Mapping[str, Form | None]) -> bool:
    return "weight_scale_2" in entries or "weight_global_scale" in entries


def _fp4(dtype: str, scale: Form | None, entries: Mapping[str, Form | None]) -> Stored:
    if _outer(entries) or (scale is not None and scale[0].name == _E4M3):
        return Stored.NVFP4
    if scale is not None:
        return Stored.MXFP4
    return Stored.INT8 if dtype == "int8" else Stored.CODES


def _fp8(weight: Form, scale: Form | None) -> Stored:
    if scale is None:
        return Stored.CODES
    shape = tuple(d for d in scale[1] if d != 1)
    rows, columns = weight[1][0] if weight[1] else 1, weight[1][-1] if weight[1] else 1
    if scale[0].name in E8M0 and prod(scale[1]) * 32 == rows * columns:
        return Stored.MXFP8
    if len(scale[1]) == 2 and scale[1] != (rows, 1):
        return Stored.FP8_BLOCK  # also where one block is all
    if not shape:
        return Stored.FP8_TENSOR
    return Stored.FP8_CHANNEL if shape == (rows,) else Stored.FP8_BLOCK
