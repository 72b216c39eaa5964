"""One point: the error of every alpha, the marks on it, and the numbers of what is marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.sweep.alphas import ALPHAS, DECADES, LEAST, THUMB, nearest, stretched
from qinspect.inspector.alpha.sweep.grid import Numbers
from qinspect.inspector.alpha.sweep.rules import BITS, WITHOUT
from qinspect.inspector.alpha.sweep.wording import about, alpha_text, decibels, lies, lies_about, share
from qinspect.inspector.text import count, some
from qinspect.tui.alpha.state import Explorer
from qinspect.tui.charts import cells
from qinspect.tui.charts.curves import ACROSS, Curve, curves
from qinspect.tui.distribution.layout import GUTTER, decibel_labels
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill
from qinspect.tui.look import Line, Look
from qinspect.tui.marks import Marks, mark_lines
from qinspect.tui.names import shown

BEST, FOR_ALL, CHECKPOINT = "*", "+", "C"
"""Marks: the point's best alpha, the best for all points, where the checkpoint's scale lies."""
RUN_LABELS = "ABEFGH"
MOST_DB = 20.0
"""Of what is lost this much is drawn."""
MIN_ROWS = 4
END = DECADES + 1.0
"""The place of alpha 1: beyond all others."""


@dataclass(frozen=True, slots=True)
class AlphaAxis:
    """left: cells before it. width: its cells, of which alpha 1 has the last one."""

    left: int
    width: int

    def column(self, at: float) -> int:
        """The cell of a place; negative below 0.5."""
        if at > DECADES + 1e-6:
            return self.width - 1
        low = stretched(LEAST)
        share = (at - low) / (DECADES - low)
        return -1 if share < -1e-9 else min(self.width - 2, int((self.width - 1) * max(share, 0.0)))

    def tick_line(self, plain: bool) -> Line:
        """The axis, with as many of the rule-of-thumb alphas as have room."""
        corner, rule, tick = ("+", "-", "+") if plain else ("└", "─", "┴")
        cells = [rule] * self.width
        free = 0
        for alpha in THUMB[:-1]:
            column, text = self.column(place(alpha)), alpha_text(alpha)
            if column >= free and column + len(text) + 4 < self.width:
                cells[column : column + 1 + len(text)] = [tick, *text]
                free = column + len(text) + 2
            elif cells[column] == rule:
                cells[column] = tick
        cells[-2:] = [tick, "1"] if self.width > 3 else cells[-2:]
        return [(f"{'alpha':>{self.left - 1}}{corner}", "dim"), ("".join(cells), "dim")]


def place(alpha: float) -> float:
    """-log10(1 - alpha), END for 1."""
    return min(stretched(alpha), END)


_PLACES = np.array([place(a) for a in ALPHAS])


def curve_lines(x: Explorer, point: int, look: Look, glyphs: Glyphs) -> list[Line]:
    """Everything about one point, in `look.height` lines."""
    axis = AlphaAxis(GUTTER, max(12, look.width - GUTTER))
    readings = _readings(x, point)
    room = look.height - 3  # heading, axis, the table's head
    marks = _marks(x, point, axis)
    rows = min(len(readings), max(1, room - len(marks) - MIN_ROWS))
    plot_rows = max(1, room - len(marks) - rows)
    plot, labels = _plot(x, point, axis, plot_rows, look)
    if x.has_alpha:
        plot = cells.with_line(plot, axis.column(place(x.chosen.alpha)), "|" if look.plain else "│", look)
    return [
        _heading(x, point, look, glyphs),
        *cells.painted(labels, plot, look),
        axis.tick_line(look.plain),
        *marks,
        *_table(x, readings[:rows], look.width),
    ]


def _heading(x: Explorer, point: int, look: Look, glyphs: Glyphs) -> Line:
    p = x.grid.points[point]
    samples = f" in {some(p.n_samples, 'sample')}" if p.n_samples else f", {p.pooled_instead}"
    parts = [shown(p.name, 80), f"{count(p.n)} values{samples}"]
    parts += ["rotated"] if p.rotated else []
    parts += [] if p.exact else ["upper bounds"]
    key = f" {glyphs.dot} 8 bits, 4 bits"
    while len(parts) > 1 and len(f" {glyphs.dot} ".join(parts) + key) > look.width:
        parts.pop()
    text = f" {glyphs.dot} ".join(parts)
    if len(text + key) > look.width:
        return [(fill(text, look.width, glyphs.cut).rstrip(), "name")]
    return [(f"{text} {glyphs.dot} ", "name"), ("8 bits", "a"), (", ", "name"), ("4 bits", "b")]


def _plot(x: Explorer, point: int, axis: AlphaAxis, rows: int, look: Look) -> tuple[cells.Rows, list[str]]:
    """Nothing lost is the top. The last one is kept: moving over alpha moves only the cursor on it."""
    key = (x.chosen.rule, point, axis, rows, look)
    if x.plot is None or x.plot[0] != key:
        x.plot = key, _new_plot(x, point, axis, rows, look)
    return x.plot[1]


def _new_plot(x: Explorer, point: int, axis: AlphaAxis, rows: int, look: Look) -> tuple[cells.Rows, list[str]]:
    losses = [x.grid.loss_of(x.chosen.rule, bits, point) for bits in BITS]
    known = np.concatenate([loss[np.isfinite(loss)] for loss in losses])
    span = min(MOST_DB, max(float(known.max(initial=0.0)), 0.5))
    dots = [np.repeat(-np.clip(_along(loss, axis), 0, span), ACROSS) for loss in losses]
    made = curves(
        [Curve(y, y, pen, sign) for y, pen, sign in zip(dots, "ab", "84", strict=True)], (-span, 0.0), rows, look
    )
    # The curve runs down from nothing: what is lost has no sign.
    return made, [label.replace("-", " ") for label in decibel_labels(rows, -span, 0.0, "lost")]


def _along(loss: NDArray[np.float64], axis: AlphaAxis) -> NDArray[np.float64]:
    """The least loss of each column's alphas, or between two where it has none; the last column is alpha 1."""
    low, inner = stretched(LEAST), axis.width - 1
    middles = low + (np.arange(inner) + 0.5) * (DECADES - low) / inner
    finite = np.where(np.isinf(loss), 1e9, loss)
    found = np.append(np.interp(middles, _PLACES[:-1], finite[:-1]), finite[-1])
    least = np.full(axis.width, np.inf)
    np.fmin.at(least, [axis.column(at) for at in _PLACES.tolist()], finite)
    return np.where(np.isfinite(least), least, found)


