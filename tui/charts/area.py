"""Areas from the bottom up, one or two over each other so that neither hides the other.

Where there are colours, what is below both has the colour `both`, and what only one reaches has that one's: a cell of
eighths has room for two of them. Without colours, or in ASCII, letters say it: `A`, `B`, and blocks for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qinspect.tui.charts.cells import EMPTY, Cell, Rows
from qinspect.tui.look import Look

Heights = Sequence[float] | NDArray[np.float64]
"""One a column, 0 to 1."""
PARTS = 8
"""Of a cell."""
_BLOCKS, _PLAIN = " ▁▂▃▄▅▆▇█", " ..::==##"


def area(a: Heights, b: Heights | None, rows: int, look: Look, only: str = "a") -> Rows:
    """A, and B. What is not 0 is seen, however low. only: the pen of one alone."""
    if b is None:
        columns = [_column(h, only, h, only, rows, look) for h in _levels(a, rows)]
    else:
        pairs = zip(_levels(a, rows), _levels(b, rows), strict=True)
        columns = [_column(min(x, y), "both", max(x, y), "a" if x > y else "b", rows, look) for x, y in pairs]
    return [[column[row] for column in columns] for row in reversed(range(rows))]


def _levels(heights: Heights, rows: int) -> list[int]:
    """In parts of cells."""
    most = rows * PARTS
    return [max(1, math.floor(min(h, 1.0) * most + 0.5)) if h > 0 else 0 for h in heights]


def _column(low: int, common: str, high: int, pen: str, rows: int, look: Look) -> list[Cell]:
    """From the bottom: what both reach up to `low`, what one does up to `high`."""
    return [
        _cell(min(PARTS, max(0, low - under)), common, min(PARTS, max(0, high - under)), pen, look)
        for under in range(0, rows * PARTS, PARTS)
    ]


def _cell(low: int, common: str, high: int, pen: str, look: Look) -> Cell:
    """Filled by both to `low`, and from there to `high` by one."""
    if high <= low:
        return _block(low, common, look)
    if low > 0 and high == PARTS and look.a is not None and not look.plain:
        return _BLOCKS[low], f"{common} on {pen}"
    if 2 * low >= high:  # there are two colours for three things: the thinner of both gives way
        return _block(high, common, look)
    if look.a is None or look.plain:
        return (pen.upper() if 2 * high >= PARTS else pen), pen
    return _block(high, pen, look)


def _block(level: int, pen: str, look: Look) -> Cell:
    return ((_PLAIN if look.plain else _BLOCKS)[level], pen) if level else EMPTY
