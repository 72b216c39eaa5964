"""A histogram of one or two models as a chart: areas from zero, one cell a bin or several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rich.text import Text

from qinspect.inspector.values.histogram import Histogram
from qinspect.tui.charts.area import area
from qinspect.tui.charts.cells import with_line
from qinspect.tui.charts.frame import AXES, framed
from qinspect.tui.charts.ticks import Tick, beside, fitted, linear, logarithmic
from qinspect.tui.look import Look
from qinspect.tui.marks import Canvas

LEFT = 7
"""Cells before the bins: labels of up to five, a blank, the axis."""
MIN_HEIGHT = 6
"""Lines: less is no chart, with two lines of axis among them."""


def most_bins(look: Look) -> int:
    """A bin has a cell at least."""
    return max(8, look.width - LEFT)


def histogram_chart(
    h: Histogram, look: Look, height: int, log_counts: bool, pen: str = "a", cursor: float | None = None
) -> tuple[list[Text], Canvas]:
    """Lines, and where the bins are in them. pen: of a model alone. cursor: a place on the axis, for a line there."""
    n = len(h.a)
    wide = max(1, most_bins(look) // n)
    canvas = Canvas(LEFT, n * wide, h.edges[0], h.edges[-1])
    top = max(*h.a, *(h.b or ()), 0)
    rows = max(1, height - AXES)
    b = None if h.b is None else np.repeat(heights(h.b, top, log_counts), wide)
    made = area(np.repeat(heights(h.a, top, log_counts), wide), b, rows, look, pen)
    if cursor is not None:
        made = with_line(made, min(canvas.width - 1, max(0, canvas.column(cursor))), "|" if look.plain else "│", look)
    if h.logarithmic:
        below = fitted(
            logarithmic(10.0 ** h.edges[0], 10.0 ** h.edges[-1], canvas.width // 4),
            lambda x: canvas.column(math.log10(x)),
            canvas.width,
        )
    else:
        below = fitted(linear(h.edges[0], h.edges[-1], canvas.width // 4), canvas.column, canvas.width)
    return framed(made, LEFT, count_labels(top, rows, log_counts), below, look), canvas


def heights(counts: Sequence[float] | np.ndarray, top: float, log_counts: bool) -> np.ndarray:
    """0 to 1, 0 for 0 on both kinds of axes."""
    x = np.asarray(counts, np.float64)
    return np.log1p(x) / math.log1p(top or 1) if log_counts else x / (top or 1)


def count_labels(top: float, rows: int, log_counts: bool) -> dict[int, str]:
    """By row from the bottom, -1 for the axis: round numbers where they stand."""

    def row(count: float) -> int:
        share = float(heights([count], top, log_counts)[0])
        return -1 if count == 0 else max(0, min(rows - 1, round(share * rows - 0.5)))

    return beside(_counts(top, rows, log_counts), row, rows, LEFT - 2)


def _counts(top: float, rows: int, log_counts: bool) -> Iterator[list[Tick]]:
    if log_counts:
        powers = range(len(str(int(top))) if top >= 1 else 0)
        for every in range(1, len(powers) + 1):
            for first in (0, every):  # 1 stands too near to 0 on a low chart
                yield [Tick(0, "0"), *(Tick(10.0**p, short(10**p)) for p in powers[first::every])]
    else:
        for ticks in linear(0.0, float(top), max(1, rows // 2)):
            if all(t.at == int(t.at) for t in ticks):
                yield [Tick(t.at, short(int(t.at))) for t in ticks]
    yield [Tick(0, "0")]


def short(n: int) -> str:
    """A round number in five cells: 2,500, 20k, 2.5M."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**4, "k")):
        if n >= size:
            return f"{n / (1000 if letter == 'k' else size):g}{letter}"
    return f"{n:,}"
