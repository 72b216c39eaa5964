"""One node of a graph with its attributes. Tensors and graphs in it are places in the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from qinspect.inspector.checkpoint.graph import Attribute, Node
from qinspect.inspector.checkpoint.onnx.tensors import TensorReader
from qinspect.inspector.checkpoint.onnx.wire import FIXED32, LENGTH, VARINT, Wire

_INPUT, _OUTPUT, _NAME, _OP, _ATTRIBUTE, _DOMAIN, _PROPERTIES = 1, 2, 3, 4, 5, 7, 9
_ATTRIBUTE_NAME, _F, _I, _S, _T, _G, _FLOATS, _INTS, _STRINGS, _GRAPHS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
_MAX_TEXT_BYTES = 1 << 10
_MAX_LISTED = 1 << 10
_HALF, _WHOLE = 1 << 63, 1 << 64

Range = tuple[int, int]


@dataclass(slots=True)
class RawNode:
    """node: with the names of its own graph. value: where the tensor of its attribute `value` is. graphs: those in it,
    with the names of their attributes."""

    node: Node
    value: Range | None
    graphs: list[tuple[str, Range]]


def read_node(wire: Wire, tensors: TensorReader, start: int, stop: int) -> RawNode:
    """The node that a message describes. Raises BrokenFile."""
    texts = {_NAME: "", _OP: "", _DOMAIN: ""}
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Attribute] = {}
    properties: dict[str, str] = {}
    value: Range | None = None
    graphs: list[tuple[str, Range]] = []
    for number, kind, _, begin, end in wire.fields(start, stop):
        if kind != LENGTH:
            continue
        if number == _INPUT:
            inputs.append(tensors.text(begin, end))
        elif number == _OUTPUT:
            outputs.append(tensors.text(begin, end))
        elif number in texts:
            texts[number] = tensors.text(begin, end)
        elif number == _ATTRIBUTE:
            name, found, tensor, inside = _attribute(wire, tensors, begin, end)
            if found is not None:
                attributes[name] = found
            if name == "value" and tensor is not None:
                value = tensor
            graphs += ((name if len(inside) == 1 else f"{name}.{i}", one) for i, one in enumerate(inside))
        elif number == _PROPERTIES and end - begin <= _MAX_TEXT_BYTES:
            key, text = tensors.pair(begin, end)
            properties[key] = text
    domain = "" if texts[_DOMAIN] == "ai.onnx" else texts[_DOMAIN]
    node = Node(texts[_OP], domain, texts[_NAME], tuple(inputs), tuple(outputs), attributes, properties)
    return RawNode(node, value, graphs)


def _attribute(
    wire: Wire, tensors: TensorReader, start: int, stop: int
) -> tuple[str, Attribute | None, Range | None, list[Range]]:
    """(name, value, place of a tensor, places of graphs)."""
    name = ""
    found: Attribute | None = None
    tensor: Range | None = None
    graphs: list[Range] = []
    ints: list[int] = []
    floats: list[float] = []
    strings: list[str] = []
    for one in wire.fields(start, stop):
        number, kind, value, begin, end = one
        if (number, kind) == (_ATTRIBUTE_NAME, LENGTH):
            name = tensors.text(begin, end)
        elif (number, kind) == (_I, VARINT):
            found = _signed(value)
        elif (number, kind) == (_F, FIXED32):
            found = float(struct.unpack("<f", wire.read(begin, end))[0])
        elif (number, kind) == (_S, LENGTH) and end - begin <= _MAX_TEXT_BYTES:
            found = wire.read(begin, end).decode("utf-8", "replace")
        elif (number, kind) == (_T, LENGTH):
            tensor = begin, end
        elif number in (_G, _GRAPHS) and kind == LENGTH:
            graphs.append((begin, end))
        elif number == _INTS and end - begin <= 10 * _MAX_LISTED and len(ints) < _MAX_LISTED:
            ints += map(_signed, wire.numbers(one))
        elif number == _FLOATS and end - begin <= 4 * _MAX_LISTED and len(floats) < _MAX_LISTED:
            raw = wire.read(begin, end)
            floats += (x for (x,) in struct.iter_unpack("<f", raw[: len(raw) // 4 * 4])) if kind != VARINT else ()
        elif (number, kind) == (_STRINGS, LENGTH) and end - begin <= _MAX_TEXT_BYTES and len(strings) < _MAX_LISTED:
            strings.append(wire.read(begin, end).decode("utf-8", "replace"))
    if found is None:
        found = tuple(ints) or tuple(floats) or tuple(strings) or None
    return name, found, tensor, graphs


def _signed(value: int) -> int:
    """An int64 out of the 64 bits that a number of variable length has."""
    return value - _WHOLE if value >= _HALF else value
