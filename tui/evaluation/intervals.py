"""Intervals of several models under each other, on one axis, with what they are held against."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.tui.charts.ticks import Placed, Tick, fitted, linear, logarithmic
from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.labels import fill, fill_name
from qinspect.tui.marks import Canvas
from qinspect.tui.widgets.lines import Piece

Lines = list[list[Piece]]
LEAST_WIDTH = 10
"""Of an axis: with less room there are numbers alone."""
FAR_APART = 30.0
"""Between the least and the largest: on a linear axis the least would be nothing."""
PADDING = 0.03


@dataclass(frozen=True, slots=True)
class Interval:
    """One model's. kind: its colour. after: what stands behind its numbers, after_kind: in which colour."""

    name: str
    estimate: Estimate | None
    kind: str = ""
    after: str = ""
    after_kind: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """What all models have of one figure. title: what is on the axis; legend: what else is drawn. zero: a value that is
    none of a difference, None without. noise: from where to where chance alone moves it. margin: both sides of 0.
    percent: values are shares. may_be_log: they are positive."""

    title: str
    legend: Sequence[str]
    intervals: Sequence[Interval]
    zero: float | None = None
    noise: tuple[float, float] | None = None
    margin: float | None = None
    percent: bool = False
    may_be_log: bool = False

    @property
    def known(self) -> list[Estimate]:
        """Those that are numbers."""
        return [e for i in self.intervals if (e := i.estimate) is not None and math.isfinite(e.value)]

    @property
    def values(self) -> list[float]:
        """All that is on the axis."""
        found = [x for e in self.known for x in (e.value, e.low, e.high)]
        found += [] if self.zero is None else [self.zero]
        found += [] if self.margin is None else [-self.margin, self.margin]
        return [x for x in (*found, *(self.noise or ())) if math.isfinite(x)]


@dataclass(frozen=True, slots=True)
class Cells:
    """Of a line: all; of names, of numbers, of what stands behind these."""

    width: int
    names: int
    numbers: int
    behind: int


def block_lines(of: Block, room: Cells, glyphs: Glyphs, other_axis: bool) -> Lines:
    """other_axis: linear where it would be logarithmic, and the other way round."""
    names, width = room.names, room.width
    cells = width - names - room.numbers - room.behind - (6 if room.behind else 4)
    drawn = cells >= LEAST_WIDTH and bool(of.known)
    log = of.may_be_log and _is_log(of) != other_axis and min(_positive(of), default=0) > 0
    canvas = Canvas(names + 2, cells, *_ends(of, log)) if drawn else None
    at = partial(_column, canvas, log)
    told = [*of.legend, *(["logarithmic"] if log else [])]
    lines = heading(of.title, [(text, "dim") for text in told], width)
    for each in of.intervals:
        line: list[Piece] = [(fill_name(each.name, names, glyphs.cut), "name"), ("  ", "")]
        if canvas is not None:
            line += [*_drawn(of, each, cells, at, [] if log else list(_rules(of, glyphs)), glyphs), ("  ", "")]
        line.append((fill(said_of(each.estimate, of.percent), room.numbers, "", right=True), ""))
        lines.append([*line, *([(f"  {each.after}", each.after_kind)] if each.after else [])])
    return lines + (_axis(canvas, of, log, glyphs) if canvas is not None else [])


def said_of(e: Estimate | None, percent: bool) -> str:
    """`0.0123 [0.0101, 0.0147]`, `91.5 % [90.9, 92.1]`; "" of what is not known."""
    if e is None or math.isnan(e.value):
        return "" if e is None else "n/a"
    value, low, high = (f"{100 * x:.2f}" if percent else f"{x:#.3g}" for x in (e.value, e.low, e.high))
    return f"{value}{' %' * percent}" + ("" if math.isnan(e.low) else f" [{low}, {high}]")


def heading(title: str, legend: Sequence[Piece], width: int) -> Lines:
    """The title, and the legend behind it as far as there is room, then below."""
    lines: Lines = [[(title, "accent")]]
    used = len(title)
    for text, kind in legend:
        if used + 3 + len(text) > width:
            lines.append([])
            used = 0
        lines[-1] += [("   ", ""), (text, kind)]
        used += 3 + len(text)
    return lines


