"""How codes lie in the words of a tensor: its rows in runs, the first run in the highest bits of all words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor

Codes = NDArray[np.uint8]
_PER_BYTE = (1, 2, 4, 8)
_PER_WORD = 10
"""Codes of 3 bits in 32; the last rows may be filling."""
_FLOATS = ("bfloat16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class Packing:
    """bits: that a code takes. count: codes of a word. n_words: in all. n_bytes: of a word."""

    bits: int
    count: int
    n_words: int
    n_bytes: int


def packing_of(tensor: Tensor, n: int, columns: int, bits: int | None) -> Packing | None:
    """How `n` codes, in rows of `columns`, lie in a tensor: bytes, or words of 32 bits, or either stored as floats
    (`view_as_float`); None where they do not. bits: that are said to be of a code, which tells the words of floats from
    their bytes."""
    name, nbytes = tensor.dtype.name, tensor.nbytes
    if not n or not columns or n % columns or tensor.strides is not None:
        return None
    if name == "int32" or (name in _FLOATS and bits == 3):
        return Packing(3, _PER_WORD, nbytes // 4, 4) if nbytes == 4 * columns * -(-n // columns // _PER_WORD) else None
    if (name == "uint8" or name in _FLOATS) and nbytes and n % nbytes == 0 and n // nbytes in _PER_BYTE:
        count = n // nbytes
        return Packing(8 // count, count, nbytes, 1)
    return None


def read_codes(tensor: Tensor, packing: Packing, start: int, stop: int) -> Codes:
    """uint8[stop - start]: codes of the flattened rows, reading only the words that they are in."""
    found = np.empty(stop - start, np.uint8)
    mask, word = (1 << packing.bits) - 1, np.dtype("<u4" if packing.n_bytes == 4 else "u1")
    for run in range(start // packing.n_words, -(-stop // packing.n_words)):
        first = run * packing.n_words
        low, high = max(start, first), min(stop, first + packing.n_words)
        raw = tensor.file.read(tensor.offset + (low - first) * packing.n_bytes, (high - low) * packing.n_bytes)
        words: NDArray[Any] = np.frombuffer(raw, word)
        if packing.count > 1:
            words = words >> (packing.bits * (packing.count - 1 - run)) & mask
        found[low - start : high - start] = words
    return found
