"""All that is shown of a point, as lines: what was counted, the histogram over the curve of the error, the numbers.

Both plots stand on one axis: a range w_max is a place among the magnitudes, and its scale is w_max / q_max.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import LogHistogram, log_histogram
from qinspect.inspector.distribution.quantization import q_max
from qinspect.inspector.text import count
from qinspect.inspector.values.clipping import ErrorCurve
from qinspect.tui.distribution import drawing, readings
from qinspect.tui.distribution.axis import Axis
from qinspect.tui.distribution.source import Chart, Series
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill
from qinspect.tui.look import Line, Look
from qinspect.tui.marks import CLIP_HIGH, CLIP_LOW, Marks, mark_lines
from qinspect.tui.names import shown

GUTTER = 9
BEST = "*"
_ROUNDING = 1e-9
"""A magnitude may not fall off the axis by its logarithm's last digit."""
MIN_ROWS = 4
_SHORTER = ((True, True, True), (True, False, True), (True, False, False), (False, False, False))
"""Whether the words under the table, the ends of many scales and the best ones are shown: as many as have room."""
CURVE_DECIBELS = 40.0
"""Of the error's curve this much is shown, from the best downwards."""


@dataclass(frozen=True, slots=True)
class Shown:
    """bits: of the codes. octaves: of the axis, from its right end. log_counts: of the histogram."""

    bits: int = 8
    octaves: float = 14.0
    log_counts: bool = True


class Layout:
    """One point at one size. What does not depend on alpha is made once; `lines` puts the cursor in."""

    def __init__(self, chart: Chart, asked: Shown, look: Look, glyphs: Glyphs) -> None:
        self.chart, self.asked, self.look, self.glyphs = chart, asked, look, glyphs
        self.axis = axis_of(chart.series, asked.octaves, max(8, look.width - GUTTER))
        self.with_words = self.with_ranges = self.with_best = True
        self._marks = self._mark_lines()
        self.histogram_rows, self.curve_rows = self._heights()
        self._top = self._heading()
        self._counts, self._count_labels = self._histogram() if chart.series else ([], [])
        self._errors, self._error_labels = self._curve() if chart.series else ([], [])

    def _heights(self) -> tuple[int, int]:
        """Lines of both plots. On a small screen some of the numbers make room."""
        for self.with_words, self.with_ranges, self.with_best in _SHORTER:
            fixed = len(self._heading()) + len(self._numbers(1.0)) + 2 + len(self._marks)
            room = self.look.height - fixed
            if room >= 2 * MIN_ROWS:
                break
        room = max(room, 2)
        return room - (room - 1) * 45 // 100 - 1, (room - 1) * 45 // 100 + 1

    # --- what does not depend on alpha ---

    def _heading(self) -> list[Line]:
        dot = f" {self.glyphs.dot} "
        lines: list[Line] = []
        for series in self.chart.series:
            parts = readings.heading(series)
            below = self._below(series)
            parts += [f"{count(below)} left of the axis"] if below else []
            parts += [series.shape] if series.shape else []
            while len(parts) > 2 and len(dot.join(parts)) > self.look.width:
                parts.pop()
            lines.append([(fill(dot.join(parts), self.look.width, self.glyphs.cut).rstrip(), "")])
        return lines + [
            [(fill(shown(note), self.look.width, self.glyphs.cut).rstrip(), "odd")] for note in self.chart.notes
        ]

    def _below(self, series: Series) -> int:
        found = self._log_histogram(series, 1)
        return found.n_below if found else 0

    def _log_histogram(self, series: Series, width: int) -> LogHistogram | None:
        if self.axis is None:
            return None
        return log_histogram(series.gauge.table, width, 2.0**self.axis.low, 2.0**self.axis.high)

    def _histogram(self) -> tuple[drawing.Rows, list[str]]:
        rows = self.histogram_rows
        counts: list[NDArray[np.int64]] = []
        for series in self.chart.series:
            found = self._log_histogram(series, self.axis.width if self.axis else 1)
            counts.append(np.zeros(self.axis.width if self.axis else 1, np.int64) if found is None else found.counts)
        top = max((int(c.max()) for c in counts), default=0) or 1
        heights = [np.log1p(c) / math.log1p(top) if self.asked.log_counts else c / top for c in counts]
        made = drawing.area(heights[0], heights[1] if len(heights) > 1 else None, rows, self.look)
        text = f"{top:,}" if len(f"{top:,}") < GUTTER else f"{top:.3g}"
        return made, plot_labels(rows, text, "n (log)" if self.asked.log_counts else "n", "0")

    def _curve(self) -> tuple[drawing.Rows, list[str]]:
        rows = self.curve_rows
        curves = [s.curves.get(self.asked.bits) for s in self.chart.series]
        if self.axis is None or not any(c is not None and c.scales.size for c in curves):
            return [[(" ", "")] * (self.axis.width if self.axis else 1) for _ in range(rows)], [" " * GUTTER] * rows
        values = [_decibels_along(c, self.axis) for c in curves]
        known = np.concatenate([v[np.isfinite(v)] for v in values])
        top = float(known.max()) if known.size else 0.0
        low = max(top - CURVE_DECIBELS, float(known.min())) if known.size else 0.0
        span = max(top - low, 1e-9)
        heights = [np.nan_to_num(np.clip((v - low) / span, 0.01, 1.0), nan=0.0, posinf=1.0) for v in values]
        made = drawing.area(heights[0], heights[1] if len(heights) > 1 else None, rows, self.look)
        return made, plot_labels(rows, f"{top:.1f} dB", "SQNR", f"{low:.1f}")

    def _mark_lines(self) -> list[Line]:
        """A row a model, of its best and its stored scales."""
        if self.axis is None:
            return []
        lines: list[Line] = []
        for series in self.chart.series:
            at: list[tuple[float, str]] = []
            curve = series.curves.get(self.asked.bits)
            for marker in series.gauge.tables.markers:
                low, middle, high = (math.log2(w) for w in marker.w_max)
                sign = marker.label
                at += [(middle, sign)] if marker.is_one else [(low, CLIP_LOW), (middle, sign), (high, CLIP_HIGH)]
            if curve and curve.best:
                at.append((math.log2(curve.best.w_max.middle), BEST))
            lines += mark_lines([Marks(series.label, tuple(at))], self.axis)
        return lines

    # --- what does ---

    def lines(self, alpha: float) -> list[Line]:
        """Everything, with the cursor at an alpha."""
        if not self.chart.series:
            return list(self._top)
        numbers = self._numbers(alpha)
        if self.axis is None:
            why = "no values" if not any(s.gauge.table.n for s in self.chart.series) else "no finite value but 0"
            return [*self._top, "", f"   {why}: there is nothing to draw", "", *numbers]
        plain, look = self.look.plain, self.look
        counts, errors = self._counts, self._errors
        columns = [self.axis.column_of(s.gauge.range_at(alpha).middle) for s in self.chart.series]
        for sign, column in reversed([*zip("|:" if plain else "│┊", columns, strict=False)]):  # A's over B's
            counts = drawing.with_line(counts, column, sign, look)
            errors = drawing.with_line(errors, column, sign, look)
        return [
            *self._top,
            *drawing.painted(self._count_labels, counts, look),
            self.axis.tick_line("|x|", 1.0, plain),
            *self._marks,
            *drawing.painted(self._error_labels, errors, look),
            self.axis.tick_line("scale", float(q_max(self.asked.bits)), plain),
            *numbers,
        ]

    def _numbers(self, alpha: float) -> list[Line]:
        """The rule, the table, and what it has no room for."""
        bits, width = self.asked.bits, self.look.width
        rule = str(self.chart.series[0].gauge.rule_at(alpha, bits)) if self.chart.series else ""
        rule = rule.replace("∘", "o") if self.look.plain else rule
        rows: list[readings.Row] = []
        words: list[Line] = []
        for series in self.chart.series:
            found = readings.rows_of(series, alpha, bits, self.with_best)
            rows += found
            words += readings.more_lines(found[0], width) if self.with_words else []
            words += readings.interval_lines(found[0], width)
            ranges = (readings.stored_line(series, marker) for marker in series.gauge.tables.markers)
            words += [[(line, "dim")] for line in ranges if line and self.with_ranges]
        return [
            [(fill(rule, width, self.glyphs.cut).rstrip(), "accent")],
            *readings.table_lines(rows, bits, width),
            *words,
        ]


