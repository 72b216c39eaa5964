"""Histograms of a scale and of the weight that it belongs to, A over B, with what matters marked under the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import number, share, some
from qinspect.inspector.values.clip_range import clip_of
from qinspect.inspector.values.code_cells import CellChunks, float_cells, weight_cells
from qinspect.inspector.values.histogram import Chunks, Histogram, histogram, weight_chunks
from qinspect.inspector.values.levels import Levels, levels_of
from qinspect.inspector.values.scale_values import scale_blocks
from qinspect.tui.charts.histogram import MIN_HEIGHT, histogram_chart, most_bins
from qinspect.tui.charts.legend import Entry, legend_lines
from qinspect.tui.compare.session import Session
from qinspect.tui.compare.weight_of import weight_of
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.marks import AFTER, BEFORE, CLIP_HIGH, CLIP_LOW, END, SEVERAL, Marks, mark_lines, merged_marks
from qinspect.tui.widgets.lines import Piece


@dataclass(frozen=True, slots=True)
class Series:
    """Of one model. label: `A` or `B`. clip: smallest and largest value that its codes can stand for, where that is one
    pair of numbers for the whole tensor. levels: on which the values stand, where they do. cells: the cell of each
    value, where its code has one."""

    label: str
    chunks: Chunks
    clip: tuple[float, float] | None = None
    levels: Levels | None = None
    cells: CellChunks | None = None


def scale_histogram(s: Session, pair: ScalePair, look: Look, o: Options, check: Steps) -> list[Line]:
    """Of the scale's own values, A over B."""
    series = []
    largest = 0
    for label, fmt, record in (("A", s.a, pair.a), ("B", s.b, pair.b)):
        if fmt is not None and record is not None:
            blocks = partial(scale_blocks, fmt, record, check)
            coarse = float_cells(record.dtype, blocks) if record.as_stored else None
            series.append(Series(label, blocks, cells=coarse))
            largest = max(largest, math.prod(record.shape))
    if largest < 2:
        from qinspect.tui.compare.layers_view import layer_lines

        return layer_lines(s, pair, look)
    return _draw([], series, ("min", "max"), look, o)


def weight_histogram(s: Session, pair: ScalePair, look: Look, o: Options, check: Steps) -> list[Line]:
    """Of the dequantized weight, A over B."""
    series = []
    heading = ""
    for label, fmt, record in (("A", s.a, pair.a), ("B", s.b, pair.b)):
        weight = weight_of(fmt, pair) if record else None
        if fmt is not None and weight is not None:
            chunks = weight_chunks(fmt, weight, check)
            levels = levels_of(fmt, weight)
            cells = weight_cells(fmt, weight, check) if levels is None else None
            series.append(Series(label, chunks, clip_of(fmt, weight), levels, cells))
            heading = heading or f"  {weight.role} {list(weight.shape)}"
    if not series:
        return ["  No quantized weight belongs to this scale."]
    heading = f"{heading}, dequantized" if len(heading) + 13 <= look.width else heading
    return _draw([heading], series, ("absmax",), look, o)


def _draw(
    heading: Sequence[Line], series: Sequence[Series], named: tuple[str, ...], look: Look, o: Options
) -> list[Line]:
    """heading, the plot, its marks and its legend: as many lines as `look` has. named: what is marked besides clip."""

    def make(zoom: tuple[float, float] | None) -> Histogram:
        second = series[1].chunks if len(series) > 1 else None
        reach = [at for one in series for at, _ in _clips(one.clip, o.log_axis)]
        levels, cells = [one.levels for one in series], [one.cells for one in series]
        return histogram(series[0].chunks, second, most_bins(look), o.log_axis, zoom, reach, levels, cells)

    h = make(None)
    if o.zoom < 1:
        low, high = h.edges[0], h.edges[-1]
        h = make((high - (high - low) * o.zoom, high))
    marks = merged_marks(
        [Marks(one.label, (*_ends(h, i, named), *_clips(one.clip, h.logarithmic))) for i, one in enumerate(series)]
    )
    cursor = None if o.cursor is None else h.edges[0] + (h.edges[-1] - h.edges[0]) * o.cursor
    below: list[Line] = [*legend_lines(_legend(h, series, named), look)]
    if cursor is not None:
        below += side_by_side(_read_out(h, [one.label for one in series], cursor), look.width)
    height = look.height - len(heading) - len(marks) - 1 - len(below)
    if height < MIN_HEIGHT:  # what it is a histogram of stands in the pane's title too
        heading, height = [], height + len(heading)
    pen = "both" if _same(h) else series[0].label.lower()
    drawn = replace(h, b=None) if _same(h) else h
    plotted, canvas = histogram_chart(drawn, look, max(MIN_HEIGHT, height), o.log_counts, pen, cursor)
    rows = mark_lines(marks, canvas)
    return [*heading, *plotted, *rows, _signs(rows, named), *below]


