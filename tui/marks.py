"""Signs under a plot's axis, at values that matter: letters and brackets, so that they are read without colour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from qinspect.tui.widgets.lines import Piece

END, CLIP_LOW, CLIP_HIGH, SEVERAL = "^", "[", "]", "#"
"""An absmax, a minimum, a maximum; the smallest and largest value that codes can stand for; more than one in a cell."""

BEFORE, AFTER = "<", ">"
"""A value that lies beyond the end of the axis."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Of one model, or of both. label: `A`, `B` or `AB`. at: (place on the axis, sign)."""

    label: str
    at: tuple[tuple[float, str], ...]


class Ruler(Protocol):
    """Anything along which marks stand: cells before it, its own cells, and the cell of a value."""

    @property
    def left(self) -> int: ...

    @property
    def width(self) -> int: ...

    def column(self, at: float) -> int: ...


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where the cells of a chart are. left: cells before it. width: its cells. low, high: the axis."""

    left: int
    width: int
    low: float
    high: float

    def column(self, at: float) -> int:
        """The cell of a value, of the last one's right end too; negative, or `width` and more, beyond the ends."""
        column = math.floor(round(self.width * (at - self.low) / (self.high - self.low), 8))
        return column - 1 if column == self.width and at <= self.high else column


def merged_marks(marks: Sequence[Marks]) -> list[Marks]:
    """Of both models in one where they are the same."""
    if len(marks) == 2 and marks[0].at == marks[1].at:
        return [Marks("AB", marks[0].at)]
    return list(marks)


def mark_lines(marks: Sequence[Marks], canvas: Ruler) -> list[list[Piece]]:
    """A line each."""
    kinds = {"A": "a", "B": "b"}
    return [
        [
            (f"{m.label:>{canvas.left - 1}}".ljust(canvas.left), "dim"),
            (_cells(m.at, canvas), kinds.get(m.label, "accent")),
        ]
        for m in marks
    ]


def _cells(at: Iterable[tuple[float, str]], canvas: Ruler) -> str:
    cells = [" "] * canvas.width
    beyond: list[int] = []
    for value, sign in at:
        if not math.isfinite(value):
            continue
        column = canvas.column(value)
        if not 0 <= column < canvas.width:
            beyond.append(column)
        else:
            cells[column] = sign if cells[column] in (" ", sign) else SEVERAL
    for column in beyond:  # what can be seen is worth more than what cannot
        end, sign = (0, BEFORE) if column < 0 else (-1, AFTER)
        cells[end] = sign if cells[end] == " " else cells[end]
    return "".join(cells).rstrip()