def axis_of(series: Sequence[Series], octaves: float, width: int) -> Axis | None:
    """From the smallest magnitude, or so many octaves under the right end, to the largest and to stored scales that are
    not far beyond it. None where there is nothing but zeros."""
    tables = [s.gauge.table for s in series if s.gauge.table.largest > 0]
    if not tables:
        return None
    high = math.log2(max(t.largest for t in tables))
    marks = [math.log2(w) for s in series for m in s.gauge.tables.markers for w in m.w_max]
    high = max([high, *(at for at in marks if high < at <= high + 1)])
    low = min(math.log2(float(t.middle[t.middle > 0][0])) for t in tables)
    low = max(low, high - octaves)
    if low == high:
        low, high = high - 0.5, high + 0.5
    return Axis(GUTTER, width, low - _ROUNDING, high + _ROUNDING)


def span_of(series: Sequence[Series]) -> float:
    """Octaves of an axis that has room for every magnitude."""
    axis = axis_of(series, math.inf, 1)
    return axis.high - axis.low if axis else 1.0


def _decibels_along(curve: ErrorCurve | None, axis: Axis) -> NDArray[np.float64]:
    """The best of each column's scales, or between two where it has none; nan where nothing was computed."""
    found = np.full(axis.width, np.nan)
    if curve is None or not curve.scales.size:
        return found
    at = np.log2(curve.scales.astype(np.float64) * q_max(curve.bits))
    middles = axis.low + (np.arange(axis.width) + 0.5) * (axis.high - axis.low) / axis.width
    finite = np.isfinite(curve.sqnr_db)
    if finite.any():
        found = np.interp(middles, at[finite], curve.sqnr_db[finite], left=np.nan, right=np.nan)
    inside = (at >= axis.low) & (at <= axis.high)
    columns = ((at[inside] - axis.low) / (axis.high - axis.low) * axis.width).astype(np.int64)
    np.fmax.at(found, np.minimum(columns, axis.width - 1), curve.sqnr_db[inside])
    return found


def plot_labels(rows: int, top: str, middle: str, bottom: str) -> list[str]:
    """Text in front of a plot's rows."""
    texts = [""] * rows  # each shorter than the gutter
    texts[-1] = bottom
    if rows > 2:
        texts[1] = middle
    texts[0] = top
    return [f"{text:>{GUTTER - 1}} " for text in texts]