def _same(h: Histogram) -> bool:
    """Whether nothing tells A from B."""
    return h.a == h.b and h.range_a == h.range_b and h.absmax_a == h.absmax_b


def _ends(h: Histogram, i: int, named: tuple[str, ...]) -> list[tuple[float, str]]:
    """Where the smallest and largest value, or the one of largest magnitude, of series `i` is."""
    low, high = (h.range_a, h.range_b)[i]
    absmax = (h.absmax_a, h.absmax_b)[i]
    if named == ("min", "max"):
        return [(low, END), (high, END)]
    if h.logarithmic:
        return [(math.log10(absmax), END)] if absmax > 0 else []
    return [(low if -low > high else high, END)]


def _clips(clip: tuple[float, float] | None, logarithmic: bool) -> list[tuple[float, str]]:
    if clip is None:
        return []
    low, high = sorted(clip)  # a scale may be negative, in a broken file
    if not logarithmic:
        return [(low, CLIP_LOW), (high, CLIP_HIGH)]
    return [(math.log10(high), CLIP_HIGH)] if high > 0 else []


def _legend(h: Histogram, series: Sequence[Series], named: tuple[str, ...]) -> list[Entry]:
    """What has which colour, and the numbers of what is marked."""

    def reach(i: int) -> str:
        if named == ("min", "max"):
            return "..".join(number(_value(x, h.logarithmic)) for x in (h.range_a, h.range_b)[i])
        return f"absmax {number((h.absmax_a, h.absmax_b)[i])}"

    if _same(h):
        entries: list[Entry] = [("both", f"A = B in every bin, {reach(0)}")]
    else:
        entries = [(one.label.lower(), f"{one.label} {reach(i)}") for i, one in enumerate(series)]
        entries += [("both", "both")] if len(series) > 1 else []
    clips = [(one.label, one.clip) for one in series if one.clip]
    if len(clips) == 2 and clips[0][1] == clips[1][1]:
        clips = [("A, B", clips[0][1])]
    parts = [f"clip {label} {number(clip[0])}..{number(clip[1])}" for label, clip in clips if clip]
    if h.step:
        parts.append(f"a bin: {number(h.edges[1] - h.edges[0])}, {some(h.levels_a_bin, 'level')}")
    if h.spread:
        parts.append("levels spread over their steps")
    if h.logarithmic:
        parts.append("axis: |x|, logarithmic")
    if h.n_left_out:
        parts.append(f"{h.n_left_out:,} left out: {'zero, or ' if h.logarithmic else ''}not finite")
    return [*entries, *(("", part) for part in parts)]


def _signs(rows: Sequence[Sequence[Piece]], named: tuple[str, ...]) -> str:
    """What the signs in the rows of marks mean."""
    used = {c for row in rows for c in row[-1][0]}
    meanings = (
        (END, ", ".join(named)),
        (CLIP_LOW, "clip"),
        (CLIP_HIGH, "clip"),
        (SEVERAL, "both"),
        (BEFORE, "off axis"),
        (AFTER, "off axis"),
    )
    found: dict[str, list[str]] = {}
    for sign, meaning in meanings:
        if sign in used:
            found.setdefault(meaning, []).append(sign)
    return "  " + "  ".join(f"{' '.join(signs)} {meaning}" for meaning, signs in found.items())


def _read_out(h: Histogram, labels: Sequence[str], cursor: float) -> list[str]:
    """What share of A and B lies below the cursor: in its bin, as if that were even."""
    shares = []
    for label, counts in zip(labels, (h.a, h.b), strict=False):
        if counts is not None:
            up_to = np.concatenate(([0], np.cumsum(counts)))
            shares.append(f"{label} {share(round(float(np.interp(cursor, h.edges, up_to))), sum(counts))}")
    return [f"cursor {number(_value(cursor, h.logarithmic))}", f"below: {', '.join(shares)}"]


def _value(at: float, logarithmic: bool) -> float:
    """What stands at a place on the axis. A logarithm and back is exact to the float32 that was counted."""
    return float(np.float32(10**at)) if logarithmic and math.isfinite(at) else at
