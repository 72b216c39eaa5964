"""How GPTQ packs codes and zero points into words, and how zero points are stored one less than they are."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.packed import Packing, Plane
from qinspect.inspector.formats.packing import bytes_of, unpack

Array = NDArray[Any]

BITS = range(2, 9)
PLANAR_ONLY = (5, 6, 7)
"""Widths that have no packing but the planar one."""
PLANES = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
"""The planes of a code, from its low bits up. 32 codes are as many words as a code has bits, the words of the lowest
plane first."""
_BLOCK = 32


def codes_of(words: Array, bits: int, n: int, planar: bool) -> NDArray[np.uint8]:
    """uint8[rows, n] of words[rows, words]: the first `n` codes of each row. Raises ValueError where they are fewer."""
    return _planar(words, bits, n) if planar and len(PLANES[bits]) > 1 else unpack(bytes_of(words), bits, n)


@cache
def packing_of(bits: int, planar: bool) -> Packing:
    """The same for bodies that unpack them on the way."""
    planes, first = [], 0
    for plane in PLANES[bits] if planar else (bits,):
        planes.append(Plane(plane, 1, first))
        first += _BLOCK // 8 * plane
    if len(planes) == 1:
        return Packing(bits)
    return Packing(planes[0].bits, 1, _BLOCK, first, 0, tuple(planes[1:]))


def zero_points_of(words: Array, bits: int, n: int, planar: bool, one_less: bool) -> NDArray[np.int32]:
    """int32[rows, n] of words[rows, words]. one_less: they were stored less 1.

    Widths that divide a word lost their 1 in the words as they are packed, so that a zero point of 0 borrowed from its
    neighbours: it is given back there too. Others lost it code by code.
    """
    whole = bits in (2, 4, 8)
    if one_less and whole:
        words = np.ascontiguousarray(words).view(f"u{words.dtype.itemsize}")
        words = words + words.dtype.type(_ones(bits, 8 * words.dtype.itemsize))
    found = codes_of(words, bits, n, planar).astype(np.int32)
    return (found + 1) & ((1 << bits) - 1) if one_less and not whole else found


@cache
def _ones(bits: int, word_bits: int) -> int:
    """A word whose codes are all 1."""
    return sum(1 << at for at in range(0, word_bits, bits))


def _planar(words: Array, bits: int, n: int) -> NDArray[np.uint8]:
    rows, width = words.shape
    if words.dtype.itemsize != 4 or width % bits or width // bits * _BLOCK < n:
        raise ValueError(f"{width} words hold no {n} planar codes of {bits} bits")
    blocks = bytes_of(words).reshape(rows, width // bits, 4 * bits)
    codes = np.zeros((rows, width // bits, _BLOCK), np.uint8)
    at = shift = 0
    for plane in PLANES[bits]:
        codes |= unpack(blocks[..., at : at + 4 * plane], plane, _BLOCK) << shift
        at, shift = at + 4 * plane, shift + plane
    return codes.reshape(rows, -1)[:, :n]
