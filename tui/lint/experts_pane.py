"""The experts of a mixture as a map of layers by experts: beside the list of findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.message import Message

from qinspect.tui.glyphs import Glyphs
from qinspect.tui.lint.expert_map import ExpertMap
from qinspect.tui.list_pane import ListPane
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import LineList

if TYPE_CHECKING:
    from qinspect.inspector.experts.coverage import Coverage


class ExpertsPane(ListPane):
    """Of A, where it has experts, else of B."""

    ACTIONS: ClassVar[frozenset[str]] = ListPane.ACTIONS | {
        *("expand", "collapse", "next_finding", "previous_finding", "largest_finding", "copy_key"),
    }
    SENTENCES: ClassVar[Mapping[str, str]] = {
        "expand": "The next expert.",
        "collapse": "The expert before.",
        "next_finding": "The next expert that is not sound.",
        "previous_finding": "The one before.",
        "largest_finding": "The first of the worst experts.",
    }

    class Wanted(Message):
        """The scale of the expert under the cursor is to be looked at."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="experts")
        self.map = ExpertMap(glyphs)
        self._legend = TitleLine("", id="experts-legend")
        self._heads = TitleLine("", id="experts-heads")
        self._readout = TitleLine("", id="experts-readout"), TitleLine("", id="experts-number")

    def compose(self) -> ComposeResult:
        yield TitleLine("4 experts", id="experts-title")
        yield self._legend
        yield self._heads
        yield self.map
        yield from self._readout

    @property
    def title(self) -> TitleLine:
        return self.query_one("#experts-title", TitleLine)

    def show(self, found: Mapping[str, Coverage]) -> None:
        """What is known of each model."""
        model, of = next(((m, c) for m, c in found.items() if c.layers), ("", None))
        if of is None:
            self.title.update("4 experts: no scale in it is an expert's")
            return
        self.title.update(f"4 experts{f' of {model}' * (len(found) > 1)}: layers down, {of.states.shape[1]} across")
        self.map.show(of)
        self._legend.update(self.map.legend)
        self._heads.update(self.map.heads)
        self._tell()

    def on_resize(self) -> None:
        self._heads.update(self.map.heads)

    @on(LineList.Moved)
    def _on_moved(self) -> None:
        self._tell()

    def _tell(self) -> None:
        for line, text in zip(self._readout, self.map.readout, strict=True):
            line.update(text)

    # --- keys ---

    def action_open(self) -> None:
        """The scale that the cell shows."""
        if self.map.role:
            self.post_message(self.Wanted(self.map.role))

    def action_expand(self) -> None:
        self.map.move_column(1)

    def action_collapse(self) -> None:
        self.map.move_column(-1)

    def action_next_finding(self) -> None:
        self._step(1)

    def action_previous_finding(self) -> None:
        self._step(-1)

    def action_largest_finding(self) -> None:
        if self.map.found.layers:
            self.map.go_to(*self.map.worst)

    def _step(self, by: int) -> None:
        """To the next expert that is not sound, by layer and number."""
        here, found = (self.map.cursor, self.map.column), self.map.not_sound()
        beyond = [at for at in found if at > here] if by > 0 else [at for at in reversed(found) if at < here]
        if beyond:
            self.map.go_to(*beyond[0])
        else:
            self.say("all experts after this one are sound" if by > 0 else "all experts before this one are sound")

    def action_copy_key(self) -> None:
        if self.map.role:
            self.copy(self.map.role)
