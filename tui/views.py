"""The other views of the detail pane: histograms, codes, profile, values. Built in a thread; each returns lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.histogram import Chunks, Histogram, code_counts, histogram, weight_chunks
from qinspect.inspector.text import number, percent, share
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.plot import heat_lines, histogram_lines, profile_lines
from qinspect.tui.session import Session
from qinspect.tui.widgets.lines import Piece

Check = Callable[[int, int], None]
SHOWN_VALUES = 20_000


def weight_of(fmt: Format | None, pair: ScalePair) -> QuantizedWeight | None:
    """The weight that a scale belongs to: its own, or for an observation point that of the layer it stands at."""
    if fmt is None:
        return None
    weights = fmt.weights()
    role = pair.role.partition("#")[0]
    own = next((w for w in weights if pair.role in w.scale_roles or w.role == role), None)
    if own or ":" not in role:
        return own
    module = role.rpartition(":")[0]
    return next((w for w in weights if w.role == f"{module}.weight"), None)


def scale_histogram(s: Session, pair: ScalePair, look: Look, o: Options, check: Check) -> list[Line]:
    """Of the scale's own values, A over B."""
    a, b = _values(s, pair)
    first = a if a is not None else b
    if first is None or first.size < 2:
        return ["  One number: there is no distribution to draw.", "", "  w shows the weight of this layer."]

    def stream(x: np.ndarray | None) -> Chunks | None:
        return None if x is None else lambda: [x]

    left, right = (stream(a), stream(b)) if a is not None else (stream(b), None)
    assert left is not None
    check(0, 1)
    return _draw(lambda zoom: histogram(left, right, _bins(look), o.log_axis, zoom), look, o)


def weight_histogram(s: Session, pair: ScalePair, look: Look, o: Options, check: Check) -> list[Line]:
    """Of the dequantized weight, A over B."""
    wa = weight_of(s.a, pair) if pair.a else None
    wb = weight_of(s.b, pair) if pair.b else None
    if wa is None and wb is None:
        return ["  No quantized weight belongs to this scale."]
    streams: list[Chunks] = []
    for fmt, weight in ((s.a, wa), (s.b, wb)):
        if fmt is not None and weight is not None:
            streams.append(weight_chunks(fmt, weight, check))
    second = streams[1] if len(streams) > 1 else None
    lines = _draw(lambda zoom: histogram(streams[0], second, _bins(look), o.log_axis, zoom), look, o)
    w = wa or wb
    assert w is not None
    heading = f"  {w.role} {list(w.shape)}"
    return [f"{heading}, dequantized" if len(heading) + 13 <= look.width else heading, *lines]


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
    lines: list[Line] = [
        *profile_lines(_thin(first, n), _thin(b, n) if a is not None and b is not None else None, first.size, look)
    ]
    if a is None or b is None or a.shape != b.shape:
        return lines
    with np.errstate(all="ignore"):
        ratio = np.log2(b.astype(np.float64) / a.astype(np.float64))
    grid = ratio.reshape(-1, ratio.shape[-1]) if ratio.ndim > 1 else ratio.reshape(1, -1)
    if grid.shape[0] > grid.shape[1]:
        grid = grid.T  # channels along the width, groups down
    finite = np.abs(grid[np.isfinite(grid)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    edge = percent(100 * (2**limit - 1)) if finite.size and finite.max() > 0 else "0 %"
    lines += [
        "",
        f"  B/A per cell, {grid.shape[0]} x {grid.shape[1]}: darkest equal, brightest {edge} (or its inverse)",
    ]
    cells = _shrink(grid / limit, max(2, look.height * 2), max(8, look.width - 2))
    lines += heat_lines(cells, look)
    return lines


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


def _bins(look: Look) -> int:
    """Two bins a cell, as the plot's marks have two dots."""
    return max(16, 2 * (look.width - 12))


def _draw(make: Callable[[tuple[float, float] | None], Histogram], look: Look, o: Options) -> list[Line]:
    h = make(None)
    if o.zoom < 1:
        low, high = h.edges[0], h.edges[-1]
        h = make((high - (high - low) * o.zoom, high))
    cursor = None if o.cursor is None else h.edges[0] + (h.edges[-1] - h.edges[0]) * o.cursor
    lines: list[Line] = [*histogram_lines(h, look, o.log_counts, cursor)]
    b = f"   B absmax {number(h.absmax_b)}" if h.b is not None else ""
    lines.append(
        f"  A filled, absmax {number(h.absmax_a)}{b}" + (f"   {h.n_left_out:,} left out" if h.n_left_out else "")
    )
    if cursor is not None:
        lines.append(_read_out(h, cursor))
    return lines


def _read_out(h: Histogram, cursor: float) -> str:
    """What share of A and B lies below the cursor."""
    value = 10**cursor if h.logarithmic else cursor
    parts = [f"  cursor {number(value)}"]
    for label, counts in (("A", h.a), ("B", h.b)):
        if counts is not None:
            below = sum(c for c, edge in zip(counts, h.edges[1:], strict=True) if edge <= cursor)
            parts.append(f"{label}: {share(below, sum(counts))} below")
    return "   ".join(parts)


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
