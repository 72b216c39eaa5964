"""The codes of a weight: every level in one chart, A over B, and under it a list with the count of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import dims, share, some
from qinspect.inspector.values.histogram import code_counts, levels_together
from qinspect.tui.charts.area import area
from qinspect.tui.charts.cells import with_line
from qinspect.tui.charts.frame import AXES, framed
from qinspect.tui.charts.histogram import LEFT, MIN_HEIGHT, most_bins
from qinspect.tui.charts.legend import Entry, legend_lines
from qinspect.tui.charts.ticks import GAP, Placed, Tick, beside, fitted, linear, under
from qinspect.tui.compare.session import Session
from qinspect.tui.compare.weight_of import weight_of
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.marks import Canvas

UNUSED, SATURATED, SOME = "0", "!", "'"
"""Marks under the chart: none of the bin's levels is used; it has codes at an end; some of its levels are not used."""


@dataclass(frozen=True, slots=True)
class Codes:
    """How often every level occurs in the codes of A's, or B's, weight."""

    label: str
    shape: tuple[int, ...]
    counts: dict[int, int]
    element: Element

    @property
    def ends(self) -> tuple[int, int]:
        """The codes of the least and of the largest number."""
        return self.element.outermost

    @property
    def total(self) -> int:
        """Number of codes."""
        return sum(self.counts.values())

    def share(self, level: int) -> float:
        """Part of the codes that have this level."""
        return self.counts.get(level, 0) / max(1, self.total)


def code_histogram(s: Session, pair: ScalePair, look: Look, o: Options, check: Steps) -> list[Line]:
    """Of the codes: every level, unused and saturated ones marked. Heights are shares of the model's own codes, so
    that tensors of two sizes can be compared."""
    counted: list[Codes] = []
    for label, fmt, record in (("A", s.a, pair.a), ("B", s.b, pair.b)):
        weight = weight_of(fmt, pair) if record else None
        counts = code_counts(fmt, weight, check) if fmt is not None and weight is not None else {}
        if fmt is not None and weight is not None and counts:
            counted.append(Codes(label, weight.shape, counts, fmt.element_of(weight)))
    if not counted:
        return ["  No integer codes of up to 16 bits belong to this scale."]
    lines: list[Line] = []
    for one in counted[:1] if _same(counted) else counted:
        zero = one.element.zero_codes
        parts = (
            f"{'A = B' if _same(counted) else one.label} {dims(one.shape)}, {len(one.counts)} levels",
            f"{sum(n == 0 for n in one.counts.values())} unused",
            f"saturated {', '.join(f'{one.element.said(x)}: {share(one.counts[x], one.total)}' for x in one.ends)}",
            *([f"zero {share(sum(one.counts[code] for code in zero), one.total)}"] if zero else []),
        )
        lines += side_by_side(parts, look.width)
    groups = _alike(counted)
    room = (look.height - len(lines)) // len(groups)
    for together in groups:
        lines += _chart(together, look, max(MIN_HEIGHT + 3, room), o)
    top = max(one.share(level) for one in counted for level in one.counts) or 1.0
    lines.append("")
    for together in groups:
        lines += _list(together, top, look)
    return lines


def _same(counted: Sequence[Codes]) -> bool:
    """Whether both have the same counts of codes that mean the same."""
    return len({(c.shape, c.element, *c.counts.items()) for c in counted}) == 1 < len(counted)


def _alike(counted: list[Codes]) -> list[list[Codes]]:
    """Both together where a code means the same in both, else each by itself."""
    one, *others = counted
    integers = all(c.element.kind is ElementKind.INTEGER for c in counted)
    if integers or all(other.element == one.element for other in others):
        return [counted]
    return [[c] for c in counted]


def _levels(together: list[Codes]) -> list[int]:
    """All codes, by what they stand for."""
    if len(together) == 1 or together[0].element.kind is not ElementKind.INTEGER:
        return together[0].element.in_order
    return sorted({level for one in together for level in one.counts})


# --- the chart ---


@dataclass(frozen=True, eq=False)
class _Bins:
    """levels: in order. held: how many of them a bin holds. shares: of each model's codes, a row a model."""

    levels: list[int]
    held: int
    shares: np.ndarray

    @property
    def n(self) -> int:
        return int(self.shares.shape[1])

    def of(self, i: int) -> list[int]:
        """The levels of a bin."""
        return self.levels[i * self.held : (i + 1) * self.held]


