"""Codes out of the words that they are packed into. Of all families: what is packed how, a family says itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def bytes_of(words: Array) -> NDArray[np.uint8]:
    """uint8[..., 4 * n] of int32[..., n] and its like: the little-endian bytes of the words of each row."""
    little = np.ascontiguousarray(words, words.dtype.newbyteorder("<"))
    return little.view(np.uint8)


def unpack(packed: Array, bits: int, n: int) -> NDArray[np.uint8]:
    """uint8[..., n] out of uint8[..., bytes]: the first `n` codes of each row, which is one stream of `bits` bits a
    code, the first in the lowest bits. Codes of 3, 5, 6 and 7 bits reach over bytes. Raises ValueError where a row has
    fewer codes."""
    if packed.shape[-1] * 8 < n * bits:
        raise ValueError(f"{packed.shape[-1]} bytes hold no {n} codes of {bits} bits")
    if bits == 8:
        return packed[..., :n]
    if bits in (1, 2, 4):
        per_byte = 8 // bits
        codes = np.empty((*packed.shape, per_byte), np.uint8)
        for i in range(per_byte):
            np.right_shift(packed, i * bits, out=codes[..., i])
            codes[..., i] &= (1 << bits) - 1
        return codes.reshape(*packed.shape[:-1], packed.shape[-1] * per_byte)[..., :n]
    stream = np.unpackbits(packed, axis=-1, count=n * bits, bitorder="little").reshape(*packed.shape[:-1], n, bits)
    found: NDArray[np.uint8] = (stream * (1 << np.arange(bits)).astype(np.uint8)).sum(axis=-1, dtype=np.uint8)
    return found


def swap_nibbles(packed: Array) -> NDArray[np.uint8]:
    """The same bytes with their halves exchanged, for producers that put the first code into the high one."""
    swapped: NDArray[np.uint8] = np.bitwise_or(packed >> 4, packed << 4).astype(np.uint8, copy=False)
    return swapped


def signed(codes: Array, bits: int) -> NDArray[np.int8]:
    """int8 of the two's complement of `bits` bits that uint8 `codes` hold."""
    half = 1 << (bits - 1)
    return ((codes ^ half).view(np.int8) - np.int8(half)) if bits < 8 else codes.view(np.int8)
