"""What is stored beside codes of 4 bits to read them: a state as JSON in bytes, and the table of what each code is."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

from qinspect.inspector.formats.element import Element, table
from qinspect.inspector.text import visible

STATE = "bitsandbytes__"
"""The last part of the name of a state begins so, and ends with the type: `weight.quant_state.bitsandbytes__nf4`."""
TYPES = ("nf4", "fp4")
_SIGNED_ZERO = 8
"""The code of FP4 that is the zero with a sign: the table has no sign there, what the library dequantizes has one."""
_MAX_DIMS, _MAX_SIZE = 8, 1 << 48


@dataclass(frozen=True, slots=True)
class Nested:
    """How the scales of blocks are quantized themselves: `block` of them share a scale; `offset` is added."""

    block: int
    offset: float


@dataclass(frozen=True, slots=True)
class State:
    """Of one tensor of codes. kind: of the table. shape: of the weight. block: elements of the flattened weight that
    share a scale. nested: None where scales are stored as they are."""

    kind: str
    shape: tuple[int, ...]
    block: int
    nested: Nested | None = None

    @property
    def n(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def n_blocks(self) -> int:
        """Scales; the last block may be smaller."""
        return -(-self.n // self.block)


@lru_cache(1024)  # few occur in 20,000 modules
def state_of(data: bytes) -> State | str:
    """The state in these bytes, or what is found in its place."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return "bytes that are not valid JSON"
    if not isinstance(said, dict):
        return "JSON that is no object"
    kind, shape, block = said.get("quant_type"), said.get("shape"), said.get("blocksize")
    if kind not in TYPES:
        return f"quant_type {_shown(kind)}"
    if not isinstance(shape, list) or not 1 <= len(shape) <= _MAX_DIMS or not all(_is_size(d) for d in shape):
        return f"shape {_shown(shape)}"
    if not _is_size(block):
        return f"blocksize {_shown(block)}"
    if "nested_blocksize" not in said and "nested_offset" not in said:
        return State(kind, tuple(shape), block)
    size, offset = said.get("nested_blocksize"), said.get("nested_offset")
    if not _is_size(size):
        return f"nested_blocksize {_shown(size)}"
    if isinstance(offset, bool) or not isinstance(offset, (int, float)) or not abs(offset) < 1e38:
        return f"nested_offset {_shown(offset)}"
    return State(kind, tuple(shape), block, Nested(size, float(offset)))


def _is_size(found: object) -> TypeGuard[int]:
    return type(found) is int and 0 < found < _MAX_SIZE


def _shown(found: object) -> str:
    return visible(repr(found), 80)


@lru_cache(64)  # a model has one table
def element_of(kind: str, quant_map: bytes) -> Element | None:
    """Codes of 4 bits that stand for the sixteen float32 in `quant_map`; None where it holds something else."""
    import numpy as np

    if len(quant_map) != 64:
        return None
    levels = np.frombuffer(quant_map, "<f4").copy()
    if kind == "fp4" and levels[_SIGNED_ZERO] == 0:
        levels[_SIGNED_ZERO] = -0.0
    return table(kind, tuple(levels.tolist()), 4) if bool(np.isfinite(levels).all()) else None
