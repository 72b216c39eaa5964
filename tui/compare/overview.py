"""The whole model as a map: layers down, kinds across, a cell's colour is a measure. The screen opens on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.style import Style
from textual.message import Message

from qinspect.inspector.compare.layer_map import Cell, LayerMap, columns_for, first_measure, folded
from qinspect.inspector.compare.measures import STORED
from qinspect.inspector.compare.results import ScalePair, WeightPair
from qinspect.tui.charts.inks import ground, look_of, of_step, step_of
from qinspect.tui.compare.fidelity import Measured
from qinspect.tui.compare.overview_cells import MapCells
from qinspect.tui.compare.rows import Values
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.kinds import kind_legend, short_kinds
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import LineList, Piece

if TYPE_CHECKING:
    from qinspect.inspector.measure import Measure

WIDEST, NARROWEST = 9, 2
"""Cells of the terminal that a column takes."""
_MOST_LEFT = 16


class Overview(LineList):
    """Rows are lines of the map; a column has a cursor too. What is shown of a cell is said by `drawn`."""

    class CellMoved(Message):
        """Another cell is under the cursor."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.drawn = MapCells(glyphs)
        self.column = 0
        self._whole: LayerMap | None = None
        self._map: LayerMap | None = None
        self._columns: list[int] = []
        self._first = 0
        self._measure_chosen = False

    # --- what is shown ---

    def show(self, found: LayerMap, two: bool, values: Mapping[str, Values]) -> None:
        """Another model, or more of it. values: of the scales of a model alone."""
        self._whole, self.drawn.two, self.drawn.values = found, two, values
        if two and not self._measure_chosen:
            self.drawn.measure = first_measure(found)
        self._fit()

    def show_values(self) -> None:
        """More values of a model alone are known."""
        if not self.two:
            self._fit()

    def show_measure(self, step: int) -> None:
        """The next measure: of the comparison, then of fidelity."""
        self._measure_chosen = True
        self.drawn.next_measure(step)
        self._fit()

    def of_fidelity(self, measured: Measured) -> None:
        """What is known of it is held by this object; it may have more by now."""
        if measured is not self.drawn.measured:
            self.drawn.of_fidelity(measured)
        if self.by_fidelity:
            self.refresh_rows()
            self.post_message(self.CellMoved())

    @property
    def two(self) -> bool:
        """Whether there is a B."""
        return self.drawn.two

    @property
    def measure(self) -> Measure[ScalePair] | Measure[WeightPair]:
        """The one that is shown."""
        return self.drawn.measure

    @property
    def by_fidelity(self) -> bool:
        """Whether the measure that is shown is one of fidelity."""
        return self.drawn.by_fidelity

    def _fit(self) -> None:
        """Lines for the height and columns for the measure, the cursor left on its cell as far as there is one."""
        if self._whole is None or self.size.height < 1:
            return
        before = self.cell_at(self.cursor, self.column)
        self._map = folded(self._whole, self.size.height)
        of = STORED if self.by_fidelity else self.measure  # of matrices
        self._columns = columns_for(self._map, of) if self.two else list(range(len(self._map.kinds)))
        self.drawn.fit(self._map)
        self.set_rows(len(self._map.rows))
        where = next((k for k, c in self._map.cells.items() if before is not None and c is before), None)
        if where and where[0] < self._map.n_layers and where[1] in self._columns:
            self.cursor, self.column = where[0], self._columns.index(where[1])
        self.column = max(0, min(self.column, self._n_columns(self.cursor) - 1))
        self._scroll_columns()
        self.post_message(self.CellMoved())

    def on_resize(self, _: object) -> None:
        super().on_resize(_)  # type: ignore[arg-type]
        self._fit()

    # --- where the cursor is ---

    def _n_columns(self, row: int) -> int:
        m = self._map
        if m is None or not m.rows:
            return 0
        if row < m.n_layers:
            return len(self._columns)
        return sum(r == row for r, _ in m.names)

    def _key(self, row: int, column: int) -> tuple[int, int] | None:
        m = self._map
        if m is None or not 0 <= row < len(m.rows) or not 0 <= column < self._n_columns(row):
            return None
        return (row, self._columns[column]) if row < m.n_layers else (row, column)

    def cell_at(self, row: int, column: int) -> Cell | None:
        """What stands at a place of the map as it is drawn; None where nothing does."""
        key = self._key(row, column)
        return self._map.cells.get(key) if self._map and key else None

    @property
    def cell(self) -> Cell | None:
        """The one under the cursor."""
        return self.cell_at(self.cursor, self.column)

    @property
    def cells(self) -> list[Cell]:
        """All that the map is drawn of."""
        return list(self._map.cells.values()) if self._map else []

    @property
    def cell_name(self) -> str:
        """`layer 3, mixer.x_proj:input`; empty where no cell is."""
        key = self._key(self.cursor, self.column)
        return self._map.name_of(*key) if self._map and key and key in self._map.cells else ""

    def move_column(self, by: int) -> None:
        """To the left or right, past cells that are empty."""
        to = self.column + by
        step = 1 if by > 0 else -1
        while self.cell_at(self.cursor, to) is None and 0 <= to < self._n_columns(self.cursor):
            to += step
        to = max(0, min(to, self._n_columns(self.cursor) - 1))
        if to != self.column:
            self.column = to
            self._repaint_cursor()

    def move_to(self, row: int, tell: bool = True, again: bool = True) -> None:
        before = self.cursor
        super().move_to(row, tell=False, again=again)
        if self.cursor != before:
            self.column = max(0, min(self.column, self._n_columns(self.cursor) - 1))
            self._repaint_cursor()

    def next_different(self, step: int) -> bool:
        """To the next cell in which something differs, along the lines. Whether there is one."""
        m = self._map
        if m is None:
            return False
        places = [
            (row, column)
            for row in range(len(m.rows))
            for column in range(self._n_columns(row))
            if (cell := self.cell_at(row, column)) is not None and self.drawn.differs(cell)
        ]
        here = (self.cursor, self.column)
        later = [p for p in places if (p > here if step > 0 else p < here)]
        if not places:
            return False
        row, self.column = (later or places)[0 if step > 0 else -1]
        super().move_to(row, tell=False)
        self._repaint_cursor()
        return True

    def go_to_largest(self) -> bool:
        """To the cell that the measure puts first. Whether any differs."""
        m = self._map
        if m is None:
            return False
        first, place = (1, 0.0), None
        for row in range(len(m.rows)):
            for column in range(self._n_columns(row)):
                cell = self.cell_at(row, column)
                value = self.drawn.worth(cell).value if cell else None
                if value and (ranked := self.drawn.rank(value)) < first:
                    first, place = ranked, (row, column)
        if place is None:
            return self.next_different(1)
        row, self.column = place
        super().move_to(row, tell=False)
        self._repaint_cursor()
        return True

    def _repaint_cursor(self) -> None:
        first = self._first
        self._scroll_columns()
        if first != self._first:
            self.refresh_rows()
        else:
            self._cache.clear()
            self.refresh_line(self.cursor)
        self.post_message(self.CellMoved())

    def _scroll_columns(self) -> None:
        room = self._room()
        first = max(0, min(self._first, self.column))
        if self.column >= first + room:
            first = self.column - room + 1
        self._first = max(0, min(first, max(0, len(self._columns) - room)))

    # --- how it is drawn ---

    def _left(self) -> int:
        m = self._map
        longest = max((len(shown(m.label(row), 40)) for row in range(len(m.rows))), default=0) if m else 0
        return min(_MOST_LEFT, max(5, longest)) + 2

    @property
    def cell_width(self) -> int:
        """Cells of the terminal a column takes."""
        widest = max(WIDEST, self.drawn.labels.longest + 3) if self.drawn.labels else WIDEST
        return max(NARROWEST, min(widest, (self.size.width - 1 - self._left()) // max(1, len(self._columns))))

    def _room(self) -> int:
        return max(1, (self.size.width - 1 - self._left()) // self.cell_width)

    @property
    def n_wanted(self) -> int:
        """Lines that it takes to show every layer on one of its own."""
        return len(self._whole.rows) if self._whole else 0

    @property
    def _columns_shown(self) -> range:
        return range(self._first, min(self._first + self._room(), len(self._columns)))

    @property
    def hidden_said(self) -> str:
        """`columns 1-36 of 300`, "" where all are on the screen."""
        shown, n = self._columns_shown, len(self._columns)
        return f"columns {shown.start + 1}-{shown.stop} of {n:,}" if len(shown) < n else ""

    def heads(self, width: int, most: int) -> list[list[Piece]]:
        """Lines that say what the columns are, and over the map that of their numbers: at most so many."""
        m = self._map
        if m is None or not self._columns:
            return []
        columns = self._columns_shown
        numbers = _numbers(columns, self.cell_width)
        line: list[Piece] = [(f"{'layers':<{self._left() - 1}}", "dim"), (numbers, "dim")]  # it is indented by one
        names = short_kinds([m.kinds[c] for c in self._columns])[columns.start : columns.stop]
        legend = (
            self.drawn.labels.legend(self.cell_width - 2, width, 2, self.glyphs.cut)
            if self.drawn.labels and most > 2
            else []
        )
        said = kind_legend(names, columns.start + 1, width, most - 1 - len(legend), self.glyphs.cut)
        return [*([(text, "")] for text in legend), *([(text, "dim")] for text in said), line]

    def line(self, row: int, width: int) -> Sequence[Piece]:
        m = self._map
        if m is None:
            return []
        on = row == self.cursor
        left = self._left()
        name = fill(shown(m.label(row), 60), left - 2, self.glyphs.cut)
        pieces: list[Piece] = [(f" {name} ", "name" if on else "dim")]
        first = self._first if row < m.n_layers else 0
        columns = range(first, min(first + self._room(), self._n_columns(row)))
        return [*pieces, *(self._cell_piece(row, column, on and column == self.column) for column in columns)]

    def _cell_piece(self, row: int, column: int, at_cursor: bool) -> Piece:
        w = self.cell_width
        cell = self.cell_at(row, column)
        if cell is None:
            return (" " * w, "")
        text, place = self._drawn(row, column, cell, w - 1)
        kind = "" if math.isnan(place) else f"heat{step_of(place)}"
        if at_cursor:
            bare = text.strip()
            shade = len(set(bare)) <= 1  # can be cut, which a number never is
            has_room = w > 3 and (shade or len(bare) <= w - 2)
            mark = f"[{bare[: w - 2]:>{w - 2}}]" if has_room else f">{bare[: w - 1]:>{w - 1}}"
            return (f"{mark:<{w}}", f"{kind} at")
        return (f"{text:>{w - 1}} ", kind)

    def _drawn(self, row: int, column: int, cell: Cell, room: int) -> tuple[str, float]:
        """Text of at most `room` cells, and the place on the colour scale."""
        of_layers = self._map is not None and row < self._map.n_layers
        text, place = self.drawn.drawn(cell, room, self._columns[column] if of_layers else -1)
        return text or self._shade(place, room), place

    def _shade(self, place: float, room: int) -> str:
        """What stands where a number has no room; nothing on a colour, which a dark shade would turn round."""
        if self.piece_style(f"heat{step_of(place)}").bgcolor is not None:
            return " " * max(1, room)
        ramp = self.glyphs.shades
        return ramp[round(abs(place) * (len(ramp) - 1))] * max(1, room)

    def piece_style(self, name: str) -> Style:
        """Cells of the map have the colours of heat maps, where the terminal has so many; else those of the theme."""
        words = name.split(" ")
        if not words[0].startswith("heat") and words[-1] != "at":
            return super().piece_style(name)
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self._heat_style(words[0], words[-1] == "at")
        return style

    def _heat_style(self, word: str, at_cursor: bool) -> Style:
        step = int(word.removeprefix("heat")) if word.startswith("heat") else 0
        cursor = Style(bold=True, underline=True) if at_cursor else Style.null()
        if not step:
            return super().piece_style("same") + cursor if word == "heat0" else cursor
        if isinstance(look_of(self.app, 0, 0, self.glyphs).a, tuple):
            return ground(of_step(step)) + cursor
        return super().piece_style("up" if step > 0 else "down") + cursor

    def said_of_cell(self) -> str:
        """The measure of the cell under the cursor in full, empty where it has no number."""
        return "" if self.cell is None else self.drawn.said(self.cell)

    def readout(self, width: int) -> list[str]:
        """What is known of the cell under the cursor, in two lines."""
        return ["", ""] if self.cell is None else self.drawn.readout(self.cell, self.cell_name, width)


def _numbers(columns: range, width: int) -> str:
    """Numbers of columns, each at the end of its own: all that have room, and no digit is cut."""
    line = ""
    for i, column in enumerate(columns, 1):
        text = str(column + 1)
        if (start := i * width - 1 - len(text)) >= len(line) + bool(line):
            line = line.ljust(start) + text
    return line
