"""All that is shown of a point, as lines: what was counted, the histogram over the curve of the error, the numbers.

Both plots stand on one axis: a range w_max is a place among the magnitudes, and its scale is w_max / q_max.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import LogHistogram, log_histogram
from qinspect.inspector.distribution.quantization import q_max
from qinspect.inspector.text import count
from qinspect.inspector.values.clipping import ErrorCurve
from qinspect.tui.charts import cells
from qinspect.tui.charts.area import area
from qinspect.tui.charts.curves import ACROSS, Curve, curves
from qinspect.tui.charts.histogram import count_labels, heights
from qinspect.tui.charts.ticks import beside, linear
from qinspect.tui.distribution import readings
from qinspect.tui.distribution.alphas import parsed
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
            parts += ["levels spread over their steps"] if series.step else []
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
        return log_histogram(series.gauge.table, width, 2.0**self.axis.low, 2.0**self.axis.high, series.step)

    def _histogram(self) -> tuple[cells.Rows, list[str]]:
        rows = self.histogram_rows
        counts: list[NDArray[np.int64]] = []
        for series in self.chart.series:
            found = self._log_histogram(series, self.axis.width if self.axis else 1)
            counts.append(np.zeros(self.axis.width if self.axis else 1, np.int64) if found is None else found.counts)
        top = max((int(c.max()) for c in counts), default=0) or 1
        log = self.asked.log_counts
        drawn = [heights(c, top, log) for c in counts]
        made = area(drawn[0], drawn[1] if len(drawn) > 1 else None, rows, self.look, self._pen())
        return made, plot_labels(rows, count_labels(top, rows, log), "n (log)" if log else "n")

    def _pen(self) -> str:
        """Of the only model, of two that are one, or of neither."""
        return {"A": "a", "B": "b"}.get(self.chart.series[0].label, "both")

    def _curve(self) -> tuple[cells.Rows, list[str]]:
        rows = self.curve_rows
        of = [s.curves.get(self.asked.bits) for s in self.chart.series]
        if self.axis is None or not any(c is not None and c.scales.size for c in of):
            return [[cells.EMPTY] * (self.axis.width if self.axis else 1) for _ in range(rows)], [" " * GUTTER] * rows
        values = [_decibels_along(c, self.axis) for c in of]
        known = np.concatenate([v[np.isfinite(v)] for v in values])
        top = float(known.max()) if known.size else 0.0
        low = max(top - CURVE_DECIBELS, float(known.min())) if known.size else 0.0
        span = max(top - low, 1e-9)
        pens = [self._pen()] if len(values) == 1 else ["a", "b"]
        drawn = [Curve(v, v, pen) for v, pen in zip((_dots(v) for v in values), pens, strict=True)]
        made = curves(drawn, (low, low + span), rows, self.look)
        return made, decibel_labels(rows, low, low + span, "SQNR")

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
            counts = cells.with_line(counts, column, sign, look)
            errors = cells.with_line(errors, column, sign, look)
        return [
            *self._top,
            *cells.painted(self._count_labels, counts, look),
            self.axis.tick_line("|x|", 1.0, plain),
            *self._marks,
            *cells.painted(self._error_labels, errors, look),
            self.axis.tick_line("scale", float(q_max(self.asked.bits)), plain),
            *numbers,
        ]

    def alphas(self, alpha: float) -> dict[int, float]:
        """Of the lines that have one of their own: the line, and the alpha that gives its scale."""
        of = (readings.rows_of(s, alpha, self.asked.bits, self.with_best) for s in self.chart.series)
        first = len(self.lines(alpha)) - len(self._numbers(alpha)) + 2  # behind the rule and the heading
        found = ((i, row) for i, row in enumerate((row for rows in of for row in rows), first))
        return {i: at for i, row in found if row.kind != "cursor" and (at := parsed(row.alpha)) is not None}

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
    seen = [s for s in series if s.gauge.table.largest > 0]
    if not seen:
        return None
    high = math.log2(max(s.gauge.table.largest + s.step / 2 for s in seen))
    marks = [math.log2(w) for s in series for m in s.gauge.tables.markers for w in m.w_max]
    high = max([high, *(at for at in marks if high < at <= high + 1)])
    low = min(math.log2(_least(s) - s.step / 2) for s in seen)
    low = max(low, high - octaves)
    if low == high:
        low, high = high - 0.5, high + 0.5
    return Axis(GUTTER, width, low - _ROUNDING, high + _ROUNDING)


def _least(series: Series) -> float:
    """The smallest magnitude but 0."""
    magnitudes = series.gauge.table.middle
    return float(magnitudes[magnitudes > 0][0])


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


def _dots(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of cells, for the dots of a curve."""
    return np.repeat(values, ACROSS)


def decibel_labels(rows: int, low: float, high: float, name: str) -> list[str]:
    """Round decibels where they stand."""

    def row(decibels: float) -> int:
        return max(0, min(rows - 1, math.floor((decibels - low) / (high - low) * rows)))

    return plot_labels(rows, beside(linear(low, high, max(1, rows // 2)), row, rows, GUTTER - 5), f"{name} dB")


def plot_labels(rows: int, labels: Mapping[int, str], name: str) -> list[str]:
    """Text in front of a plot's rows: labels by row from the bottom, and in the topmost that is free what they are."""
    texts = [labels.get(rows - 1 - row, labels.get(-1, "") if row == rows - 1 else "") for row in range(rows)]
    free = next((i for i, text in enumerate(texts) if not text), None)
    if free is not None:
        texts[free] = name
    return [f"{text:>{GUTTER - 1}} " for text in texts]
