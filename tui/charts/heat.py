"""Heat maps: numbers from -1 to 1 as colours, two rows a line; shades of the terminal's own colours where it has only
sixteen, signs where it has none. A cursor is a cell in the colour of marks.

Each cell stands for a block of numbers and shows the one of largest magnitude, so that no outlier is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from qinspect.tui.charts.inks import NOTHING, STEPS, of_step, step_of, style
from qinspect.tui.look import Ink, Look

SIGNS = "%=-.+*#"
"""Far down, down, a little down, equal, a little up, up, far up: where there are no colours."""
_SHADES, _PLAIN_SHADES = " ░▒▓█", " .:=#"
"""From equal to most, in the terminal's own colours."""


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A map of at most so many cells. values: what each shows. rows, columns: where that number stands. row_ends,
    column_ends: the first of each block, and the end of the last."""

    values: NDArray[np.float64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    row_ends: list[int]
    column_ends: list[int]


def shrunk(grid: NDArray[np.float64], rows: int, columns: int) -> Shrunk:
    """Of a grid, at most rows x columns cells, of which each shows the number of largest magnitude that it stands for;
    nan and infinity are the largest."""
    ends = [np.arange(m + 1) * n // m for n, m in zip(grid.shape, _at_most(grid.shape, (rows, columns)), strict=True)]
    size = np.nan_to_num(np.abs(grid), nan=np.inf, posinf=np.inf)
    # the winner of each block of columns first, then among the winners of each block of rows
    across = [size[:, i:j].argmax(axis=1) + i for i, j in zip(ends[1], ends[1][1:], strict=False)]
    column_of = np.stack(across, axis=1)
    best = np.take_along_axis(size, column_of, axis=1)
    row_of = np.stack([best[i:j].argmax(axis=0) + i for i, j in zip(ends[0], ends[0][1:], strict=False)])
    column_of = np.take_along_axis(column_of, row_of, axis=0)
    return Shrunk(grid[row_of, column_of], row_of, column_of, ends[0].tolist(), ends[1].tolist())


def _at_most(shape: tuple[int, ...], most: tuple[int, int]) -> tuple[int, int]:
    return min(shape[0], most[0]), min(shape[1], most[1])


def rows_a_line(look: Look) -> int:
    """Of a map."""
    return 2 if isinstance(look.a, tuple) and not look.plain else 1


def heat_lines(rows: Sequence[Sequence[float]], look: Look, cursor: tuple[int, int] | None = None) -> list[Text]:
    """Numbers in -1..1, nan for none."""
    if rows_a_line(look) == 1:
        return [_line([_sign(x, (r, c) == cursor, look) for c, x in enumerate(row)]) for r, row in enumerate(rows)]
    lines = []
    for r in range(0, len(rows), 2):
        lower = rows[r + 1] if r + 1 < len(rows) else [None] * len(rows[r])
        inks = [
            [look.mark if (r + i, c) == cursor else _ink(x) for i, x in enumerate(pair)]
            for c, pair in enumerate(zip(rows[r], lower, strict=True))
        ]
        lines.append(_line([("▀", upper, under) for upper, under in inks]))
    return lines


def _ink(x: float | None) -> Ink:
    return None if x is None else NOTHING if math.isnan(x) else of_step(step_of(x))


def _sign(x: float, at_cursor: bool, look: Look) -> tuple[str, Ink, Ink]:
    """(character, ink, ground) without half cells."""
    if at_cursor:
        return "@", look.mark, None
    if math.isnan(x):
        return "?", None, None
    if look.a is None:
        return SIGNS[round(max(-1.0, min(1.0, x)) * (len(SIGNS) // 2)) + len(SIGNS) // 2], None, None
    shades = _PLAIN_SHADES if look.plain else _SHADES
    return shades[abs(step_of(x)) * (len(shades) - 1) // STEPS], look.b if x > 0 else look.a, None


def _line(cells: Sequence[tuple[str, Ink, Ink]]) -> Text:
    line = Text(no_wrap=True, end="")
    for character, ink, ground in cells:
        line.append(character, style(ink, ground) if ink or ground else None)
    return line


def ramp(look: Look) -> Text:
    """All colours or signs from -1 to 1, for a legend."""
    n = STEPS if look.a is not None else len(SIGNS) // 2
    cells = [i / n for i in range(-n, n + 1)]
    if rows_a_line(look) == 1:
        return heat_lines([cells], look)[0]
    return _line([(" ", None, of_step(step_of(x))) for x in cells])
