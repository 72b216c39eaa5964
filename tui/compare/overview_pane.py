"""The overview: the map, what its columns are, and what is known of the cell under the cursor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.message import Message

from qinspect.inspector.compare.layer_map import LayerMap
from qinspect.inspector.compare.measures import STORED
from qinspect.inspector.text import columns
from qinspect.tui.compare.fidelity import Measured, named
from qinspect.tui.compare.overview import Overview
from qinspect.tui.compare.rows import ONE_MODEL, Values
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.list_pane import MOVING, ListPane
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.pane import Hint
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import LineList, Piece
from qinspect.tui.widgets.text_pane import TextPane

MOST_HEADS = 6
"""Lines of the names of columns that are taken from the map, in a terminal that has room for them."""
BESIDE_THE_MAP = 3
"""Lines of the title, and of what is said of the cell."""


class OverviewPane(ListPane):
    """The screen opens on it."""

    ACTIONS: ClassVar[frozenset[str]] = frozenset({
        *MOVING, "expand", "collapse", "next_difference", "previous_difference", "largest_difference", "measure",
        "copy_row",
    })  # fmt: skip

    SENTENCES: ClassVar[Mapping[str, str]] = {
        "down": "The next layer.",
        "up": "The layer before.",
        "expand": "The next kind, to the right.",
        "collapse": "The kind before.",
        "top": "The first layer.",
        "bottom": "The last line.",
        "open": "Into the scales of the cell.",
        "next_difference": "The next cell that differs.",
        "previous_difference": "The cell before that differs.",
        "largest_difference": "The cell that differs most.",
        "measure": "The next measure.",
        "copy_row": "Copy what is said of the cell (OSC 52).",
    }

    class FidelityWanted(Message):
        """A measure of it was chosen."""

    class Chosen(Message):
        """Into the scales of a cell. name: what it is called. roles: of its scales and tensors."""

        def __init__(self, name: str, roles: frozenset[str]) -> None:
            super().__init__()
            self.name = name
            self.roles = roles

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="overview-box")
        self.glyphs = glyphs

    def compose(self) -> ComposeResult:
        yield TitleLine("0 overview of layers", id="overview-title")
        yield TextPane(id="overview-heads")
        yield Overview(self.glyphs, id="overview")
        yield TextPane(id="overview-readout")

    @property
    def map(self) -> Overview:
        """The map itself."""
        return self.query_one(Overview)

    def show(self, found: LayerMap, two: bool, values: Mapping[str, Values]) -> None:
        """Another model, or more of it."""
        self.map.show(found, two, values)

    def of_fidelity(self, measured: Measured) -> None:
        """What is known of it, or more of it."""
        self.map.of_fidelity(measured)

    @property
    def hints(self) -> tuple[Hint, ...]:
        return (("collapse expand", "kind"), ("open", "scales"))

    @property
    def chosen(self) -> Chosen | None:
        """The cell under the cursor, None where there is none."""
        cell = self.map.cell
        return None if cell is None else self.Chosen(self.map.cell_name, frozenset(p.role for p in cell.items))

    @on(Overview.CellMoved)
    def _on_cell(self) -> None:
        m = self.map
        heads = m.heads(max(20, self.size.width - 3), self._room_for_heads()) or [[]]
        box = self.query_one("#overview-heads", TextPane)
        if box.size.height != len(heads):
            box.styles.height = max(1, len(heads))
            box.refresh()
        box.show(heads)
        said = m.readout(max(20, self.size.width - 3))
        self.query_one("#overview-readout", TextPane).show([_bold(line, i) for i, line in enumerate(said)])
        self.title.update(self._titled(["0 overview of layers", m.hidden_said, *self._scale_said()]))

    def _titled(self, parts: list[str]) -> str:
        """What fits of the parts, whole."""
        title, room = parts[0], self.size.width - 2
        for part in filter(None, parts[1:]):
            longer = f"{title} {self.glyphs.dot} {part}"
            if len(longer) > room:
                break
            title = longer
        return title

    def _room_for_heads(self) -> int:
        """What they may take in any case, and what the map leaves free."""
        height = self.size.height
        granted = 1 if height < 14 else MOST_HEADS if height < 40 else 2 * MOST_HEADS
        return max(granted, height - BESIDE_THE_MAP - self.map.n_wanted)

    def _scale_said(self) -> list[str]:
        m = self.map
        if not m.two:
            return ["the largest scale of each cell", "colour: from the least to the largest of its column"]
        measure, g = m.measure, self.glyphs
        if measure is STORED:
            return [
                "what weights are stored as",
                f"{key('measure')}: next measure",
                f"{g.different[0]} other numbers",
                "+ others too",
            ]
        if m.by_fidelity:
            signs = [f"{g.same} every value equal", f"{g.odd} not measured", "? not yet"]
            return [measure.name, f"{key('measure')}: next measure", *signs]
        unit = "% of A" if measure.unit == "%" else measure.unit
        name = f"{measure.name}, {unit}" if measure.name != measure.unit else measure.name
        return [
            name,
            f"{key('measure')}: next measure",
            f"{g.same} the same",
            f"{g.different[0]} differs without a number",
        ]

    # --- keys ---

    def action_expand(self) -> None:
        self.map.move_column(1)

    def action_collapse(self) -> None:
        self.map.move_column(-1)

    def action_measure(self) -> None:
        if self.map.two:
            self.map.show_measure(1)
            self.say(self.map.measure.sentence)
            if self.map.by_fidelity:
                self.post_message(self.FidelityWanted())

    def action_next_difference(self) -> None:
        self._say_unless(self.map.next_different(1))

    def action_previous_difference(self) -> None:
        self._say_unless(self.map.next_different(-1))

    def action_largest_difference(self) -> None:
        found = self.map.go_to_largest()
        self._say_unless(found)
        if found and (said := self.map.said_of_cell()):
            self.say(f"worst: {named(self.map.measure, said)}" if self.map.by_fidelity else f"largest: {said}")

    def action_copy_row(self) -> None:
        """The cell's name, and what is said of it: a column each."""
        if self.map.cell is not None:
            said = self.map.readout(self.size.width)[1]
            self.say(copy_to_terminal(self.app, columns(self.map.cell_name, said)))

    def _say_unless(self, found: bool) -> None:
        if not found:
            self.say("no difference" if self.map.two else ONE_MODEL)

    @on(LineList.Chosen)
    def _on_chosen(self, event: LineList.Chosen) -> None:
        event.stop()
        if self.chosen is not None:
            self.post_message(self.chosen)

    @on(TextPane.Clicked)
    @on(TextPane.Resized)
    def _on_text(self, event: TextPane.Clicked | TextPane.Resized) -> None:
        """Nothing in the lines beside the map is made for a click."""
        event.stop()


def _bold(line: str, i: int) -> list[Piece]:
    return [(line, "name" if i == 0 else "")]
