"""Which rows and columns of a weight share a scale, by the shapes of both and what the settings say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, tiles

_USUAL = 128
_POWERS = tuple(1 << n for n in range(4, 12))


def grid_of(shape: tuple[int, int], scale: tuple[int, ...], said: tuple[int, int] | None) -> Grid | None:
    """The grid of a scale of this shape over a weight [out, in]; None where it is none of its weight's. said: rows and
    columns of a block by the settings, which are believed where they make as many blocks."""
    if scale in ((), (1,)):
        return PER_TENSOR
    if scale == (shape[0],):
        return channels(0)
    if len(scale) != 2 or 0 in scale or 0 in shape:
        return None
    if said and _fits(shape, scale, said):
        return tiles(*said)
    if scale == (1, 1):
        return PER_TENSOR
    if scale == (shape[0], 1):
        return channels(0)
    rows, columns = (_size(n, blocks) for n, blocks in zip(shape, scale, strict=True))
    return tiles(rows, columns) if rows and columns else None


def common_block(pairs: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> tuple[int, int] | None:
    """Rows and columns of the blocks that all scales of a model can be of, by (shape of the weight, of the scale); None
    where no one size in use is."""
    blocks = {p for p in pairs if p[1] != (p[0][0], 1)}
    found = []
    for axis in (0, 1):
        sizes = (_USUAL, 1, *_POWERS)
        fitting = (s for s in sizes if all(-(-shape[axis] // s) == scale[axis] for shape, scale in blocks))
        found.append(next(fitting, None))
    rows, columns = found
    return (rows, columns) if blocks and rows and columns else None


def _fits(shape: tuple[int, ...], scale: tuple[int, ...], said: tuple[int, int]) -> bool:
    return all(size > 0 and -(-n // size) == blocks for n, size, blocks in zip(shape, said, scale, strict=True))


def _size(n: int, blocks: int) -> int | None:
    """Elements of a block, of which `blocks` cover `n`; the last may be shorter. None where no size in use does.
    128 is what nearly all have; else equal blocks, or a power of two."""
    if blocks == n:
        return 1
    if blocks == 1 and n > _USUAL:
        return n
    sizes = (_USUAL, *([n // blocks] if n % blocks == 0 else []), *_POWERS)
    return next((size for size in sizes if -(-n // size) == blocks), None)


def spread(scales: NDArray[Any], grid: Grid, rows: range, n_columns: int) -> NDArray[np.float32]:
    """float32[rows, columns], or what broadcasts to it: the scale of each element of some rows.

    scales: of these rows' weight, [1, 1], [out, 1], or of its blocks.
    """
    found, width = in_cells(scales, grid, rows, n_columns)
    return found if found.shape[1] == 1 else np.repeat(found, width, axis=1)[:, :n_columns]


def in_cells(scales: NDArray[Any], grid: Grid, rows: range, n_columns: int) -> tuple[NDArray[np.float32], int]:
    """float32[rows, cells], or what broadcasts to it: the scales of some rows; and the columns of a cell."""
    found = scales.astype(np.float32)
    if not grid.axes:
        return found.reshape(1, 1), max(1, n_columns)
    if len(grid.axes) == 1:
        return found.reshape(-1, 1)[rows.start : rows.stop], max(1, n_columns)
    of_rows, of_columns = grid.block
    return found[np.arange(rows.start, rows.stop) // of_rows], of_columns