def _marks(x: Explorer, point: int, axis: AlphaAxis) -> list[Line]:
    """The best alpha, that for all points, those of the run, and where a checkpoint's scale lies."""
    if not x.has_alpha:
        return [[("", "")]]
    rule, bits = x.chosen.rule, x.chosen.bits
    at = [(place(a), label) for a, label in zip(x.given, RUN_LABELS, strict=False)]
    for_all = next((f.alpha for f in x.best(rule, bits) if f.what == "all"), None)
    at += [(place(for_all), FOR_ALL)] if for_all is not None else []
    best = int(x.best_alphas(rule, bits)[point])
    at += [(_PLACES[best], BEST)] if best >= 0 else []
    placed = x.placed(rule)[point]
    at += [(place(sum(placed.alphas) / 2), CHECKPOINT)] if placed and placed.alphas else []
    return [*mark_lines([Marks("", tuple(at))], axis)]


# --- the numbers ---


@dataclass(frozen=True, slots=True)
class _Row:
    """label: a mark and what it is. alpha: as it is shown, short: where there is little room. Of each of BITS: scale,
    clipped, SQNR, lost."""

    label: str
    alpha: str
    short: str
    w_max: float
    scale: Sequence[float]
    clipped: Sequence[float]
    sqnr: Sequence[float]
    lost: Sequence[float]


