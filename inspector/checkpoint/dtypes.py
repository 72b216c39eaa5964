"""Element types: what safetensors and torch call them, how many bits they take, how numpy reads them.

numpy and ml_dtypes are imported when the first value is read, not when a header is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    name: qinspect's name, torch's where torch has one. bits: bits of one element in the file; of a block type, of the
    code of one. numpy: numpy or ml_dtypes name of one element in memory; "" where values cannot be decoded.
    packed: several elements share a byte, the first in the low bits. block, block_bytes: of a block type, how many
    elements lie together with what is common to them (scales, minima), and in how many bytes; 1 and 0 for others.
    Blocks lie along the last axis, and none reaches into the next row.
    """

    name: str
    bits: int
    numpy: str
    packed: bool = False
    block: int = 1
    block_bytes: int = 0

    @property
    def is_float(self) -> bool:
        """Whether elements are real floating-point numbers."""
        return self.name.startswith(("float", "bfloat"))

    @property
    def is_complex(self) -> bool:
        """Whether elements are complex numbers."""
        return self.name.startswith("complex")

    @property
    def is_integer(self) -> bool:
        """Whether elements are integers (bool is not)."""
        return self.name.startswith(("int", "uint", "qint", "quint"))

    def nbytes(self, n_elements: int) -> int:
        """Bytes that `n_elements` take, rounded up to whole bytes, and to whole blocks."""
        if self.block_bytes:
            return -(-n_elements // self.block) * self.block_bytes
        return (n_elements * self.bits + 7) // 8

    def to_numpy(self) -> np.dtype[Any]:
        """The numpy dtype of one element in memory."""
        import numpy as np

        if hasattr(np, self.numpy):
            return np.dtype(self.numpy.rstrip("_"))
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.numpy))
        return found


_ALL = (
    DType("bool", 8, "bool_"),
    DType("uint8", 8, "uint8"),
    DType("int8", 8, "int8"),
    DType("uint16", 16, "uint16"),
    DType("int16", 16, "int16"),
    DType("uint32", 32, "uint32"),
    DType("int32", 32, "int32"),
    DType("uint64", 64, "uint64"),
    DType("int64", 64, "int64"),
    DType("float16", 16, "float16"),
    DType("bfloat16", 16, "bfloat16"),
    DType("float32", 32, "float32"),
    DType("float64", 64, "float64"),
    DType("complex64", 64, "complex64"),
    DType("complex128", 128, "complex128"),
    DType("complex32", 32, ""),
    DType("float8_e4m3fn", 8, "float8_e4m3fn"),
    DType("float8_e4m3fnuz", 8, "float8_e4m3fnuz"),
    DType("float8_e5m2", 8, "float8_e5m2"),
    DType("float8_e5m2fnuz", 8, "float8_e5m2fnuz"),
    DType("float8_e8m0fnu", 8, "float8_e8m0fnu"),
    DType("float4_e2m1fn", 4, "float4_e2m1fn", packed=True),
    DType("float6_e2m3fn", 6, "float6_e2m3fn", packed=True),
    DType("float6_e3m2fn", 6, "float6_e3m2fn", packed=True),
    DType("qint8", 8, "int8"),
    DType("quint8", 8, "uint8"),
    DType("qint32", 32, "int32"),
    DType("quint4x2", 4, "uint8", packed=True),
    DType("quint2x4", 2, "uint8", packed=True),
)
DTYPES = {d.name: d for d in _ALL}

BLOCKS = {
    name: DType(name, bits, "", block=block, block_bytes=block_bytes)
    for name, bits, block, block_bytes in (
        ("q4_0", 4, 32, 18),
        ("q4_1", 4, 32, 20),
        ("q5_0", 5, 32, 22),
        ("q5_1", 5, 32, 24),
        ("q8_0", 8, 32, 34),
        ("q8_1", 8, 32, 36),
        ("q2_k", 2, 256, 84),
        ("q3_k", 3, 256, 110),
        ("q4_k", 4, 256, 144),
        ("q5_k", 5, 256, 176),
        ("q6_k", 6, 256, 210),
        ("q8_k", 8, 256, 292),
        ("iq1_s", 1, 256, 50),
        ("iq1_m", 1, 256, 56),
        ("iq2_xxs", 2, 256, 66),
        ("iq2_xs", 2, 256, 74),
        ("iq2_s", 2, 256, 82),
        ("iq3_xxs", 3, 256, 98),
        ("iq3_s", 3, 256, 110),
        ("iq4_nl", 4, 32, 18),
        ("iq4_xs", 4, 256, 136),
        ("tq1_0", 2, 256, 54),
        ("tq2_0", 2, 256, 66),
        ("mxfp4", 4, 32, 17),
        ("nvfp4", 4, 64, 36),
        ("q1_0", 1, 128, 18),
        ("q2_0", 2, 64, 18),
    )
}
"""ggml's block types, by their names in small letters: bits of a code, elements and bytes of a block."""

SAFETENSORS = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
}
"""safetensors' names, as its 0.8.0 release lists them. F4 and F6 shapes count elements, not bytes."""

TORCH_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}
"""Class names that a torch pickle gives its storages."""

TORCH_DTYPES = {name: DTYPES[name] for name in DTYPES if not name.startswith(("float4_", "float6_"))} | {
    # torch shapes count bytes here (two fp4 values each): kept as bytes, as the model's code sees them.
    "float4_e2m1fn_x2": DType("float4_e2m1fn_x2", 8, "uint8"),
    **{
        name: DType(name, 8, "uint8" if name.startswith(("u", "b")) else "int8")
        for name in (
            "uint1",
            "uint2",
            "uint3",
            "uint4",
            "uint5",
            "uint6",
            "uint7",
            "int1",
            "int2",
            "int3",
            "int4",
            "int5",
            "int6",
            "int7",
            "bits8",
            "bits1x8",
            "bits2x4",
            "bits4x2",
        )
    },
    "bits16": DType("bits16", 16, "uint16"),
}
"""`torch.<name>` as it occurs in a pickle, to what an element of it is in memory."""
