"""The views of the detail pane by name, and the one without a chart: the values. Built in a thread; each returns
lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import dims, percent
from qinspect.inspector.values.scale_values import first_values
from qinspect.inspector.values.value_text import array_texts
from qinspect.tui.codes_view import code_histogram
from qinspect.tui.compare.session import Session
from qinspect.tui.error_view import error_view
from qinspect.tui.histograms import scale_histogram, weight_histogram
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.profile_view import profile, sorted_said
from qinspect.tui.widgets.lines import Piece

SHOWN_VALUES = 20_000


def _shapes(a: tuple[int, ...], b: tuple[int, ...]) -> list[str]:
    return [f"A {dims(a)}", f"B {dims(b)}", "other shapes"]


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
        return _each_by_its_own_index(a, b, look, [pair.not_by_cell, *sorted_said(pair)])
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
    "error": error_view,
}
