"""GGUF files byte by byte, also such as no writer makes."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ID = {
    "float32": 0, "float16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q8_1": 9, "q2_k": 10,
    "q3_k": 11, "q4_k": 12, "q5_k": 13, "q6_k": 14, "q8_k": 15, "iq2_xxs": 16, "iq2_xs": 17, "iq3_xxs": 18, "iq1_s": 19,
    "iq4_nl": 20, "iq3_s": 21, "iq2_s": 22, "iq4_xs": 23, "int8": 24, "iq1_m": 29, "bfloat16": 30, "tq1_0": 34,
    "tq2_0": 35, "mxfp4": 39, "nvfp4": 40, "q1_0": 41, "q2_0": 42,
}  # fmt: skip
"""Type ids of ggml, as its header lists them."""

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Raw(bytes):
    """Bytes in the place of a fact's value."""


@dataclass
class Stored:
    """A tensor: shape is [out, in], as everywhere but in the file. offset: None where it follows the one before."""

    name: str | bytes
    type_id: int
    shape: Sequence[int]
    data: bytes
    offset: int | None = None


@dataclass
class GgufFile:
    """facts: name to (type, value); a value of type 9 is (element type, list)."""

    tensors: list[Stored]
    facts: Mapping[Any, tuple[int, Any]] = field(default_factory=dict)
    version: int = 3
    order: str = "<"
    alignment: int = 32
    n_tensors: int | None = None
    n_facts: int | None = None

    def header(self) -> bytes:
        out = b"GGUF" + self._pack("I", self.version)
        out += self._pack("Q", len(self.tensors) if self.n_tensors is None else self.n_tensors)
        out += self._pack("Q", len(self.facts) if self.n_facts is None else self.n_facts)
        for key, (kind, value) in self.facts.items():
            out += self._text(key) + self._pack("I", kind) + self._value(kind, value)
        at = 0
        for t in self.tensors:
            start = at if t.offset is None else t.offset
            out += self._text(t.name) + self._pack("I", len(t.shape))
            out += b"".join(self._pack("Q", d) for d in reversed(t.shape))
            out += self._pack("I", t.type_id) + self._pack("Q", start)
            at = -(-(start + len(t.data)) // self.alignment) * self.alignment
        return out + bytes(-len(out) % self.alignment)

    def data(self) -> bytes:
        return b"".join(t.data + bytes(-len(t.data) % self.alignment) for t in self.tensors)

    def __bytes__(self) -> bytes:
        return self.header() + self.data()

    def _pack(self, code: str, value: object) -> bytes:
        return struct.pack(self.order + code, value)

    def _text(self, text: str | bytes) -> bytes:
        raw = text.encode() if isinstance(text, str) else text
        return self._pack("Q", len(raw)) + raw

    def _value(self, kind: int, value: Any) -> bytes:
        if isinstance(value, Raw):
            return value
        if kind == 8:
            return self._text(value)
        if kind == 9:
            of, values = value
            return self._pack("I", of) + self._pack("Q", len(values)) + b"".join(self._value(of, v) for v in values)
        return self._pack(_FORMATS[kind], value)


def plain(name: str, values: Sequence[float], shape: Sequence[int] | None = None, order: str = "<") -> Stored:
    """A float32 tensor."""
    shape = [len(values)] if shape is None else shape
    assert math.prod(shape) == len(values)
    return Stored(name, ID["float32"], shape, struct.pack(f"{order}{len(values)}f", *values))


TEXT, NUMBER, LIST = 8, 4, 9
LLAMA: dict[str | bytes, tuple[int, object]] = {
    "general.architecture": (TEXT, "llama"),
    "llama.attention.head_count": (NUMBER, 2),
    "llama.attention.head_count_kv": (NUMBER, 1),
}