def bins_of(together: Sequence[Codes], most: int) -> _Bins:
    """All levels in at most so many bins, the same number of them in each."""
    levels = _levels(list(together))
    held = levels_together(len(levels), most)
    shares = np.zeros((len(together), -(-len(levels) // held)))
    for row, one in enumerate(together):
        np.add.at(shares[row], np.arange(len(levels)) // held, [one.share(level) for level in levels])
    return _Bins(levels, held, shares)


def _chart(together: list[Codes], look: Look, height: int, o: Options) -> list[Line]:
    """All levels in `height` lines: areas, marks of unused and saturated levels, legend."""
    bins = bins_of(together, most_bins(look))
    same = _same(together)
    canvas = Canvas(LEFT, bins.n * (most_bins(look) // bins.n), 0.0, float(bins.n))
    below: list[Line] = [*_marks(together[:1] if same else together, same, bins, canvas)]
    below += legend_lines(_legend(together, same, bins), look)
    if o.cursor is not None:
        below += side_by_side(_read_out(together, bins, o.cursor), look.width)
    rows = max(1, height - AXES - len(below))
    top = float(bins.shares.max()) or 1.0
    wide = canvas.width // bins.n
    a, b = np.repeat(bins.shares[0], wide) / top, np.repeat(bins.shares[-1], wide) / top
    pen = "both" if same else together[0].label.lower()
    made = area(a, b if len(together) == 2 and not same else None, rows, look, pen)
    if o.cursor is not None:
        made = with_line(made, _bin_at(o.cursor, bins) * wide + wide // 2, "|" if look.plain else "│", look)
    return [*framed(made, LEFT, _share_labels(top, rows), _level_ticks(together[0], bins, canvas), look), *below]


def _share_labels(top: float, rows: int) -> dict[int, str]:
    """Round percentages."""

    def row(percent: float) -> int:
        return -1 if percent == 0 else max(0, min(rows - 1, round(percent / 100 / top * rows - 0.5)))

    found = ([Tick(t.at, f"{t.label}%" if t.at else "0") for t in ticks] for ticks in linear(0, 100 * top, rows // 2))
    return beside(found, row, rows, LEFT - 2)


def _level_ticks(first: Codes, bins: _Bins, canvas: Canvas) -> list[Placed]:
    """Whole round codes; of floats and tables, what the code of each n-th bin stands for."""
    if first.element.kind is ElementKind.INTEGER:
        low, high = bins.levels[0], bins.levels[-1]

        def column(level: float) -> int:
            return canvas.column((level - low + 0.5) / bins.held)

        ticks = linear(low, high, canvas.width // 4)
        return fitted((t for t in ticks if all(x.at == int(x.at) for x in t)), column, canvas.width)
    for every in range(1, bins.n + 1):
        at = range(0, bins.n, every)
        placed = [under(canvas.column(i + 0.5), first.element.said(bins.of(i)[0]), canvas.width) for i in at]
        if all(x.start >= 0 and x.start + len(x.label) + GAP <= y.start for x, y in pairwise(placed)):
            return placed
    return []


def _marks(shown: Sequence[Codes], same: bool, bins: _Bins, canvas: Canvas) -> list[Line]:
    """A row a model that has anything to mark."""
    wide = canvas.width // bins.n
    lines: list[Line] = []
    for one in shown:
        cells = "".join(_mark(one, bins.of(i)).center(wide) for i in range(bins.n))
        if cells.strip():
            label, kind = ("AB", "accent") if same else (one.label, one.label.lower())
            lines.append([(f"{label:>{LEFT - 1}} ", "dim"), (cells.rstrip(), kind)])
    return lines


def _mark(one: Codes, levels: Sequence[int]) -> str:
    if any(level in one.ends and one.counts.get(level) for level in levels):
        return SATURATED
    unused = sum(one.counts.get(level) == 0 for level in levels)
    there = sum(level in one.counts for level in levels)
    return " " if not unused else UNUSED if unused == there else SOME


def _legend(together: list[Codes], same: bool, bins: _Bins) -> list[Entry]:
    entries: list[Entry] = [(one.label.lower(), one.label) for one in together]
    if len(together) == 2:
        entries = [("both", "A = B, level by level")] if same else [*entries, ("both", "both")]
    marks = {_mark(one, bins.of(i)) for one in together for i in range(bins.n)}
    words = ((SATURATED, "saturated"), (UNUSED, "unused"), (SOME, "some of the bin's levels unused"))
    said = [("", f"{sign} {meaning}") for sign, meaning in words if sign in marks]
    return [*entries, *said, ("", f"a bin: {some(bins.held, 'level')}")]


def _bin_at(cursor: float, bins: _Bins) -> int:
    return min(bins.n - 1, int(cursor * bins.n))


def _read_out(together: list[Codes], bins: _Bins, cursor: float) -> list[str]:
    """The counts in the bin at the cursor."""
    levels = bins.of(_bin_at(cursor, bins))
    first, last = (together[0].element.said(level) for level in (levels[0], levels[-1]))
    parts = [f"cursor {first}" + (f"..{last}" if last != first else "")]
    for one in together:
        n = sum(one.counts.get(level, 0) for level in levels)
        parts.append(f"{one.label} {n:,} ({share(n, one.total)})")
    return parts


# --- the list ---


def _list(together: list[Codes], top: float, look: Look) -> list[Line]:
    """A line a level; B has one of its own wherever its count is another."""
    first, *others = together
    lines: list[Line] = []
    for level in _levels(together):
        lines.append(_bar(f"{first.element.said(level):>6}", first, level, top, look))
        lines += [
            _bar("", other, level, top, look)
            for other in others
            if (other.shape, other.counts.get(level)) != (first.shape, first.counts.get(level))
        ]
    return lines


def _bar(name: str, codes: Codes, level: int, top: float, look: Look) -> Line:
    """One level of one model."""
    n = codes.counts.get(level)
    outer = level in codes.ends
    mark = "absent" if n is None else "unused" if n == 0 else "saturated" if outer else ""
    room = max(8, look.width - 34)
    return [
        (f"{name:<6} {codes.label} ", "dim"),
        (f"{'' if n is None else format(n, ','):>12} ", ""),
        (("#" if look.plain else "█") * max(int(bool(n)), round(room * codes.share(level) / top)), codes.label.lower()),
        (f" {mark}", "odd"),
    ]
