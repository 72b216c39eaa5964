"""ONNX models for tests, put together field by field: also such as their library would not write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DATA_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13,
}  # fmt: skip


def array_of(dtype: str, values: object) -> np.ndarray:
    """An array of numbers."""
    return np.array(values, dtype)


def varint(n: int) -> bytes:
    """A number of variable length; a negative one as 64 bits."""
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def number(field: int, value: int) -> bytes:
    """A field that is a number."""
    return varint(field << 3) + varint(value)


def part(field: int, value: bytes | str) -> bytes:
    """A field that is bytes, words or a message."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def pair(key: str, value: str) -> bytes:
    """A StringStringEntryProto."""
    return part(1, key) + part(2, value)


def tensor(
    name: str, values: Any = None, *, data_type: int | None = None, dims: Sequence[int] | None = None,
    raw: bytes | None = None, more: bytes = b"", external: Mapping[str, str] | None = None,
) -> bytes:  # fmt: skip
    """A TensorProto: of an array, or of what is said of one."""
    if values is not None:
        array = np.asarray(values)
        data_type = DATA_TYPES[array.dtype.name] if data_type is None else data_type
        dims = array.shape if dims is None else dims
        raw = array.tobytes() if raw is None and external is None and not more else raw
    out = b"".join(number(1, d) for d in dims or ()) + number(2, data_type or 0) + part(8, name)
    out += more + (part(9, raw) if raw is not None else b"")
    if external is not None:
        out += b"".join(part(13, pair(k, v)) for k, v in external.items()) + number(14, 1)
    return out


def attribute(name: str, value: object) -> bytes:
    """An AttributeProto: of a number, a float, words, integers; of bytes, a graph or (named `value`) a tensor."""
    head = part(1, name)
    if isinstance(value, bytes):
        return head + part(5 if name == "value" else 6, value)
    if isinstance(value, str):
        return head + part(4, value)
    if isinstance(value, float):
        return head + varint(2 << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, Iterable):
        return head + b"".join(number(8, int(i)) for i in value)
    assert isinstance(value, int)
    return head + number(3, value)


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", domain: str = "", scopes: str = "",
    **attributes: object,
) -> bytes:  # fmt: skip
    """A NodeProto. scopes: what torch's exporter notes of where the node comes from."""
    out = b"".join(part(1, i) for i in inputs) + b"".join(part(2, o) for o in outputs) + part(3, name) + part(4, op)
    out += b"".join(part(5, attribute(k, v)) for k, v in attributes.items()) + part(7, domain)
    return out + (part(9, pair("pkg.torch.onnx.name_scopes", scopes)) if scopes else b"")


def graph(tensors: Iterable[bytes] = (), nodes: Iterable[bytes] = (), more: bytes = b"") -> bytes:
    """A GraphProto."""
    return b"".join(part(1, n) for n in nodes) + b"".join(part(5, t) for t in tensors) + more


def model(tensors: Iterable[bytes] = (), nodes: Iterable[bytes] = (), more: bytes = b"", opset: int = 21) -> bytes:
    """A ModelProto. more: fields of its graph."""
    return number(1, 10) + part(7, graph(tensors, nodes, more)) + part(8, part(1, "") + number(2, opset))


def write_model(path: Path, *args: Any, **named: Any) -> Path:
    """A file of `model`. Returns its path."""
    path.write_bytes(model(*args, **named))
    return path


def every_operation() -> tuple[list[bytes], list[bytes], bytes]:
    """Tensors, nodes and further fields of a graph with one of each kind of quantized weight and of activation."""
    codes, floats = np.arange(16, dtype=np.int8).reshape(4, 4), array_of("float32", [0.5, 1, 2, 4])
    tensors = [
        tensor("onnx::MatMul_1_quantized", codes), tensor("m_quantized", codes),
        tensor("s", floats), tensor("z", np.zeros(4, np.int8)),
        tensor("one", np.float32(0.25)), tensor("zero", np.uint8(3)),
        tensor("b_quantized", np.arange(4, dtype=np.int32)),
        tensor("int4", data_type=22, dims=[4, 4], raw=bytes(range(8))), tensor("blocks", np.ones((2, 4), np.float32)),
        tensor("w_Q4", np.arange(32, dtype=np.uint8).reshape(2, 2, 8)), tensor("w_scales", np.ones((2, 2), np.float32)),
        tensor("w_zero_points", array_of("uint8", [[0x78], [0x87]])), tensor("plain", floats.reshape(2, 2)),
        tensor("typed", data_type=3, dims=[2], more=number(5, -1) + number(5, 3)),
        tensor("lstm_quantized", np.zeros((2, 3, 8), np.int8)), tensor("of_two", np.ones((2, 8), np.float32)),
        tensor("f8", data_type=17, dims=[4], raw=bytes(4)), tensor("words", data_type=8, dims=[1], more=part(6, "x")),
    ]  # fmt: skip
    own: dict[str, Any] = {"domain": "com.microsoft"}
    branch = graph([tensor("plain", floats)], [node("Relu", ["plain"], ["r"])])
    nodes = [
        node("DequantizeLinear", ["onnx::MatMul_1_quantized", "s", "z"], ["w1"], axis=1),
        node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        node("DequantizeLinear", ["xq", "one", "zero"], ["xd"]),
        node("MatMul", ["xd", "w1"], ["y1"], "/fc/MatMul"),
        node("DequantizeLinear", ["int4", "blocks"], ["w2"], axis=0, block_size=2),
        node("Gemm", ["y1", "w2", "b"], ["y2"], transB=1),
        node("DequantizeLinear", ["b_quantized", "s"], ["b"], axis=0),
        node("MatMulNBits", ["y2", "w_Q4", "w_scales", "w_zero_points"], ["y3"], K=32, N=2, block_size=16, **own),
        node("DynamicQuantizeLinear", ["y3"], ["dq", "ds", "dz"]),
        node("MatMulInteger", ["dq", "m_quantized", "dz", "z"], ["i"]),
        node("Cast", ["i"], ["c"], to=1),
        node("Mul", ["ds", "s"], ["product"]),
        node("Mul", ["c", "product"], ["y4"]),
        node("QLinearMatMul", ["xq", "one", "zero", "codes", "s", "z", "one", "zero"], ["y5"]),
        node("Constant", [], ["codes"], value=tensor("", codes)),
        node("DequantizeLinear", ["f8", "one"], ["w3"]),
        node("DynamicQuantizeLSTM", ["y4", "lstm_quantized", *[""] * 6, "of_two"], ["l"], **own),
        node("If", ["cond"], ["y6"], "choice", then_branch=branch),
        node("Quant", ["plain", "one"], ["q"], domain="qonnx.custom_op.general"),
    ]
    return tensors, nodes, part(14, part(1, "plain") + part(2, pair("finn_datatype", "INT2")))