# --- the axis ---


def _positive(of: Block) -> list[float]:
    return [e.value for e in of.known]


def _is_log(of: Block) -> bool:
    """Whether a linear axis would show the least as nothing."""
    values = [x for x in _positive(of) if x > 0]
    return bool(values) and max(values) > FAR_APART * min(values)


def _ends(of: Block, log: bool) -> tuple[float, float]:
    """Of the axis, in its own scale: logarithms on a logarithmic one."""
    values = [math.log10(x) for x in of.values if x > 0] if log else of.values
    low, high = min(values), max(values)
    apart = (high - low) or abs(high) or 1.0
    if log or of.zero is None:
        return low - PADDING * apart, high + PADDING * apart
    return low - (PADDING * apart if low < of.zero else 0), high + (PADDING * apart if high > of.zero else 0)


def _column(canvas: Canvas | None, log: bool, x: float) -> int:
    if canvas is None or (log and x <= 0):
        return 0
    return max(0, min(canvas.width - 1, canvas.column(math.log10(x) if log else x)))


def _axis(canvas: Canvas, of: Block, log: bool, glyphs: Glyphs) -> Lines:
    corner, rule, down = "+-+" if glyphs is ASCII else "└─┬"
    line, labels = [rule] * canvas.width, [" "] * canvas.width
    for placed in _ticks(canvas, of, log):
        line[placed.column] = down
        labels[placed.start : placed.start + len(placed.label)] = placed.label
    blank = " " * (canvas.left - 1)
    return [[(blank + corner + "".join(line), "dim")], [(f"{blank} {''.join(labels)}".rstrip(), "dim")]]


def _ticks(canvas: Canvas, of: Block, log: bool) -> list[Placed]:
    most = max(1, canvas.width // 9)
    if log:
        ends = 10**canvas.low, 10**canvas.high
        return fitted(logarithmic(*ends, most), lambda x: canvas.column(math.log10(x)), canvas.width)
    if not of.percent:
        return fitted(linear(canvas.low, canvas.high, most), canvas.column, canvas.width)
    percent = linear(100 * canvas.low, 100 * canvas.high, most)
    named = ([Tick(t.at / 100, f"{t.label} %") for t in ticks] for ticks in percent)
    return fitted(named, canvas.column, canvas.width)


# --- an interval ---


def _drawn(
    of: Block, each: Interval, cells: int, at: partial[int], rules: Sequence[tuple[float, str]], glyphs: Glyphs
) -> Iterator[Piece]:
    """The interval over what it is held against. rules: values with their signs; a logarithmic axis has none."""
    left, between, point, right = (glyphs.interval[i] for i in (0, 1, 2, -1))
    made: list[tuple[str, str]] = [(" ", "")] * cells
    if of.noise is not None:
        low, high = map(at, of.noise)
        if of.zero in of.noise or low < at(of.zero or 0.0) < high:  # around zero it is on both sides, or on none
            made[low : high + 1] = [(glyphs.noise, "dim")] * (high + 1 - low)
    for x, sign in rules:
        made[at(x)] = (sign, "dim")
    e = each.estimate
    if e is not None and math.isfinite(e.value):
        if math.isfinite(e.low) and math.isfinite(e.high) and at(e.low) < at(e.high):
            low, high = at(e.low), at(e.high)
            made[low : high + 1] = [(left, each.kind), *[(between, each.kind)] * (high - low - 1), (right, each.kind)]
        made[at(e.value)] = (point, each.kind)
    for kind, run in groupby(made, key=lambda cell: cell[1]):
        yield "".join(sign for sign, _ in run), kind


def _rules(of: Block, glyphs: Glyphs) -> Iterator[tuple[float, str]]:
    if of.margin is not None:
        yield from ((-of.margin, ":"), (of.margin, ":"))
    if of.zero is not None:
        yield of.zero, glyphs.vertical
