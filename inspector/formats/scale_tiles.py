"""Scales of groups in the order that tensor cores read them: tiles of 128 rows and 4 columns, filled up with zeros."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
ROWS, COLUMNS = 128, 4
_INNER = 32
"""Of the 128 rows of a tile, r and r + 32, r + 64, r + 96 lie beside each other."""


def padded(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of scales once they are filled up to whole tiles."""
    return -(-rows // ROWS) * ROWS, -(-columns // COLUMNS) * COLUMNS


def untiled(stored: Array, rows: int, columns: int) -> Array:
    """[rows, columns] of the first rows of tiles, in whatever shape these are stored. columns: of the scales without
    filling."""
    across = -(-columns // COLUMNS)
    tiles = stored.reshape(-1, across, _INNER, ROWS // _INNER, COLUMNS)
    found = tiles.transpose(0, 3, 2, 1, 4).reshape(-1, across * COLUMNS)
    return found[:rows, :columns]
