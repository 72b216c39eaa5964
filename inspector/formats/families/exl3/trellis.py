"""Paths through a trellis: of each value a few bits are stored, and these with those before them, sixteen together,
say what it is. The codebook is a formula of the sixteen."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SIDE = 16
"""Rows and columns of a tile."""
_PER_TILE = SIDE * SIDE
_STATE_BITS = 16

CODEBOOKS = {"": 89226354, "mcg": 0xCBAC1FED, "mul1": 0x83DCD12D}
"""What a state is multiplied by, by the name of the entry that holds it; the first codebook has no such entry."""
_MASK, _FLIPPED = np.uint32(0x8FFF8FFF), np.uint32(0x3B603B60)
_FIRST_TERM = np.uint32(64248484)
_MUL1_BASE, _MUL1_FACTOR, _MUL1_TERM = 0x6400, 0x1EEE, 0xC931


def states(stored: Array, bits: int) -> NDArray[np.uint16]:
    """uint16[..., 256] of int16[..., 16 * bits]: the sixteen bits that end with each value's own, the values of a tile
    row by row (inputs first). A tile is one circle of bits, the highest of each 32-bit word first."""
    halves: Array = stored.view(np.uint16).reshape(*stored.shape[:-1], -1, 2)[..., ::-1].reshape(stored.shape)
    both = halves.astype(np.uint32) << np.uint32(16)
    both |= np.roll(halves, -1, axis=-1)
    first, shift = _where(bits)
    found = np.take(both, first, axis=-1)
    found >>= shift
    return found.astype(np.uint16)


@lru_cache(8)
def _where(bits: int) -> tuple[Array, Array]:
    """intp[256], uint32[256]: of each value in the order of rows, the half word in which its sixteen bits begin, and
    how many bits lie behind them in this one and the next."""
    starts = ((_places() + 1) * bits - _STATE_BITS) % (_PER_TILE * bits)
    return starts // 16, (16 - starts % 16).astype(np.uint32)


@lru_cache(4)
def numbers(codebook: str) -> NDArray[np.float16]:
    """float16[65536]: what each state stands for."""
    state = np.arange(1 << _STATE_BITS, dtype=np.uint32)
    product = state * np.uint32(CODEBOOKS[codebook])
    found: NDArray[np.float16]
    if codebook == "mul1":
        sums = product.view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.uint16)
        wide = (sums + np.uint16(_MUL1_BASE)).view(np.float16).astype(np.float64)
        factor, term = (np.array(b, np.uint16).view(np.float16).astype(np.float64) for b in (_MUL1_FACTOR, _MUL1_TERM))
        found = (wide * factor + term).astype(np.float16)  # exact in float64: rounded once, as fma does
    else:
        product += np.uint32(0) if codebook else _FIRST_TERM
        halves = ((product & _MASK) ^ _FLIPPED).view(np.float16).reshape(-1, 2)
        found = halves[:, 0] + halves[:, 1]
    found.setflags(write=False)
    return found


@lru_cache(1)
def _places() -> Array:
    """intp[256]: which of the stored values stands at each place of a tile, row by row (of inputs)."""
    at = np.arange(_PER_TILE)
    lane, j = at // 8, at % 8
    rows = 2 * (lane % 4) + np.array([0, 1, 8, 9])[j % 4]
    columns = lane // 4 + 8 * (j // 4)
    found = np.empty(_PER_TILE, np.intp)
    found[rows * SIDE + columns] = at
    return found


def in_rows(tiles: Array) -> Array:
    """[outputs, inputs] of [tiles of inputs, tiles of outputs, 256], of `states`."""
    across, down = tiles.shape[:2]
    placed = tiles.reshape(across, down, SIDE, SIDE)
    return placed.transpose(1, 3, 0, 2).reshape(down * SIDE, across * SIDE)
