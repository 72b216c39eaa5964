"""The axes around cells: labels at the left, ticks and their labels below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from qinspect.tui.charts.cells import Rows, painted
from qinspect.tui.charts.ticks import Placed
from qinspect.tui.look import Look

AXES = 2
"""Lines of the axis below and of its labels."""


def framed(rows: Rows, left: int, beside: Mapping[int, str], below: Sequence[Placed], look: Look) -> list[Text]:
    """left: cells before the cells, the axis among them. beside: labels by row from the bottom, -1: below."""
    side, tick, corner, rule, down = "|++-+" if look.plain else "│┤└─┬"
    n, width = len(rows), len(rows[0]) if rows else 0
    labels = [beside.get(n - 1 - row, "") for row in range(n)]
    heads = [f"{label:>{left - 1}}{tick if label else side}" for label in labels]
    axis, names = [rule] * width, [" "] * width
    for placed in below:
        axis[placed.column] = down
        names[placed.start : placed.start + len(placed.label)] = placed.label
    return [
        *painted(heads, rows, look),
        Text(f"{beside.get(-1, ''):>{left - 1}}{corner}{''.join(axis)}", no_wrap=True, end=""),
        Text(" " * left + "".join(names).rstrip(), no_wrap=True, end=""),
    ]
