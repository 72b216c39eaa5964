"""A scale's values along its channels: A and B as curves as they are stored, sorted, and B vs A as a map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import dims, number, percent
from qinspect.inspector.values.scale_values import scale_sample
from qinspect.tui.charts.cells import Rows
from qinspect.tui.charts.curves import ACROSS, Curve, curve_of, curves
from qinspect.tui.charts.frame import AXES, framed
from qinspect.tui.charts.heat import Shrunk, heat_lines, ramp, rows_a_line, shrunk
from qinspect.tui.charts.legend import Entry, legend_lines
from qinspect.tui.charts.ticks import Placed, Tick, beside, fitted, linear, logarithmic
from qinspect.tui.compare.session import Session
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line, Look, Options, Picture
from qinspect.tui.marks import Canvas

Values = NDArray[np.float64]
PROFILE_VALUES = 1 << 24
"""A profile is of this many values at most, evenly taken."""
LEFT = 11
"""Cells before a curve: labels of up to nine."""
ROOM_FOR_SORTED = 27
"""Lines from which the sorted values have a chart of their own."""
LEAST_ROWS = 3


def profile(s: Session, pair: ScalePair, look: Look, o: Options, check: Steps) -> list[Line]:
    """One model's values in channel order; two models' over each other, sorted where there is room, and B vs A cell
    by cell as a heat map. Of two shapes, each along its own values and without the map; of cells in another
    order, sorted."""
    (a, step), (b, _step) = (
        scale_sample(fmt, record, PROFILE_VALUES, check) if fmt and record else (None, 1)
        for fmt, record in ((s.a, pair.a), (s.b, pair.b))
    )
    shown = [(label, x) for label, x in (("A", a), ("B", b)) if x is not None]
    if all(x.size < 2 for _, x in shown):
        return ["  One number: there is no profile to draw."]
    check(0, 1)
    bad = [f"{label}: {k:,} of {x.size:,} not finite" for label, x in shown if (k := _not_finite(x))]
    bad += [f"every {step:,}th value"] if step > 1 else []
    if len(shown) == 1 or a is None or b is None:
        return [*side_by_side(bad, look.width), *_curves(shown, step, look, look.height - bool(bad), o)]
    if a.shape != b.shape:
        words = (f"A {dims(a.shape)}", f"B {dims(b.shape)}", "other shapes, each along its own values", *bad)
        heading = side_by_side(words, look.width)
        return [*heading, *_curves(shown, 0, look, look.height - len(heading), o)]
    if pair.not_by_cell:
        heading = side_by_side([pair.not_by_cell, *sorted_said(pair), *bad], look.width)
        ordered = [(label, np.sort(x, axis=None)) for label, x in shown]
        return [*heading, *_curves(ordered, step, look, look.height - len(heading), o, "sorted")]
    heading = side_by_side([*bad, "no map of cells: too many"] if step > 1 else bad, look.width)
    heat, cells = ([], (0, 0)) if step > 1 else _heat_map(a, b, look, o)
    room = look.height - len(heading) - len(heat)
    below = room // 2 if look.height >= ROOM_FOR_SORTED else 0
    lines: list[Line] = [*heading, *_curves(shown, step, look, room - below, o)]
    if below:
        lines += _curves([(label, np.sort(x, axis=None)) for label, x in shown], step, look, below, o, "sorted")
    return Picture([*lines, *heat], cells)


def sorted_said(pair: ScalePair) -> list[str]:
    """The one difference that there is where equal indices are not the same cell."""
    d = pair.difference
    return [f"sorted, B vs A is {percent(d.largest)} at most"] if d else ["no percentage"]


# --- curves ---


def _curves(
    shown: Sequence[tuple[str, Values]], step: int, look: Look, height: int, o: Options, how: str = ""
) -> list[Line]:
    """One chart with its legend. step: of the values that were taken, 0 where each model goes along its own."""
    width = max(8, look.width - LEFT)
    same = len(shown) == 2 and np.array_equal(shown[0][1], shown[1][1], equal_nan=True)
    drawn = [curve_of(x, width, label.lower()) for label, x in shown]
    if same:
        drawn = [Curve(drawn[0].low, drawn[0].high, "both")]
    low, high = _ends(shown)
    log = o.log_counts and low > 0
    at = np.log10 if log else np.asarray
    drawn = [Curve(at(c.low), at(c.high), c.pen) for c in drawn]
    ends = (float(at(low)), float(at(high)))
    entries = _legend(shown, same, how or _order(shown), log, o.log_counts)
    many = max(x.size for _, x in shown) / (width * ACROSS)
    entries += [("", f"two lines: least and greatest of {math.ceil(many)} a dot")] if many > 1 else []
    key = legend_lines(entries, look)
    rows = max(LEAST_ROWS, height - AXES - len(key))
    made = curves(drawn, ends, rows, look)
    n = shown[0][1].size if step else 0
    return [*framed(made, LEFT, value_labels(low, high, log, rows), index_ticks(n, step, made), look), *key]


def _ends(shown: Sequence[tuple[str, Values]]) -> tuple[float, float]:
    """Of the axis: all finite values."""
    known = np.concatenate([x[np.isfinite(x)] for _, x in shown])
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if low < high else (low - (abs(low) * 0.01 or 1.0), high + (abs(high) * 0.01 or 1.0))


def _order(shown: Sequence[tuple[str, Values]]) -> str:
    flat = all(sum(d > 1 for d in x.shape) < 2 for _, x in shown)
    return "in channel order" if flat else "cells in stored order"


def _legend(shown: Sequence[tuple[str, Values]], same: bool, how: str, log: bool, wanted: bool) -> list[Entry]:
    entries: list[Entry] = [(label.lower(), f"{label}, {how}" if len(shown) == 1 else label) for label, _ in shown]
    if len(shown) == 2:
        entries = [("both", f"A = B, {how}")] if same else [*entries, ("both", "both"), ("", how)]
    said = "logarithmic" if log else "not logarithmic: not all are positive" if wanted else ""
    return [*entries, *([("", said)] if said else [])]


def value_labels(low: float, high: float, log: bool, rows: int) -> dict[int, str]:
    """Of the rows of a chart whose axis goes from one number to the other, by row from the bottom."""
    bottom, top = (math.log10(low), math.log10(high)) if log else (low, high)

    def row(value: float) -> int:
        share = ((math.log10(value) if log else value) - bottom) / (top - bottom)
        return max(0, min(rows - 1, math.floor(share * rows)))

    return beside((logarithmic if log else linear)(low, high, max(1, rows // 2)), row, rows, LEFT - 2)


def index_ticks(n: int, step: int, made: Rows) -> list[Placed]:
    """Indices of channels or cells; the share of each model's own where there is no common index."""
    width = len(made[0])
    if not n:
        canvas = Canvas(LEFT, width, 0.0, 100.0)
        shares = ([Tick(t.at, f"{t.label} %") for t in ticks] for ticks in linear(0, 100, width // 8))
        return fitted(shares, canvas.column, width)
    canvas = Canvas(LEFT, width, 0.0, float(n * step - 1) or 1.0)
    whole = (ticks for ticks in linear(0, n * step - 1, width // 6) if all(t.at == int(t.at) for t in ticks))
    return fitted(([Tick(t.at, f"{int(t.at):,}") for t in ticks] for ticks in whole), canvas.column, width)


# --- the map ---


def _heat_map(a: Values, b: Values, look: Look, o: Options) -> tuple[list[Line], tuple[int, int]]:
    """B vs A cell by cell, with a heading and what is at the cursor: at most half of the pane. Its brightest is the
    largest of the table. Also its rows and columns."""
    with np.errstate(all="ignore"):
        change = np.where(a == b, 0.0, 100 * (b - a) / np.abs(a))
    index = np.arange(change.size).reshape((1, -1) if change.ndim < 2 else (-1, change.shape[-1]))
    index = index.T if index.shape[0] > index.shape[1] else index  # channels along the width, groups down
    grid = change.reshape(-1)[index]
    limit = float(np.abs(grid[np.isfinite(grid)]).max(initial=0.0))
    lines = max(1, look.height // 2 - 3)
    small = shrunk(grid / (limit or 1.0), lines * rows_a_line(look), max(8, look.width - 2))
    height, width = small.values.shape
    cursor = None if o.cell is None else (min(o.cell[0], height - 1), min(o.cell[1], width - 1))
    drawn = heat_lines(np.where(np.isfinite(small.values), small.values, np.nan).tolist(), look, cursor)
    found: list[Line] = [_map_key(grid.shape, limit, look), *drawn]
    if cursor is not None:
        found += side_by_side(_at_cursor(a, b, index, small, cursor), look.width)
    return found, (height, width)


def _map_key(shape: tuple[int, ...], limit: float, look: Look) -> Text:
    """What the map is of, and its colours between the numbers that they end at."""
    ends = [percent(end) if limit else "0 %" for end in (-limit, limit)]
    scale = ramp(look)
    key = Text(f"  B vs A per cell, {shape[0]} x {shape[1]}", no_wrap=True, end="")
    if key.cell_len + scale.cell_len + len("".join(ends)) + 5 <= look.width:
        key = key.append(f"   {ends[0]} ").append_text(scale).append(f" {ends[1]}")
    else:
        key = key.append(" ").append_text(scale)
    key.truncate(look.width)
    return key


def _at_cursor(
    a: Values, b: Values, index: NDArray[np.int64], small: Shrunk, cursor: tuple[int, int]
) -> tuple[str, ...]:
    """The cell that is shown at the cursor, and what the place stands for."""
    row, column = cursor
    at = int(index[small.rows[cursor], small.columns[cursor]])
    x, y = float(a.reshape(-1)[at]), float(b.reshape(-1)[at])
    where = ", ".join(str(int(i)) for i in np.unravel_index(at, a.shape))
    change = percent(100 * (y - x) / abs(x)) if x and math.isfinite(x) and math.isfinite(y) else "n/a"
    said = (f"[{where}]  A {number(x)}  B {number(y)}  {'0 %' if x == y else change}",)
    top, bottom = small.row_ends[row], small.row_ends[row + 1]
    left, right = small.column_ends[column], small.column_ends[column + 1]
    n = (bottom - top) * (right - left)
    return (*said, f"differs most of {n:,}: rows {top}..{bottom - 1}, columns {left}..{right - 1}") if n > 1 else said


def _not_finite(x: Values) -> int:
    return x.size - int(np.count_nonzero(np.isfinite(x)))