def _readings(x: Explorer, point: int) -> list[_Row]:
    """The cursor first, then what it is compared with."""
    rule, bits, b = x.chosen.rule, x.chosen.bits, x.b
    rows = [_cursor(x, point)]
    if x.has_alpha:
        best = int(x.best_alphas(rule, bits)[point])
        rows += [_row(f"{BEST} best", ALPHAS[best], x.numbers_of(rule, best), point, b)] if best >= 0 else []
    rows += _stored(x, point)
    for a, label in zip(x.given, RUN_LABELS, strict=False):
        rows += [_row(f"{label} run's", a, x.numbers_of(rule, nearest(a)), point, b)] if x.has_alpha else []
    for_all = next((f.alpha for f in x.best(rule, bits) if f.what == "all"), None)
    if x.has_alpha and for_all is not None:
        rows.append(_row(f"{FOR_ALL} all", for_all, x.numbers_of(rule, nearest(for_all)), point, b))
    for name in (r.name for r in WITHOUT):
        numbers = x.numbers_of(name, 0)
        found = x.grid.bracket(rule, point, float(numbers.scale[b, point]), bits)
        rows.append(_row(f"  {name}", about(found), numbers, point, b))
    return rows


def _row(label: str, alpha: float | str, n: Numbers, point: int, b: int) -> _Row:
    told = alpha if isinstance(alpha, str) else alpha_text(alpha)
    parts = ([float(v) for v in of[:, point]] for of in (n.scale, n.clipped, n.sqnr_db, n.loss_db))
    return _Row(label, told, told, float(n.w_max[b, point]), *parts)


def _cursor(x: Explorer, point: int) -> _Row:
    if not x.has_alpha:
        return _row("| cursor", "none", x.numbers, point, x.b)
    if not x.is_between:
        return _row("| cursor", x.chosen.alpha, x.numbers, point, x.b)
    readings = x.exact_of(point)
    if readings is None:  # to come: the nearest alpha of the grid, marked
        return _row("| cursor", f"~{alpha_text(ALPHAS[x.index])}", x.numbers, point, x.b)
    best = x.grid.optimum_db[:, point]
    sqnr, told = [r.sqnr_db.middle for r in readings], alpha_text(x.chosen.alpha)
    return _Row(
        "| exact", told, told, readings[0].w_max.middle, [r.scale for r in readings],
        [1 - r.coverage.middle for r in readings], sqnr,
        [0.0 if s == t else float(t - s) for s, t in zip(sqnr, best, strict=True)],
    )  # fmt: skip


def _stored(x: Explorer, point: int) -> list[_Row]:
    """Its scale and where it lies; what it does is what the nearest alpha does."""
    placed = x.placed(x.chosen.rule)[point] if x.stored is not None else None
    if placed is None:
        return []
    none = [math.nan] * len(BITS)
    scale = [placed.stored.scale if bits == placed.stored.bits else math.nan for bits in BITS]
    return [_Row(f"{CHECKPOINT} stored", lies(placed), lies_about(placed), math.nan, scale, none, none, none)]


def _table(x: Explorer, rows: Sequence[_Row], width: int) -> list[Line]:
    b = x.b
    alpha_width = 22 if width >= 100 else 11
    heads = [("alpha", alpha_width), ("w_max", 9), ("scale", 10), ("clipped", 10)]
    heads += [(f"dB {bits}", 7) for bits in BITS] + [(f"lost {bits}", 7) for bits in BITS]
    head = " " * 9 + "".join(f"{name:>{w}}" for name, w in heads)
    lines: list[Line] = [[(fill(head, width, ""), "header")]]
    for i, r in enumerate(rows):
        cells = [
            f"{(r.alpha if len(r.alpha) <= alpha_width else r.short):>{alpha_width}}",
            f"{_number(r.w_max):>9}", f"{_number(r.scale[b]):>10}",
            f"{share(r.clipped[b]):>10}", *(f"{decibels(d):>7}" for d in (*r.sqnr, *r.lost)),
        ]  # fmt: skip
        lines.append([(f"{r.label:<9}", "accent"), ("".join(cells), "name" if i == 0 else "")])
    return lines


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.5g}"
