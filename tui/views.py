"""The other views of the detail pane: codes, profile, values; histograms are next door. Built in a thread; each returns
lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import dims, magnitude, percent, share
from qinspect.inspector.values.histogram import code_counts
from qinspect.inspector.values.scale_values import first_values, scale_sample
from qinspect.inspector.values.value_text import array_texts
from qinspect.tui.compare.session import Session
from qinspect.tui.histograms import scale_histogram, weight_histogram, weight_of
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.plot import heat_lines, profile_lines
from qinspect.tui.widgets.lines import Piece

SHOWN_VALUES = 20_000
PROFILE_VALUES = 1 << 24
"""A profile sorts this many values at most, evenly taken."""


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


def code_histogram(s: Session, pair: ScalePair, look: Look, _: Options, check: Steps) -> list[Line]:
    """Of the codes: every level, unused and saturated ones marked. Bars are shares of the model's own codes, so
    that tensors of two sizes can be compared; B has a bar of its own wherever its count is another."""
    counted: list[Codes] = []
    for label, fmt, record in (("A", s.a, pair.a), ("B", s.b, pair.b)):
        weight = weight_of(fmt, pair) if record else None
        counts = code_counts(fmt, weight, check) if fmt is not None and weight is not None else {}
        if fmt is not None and weight is not None and counts:
            counted.append(Codes(label, weight.shape, counts, fmt.element_of(weight)))
    if not counted:
        return ["  No integer codes of up to 16 bits belong to this scale."]
    lines: list[Line] = []
    for one in counted:
        zero = one.element.zero_codes
        parts = (
            f"{one.label} {dims(one.shape)}, {len(one.counts)} levels",
            f"{sum(n == 0 for n in one.counts.values())} unused",
            f"saturated {', '.join(f'{one.element.said(x)}: {share(one.counts[x], one.total)}' for x in one.ends)}",
            *([f"zero {share(sum(one.counts[code] for code in zero), one.total)}"] if zero else []),
        )
        lines += side_by_side(parts, look.width)
    lines.append("")
    top = max(one.share(level) for one in counted for level in one.counts) or 1.0
    for together in _alike(counted):
        first, *others = together
        for level in _levels(together):
            name = first.element.said(level)
            lines.append(_bar(f"{name:>6}", first, level, top, look))
            for other in others:
                if (other.shape, other.counts.get(level)) != (first.shape, first.counts.get(level)):
                    lines.append(_bar("", other, level, top, look))
    return lines


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


def _shapes(a: tuple[int, ...], b: tuple[int, ...]) -> list[str]:
    return [f"A {dims(a)}", f"B {dims(b)}", "other shapes"]


def _sorted_said(pair: ScalePair) -> list[str]:
    """The one difference that there is where equal indices are not the same cell."""
    d = pair.difference
    return [f"sorted, B vs A is {percent(d.largest)} at most"] if d else ["no percentage"]


def profile(s: Session, pair: ScalePair, look: Look, _: Options, check: Steps) -> list[Line]:
    """A and B sorted side by side, and B/A cell by cell as a heat map. Of two shapes, each along the share of its own
    values, and without the map."""
    (a, step), (b, _step) = (
        scale_sample(fmt, record, PROFILE_VALUES, check) if fmt and record else (None, 1)
        for fmt, record in ((s.a, pair.a), (s.b, pair.b))
    )
    if all(x is None or x.size < 2 for x in (a, b)):
        return ["  One number: there is no profile to draw."]
    check(0, 1)
    n = look.width * 2
    bad = [
        f"{label}: {k:,} of {x.size:,} not finite"
        for label, x in (("A", a), ("B", b))
        if x is not None and (k := _not_finite(x))
    ]
    if a is None or b is None:
        first = a if a is not None else b
        assert first is not None
        heading = side_by_side(bad, look.width)
        return [*heading, *profile_lines(_thin(first, n), None, first.size, look, look.height - len(heading))]
    curves = _thin(a, n), _thin(b, n)
    if a.shape != b.shape:
        heading = side_by_side((*_shapes(a.shape, b.shape), "each along its own values", *bad), look.width)
        return [*heading, *profile_lines(*curves, None, look, look.height - len(heading))]
    if step > 1:
        heading = side_by_side((f"every {step:,}th value", "no map of cells: too many", *bad), look.width)
        return [*heading, *profile_lines(*curves, None, look, look.height - len(heading))]
    if pair.not_by_cell:
        heading = side_by_side((pair.not_by_cell, *_sorted_said(pair), *bad), look.width)
        return [*heading, *profile_lines(*curves, a.size, look, look.height - len(heading))]
    heat = _heat_map(a, b, look)
    heading = side_by_side(bad, look.width)
    return [*heading, *profile_lines(*curves, a.size, look, look.height - len(heat) - len(heading)), *heat]


def _heat_map(a: np.ndarray, b: np.ndarray, look: Look) -> list[Line]:
    """B vs A cell by cell, with a heading: at most half of the pane. Its brightest is the largest of the table."""
    with np.errstate(all="ignore"):
        x, y = a.astype(np.float64), b.astype(np.float64)
        change = np.where(x == y, 0.0, 100 * (y - x) / np.abs(x))
    grid = change.reshape(-1, change.shape[-1]) if change.ndim > 1 else change.reshape(1, -1)
    if grid.shape[0] > grid.shape[1]:
        grid = grid.T  # channels along the width, groups down
    finite = np.abs(grid[np.isfinite(grid)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    edge = magnitude(limit) if finite.size and finite.max() > 0 else "0 %"
    parts = (f"B vs A per cell, {grid.shape[0]} x {grid.shape[1]}", "darkest equal", f"brightest {edge}, up or down")
    heading = side_by_side(parts, look.width)
    # Half a line a row where there are colours: `heat_lines` draws two rows a line.
    rows = max(2, look.height // 2 - 2) * (1 if look.a is None or look.plain else 2)
    return ["", *heading, *heat_lines(_shrink(grid / limit, rows, max(8, look.width - 2)), look)]


def values(s: Session, pair: ScalePair, look: Look, _: Options, check: Steps) -> list[Line]:
    """Index, A, B, difference, one a line. Of two shapes, each with its own index."""
    check(0, 1)
    a, b = (
        first_values(fmt, record, SHOWN_VALUES) if fmt and record else None
        for fmt, record in ((s.a, pair.a), (s.b, pair.b))
    )
    first = a or b
    if first is None:
        return []
    if a and b and a[1] != b[1]:
        return _each_by_its_own_index(a, b, look, _shapes(a[1], b[1]))
    if a and b and pair.not_by_cell:
        return _each_by_its_own_index(a, b, look, [pair.not_by_cell, *_sorted_said(pair)])
    size = math.prod(first[1])
    texts = [array_texts(x[0][:SHOWN_VALUES]) for x in (a, b) if x]
    width = max([13, *(len(t) for column in texts for t in column)]) + 1
    names = ("A", "B", "B vs A") if a and b else ("A",) if a else ("B",)
    widths = (width, width, 14)
    heading = "".join(name.rjust(w) for name, w in zip(names, widths, strict=False))
    lines: list[Line] = [[("  index".ljust(18) + heading, "header")]]
    for i in range(min(size, SHOWN_VALUES)):
        x = float(first[0][i])
        line = _value(first, i, texts[0], width)
        if a and b:
            y = float(b[0][i])
            change = 100 * (y - x) / abs(x) if x else float("nan")
            line += [
                (texts[1][i].rjust(width), ""),
                (f"{percent(change):>14}", "up" if y > x else "down" if y < x else "same"),
            ]
        lines.append(line)
    return lines + _left_out(size)


Shaped = tuple[np.ndarray, tuple[int, ...]]
"""(first values, flat; shape of all)."""


def _value(x: Shaped, i: int, texts: Sequence[str], width: int) -> list[Piece]:
    """Index and value; blank where there is none."""
    values, shape = x
    if i >= values.size:
        return [("", "dim"), ("".rjust(18 + width), "")]
    index = ", ".join(map(str, np.unravel_index(i, shape))) if shape else ""
    return [((f"  [{index}]" if index else "").ljust(18), "dim"), (texts[i].rjust(width), "")]


def _each_by_its_own_index(a: Shaped, b: Shaped, look: Look, why: list[str]) -> list[Line]:
    n = max(math.prod(a[1]), math.prod(b[1]))
    texts = [array_texts(x[0][:SHOWN_VALUES]) for x in (a, b)]
    width = max([13, *(len(t) for column in texts for t in column)]) + 1
    rows: list[Line] = [
        [*_value(a, i, texts[0], width), *_value(b, i, texts[1], width)] for i in range(min(n, SHOWN_VALUES))
    ]
    heading = "  index".ljust(18) + "A".rjust(width) + "  index".ljust(18) + "B".rjust(width)
    return [*side_by_side((*why, "each by its own index"), look.width), [(heading, "header")], *rows, *_left_out(n)]


def row_of_index(wanted: str, lines: Sequence[str]) -> int | None:
    """The line of the values at an index, `3,17`; a single number is the place among all values, row by row, as in a
    tensor of one axis. None where there is none."""
    parts = wanted.strip().strip("[]").replace(",", " ").split()
    if not parts or not all(p.isascii() and p.isdecimal() for p in parts):
        return None
    rows = [i for i, line in enumerate(lines) if line.lstrip().startswith("[") and "]" in line]
    if len(parts) == 1:
        at = int(parts[0][:12])
        return rows[at] if at < len(rows) else None
    index = f"[{', '.join(str(int(p[:12])) for p in parts)}]"
    return next((i for i in rows if lines[i].lstrip().startswith(index)), None)


def _left_out(n: int) -> list[Line]:
    more = n - SHOWN_VALUES
    return [f"  ... {more:,} more: `qinspect show` and `dequantize` give all"] if more > 0 else []


VIEWS = {
    "histogram": scale_histogram,
    "weight": weight_histogram,
    "codes": code_histogram,
    "profile": profile,
    "values": values,
}


def _not_finite(x: np.ndarray) -> int:
    return x.size - int(np.count_nonzero(np.isfinite(x)))


def _thin(x: np.ndarray, n: int) -> Sequence[float]:
    """The finite values, sorted, at most `n`, evenly taken; none: one zero."""
    ordered = np.sort(x[np.isfinite(x)], axis=None)
    if not ordered.size:
        return [0.0]
    at = np.linspace(0, ordered.size - 1, min(n, ordered.size)).round().astype(np.int64)
    return [float(v) for v in ordered[at]]


def _shrink(grid: np.ndarray, rows: int, columns: int) -> list[list[float]]:
    """At most rows x columns cells; a cell shows the value of largest magnitude it stands for."""

    def along(x: np.ndarray, n: int, axis: int) -> np.ndarray:
        if x.shape[axis] <= n:
            return x
        parts = np.array_split(x, n, axis=axis)
        picked = []
        for p in parts:
            where = np.expand_dims(np.nan_to_num(np.abs(p), nan=-1.0).argmax(axis=axis), axis)
            picked.append(np.take_along_axis(p, where, axis=axis))
        return np.concatenate(picked, axis=axis)

    small = along(along(grid, rows, 0), columns, 1)
    return [[float(x) if np.isfinite(x) else float("nan") for x in np.clip(row, -1, 1)] for row in small]
