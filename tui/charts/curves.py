"""Curves in braille, eight dots a cell, or in letters where there are no colours to tell two of them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.tui.charts.cells import EMPTY, Cell, Rows
from qinspect.tui.look import Look

ACROSS, DOWN = 2, 4
"""Dots of a cell."""
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_BRAILLE = 0x2800


@dataclass(frozen=True, eq=False)
class Curve:
    """low, high: of the values that each column of dots stands for, nan where there are none. pen: `a`, `b`, `both`.
    sign: its letter, where letters tell two apart."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    pen: str
    sign: str = ""


def curve_of(values: NDArray[np.float64], columns: int, pen: str) -> Curve:
    """Values in their order along `columns` cells. Of more values than there are dots the least and the greatest of
    each dot are kept: no peak is lost."""
    n = columns * ACROSS
    x = np.where(np.isfinite(values), values, np.nan).astype(np.float64).reshape(-1)
    if x.size <= n:
        at = np.linspace(0, max(0, x.size - 1), n)
        between = np.interp(at, np.arange(x.size), x) if x.size else np.full(n, np.nan)
        return Curve(between, between, pen)
    starts = np.arange(n) * x.size // n
    low = np.fmin.reduceat(x, starts)
    return Curve(low, np.fmax.reduceat(x, starts), pen)


def curves(drawn: Sequence[Curve], ends: tuple[float, float], rows: int, look: Look) -> Rows:
    """One or two curves. ends: of the axis, from the bottom up."""
    dots = [_dots(curve, ends, rows) for curve in drawn]
    letters = look.plain or (len(drawn) > 1 and look.a is None)
    made: Rows = []
    for row in range(rows):
        parts = [d[row * DOWN : (row + 1) * DOWN] for d in dots]
        patterns = [_patterns(p) for p in parts]
        made.append([_cell(cells, drawn, letters) for cells in zip(*patterns, strict=True)])
    return made


def _dots(curve: Curve, ends: tuple[float, float], rows: int) -> NDArray[np.bool_]:
    """Where there is a dot, the top row first: the line of the least values and that of the greatest, joined half of
    the way to a column's neighbours. Not what is between: a filled shape would have to start at zero."""
    n, (bottom, top) = rows * DOWN, ends
    dots = np.zeros((n, curve.low.size), bool)
    with np.errstate(invalid="ignore"):
        lines = [np.clip((v - bottom) / (top - bottom), 0.0, 1.0) * (n - 1) for v in (curve.low, curve.high)]
    for at in lines:
        for column in np.flatnonzero(np.isfinite(at)):
            beside = [i for i in (column - 1, column + 1) if 0 <= i < at.size and np.isfinite(at[i])]
            here = [at[column], *((at[column] + at[i]) / 2 for i in beside)]
            dots[n - 1 - round(float(max(here))) : n - round(float(min(here))), column] = True
    return dots


def _patterns(dots: NDArray[np.bool_]) -> list[int]:
    """A number a cell: of its braille character."""
    return (dots.reshape(DOWN, -1, ACROSS) * _BITS[:, None, :]).sum(axis=(0, 2)).tolist()  # type: ignore[no-any-return]


def _cell(patterns: Sequence[int], drawn: Sequence[Curve], letters: bool) -> Cell:
    here = [(pattern, curve) for pattern, curve in zip(patterns, drawn, strict=True) if pattern]
    if not here:
        return EMPTY
    if len(here) > 1:
        return "*" if letters else chr(_BRAILLE + (here[0][0] | here[1][0])), "both"
    pattern, curve = here[0]
    letter = "*" if len(drawn) == 1 else curve.sign or curve.pen.upper()
    return letter if letters else chr(_BRAILLE + pattern), curve.pen
