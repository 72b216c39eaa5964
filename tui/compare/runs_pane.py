"""The compare screen's way to the runs: the key to their screen, and a few lines of those that go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.widget import Widget

from qinspect.inspector.text import some
from qinspect.tui.compare.base import PANES
from qinspect.tui.compare.moving import Moving
from qinspect.tui.later import is_going
from qinspect.tui.runs.service import RunsService
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import LineList

if TYPE_CHECKING:
    from qinspect.inspector.runs.show import Seen
    from qinspect.tui.runs.run_list import RunList
    from qinspect.tui.runs.watch import Looked

MOST_LINES = 5


class WithRuns(Moving):
    """Everything about runs on the compare screen. The pane is made when there is something to show in it."""

    runs_list: RunList | None = None

    def on_mount(self) -> None:  # Textual calls that of every base class itself
        self._ended_here: set[str] = set()
        self._service.listeners.append(self._on_looked)

    def on_unmount(self) -> None:
        if self._on_looked in self._service.listeners:
            self._service.listeners.remove(self._on_looked)

    @property
    def _service(self) -> RunsService:
        service: RunsService = self.app.runs  # type: ignore[attr-defined]
        return service

    def on_screen_resume(self) -> None:
        self._service.shown = False

    def _on_looked(self, looked: Looked) -> None:
        """Show runs that go on, and those that ended since this screen was opened."""
        if is_going(self):
            return
        self._ended_here |= {s.run.id for s in looked.ended}
        shown = tuple(s for s in looked.runs if s.state.state.is_live or s.run.id in self._ended_here)
        if looked.ended:
            from qinspect.tui.runs.run_list import outcome_line

            self.hints.say(", ".join(map(outcome_line, looked.ended)))
        if shown or self.runs_list is not None:
            self.call_later(self._show_pane, shown)

    async def _show_pane(self, shown: tuple[Seen, ...]) -> None:
        if is_going(self):
            return
        if self.runs_list is None:
            from qinspect.tui.runs.run_list import RunList

            self.runs_list = RunList(self.glyphs, id="pane-runs")
            title = TitleLine("4 runs", id="runs-title")
            await self.query_one("#left").mount(Vertical(title, self.runs_list, id="pane-runs-box"))
        live = sum(s.state.state.is_live for s in shown)
        n = f"{live} live" if live == len(shown) else f"{some(len(shown), 'run')}, {live} live"
        self.query_one("#runs-title", TitleLine).update(f"4 runs {self.glyphs.dot} {n}")
        box = self.query_one("#pane-runs-box")
        box.styles.height = 1 + min(MOST_LINES, max(1, len(shown)))
        box.set_class(not shown, "hidden")
        self.runs_list.show(shown)
        if not shown and self.active == "runs":
            self.activate("tree")

    # --- keys ---

    def action_runs(self) -> None:
        self.app.show_runs()  # type: ignore[attr-defined]

    def action_pane_runs(self) -> None:
        if self.runs_list is None or not self.runs_list.runs:
            self.hints.say("no run is active: R opens the runs screen")
            return
        if self.zoomed:
            self.zoom_pane("")
        self.activate("runs")

    def action_open(self) -> None:
        if self.active == "runs" and self.runs_list is not None:
            self.app.show_runs(self.runs_list.chosen)  # type: ignore[attr-defined]
        else:
            super().action_open()

    def action_zoom(self) -> None:
        if self.active == "runs":
            self.action_open()
        else:
            super().action_zoom()  # type: ignore[misc]

    @property
    def active_list(self) -> LineList | None:
        return self.runs_list if self.active == "runs" else super().active_list

    def activate(self, name: str) -> None:
        super().activate(name)
        if self.runs_list is not None:
            self.query_one("#runs-title").set_class(name == "runs", "active")
            self.runs_list.set_active(name == "runs")

    def _focus_pane(self, step: int) -> None:
        if self.active == "runs":
            self.activate(PANES[0] if step > 0 else PANES[-1])
        elif step > 0 and self.active == PANES[-1] and self.runs_list is not None and self.runs_list.runs:
            self.action_pane_runs()
        else:
            super()._focus_pane(step)

    def pane_of(self, widget: Widget) -> str:
        """The name of the pane that a list is in."""
        return "tree" if widget is self.layers_tree else "runs" if widget is self.runs_list else "table"
