"""What the tensors of one module are, by their dtypes and shapes, and which of that each algorithm writes."""

from __future__ import annotations

from enum import StrEnum

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats.element import Element, integer, small_float

FP4 = small_float("float4_e2m1fn")
FP8 = small_float("float8_e4m3fn")
FLOATS = ("float32", "bfloat16", "float16")
EXPONENTS = ("uint8", "float8_e8m0fnu")
"""Of scales that are powers of two."""


TILE = 128
"""Rows and columns of a tile of FP8_BLOCK, where the scales do not say otherwise."""


class Layout(StrEnum):
    """How a weight is stored. [O, I] are its output and input channels."""

    FP8 = "FP8"
    """float8 [O, I], one scale."""
    FP8_CHANNEL = "FP8 per channel"
    """float8 [O, I], a scale for each output channel."""
    FP8_BLOCK = "FP8 in blocks"
    """float8 [O, I], a scale for each tile."""
    NVFP4 = "NVFP4"
    """uint8 [O, I/2], the first of two in the low half; float8 scales for 16 columns, and one of them all."""
    MXFP4 = "MXFP4"
    """uint8 [O, I/2], the first of two in the low half; powers of two for 32 columns."""
    MXFP8 = "MXFP8"
    """float8 [O, I]; powers of two for 32 columns."""
    INT4 = "INT4"
    """uint8 [O/2, I], the even row in the low half, two's complement; a scale for each row and group of columns."""
    INT4_FP8 = "INT4 in FP8"
    """As INT4; the values are rounded to float8 times one number."""
    INT8 = "INT8"
    """int8 [O, I], a scale for each output channel, or one."""

    @property
    def element(self) -> Element:
        """Of its codes."""
        return _ELEMENTS[self]

    @property
    def bits(self) -> int:
        """Of a code."""
        return _ELEMENTS[self].bits


_ELEMENTS = {
    Layout.FP8: FP8, Layout.FP8_CHANNEL: FP8, Layout.FP8_BLOCK: FP8, Layout.MXFP8: FP8,
    Layout.NVFP4: FP4, Layout.MXFP4: FP4,
    Layout.INT4: integer(4), Layout.INT4_FP8: integer(4), Layout.INT8: integer(8),
}  # fmt: skip

_BLOCKS = (Layout.FP8_BLOCK, Layout.FP8)  # of a weight of one tile, there is one scale
ALGORITHMS: dict[str, tuple[Layout, ...]] = {
    "FP8": (Layout.FP8,),
    "FP8_PER_CHANNEL_PER_TOKEN": (Layout.FP8_CHANNEL, Layout.FP8),
    "FP8_PB_WO": _BLOCKS,
    "FP8_PB_REAL": _BLOCKS,
    "NVFP4": (Layout.NVFP4,),
    "NVFP4_AWQ": (Layout.NVFP4,),
    "NVFP4_SVD": (Layout.NVFP4,),
    "W4A16_NVFP4": (Layout.NVFP4,),
    "MXFP4": (Layout.MXFP4,),
    "W4A8_MXFP4_FP8": (Layout.MXFP4,),
    "MXFP8": (Layout.MXFP8,),
    "W4A16_AWQ": (Layout.INT4,),
    "W4A8_AWQ": (Layout.INT4_FP8,),
    "W8A16": (Layout.INT8,),
    "W8A8_SQ_PER_CHANNEL": (Layout.INT8,),
}
"""The layouts that each algorithm writes; what is not here is not known."""
NAMED = {
    "W4A8_NVFP4_FP8": "is of W4A8_NVFP4_FP8, as {where} says: its kernel makes FP8 of FP4 codes and their scales, and "
    "how it rounds them is not known",
}
"""Algorithms that are known by name alone, with what is not known of them."""


def layout_of(codes: Tensor, steps: Tensor, second: bool, in_blocks: bool) -> Layout | None:
    """The layout of a matrix of codes with its scales; None where it is none that is known. second: whether there is a
    scale of all scales. in_blocks: whether the configuration says that scales are those of tiles."""
    code, step = codes.dtype.name, steps.dtype.name
    match code:
        case "float8_e4m3fn" if step in EXPONENTS and not second:
            return Layout.MXFP8
        case "float8_e4m3fn" if step in FLOATS and not second:
            return _of_fp8(codes, steps, in_blocks)
        case "uint8" if step == "float8_e4m3fn" and second:
            return Layout.NVFP4
        case "uint8" if step in EXPONENTS and not second:
            return Layout.MXFP4
        case "uint8" if step in FLOATS:
            return Layout.INT4_FP8 if second else Layout.INT4
        case "int8" if step in FLOATS and not second:
            return Layout.INT8
    return None


def _of_fp8(codes: Tensor, steps: Tensor, in_blocks: bool) -> Layout:
    if steps.n_elements == 1:
        one_tile = in_blocks and codes.n_elements > 0 and max(codes.shape) <= TILE
        return Layout.FP8_BLOCK if one_tile else Layout.FP8
    rows = codes.shape[0] if codes.shape else 0
    by_channel = steps.shape in ((rows,), (rows, 1))
    return Layout.FP8_CHANNEL if by_channel and not in_blocks else Layout.FP8_BLOCK
