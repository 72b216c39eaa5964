"""Cells with pens, and what makes text of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.style import Style
from rich.text import Text

from qinspect.tui.charts.inks import style
from qinspect.tui.look import Ink, Look

Cell = tuple[str, str]
"""(character, pen): a pen is an ink, or `INK on INK`: `a`, `b`, `both`, `mark`; "" for the empty ground."""
Rows = list[list[Cell]]
"""The top one first."""
EMPTY: Cell = (" ", "")


def full(look: Look) -> str:
    """The character of a cell that is filled to its top."""
    return "#" if look.plain else "█"


def with_line(rows: Rows, column: int, sign: str, look: Look) -> Rows:
    """A vertical line at a column; the rows as they are where that is beyond an end."""
    if not rows or not 0 <= column < len(rows[0]):
        return rows
    made = []
    for row in rows:
        character, pen = row[column]
        over = f"mark on {pen.partition(' ')[0]}" if character == full(look) and look.a is not None else "mark"
        made.append([*row[:column], (sign, over), *row[column + 1 :]])
    return made


def painted(labels: Iterable[str], rows: Rows, look: Look) -> list[Text]:
    """As text, each row behind its label."""
    lines = []
    for label, row in zip(labels, rows, strict=True):
        line = Text(label, no_wrap=True, end="")
        for pen, cells in groupby(row, key=lambda cell: cell[1]):
            line.append("".join(character for character, _ in cells), pen_of(pen, look))
        lines.append(line)
    return lines


def pen_of(pen: str, look: Look) -> Style | None:
    """How a pen writes."""
    ink, _, ground = pen.partition(" on ")
    colors: dict[str, Ink] = {"": None, "a": look.a, "b": look.b, "both": look.both, "mark": look.mark}
    if not pen or look.a is None:
        return style(None, None, bold=True) if ink == "mark" else None
    return style(colors[ink], colors[ground], bold=ink == "mark")
