"""The other views of the detail pane: codes, profile, values; histograms are next door. Built in a thread; each returns
lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.histogram import code_counts
from qinspect.inspector.text import number, percent, share
from qinspect.tui.histograms import Check, scale_histogram, weight_histogram, weight_of
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.plot import heat_lines, profile_lines
from qinspect.tui.session import Session
from qinspect.tui.widgets.lines import Piece

SHOWN_VALUES = 20_000


def code_histogram(s: Session, pair: ScalePair, look: Look, _: Options, check: Check) -> list[Line]:
    """Of the integer codes: every level, unused and saturated ones marked."""
    counted: list[tuple[str, dict[int, int]]] = []
    for label, fmt, record in (("A", s.a, pair.a), ("B", s.b, pair.b)):
        weight = weight_of(fmt, pair) if record else None
        if fmt is not None and weight is not None:
            counted.append((label, code_counts(fmt, weight, check)))
    if not counted:
        return ["  No integer codes belong to this scale."]
    lines: list[Line] = []
    for label, counts in counted:
        total = sum(counts.values())
        unused = sum(n == 0 for n in counts.values())
        low, high = min(counts), max(counts)
        ends = f"saturated {low}: {share(counts[low], total)}, {high}: {share(counts[high], total)}"
        lines.append(f"  {label}  {len(counts)} levels, {unused} unused; {ends}; zero {share(counts[0], total)}")
    lines.append("")
    levels = sorted({level for _, counts in counted for level in counts})
    top = max(n for _, counts in counted for n in counts.values()) or 1
    room = max(8, look.width - 36)
    block = "#" if look.plain else "█"
    for level in levels:
        numbers = [counts.get(level) for _, counts in counted]
        n = numbers[0] or 0
        outer = (min(counted[0][1]), max(counted[0][1]))
        mark = "saturated" if level in outer and n else "unused" if numbers[0] == 0 else ""
        line: list[Piece] = [
            (f"{level:>6} ", "dim"),
            (f"{'' if numbers[0] is None else format(n, ','):>12} ", ""),
            (block * max(int(n > 0), round(room * n / top)), "a"),
        ]
        line.append((f" {mark}", "odd"))
        if len(numbers) > 1 and numbers[1] != numbers[0]:
            line.append((f"  B {numbers[1]:,}" if numbers[1] is not None else "  not in B", "b"))
        lines.append(line)
    return lines


def profile(s: Session, pair: ScalePair, look: Look, _: Options, check: Check) -> list[Line]:
    """A and B sorted side by side, and B/A cell by cell as a heat map."""
    a, b = _values(s, pair)
    first = a if a is not None else b
    if first is None or first.size < 2:
        return ["  One number: there is no profile to draw."]
    check(0, 1)
    n = look.width * 2
    other = _thin(b, n) if a is not None and b is not None else None
    if a is None or b is None or a.shape != b.shape:
        return list(profile_lines(_thin(first, n), other, first.size, look, look.height))
    heat = _heat_map(a, b, look)
    return [*profile_lines(_thin(first, n), other, first.size, look, look.height - len(heat)), *heat]


def _heat_map(a: np.ndarray, b: np.ndarray, look: Look) -> list[Line]:
    """B/A cell by cell, with a heading: at most half of the pane."""
    with np.errstate(all="ignore"):
        ratio = np.log2(b.astype(np.float64) / a.astype(np.float64))
    grid = ratio.reshape(-1, ratio.shape[-1]) if ratio.ndim > 1 else ratio.reshape(1, -1)
    if grid.shape[0] > grid.shape[1]:
        grid = grid.T  # channels along the width, groups down
    finite = np.abs(grid[np.isfinite(grid)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    edge = percent(100 * (2**limit - 1)) if finite.size and finite.max() > 0 else "0 %"
    parts = (f"B/A per cell, {grid.shape[0]} x {grid.shape[1]}", "darkest equal", f"brightest {edge} or its inverse")
    heading = side_by_side(parts, look.width)
    # Half a line a row where there are colours: `heat_lines` draws two rows a line.
    rows = max(2, look.height // 2 - 2) * (1 if look.a is None or look.plain else 2)
    return ["", *heading, *heat_lines(_shrink(grid / limit, rows, max(8, look.width - 2)), look)]


def values(s: Session, pair: ScalePair, _look: Look, _: Options, check: Check) -> list[Line]:
    """Index, A, B, difference, one a line."""
    a, b = _values(s, pair)
    first = a if a is not None else b
    if first is None:
        return []
    check(0, 1)
    both = a is not None and b is not None and a.shape == b.shape
    lines: list[Line] = []
    for i in range(min(first.size, SHOWN_VALUES)):
        index = ", ".join(map(str, np.unravel_index(i, first.shape))) if first.shape else ""
        x = float(first.reshape(-1)[i])
        line: list[Piece] = [((f"  [{index}]" if index else "").ljust(18), "dim"), (f"{number(x):>14}", "")]
        if both and b is not None:
            y = float(b.reshape(-1)[i])
            change = 100 * (y - x) / abs(x) if x else float("nan")
            line += [
                (f"{number(y):>14}", ""),
                (f"{percent(change):>14}", "up" if y > x else "down" if y < x else "same"),
            ]
        lines.append(line)
    if first.size > SHOWN_VALUES:
        lines.append(f"  ... {first.size - SHOWN_VALUES:,} more: `qinspect show` and `dequantize` give all")
    return lines


VIEWS = {
    "histogram": scale_histogram,
    "weight": weight_histogram,
    "codes": code_histogram,
    "profile": profile,
    "values": values,
}


def _values(s: Session, pair: ScalePair) -> tuple[np.ndarray | None, np.ndarray | None]:
    found = []
    for fmt, record in ((s.a, pair.a), (s.b, pair.b)):
        found.append(None if fmt is None or record is None else np.asarray(fmt.values(record), np.float64))
    return found[0], found[1]


def _thin(x: np.ndarray, n: int) -> Sequence[float]:
    """Sorted values, at most `n`, evenly taken."""
    ordered = np.sort(x, axis=None)
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
