"""ONNX's numbers of element types (TensorProto.DataType of onnx.proto, IR version 13)."""

from __future__ import annotations

from qinspect.inspector.checkpoint.dtypes import DTYPES, DType

STRING = 8

_WHOLE = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn",
    18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 23: "float4_e2m1fn", 24: "float8_e8m0fnu",
    27: "float6_e2m3fn", 28: "float6_e3m2fn",
}  # fmt: skip
TYPES: dict[int, DType] = {
    **{number: DTYPES[name] for number, name in _WHOLE.items()},
    21: DType("uint4", 4, "uint4", packed=True),
    22: DType("int4", 4, "int4", packed=True),
    25: DType("uint2", 2, "uint2", packed=True),
    26: DType("int2", 2, "int2", packed=True),
}
"""Several elements a byte: the first in the low bits, across rows."""

FLOATS, INTS, LONGS, DOUBLES, UNSIGNED = 4, 5, 7, 10, 11
"""Fields of TensorProto that hold elements one by one, if they are not in `raw_data`."""
_BY_ITSELF = {1: FLOATS, 14: FLOATS, 7: LONGS, 11: DOUBLES, 15: DOUBLES, 12: UNSIGNED, 13: UNSIGNED}


def field_of(data_type: int) -> int:
    """Which of them holds the elements of a type: all small ones are in `int32_data`."""
    return _BY_ITSELF.get(data_type, INTS)


def opaque(data_type: int, n_elements: int, n_bytes: int) -> DType:
    """A type of which only the bytes are known: all elements are one block."""
    return DType(f"onnx_{data_type}", 8, "", block=max(1, n_elements), block_bytes=max(1, n_bytes))
