"""The runs that are still running, or ended just now, in a few lines beside the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.message import Message

from qinspect.inspector.text import some
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.host import host_of
from qinspect.tui.later import is_going
from qinspect.tui.list_pane import MOVING, ListPane
from qinspect.tui.runs.service import RunsService
from qinspect.tui.widgets.bars import TitleLine

if TYPE_CHECKING:
    from qinspect.inspector.runs.show import Seen
    from qinspect.tui.runs.run_list import RunList
    from qinspect.tui.runs.watch import Looked

MOST_LINES = 5


class RunsPane(ListPane):
    """Hidden, and without a list, until there is something to show: most who compare models have no run."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING | {"open", "zoom"}

    class Emptied(Message):
        """There is no run to show any more."""

    def __init__(self, glyphs: Glyphs, service: RunsService) -> None:
        super().__init__(id="pane-runs-box", classes="hidden")
        self.glyphs = glyphs
        self.service = service
        self.runs: RunList | None = None
        self._ended_here: set[str] = set()

    def compose(self) -> ComposeResult:
        yield TitleLine("4 runs", id="runs-title")

    def on_mount(self) -> None:
        self.service.listeners.append(self._on_looked)

    def on_unmount(self) -> None:
        if self._on_looked in self.service.listeners:
            self.service.listeners.remove(self._on_looked)

    @property
    def has_runs(self) -> bool:
        """Whether there is anything to move in."""
        return self.runs is not None and bool(self.runs.runs)

    def action_open(self) -> None:
        """The screen of runs, on the one under the cursor."""
        host_of(self.screen).show_runs(self.runs.chosen if self.runs is not None else "")

    def action_zoom(self) -> None:
        self.action_open()

    def set_active(self, active: bool) -> None:
        if self.runs is not None:
            super().set_active(active)

    def _on_looked(self, looked: Looked) -> None:
        """Show runs that go on, and those that ended since this screen was opened."""
        if is_going(self.screen):
            return
        self._ended_here |= {s.run.id for s in looked.ended}
        shown = tuple(s for s in looked.runs if s.state.state.is_live or s.run.id in self._ended_here)
        if looked.ended:
            from qinspect.tui.runs.run_list import outcome_line

            self.say(", ".join(map(outcome_line, looked.ended)))
        if shown or self.runs is not None:
            self.call_later(self._show, shown)

    async def _show(self, shown: tuple[Seen, ...]) -> None:
        if is_going(self.screen):
            return
        if self.runs is None:
            from qinspect.tui.runs.run_list import RunList

            self.runs = RunList(self.glyphs, id="pane-runs")
            await self.mount(self.runs)
        live = sum(s.state.state.is_live for s in shown)
        n = f"{live} live" if live == len(shown) else f"{some(len(shown), 'run')}, {live} live"
        self.title.update(f"4 runs {self.glyphs.dot} {n}")
        self.styles.height = 1 + min(MOST_LINES, max(1, len(shown)))
        self.set_class(not shown, "hidden")
        self.runs.show(shown)
        if not shown:
            self.post_message(self.Emptied())
