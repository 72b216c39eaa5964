"""Four-bit weights in the order that Marlin kernels want, and back: those of GPTQ and AWQ, and Quamba's two.

A weight W [K, N] (in, out) of codes 0..15 is cut into 16 x 16 tiles, tile rows one after another; in every run of
1,024 codes (four tiles) the codes are permuted so that a warp's lane finds its fragment in consecutive words;
eight codes go into one int32, the first in the low bits. The two kernels differ in the rows a lane takes.
Derived from the packers and checked against the values they packed; facts of the layout only.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE = 16
RUN = 1024
BLOCK = 64
"""Columns of four tiles side by side: the smallest range of output channels that can be unpacked alone."""
GROUP_SIZE = 128
_NIBBLE_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_LANE_ROWS = {
    "W4A8": lambda lane: [4 * (lane % 4) + r for r in (0, 1, 2, 3)],
    "W4A16": lambda lane: [2 * (lane % 4) + r for r in (0, 1, 8, 9)],
}


@cache
def _packed_position(kernel: str) -> NDArray[np.intp]:
    """For each code of a run in tile order, its position among the packed ones."""
    position = np.empty(RUN, np.intp)
    for lane in range(32):
        rows = _LANE_ROWS[kernel](lane)
        column = lane // 4
        fragment = [TILE * r + column for r in rows] + [TILE * r + column + 8 for r in rows]
        for tile in range(4):
            for i, source in enumerate(_NIBBLE_ORDER):
                position[256 * tile + fragment[source]] = (lane * 4 + tile) * 8 + i
    return position


def unpack(words: NDArray[np.int32], kernel: str) -> NDArray[np.uint8]:
    """Codes 0..15 as [out, in] from packed words [in/16, 2*out]; `out` a multiple of 64.

    Raises ValueError where the shape is not that of packed words.
    """
    tile_rows, width = words.shape
    if width % (2 * BLOCK):
        raise ValueError(f"{width} words a row are not whole blocks of {2 * BLOCK}")
    n_out = width // 2
    packed = np.ascontiguousarray(words).view(np.uint8).reshape(tile_rows, n_out // BLOCK, RUN // 2)
    codes = np.empty((tile_rows, n_out // BLOCK, RUN), np.uint8)
    codes[..., 0::2] = packed & 15
    codes[..., 1::2] = packed >> 4
    tiles = codes[..., _packed_position(kernel)].reshape(tile_rows, n_out // BLOCK, 4, TILE, TILE)
    return tiles.transpose(1, 2, 4, 0, 3).reshape(n_out, tile_rows * TILE)


def unpermute_groups(scales: NDArray[Any]) -> NDArray[Any]:
    """Group scales [groups, out] as [out, groups]: undoes the 8 x 8 transpose inside each 64 columns."""
    groups, n_out = scales.shape
    return scales.reshape(groups, n_out // 64, 8, 8).transpose(0, 1, 3, 2).reshape(groups, n_out).T


@cache
def _channel_order() -> NDArray[np.intp]:
    return np.array([2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)], np.intp)


def unpermute_channels(scales: NDArray[Any]) -> NDArray[Any]:
    """Channel scales [1, out] as [out]: undoes the permutation inside each 32 columns."""
    blocks = scales.reshape(-1, 32)
    plain = np.empty_like(blocks)
    plain[:, _channel_order()] = blocks
    return plain.reshape(-1)
