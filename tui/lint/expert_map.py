"""Layers by experts as a map: the state of each expert as a sign in its colour, and a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.experts.coverage import Cell, Coverage
from qinspect.inspector.experts.states import NO_EXPERT, STATES, State
from qinspect.inspector.text import number
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import LineList, Piece, text_width

SIGNS = {
    State.UNREAD: ("?", "dim"),
    State.SOUND: (".", "dim"),
    State.SHARED: ("=", "dim"),
    State.DYNAMIC: ("-", "dim"),
    State.OUTLYING: ("o", "up"),
    State.DEFAULT: ("1", "accent"),
    State.ZERO: ("0", "broken"),
    State.NEGATIVE: ("n", "broken"),
    State.NOT_FINITE: ("!", "broken"),
    State.MISSING: ("x", "broken"),
    State.DAMAGED: ("#", "broken"),
}
"""Of each state a sign and its colour: no state is told by its colour alone."""
LABEL = 6


class ExpertMap(LineList):
    """A row a layer. Where experts have no room, a cell stands for several and shows the worst."""

    COMPONENT_CLASSES = LineList.COMPONENT_CLASSES | {"cell"}

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="expert-map")
        self.found = Coverage(())
        self.column = 0
        """The expert under the cursor, by its number."""
        self._glyphs = glyphs

    def show(self, found: Coverage) -> None:
        """Other experts; the cursor on the first that is not sound."""
        fresh = not self.found.layers
        self.found = found
        self.set_rows(len(found.layers))
        if fresh and found.layers:
            row, self.column = self.worst
            self.move_to(row)

    @property
    def worst(self) -> tuple[int, int]:
        """Layer and number of the first of the worst experts."""
        states = self.found.states
        at = int(states.argmax()) if states.size else 0
        width = max(1, int(states.shape[1]))
        return at // width, at % width

    @property
    def cell(self) -> Cell | None:
        """The expert under the cursor."""
        if not self.found.layers:
            return None
        layer = self.found.layers[self.cursor]
        return layer.cell(layer.numbers.index(self.column)) if self.column in layer.numbers else None

    def move_column(self, by: int) -> None:
        """To an expert beside it; to the one that a cell away stands for where a cell has several."""
        wide = self.found.states.shape[1] if self.found.layers else 0
        step = -(-wide // max(1, self._room(self.size.width)))
        self.column = max(0, min(wide - 1, self.column + by * max(1, step)))
        self.refresh_rows()
        self.post_message(self.Moved(self, self.cursor))

    def go_to(self, row: int, column: int) -> None:
        """The cursor on an expert."""
        self.column = column
        self.refresh_rows()
        self.move_to(row)

    def not_sound(self) -> list[tuple[int, int]]:
        """Layer and number of all that are not, in order."""
        found = np.argwhere(self.found.states > State.DYNAMIC.rank)
        return [(int(r), int(c)) for r, c in found]

    def _room(self, width: int) -> int:
        return max(1, width - LABEL - 2)

    def _blocks(self, width: int) -> list[range]:
        """The experts of each cell."""
        n = self.found.states.shape[1]
        cells = min(n, self._room(width))
        return [range(i * n // cells, (i + 1) * n // cells) for i in range(cells)]

    def line(self, row: int, width: int) -> Sequence[Piece]:
        layer = self.found.layers[row]
        label = next((part for part in layer.layer.split(".") if part.isdigit()), shown(layer.layer, 20))
        states: NDArray[np.int8] = self.found.states[row]
        pieces: list[Piece] = [(f"{label[: LABEL - 1]:>{LABEL - 1}} ", "dim")]
        cells = []
        for block in self._blocks(width):
            worst = int(states[block.start : block.stop].max())
            sign, kind = (" ", "") if worst == NO_EXPERT else SIGNS[STATES[worst]]
            cells.append((sign, "cell" if row == self.cursor and self.column in block else kind))
        for kind, run in groupby(cells, key=lambda cell: cell[1]):
            pieces.append(("".join(sign for sign, _ in run), kind))
        return pieces

    @property
    def heads(self) -> str:
        """Numbers of experts over the cells where they begin, as many as have room."""
        width = text_width(self)
        blocks = self._blocks(width) if self.found.layers else []
        line = " " * LABEL
        for at, block in enumerate(blocks):
            head = str(block.start)
            if at % 10 == 0 and len(line) <= LABEL + at and at + len(head) <= max(len(blocks), 8):
                line = f"{line:<{LABEL + at}}{head} "
        return line

    @property
    def readout(self) -> tuple[str, str]:
        """The expert under the cursor, in words: which and in what state; by which number."""
        cell = self.cell
        if cell is None:
            return ("this layer has no expert of this number" if self.found.layers else ""), ""
        value = "" if np.isnan(cell.value) else f" = {number(cell.value)}"
        ratio = "" if np.isnan(cell.ratio) else f", {cell.ratio:.3g} of the median"
        first = f"{cell.layer} expert {cell.number}: {cell.state}"
        return shown(first, 200), shown(f"{cell.column}{value}{ratio}", 200)

    @property
    def legend(self) -> str:
        """The signs that are there, the worst first."""
        counts = self.found.counts()
        return "  ".join(f"{SIGNS[s][0]} {s} {counts[s]:,}" for s in reversed(SIGNS) if counts[s])

    @property
    def role(self) -> str:
        """The scale that the cell under the cursor shows."""
        cell = self.cell
        return "" if cell is None else f"{cell.layer}.experts.{cell.number}.{cell.column}".removeprefix(".")
