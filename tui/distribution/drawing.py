"""Areas and lines in block characters, and the cursor over them: cells first, then text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.look import Look, Rgb

Cell = tuple[str, str]
"""(character, pen): `a`, `b`, `mark`; `b a`, `mark a` over what is filled; "" for the empty ground."""
Rows = list[list[Cell]]
"""The top one first."""
Heights = Sequence[float] | NDArray[np.float64]
"""One a column, 0 to 1."""


def area(a: Heights, b: Heights | None, rows: int, look: Look) -> Rows:
    """A filled, B as a line over it. What is not 0 is seen, however low."""
    blocks = (ASCII if look.plain else Glyphs()).blocks
    full = len(blocks) - 1
    made: Rows = []
    levels = [max(math.ceil(min(h, 1.0) * rows * full - 1e-9), 1) if h > 0 else 0 for h in a]
    for row in range(rows):
        under = (rows - 1 - row) * full
        made.append([_filled(blocks, min(full, max(0, level - under))) for level in levels])
    if b is not None:
        _draw_line(made, b, rows, look)
    return made


def _filled(blocks: str, level: int) -> Cell:
    return (blocks[level], "a" if level else "")


def _draw_line(made: Rows, heights: Heights, rows: int, look: Look) -> None:
    """At each column's height, in thirds of a cell."""
    thirds = "_-'" if look.plain else "▁─▔"
    full = made_of_full(look)
    for column, height in enumerate(heights):
        if not height > 0:
            continue
        level = min(rows * 3 - 1, int(height * rows * 3))
        row = rows - 1 - level // 3
        over = made[row][column][0] == full
        made[row][column] = (thirds[level % 3], "b a" if over and look.a else "b")


def made_of_full(look: Look) -> str:
    """The character of a cell that is filled to its top."""
    return (ASCII if look.plain else Glyphs()).blocks[-1]


def with_line(rows: Rows, column: int, sign: str, look: Look) -> Rows:
    """A vertical line at a column; the rows as they are where that is beyond an end."""
    if not rows or not 0 <= column < len(rows[0]):
        return rows
    full = made_of_full(look)
    made = []
    for row in rows:
        over = row[column][0] == full and look.a is not None
        made.append([*row[:column], (sign, "mark a" if over else "mark"), *row[column + 1 :]])
    return made


def painted(labels: Iterable[str], rows: Rows, look: Look) -> list[Text]:
    """As text, each row behind its label."""
    pens = _pens(look)
    lines = []
    for label, row in zip(labels, rows, strict=True):
        line = Text(label, no_wrap=True, end="")
        for pen, cells in groupby(row, key=lambda cell: cell[1]):
            line.append("".join(character for character, _ in cells), pens[pen])
        lines.append(line)
    return lines


def _pens(look: Look) -> dict[str, Style | None]:
    a, b, mark = (_color(rgb) for rgb in (look.a, look.b, look.mark))
    return {
        "": None,
        "a": Style(color=a),
        "b": Style(color=b),
        "mark": Style(color=mark, bold=True),
        "b a": Style(color=b, bgcolor=a),
        "mark a": Style(color=mark, bgcolor=a, bold=True),
    }


def _color(rgb: Rgb | None) -> str | None:
    return None if rgb is None else f"rgb({rgb[0]},{rgb[1]},{rgb[2]})"
