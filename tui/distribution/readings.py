"""The numbers of a point as a table: what the cursor, the best scale and the stored ones do, a line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qinspect.inspector.alpha.sweep.wording import decibels
from qinspect.inspector.distribution import AlphaInterval
from qinspect.inspector.text import count, number, some
from qinspect.inspector.values.clipping import Gauge, Marker, Reading, Span
from qinspect.tui.distribution.alphas import STEPS
from qinspect.tui.distribution.source import Series
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line


@dataclass(frozen=True, slots=True)
class Row:
    """One scale. kind: `cursor`, `best`, `stored`, or `range`: that of a scale stored for codes of other bits. alpha:
    as it is shown. loss: decibels below the best, nothing or more, as everywhere."""

    label: str
    kind: str
    alpha: str
    reading: Reading
    loss: float


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    width: int
    cell: Callable[[Row], str]


def _value(span: Span) -> str:
    """Five digits; of an interval its middle, marked as such."""
    return f"{'' if span.known else '~'}{span.middle:.5g}"


def _share(span: Span) -> str:
    """In percent, never rounded to 0 or 100 where it is neither."""
    ratio = 100 * span.middle
    if math.isnan(ratio):
        return "n/a"
    mark = "" if span.known else "~"
    if ratio in (0.0, 100.0):
        return f"{mark}{ratio:.0f} %"
    return "<0.0001 %" if ratio < 0.00005 else ">99.9999 %" if ratio > 99.99995 else f"{mark}{ratio:.4f} %"


def _decibels(span: Span) -> str:
    return f"{'' if span.known else '~'}{span.middle:.2f}"


def _loss(loss: float) -> str:
    return "n/a" if math.isnan(loss) else decibels(loss)


_COLUMNS = (
    _Column("alpha", 10, lambda r: r.alpha),
    _Column("w_max", 11, lambda r: _value(r.reading.w_max)),
    _Column("scale", 11, lambda r: f"{r.reading.scale:.5g}" if r.reading.is_scale else "none"),
    _Column("> w_max", 10, lambda r: _share(r.reading.beyond)),
    _Column("coverage", 11, lambda r: _share(r.reading.coverage)),
    _Column("SQNR dB", 8, lambda r: _decibels(r.reading.sqnr_db)),
    _Column("lost", 7, lambda r: _loss(r.loss)),
)
_MORE = (
    _Column("MSE", 12, lambda r: _value(r.reading.mse)),
    _Column("bits used", 10, lambda r: f"{r.reading.effective_bits:.2f}"),
    _Column("unused levels", 14, lambda r: f"{r.reading.unused_levels:,} of {r.reading.levels:,}"),
)
LABEL = 9
WIDE = LABEL + sum(c.width for c in (*_COLUMNS, *_MORE))
"""From this width on the table has all columns; below, the last ones are a line of words for the cursor."""


def rows_of(series: Series, alpha: float, bits: int, with_best: bool = True) -> list[Row]:
    """Cursor, best, stored. The last two as soon as the curve is there."""
    curve = series.curves.get(bits)
    at = series.gauge.at(alpha, bits)
    rows = [Row(series.label, "cursor", f"{alpha:.9g}", at, curve.below_best(at) if curve else math.nan)]
    if curve is None:
        return rows
    if curve.best and with_best:
        rows.append(Row(series.label, "best", _alpha(curve.best_alpha, curve.best, series.gauge), curve.best, 0.0))
    for marker, reading, alphas in zip(series.gauge.tables.markers, curve.markers, curve.marker_alphas, strict=True):
        told = _alpha(alphas, reading, series.gauge) if marker.is_one else "median"
        kind = "stored" if marker.bits == bits and marker.of_integers else "range"
        of_run = len(series.gauge.tables.markers) > 1 or not series.label  # one for each alpha, or for each model
        label = marker.label if of_run else series.label
        rows.append(Row(label, kind, told, reading, curve.below_best(reading)))
    return rows


def _alpha(found: AlphaInterval | None, reading: Reading, gauge: Gauge) -> str:
    """An alpha that gives a scale: a step of the cursor where one does, else with the digits that are sure."""
    if found is None:
        return "above 1" if reading.w_max.middle > gauge.range_at(1.0).middle else "n/a"
    step = next((a for a in reversed(STEPS) if a in found), None)
    return f"{(found.low + found.high) / 2:.7g}" if step is None else f"{step:.9g}"


def table_lines(rows: Sequence[Row], bits: int, width: int) -> list[Line]:
    """A heading and a line a row."""
    columns = (*_COLUMNS, *_MORE) if width >= WIDE else _COLUMNS
    head = f"{bits} bits".ljust(LABEL) + "".join(f"{c.name:>{c.width}}" for c in columns)
    lines: list[Line] = [[(head, "header")]]
    for row in rows:
        kind = {"A": "a", "B": "b"}.get(row.label, "accent")
        cells = "".join(f"{c.cell(row):>{c.width}}" for c in columns)
        label = f"{row.label:<2} {row.kind}".ljust(LABEL)
        lines.append([(label, kind), (cells, "name" if row.kind == "cursor" else "")])
    return lines


def more_lines(row: Row, width: int) -> list[Line]:
    """What the columns have no room for."""
    if width >= WIDE:
        return []
    r = row.reading
    if not r.is_scale:
        return [[(f"{row.label:<2} no scale: w_max is {number(r.w_max.middle)}", "dim")]]
    parts = (
        f"MSE {_value(r.mse)}",
        f"{r.effective_bits:.2f} bits used",
        f"{r.unused_levels:,} of {some(r.levels, 'level')} unused",
    )
    return [[(f"{row.label:<2} {'   '.join(parts)}", "dim")]]


def interval_lines(row: Row, width: int) -> list[Line]:
    """The ends of what is only known in between."""
    r = row.reading
    if all(s.known for s in (r.w_max, r.beyond, r.coverage, r.mse)):
        return []
    parts = (
        f"{row.label:<2} between: w_max {r.w_max.low:.6g}..{r.w_max.high:.6g}",
        f"> w_max {100 * r.beyond.low:.4f}..{100 * r.beyond.high:.4f} %",
        f"SQNR {r.sqnr_db.low:.2f}..{r.sqnr_db.high:.2f} dB",
        f"coverage {100 * r.coverage.low:.4f}..{100 * r.coverage.high:.4f} %",
        f"MSE {r.mse.low:.5g}..{r.mse.high:.5g}",
    )
    return [[(line[2:], "dim")] for line in side_by_side(parts, width + 2)]


def stored_line(series: Series, marker: Marker) -> str:
    """The ends of many scales, "" for one."""
    if marker.is_one:
        return ""
    low, middle, high = map(number, (marker.low, marker.middle, marker.high))
    return f"{series.label:<2} stored {marker.bits}-bit scales {low} .. median {middle} .. {high}"


def heading(series: Series) -> list[str]:
    """What was counted: of what, how many, how exactly."""
    t = series.gauge.table
    known = "exact magnitudes" if t.exact else f"magnitudes to 2^-{23 - t.dropped_bits}"
    parts = [f"{count(t.n)} values", f"{count(t.magnitudes.size)} {known}"]
    parts += [f"{count(t.n_nan)} NaN: no quantile"] if t.n_nan else []
    parts += [f"{count(t.n_inf)} infinite"] if t.n_inf else []
    parts.append(f"{count(t.n_zero)} zero" if t.n_zero else "no zero")
    return [f"{series.label:<2} {series.what}", ", ".join(parts)]
