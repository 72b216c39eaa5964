"""Which inputs of an operation are codes, scales and zero points: of the standard's operations, and of those that ONNX
Runtime has of its own (onnx/docs/Operators.md, onnxruntime/docs/ContribOperators.md)."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.checkpoint.graph import Node

MICROSOFT = "com.microsoft"
DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
N_BITS, GATHER_BLOCKS = "MatMulNBits", "GatherBlockQuantized"
DYNAMIC = "DynamicQuantizeLinear"
INTEGER_PRODUCTS = ("MatMulInteger", "ConvInteger")
"""Products of codes alone: the scale of the weight comes in afterwards, in a Mul."""


@dataclass(frozen=True, slots=True)
class Operand:
    """Places of a weight among the inputs of an operation. scale: -1 where it is elsewhere. axis: along which a row of
    scales lies, of the stored weight; from the end where it is negative. columns: whether the last axis of the stored
    weight is that of the outputs, so that its rows are not."""

    codes: int
    scale: int
    zero: int
    axis: int
    columns: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """Places of an activation's scale. value: of the activation among the inputs; -1: the output of the operation."""

    value: int
    scale: int
    zero: int


_OF_CONV = (Operand(3, 4, 5, 0, False),)
WEIGHTS: dict[str, tuple[Operand, ...]] = {
    "QLinearMatMul": (Operand(3, 4, 5, -1, True),),
    "QLinearConv": _OF_CONV,
    "QGemm": (Operand(3, 4, 5, -1, True),),
    "MatMulInteger": (Operand(1, -1, 3, -1, True),),
    "ConvInteger": (Operand(1, -1, 3, 0, False),),
    "MatMulIntegerToFloat": (Operand(1, 3, 5, -1, True),),
    "DynamicQuantizeMatMul": (Operand(1, 2, 3, -1, True),),
    "DynamicQuantizeLSTM": (Operand(1, 8, 9, 0, True), Operand(2, 10, 11, 0, True)),
    "QAttention": (Operand(1, 4, 7, -1, True),),
}
"""By the name of the operation."""

POINTS: dict[str, tuple[Measured, ...]] = {
    "QLinearMatMul": (Measured(0, 1, 2), Measured(-1, 6, 7)),
    "QLinearConv": (Measured(0, 1, 2), Measured(-1, 6, 7)),
    "QGemm": (Measured(0, 1, 2), Measured(-1, 7, 8)),
    "QAttention": (Measured(0, 3, 6),),
    "QLinearAdd": (Measured(0, 1, 2), Measured(3, 4, 5), Measured(-1, 6, 7)),
    "QLinearMul": (Measured(0, 1, 2), Measured(3, 4, 5), Measured(-1, 6, 7)),
    "QLinearSigmoid": (Measured(0, 1, 2), Measured(-1, 3, 4)),
    "QLinearLeakyRelu": (Measured(0, 1, 2), Measured(-1, 3, 4)),
    "QLinearSoftmax": (Measured(0, 1, 2), Measured(-1, 3, 4)),
    "QLinearAveragePool": (Measured(0, 1, 2), Measured(-1, 3, 4)),
    "QLinearGlobalAveragePool": (Measured(0, 1, 2), Measured(-1, 3, 4)),
    "QLinearReduceMean": (Measured(0, 1, 2), Measured(-1, 3, 4)),
}
"""The static scales of activations that an operation has among its inputs."""

DYNAMIC_INPUTS = {"DynamicQuantizeMatMul": 0, "DynamicQuantizeLSTM": 0}
"""Operations that quantize an input as it comes."""


def is_gemm_transposed(node: Node, operand: Operand) -> bool:
    """Whether a Gemm says that its stored weight has its outputs as rows."""
    return operand.columns and node.integer("transB") != 0
