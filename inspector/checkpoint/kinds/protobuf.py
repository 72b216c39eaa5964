"""Models stored as Protocol Buffers, told apart by the fields of the outermost message."""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.checkpoint.kinds.kind import SAVE_ARRAYS, FileKind
from qinspect.inspector.checkpoint.source import Source

_VARINT, _LENGTH = 0, 2
_MAX_FIELDS = 64
_ONNX_NUMBERS, _ONNX_PARTS = {1, 5}, {2, 3, 4, 6, 7, 8, 14, 20, 25, 26}
"""ModelProto: ir_version and model_version; names, the graph (7), opset_import (8), metadata, functions."""


def protobuf_kind(file: Source) -> FileKind | None:
    """A TensorFlow or Core ML model, or None."""
    fields = list(_fields(file))
    kinds = {number: wire for number, wire, _, _ in fields}
    if not fields or fields[0][:2] != (1, _VARINT):
        return None
    if kinds == {1: _VARINT, 2: _LENGTH} and file.path.suffix == ".pb":
        cure = f"Read the checkpoint in its folder variables/ with tf.train.load_checkpoint; {SAVE_ARRAYS}"
        return FileKind("a TensorFlow SavedModel", cure, weak=True)
    if file.path.suffix == ".mlmodel" and kinds.get(2) == _LENGTH:
        return FileKind("a Core ML model", "Give the checkpoint that it was made from.", weak=True)
    return None


def looks_like_onnx(head: bytes, file: Source) -> bool:
    """Whether the outermost fields are the graph alone, or an opset, with nothing that an ONNX model does not have. One
    is cut off in the middle of its graph as often as anywhere, so it need not end where the file does."""
    if head[:1] != b"\x08":
        return False
    fields = list(_fields(file))
    kinds = {number: wire for number, wire, _, _ in fields}
    known = all(
        wire == (_VARINT if number in _ONNX_NUMBERS else _LENGTH) and number in _ONNX_NUMBERS | _ONNX_PARTS
        for number, wire in kinds.items()
    )
    return (
        bool(fields) and known and fields[0][3] <= 64 and (7 in kinds or (8 in kinds and file.path.suffix == ".onnx"))
    )


def _fields(file: Source) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, position, value or length) of the fields at the top, until one is not a field."""
    at = 0
    for _ in range(_MAX_FIELDS):
        head = file.read(at, min(20, file.size - at))
        tag, n = _varint(head, 0)
        if not n or tag >> 3 == 0:
            return
        value, m = _varint(head, n)
        if not m or tag & 7 not in (_VARINT, _LENGTH):
            return
        yield tag >> 3, tag & 7, at, value
        at += n + m + (value if tag & 7 == _LENGTH else 0)
        if at >= file.size:
            return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, bytes that it takes); 0 bytes where there is none."""
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, i + 1
    return 0, 0
