"""The whole model as a map: layers down, kinds across, a cell's colour is a measure. The screen opens on it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.style import Style
from textual.message import Message

from qinspect.inspector.compare.layer_map import (
    MEASURES,
    Cell,
    LayerMap,
    Worth,
    columns_for,
    first_measure,
    folded,
    worth_of,
)
from qinspect.inspector.compare.measures import STORED
from qinspect.inspector.compare.results import ScalePair, Status, WeightPair
from qinspect.inspector.text import number, percent, some
from qinspect.tui.charts.inks import ground, look_of, of_step, step_of
from qinspect.tui.compare.cell_text import short_number, short_percent
from qinspect.tui.compare.fidelity import Measured, named, rank
from qinspect.tui.compare.rows import Values
from qinspect.tui.compare.stored_labels import StoredLabels
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.kinds import kind_legend, short_kinds
from qinspect.tui.labels import fill, fill_name
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import LineList, Piece

if TYPE_CHECKING:
    from qinspect.inspector.measure import Measure

WIDEST, NARROWEST = 9, 2
"""Cells of the terminal that a column takes."""
NUMBERED = 6
"""From this width on a cell has its number."""
_MOST_LEFT = 16


class Overview(LineList):
    """Rows are lines of the map; a column has a cursor too. What is shown of a cell is said by `worth`."""

    class CellMoved(Message):
        """Another cell is under the cursor."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.two = True
        self.measure: Measure[ScalePair] | Measure[WeightPair] = MEASURES[0]
        self.column = 0
        self._whole: LayerMap | None = None
        self._map: LayerMap | None = None
        self._columns: list[int] = []
        self._values: Mapping[str, Values] = {}
        self._ranges: dict[int, tuple[float, float]] = {}
        self._first = 0
        self._labels: StoredLabels | None = None
        self._measure_chosen = False
        self._measured = Measured()

    # --- what is shown ---

    def show(self, found: LayerMap, two: bool, values: Mapping[str, Values]) -> None:
        """Another model, or more of it. values: of the scales of a model alone."""
        self._whole, self.two, self._values = found, two, values
        if two and not self._measure_chosen:
            self.measure = first_measure(found)
        self._fit()

    def show_values(self) -> None:
        """More values of a model alone are known."""
        if not self.two:
            self._fit()

    def show_measure(self, step: int) -> None:
        """The next measure: of the comparison, then of fidelity."""
        self._measure_chosen = True
        known = (*MEASURES, *self._measured.measures)
        at = next((i for i, m in enumerate(known) if m is self.measure), 0)
        self.measure = known[(at + step) % len(known)]
        self._fit()

    def of_fidelity(self, measured: Measured) -> None:
        """What is known of it is held by this object; it may have more by now."""
        if measured is not self._measured:
            at = next((i for i, m in enumerate(self._measured.measures) if m is self.measure), None)
            self._measured = measured
            if at is not None:
                self.measure = measured.measures[at]
        if self.by_fidelity:
            self.refresh_rows()
            self.post_message(self.CellMoved())

    @property
    def by_fidelity(self) -> bool:
        """Whether the measure that is shown is one of fidelity."""
        return self._measured.is_of(self.measure)

    def _worth(self, cell: Cell) -> Worth:
        """What a cell of two models shows."""
        if self.by_fidelity:
            return self._measured.worth(cell, self.measure)  # type: ignore[arg-type]
        return worth_of(cell, self.measure)

    def _fit(self) -> None:
        """Lines for the height and columns for the measure, the cursor left on its cell as far as there is one."""
        if self._whole is None or self.size.height < 1:
            return
        before = self.cell_at(self.cursor, self.column)
        self._map = folded(self._whole, self.size.height)
        of = STORED if self.by_fidelity else self.measure  # of matrices
        self._columns = columns_for(self._map, of) if self.two else list(range(len(self._map.kinds)))
        self._ranges = {} if self.two else self._ranges_of_kinds(self._map)
        stored = self.two and self.measure is STORED
        self._labels = StoredLabels(t for c in self._map.cells.values() for t in c.tensors) if stored else None
        self.set_rows(len(self._map.rows))
        where = next((k for k, c in self._map.cells.items() if before is not None and c is before), None)
        if where and where[0] < self._map.n_layers and where[1] in self._columns:
            self.cursor, self.column = where[0], self._columns.index(where[1])
        self.column = max(0, min(self.column, self._n_columns(self.cursor) - 1))
        self._scroll_columns()
        self.post_message(self.CellMoved())

    def _ranges_of_kinds(self, m: LayerMap) -> dict[int, tuple[float, float]]:
        """The least and the largest scale of each kind, of a model alone."""
        found: dict[int, tuple[float, float]] = {}
        for (row, column), cell in m.cells.items():
            value = self._value_alone(cell)
            if row < m.n_layers and value is not None and value > 0 and math.isfinite(value):
                low, high = found.get(column, (value, value))
                found[column] = min(low, value), max(high, value)
        return found

    def _value_alone(self, cell: Cell) -> float | None:
        known = [self._values.get(p.role, (None, None))[0] for p in cell.scales]
        ends = [v[1] for v in known if isinstance(v, tuple)]
        return max(ends, default=None)

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
            if (cell := self.cell_at(row, column)) is not None and self._differs(cell)
        ]
        here = (self.cursor, self.column)
        later = [p for p in places if (p > here if step > 0 else p < here)]
        if not places:
            return False
        row, self.column = (later or places)[0 if step > 0 else -1]
        super().move_to(row, tell=False)
        self._repaint_cursor()
        return True

    def _differs(self, cell: Cell) -> bool:
        """By the measure, where that is one of fidelity."""
        return self._worth(cell).sign is Status.DIFFERENT if self.by_fidelity else bool(cell.differing)

    def _rank(self, value: float) -> tuple[int, float]:
        return rank(self.measure, value) if self.by_fidelity else self.measure.rank(value)  # type: ignore[arg-type]

    def go_to_largest(self) -> bool:
        """To the cell that the measure puts first. Whether any differs."""
        m = self._map
        if m is None:
            return False
        first, place = (1, 0.0), None
        for row in range(len(m.rows)):
            for column in range(self._n_columns(row)):
                cell = self.cell_at(row, column)
                value = self._worth(cell).value if cell else None
                if value and (ranked := self._rank(value)) < first:
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
        widest = max(WIDEST, self._labels.longest + 3) if self._labels else WIDEST
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
        legend = self._labels.legend(self._label_room, width, 2, self.glyphs.cut) if self._labels and most > 2 else []
        said = kind_legend(names, columns.start + 1, width, most - 1 - len(legend), self.glyphs.cut)
        return [*([(text, "")] for text in legend), *([(text, "dim")] for text in said), line]

    @property
    def _label_room(self) -> int:
        """Cells of what a weight is stored as: one is kept for a sign after it, one between columns."""
        return self.cell_width - 2

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
        if not self.two:
            return self._drawn_alone(row, column, cell, room)
        worth = self._worth(cell)
        place = self.measure.colours.place(worth.value)
        if self._labels is not None and (drawn := self._stored(cell, worth, room)):
            return drawn, place
        told = self._number(worth)
        if told is not None:
            shade = self._shade(place, room) if place else self.glyphs.same
            return _whole(told, room) or shade, place
        same = worth.sign.counts_as_same and not worth.of_others
        return fill(self._sign(worth), room, "", right=True), 0.0 if same else math.nan

    def _stored(self, cell: Cell, worth: Worth, room: int) -> str:
        """As what the weights of a cell are stored, with a sign where not all are alike; "" where it has none."""
        if self._labels is None or not isinstance(worth.item, WeightPair):
            return ""
        label = self._labels.drawn(worth.item, self._label_room)
        several = len({found for t in cell.tensors if (found := self._labels.of(t))}) > 1
        sign = "+" if several else self.glyphs.different[0] if worth.of_others else ""
        return fill(f"{label}{sign}", room, "", right=True) if label else ""

    def _number(self, worth: Worth) -> str | None:
        """The number of a cell that has one and differs."""
        if worth.value is None or worth.sign is not Status.DIFFERENT:
            return None
        if math.isinf(worth.value):
            return "n/a"
        if self.measure.unit == "%":
            return short_percent(worth.value, self.measure.colours.signed)
        return str(self.measure.text(worth.item)).split(" of ")[0]  # type: ignore[arg-type]

    def _sign(self, worth: Worth) -> str:
        g = self.glyphs
        if worth.of_others or worth.sign is Status.DIFFERENT:
            return g.different[0]
        match worth.sign:
            case Status.ONLY_A:
                return "A"
            case Status.ONLY_B:
                return "B"
            case Status.BROKEN:
                return g.broken
            case Status.NOT_COMPARED:
                return "?"
        return g.same if worth.sign.counts_as_same else g.odd

    def _drawn_alone(self, row: int, column: int, cell: Cell, room: int) -> tuple[str, float]:
        if any(p.faults_a for p in cell.scales):
            return fill(self.glyphs.broken, room, "", right=True), 1.0
        value = self._value_alone(cell)
        if value is None:
            return fill("?" if cell.scales else " ", room, "", right=True), math.nan
        low, high = self._ranges.get(
            self._columns[column] if row < (self._map.n_layers if self._map else 0) else -1, (value, value)
        )
        place = math.log(value / low) / math.log(high / low) if 0 < low < high and value > 0 else 0.0
        return _whole(short_number(value), room) or self._shade(place, room), place

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
        cell = self.cell
        if cell is None or not self.two:
            return ""
        worth = self._worth(cell)
        return "" if worth.value is None else str(self.measure.text(worth.item))  # type: ignore[arg-type]

    def readout(self, width: int) -> list[str]:
        """What is known of the cell under the cursor, in two lines; of a long name the middle is left out."""
        cell, name = self.cell, self.cell_name
        if cell is None:
            return ["", ""]
        first = fill_name(shown(name), width, self.glyphs.cut).rstrip()
        if not self.two:
            value = self._value_alone(cell)
            n = len(cell.scales)
            said = "no scale" if not n else f"{n} scales" if n > 1 else ""
            if value is not None:
                said = f"{said}, the largest {number(value)}" if n > 1 else f"scale {number(value)}"
            return [first, said]
        worth = self._worth(cell)
        if self.by_fidelity:
            return [first, "   ".join(self._said_of_fidelity(cell, worth))]
        if self._labels is not None and worth.value is not None:
            return [first, "   ".join(self._said_of_storage(cell, worth))]
        parts = []
        if isinstance(worth.item, ScalePair) and worth.item.difference:
            d = worth.item.difference
            parts += [f"A {number(d.a)}", f"B {number(d.b)}", f"{percent(d.largest)} of A"]
        else:
            told = self._number(worth)
            parts += [f"{self.measure.name} {told}"] if told else [str(worth.item.status)]
        n = len(cell.items)
        if n > 1:
            parts.append(f"{cell.differing} of {n} scales and tensors differ")
            if cell.differing:
                parts.append(shown(worth.item.role, 80))
        if worth.of_others:
            parts.append(f"what this measure does not measure differs: {key('measure')} shows it by another")
        return [first, "   ".join(parts)]

    def _said_of_fidelity(self, cell: Cell, worth: Worth) -> Iterator[str]:
        """Of the worst weight of the cell: all measures."""
        if isinstance(worth.item, WeightPair) and worth.value is not None:
            told = [(m, m.text(worth.item)) for m in self._measured.measures]
            yield from (named(m, text) for m, text in told if text)
        elif worth.sign is Status.NOT_COMPARED:
            yield "not measured yet"
        else:
            yield self._measured.why_not(worth.item.role) or str(worth.sign)
        if len(cell.tensors) > 1:
            yield f"the worst of {len(cell.tensors):,}: {shown(worth.item.role, 80)}"

    def _said_of_storage(self, cell: Cell, worth: Worth) -> Iterator[str]:
        """What both models store, of a cell of tensors."""
        assert self._labels is not None
        assert isinstance(worth.item, WeightPair)
        w = worth.item
        if len(cell.tensors) > 1:
            yield self._labels.said_of(cell.tensors)
        if w.stored_a and w.stored_b:
            same = w.stored_a == w.stored_b
            yield f"both {w.stored_a.name}" if same else f"A {w.stored_a.name}   B {w.stored_b.name}"
        if w.stored_a == w.stored_b or len(cell.tensors) == 1:
            yield str(w.status)
        only = Counter(p.status for p in cell.scales if p.status in (Status.ONLY_A, Status.ONLY_B))
        yield from (f"{some(n, 'scale')} {status}" for status, n in only.items())
        if worth.of_others:
            yield f"the numbers differ: {key('measure')} shows by how much"


def _numbers(columns: range, width: int) -> str:
    """Numbers of columns, each at the end of its own: all that have room, and no digit is cut."""
    line = ""
    for i, column in enumerate(columns, 1):
        text = str(column + 1)
        if (start := i * width - 1 - len(text)) >= len(line) + bool(line):
            line = line.ljust(start) + text
    return line


def _whole(told: str, room: int) -> str:
    """A number as it is written, without its % where that is too much; empty where it has no room: a digit that is cut
    off makes another number."""
    bare = told if len(told) <= room else told.removesuffix("%")
    return bare if room >= NUMBERED - 1 and len(bare) <= room else ""
