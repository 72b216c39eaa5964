"""What a view depends on besides its data. No numpy, no Textual: imported before the first paint."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from qinspect.tui.widgets.lines import Piece

Rgb = tuple[int, int, int]
Ink = Rgb | str | None
"""A colour: of any, one of the terminal's own sixteen by its name, or none."""
Line = list[Piece] | Text | str


ERROR_CHARTS = 3
"""Of the error of a weight: in steps and as a map; against magnitude; along the channels."""


class Picture(list[Line]):
    """Lines with a heat map among them: its rows and columns, for a cursor to move over."""

    def __init__(self, lines: list[Line], cells: tuple[int, int]) -> None:
        super().__init__(lines)
        self.cells = cells


@dataclass(frozen=True, slots=True)
class Look:
    """Size of the pane in cells, colours of A, B and of marks (None: none), whether only ASCII shows. both: the colour
    of what A and B have in common."""

    width: int
    height: int
    a: Ink
    b: Ink
    mark: Ink
    plain: bool = False
    both: Ink = (138, 138, 138)


@dataclass(frozen=True, slots=True)
class Options:
    """log_counts, log_axis: logarithmic. cursor: 0..1 along the axis, None without. zoom: part of the axis shown, from
    its right end: 1 all, 0.1 the last tenth. cell: row and column of a heat map's cursor, None without. chart: which
    one is shown of a view that has several."""

    log_counts: bool = False
    log_axis: bool = False
    cursor: float | None = None
    zoom: float = 1.0
    cell: tuple[int, int] | None = None
    chart: int = 0
