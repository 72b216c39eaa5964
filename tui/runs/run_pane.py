"""The run that is shown: what it is, and its views, one at a time; its log and journal are read meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.runs.show import Seen
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.later import Later, is_going
from qinspect.tui.names import shown
from qinspect.tui.pane import Pane
from qinspect.tui.remote import over_ssh
from qinspect.tui.runs.conclusions_pane import ConclusionsPane
from qinspect.tui.runs.effect_pane import EffectPane
from qinspect.tui.runs.evaluation_pane import EvaluationPane
from qinspect.tui.runs.events_pane import EventsPane
from qinspect.tui.runs.gpus_pane import GpusPane
from qinspect.tui.runs.head import head_lines
from qinspect.tui.runs.log_facts import LogFacts
from qinspect.tui.runs.log_pane import LogPane
from qinspect.tui.runs.log_source import LogSource
from qinspect.tui.runs.points_pane import PointsPane
from qinspect.tui.runs.service import RunsService
from qinspect.tui.runs.shown_run import New, ShownRun
from qinspect.tui.runs.spec_pane import SpecPane
from qinspect.tui.runs.view import View
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.log import LogView

READ_EVERY_S, READ_EVERY_SSH_S = 0.2, 0.4
"""How often the log of a live run is read: what is painted costs bytes."""
FACTS_EVERY_S = 2.0
"""How often the log of a live run is looked at as a whole, while a view shows what it says."""
MOST_FACTS = 8
"""Runs of which is kept what their logs say."""


class _Cancelled(Exception):
    """Another run is looked at."""


class Read(Message):
    """A look into log and journal is done."""

    def __init__(self, run: ShownRun, new: New) -> None:
        super().__init__()
        self.run, self.new = run, new


class FactsRead(Message):
    """What the log says as a whole is known, as far as there is one. problem: a bug, or what the file system said."""

    def __init__(self, run: ShownRun, problem: str = "") -> None:
        super().__init__()
        self.run, self.problem = run, problem


class RunPane(Pane):
    """The right of the runs screen, or what is under the list."""

    EVERYWHERE = frozenset({
        "view_log", "view_conclusions", "view_points", "view_spec", "view_effect", "view_events", "view_gpus",
        "view_figures", "scroll_left", "scroll_right",
    })  # fmt: skip

    def __init__(self, service: RunsService, glyphs: Glyphs, runs: Callable[[], Sequence[Seen]]) -> None:
        """runs: all that there are now."""
        super().__init__(id="runs-right")
        self.glyphs = glyphs
        self.shown: ShownRun | None = None
        self.log_pane = LogPane(glyphs)
        self.points_pane = PointsPane(glyphs)
        self.gpus_pane = GpusPane(glyphs, service)
        self.effect_pane = EffectPane(glyphs, lambda: self.points_pane.chosen if self.seen is self.points_pane else "")
        self.evaluation_pane = EvaluationPane(glyphs)
        self.conclusions_pane, self.spec_pane = ConclusionsPane(glyphs), SpecPane(glyphs, runs)
        self.views: tuple[View, ...] = (
            self.log_pane, self.evaluation_pane, self.conclusions_pane, self.points_pane, self.spec_pane,
            self.effect_pane, EventsPane(glyphs), self.gpus_pane,
        )  # fmt: skip
        self.seen: View = self.log_pane
        """The view that is seen."""
        self.active = False
        self._facts: dict[str, LogFacts] = {}
        self._reading = False
        self._summing: ShownRun | None = None
        self._summed_at = -1e9
        self._left = False

    def compose(self) -> ComposeResult:
        yield TitleLine("", id="run-title")
        yield TitleLine("", id="run-more")
        yield TitleLine("2 log", id="view-title")
        yield from self.views

    def on_mount(self) -> None:
        self._next_look = Later(self.screen, self._tick)
        self._show_only(self.log_pane)

    def on_unmount(self) -> None:
        self._next_look.stop()
        self.close()

    # --- the run ---

    def show(self, seen: Seen | None) -> None:
        """Another run."""
        self.close()
        if seen is not None:
            self.shown = ShownRun(seen, self._facts_of(seen))
        for view in self.views:
            view.show_run(self.shown)
        self.show_head()
        self.show_view(self.seen)
        self.wake()

    def update(self, seen: Seen | None) -> None:
        """The same run, as it is now."""
        run = self.shown
        if run and seen:
            changed = run.seen.state.state != seen.state.state
            run.seen = seen
            if changed:
                run.all_read = False
                if self.seen is self.spec_pane:
                    self.spec_pane.fill()
        self.show_head()
        self.wake()

    def _facts_of(self, seen: Seen) -> LogFacts:
        """What is known of its log already, the oldest forgotten."""
        facts = self._facts.pop(seen.run.id, None) or LogFacts(seen.run)
        self._facts[seen.run.id] = facts
        while len(self._facts) > MOST_FACTS:
            del self._facts[next(iter(self._facts))]
        return facts

    def close(self) -> None:
        """Nothing is read for it any more."""
        for group in ("read", "facts"):
            self.workers.cancel_group(self, group)
        self.log_pane.let_go()
        if self.shown:
            self.shown.close()
        self.shown = None
        self._reading = False
        if self._summing:
            self._summing = None
            self.post_message(self.Working(""))

    def leave(self) -> None:
        """The screen is left: no more looks."""
        self._left = True

    @property
    def _is_closed(self) -> bool:
        return self._left or not self.is_attached or is_going(self.screen)

    # --- reading ---

    @property
    def looks_again(self) -> bool:
        """Whether there is a look to come."""
        return self._next_look.comes

    def wake(self) -> None:
        """Read soon, and go on reading while there is something to come."""
        if not self._next_look.comes and not self._is_closed and self.shown and not self.shown.all_read:
            self._next_look.ask(READ_EVERY_SSH_S if over_ssh() else READ_EVERY_S)

    def _tick(self) -> None:
        run = self.shown
        if self._is_closed or run is None or (run.all_read and not run.is_live):
            return  # nothing can come: nothing wakes up for it
        self._look()
        self.wake()

    def _look(self) -> None:
        run = self.shown
        if run is None or not self.screen.is_current:
            return
        self._read_facts()
        if self._reading:
            self.log_pane.look_at_end()
            return
        if run.source is None and run.open_log():
            self.log_pane.show_run(run)
        self._reading = True
        self._read(run, run.source.hold() if run.source else None)

    @work(thread=True, exit_on_error=False, group="read")
    def _read(self, run: ShownRun, source: LogSource | None) -> None:
        worker = get_current_worker()
        self.post_message(Read(run, run.read(source, lambda: worker.is_cancelled)))

    @on(Read)
    def _on_read(self, event: Read) -> None:
        event.stop()
        run, new = event.run, event.new
        if run is not self.shown or self._is_closed:
            return  # of a run that is not shown any more
        self._reading = False
        run.learn(new)
        if new.problem:
            self.say(shown(new.problem, 200))
        self.log_pane.more(new)
        if self.seen is not self.log_pane:
            self.seen.more(new)
        self._read_facts()
        self.show_title()

    @on(LogPane.Again)
    def _on_again(self, event: LogPane.Again) -> None:
        event.stop()
        if self.shown:
            self.shown.all_read = False
            self.wake()

    # --- what the log says as a whole ---

    def _read_facts(self) -> None:
        """Where a view shows it, and there is more than is known. Of a run that ended, once its journal was read."""
        run = self.shown
        if run is None or not self.seen.needs_log or self._summing is not None or self._is_closed:
            return
        if not (run.is_live or run.all_read) or not run.facts.is_due(run.is_live):
            return
        if run.is_live and time.monotonic() - self._summed_at < FACTS_EVERY_S:
            return
        self._summing = run
        self._sum(run, run.is_live, list(run.feed.of_all))

    @work(thread=True, exit_on_error=False, group="facts")
    def _sum(self, run: ShownRun, is_live: bool, kept: Sequence[object]) -> None:
        worker = get_current_worker()
        began, last = time.monotonic(), ""

        def progress(done: int, total: int) -> None:
            nonlocal last
            if worker.is_cancelled:
                raise _Cancelled
            text = f"reading the log {100 * done // max(1, total)} %"
            if text != last and time.monotonic() - began > 1:
                last = text
                self.post_message(self.Working(text))

        try:
            run.facts.read(is_live, kept, progress)  # type: ignore[arg-type]
            answer = FactsRead(run)
        except _Cancelled:
            return
        except Exception as e:  # whatever it is: the view says so
            answer = FactsRead(run, str(e) or type(e).__name__)
        self.post_message(answer)

    @on(FactsRead)
    def _on_facts(self, event: FactsRead) -> None:
        event.stop()
        if event.run is not self._summing:
            return
        self._summing = None
        self._summed_at = time.monotonic()
        self.post_message(self.Working(""))
        if event.problem:
            event.run.facts.give_up(event.problem)
        if self.seen.needs_log:
            self.seen.fill()
        self.show_title()

    # --- what is seen ---

    def show_head(self) -> None:
        """Name, state, outcome."""
        seen = self.shown.seen if self.shown else None
        title, more = head_lines(seen, self.glyphs, self.screen.size.width - 2)
        self.query_one("#run-title", TitleLine).update(title)
        self.query_one("#run-more", TitleLine).update(more)

    def show_view(self, view: View) -> None:
        """One of them."""
        self._show_only(view)
        view.fill(fresh=True)
        view.set_active(self.active)
        self.show_title()
        self._read_facts()

    def _show_only(self, view: View) -> None:
        self.seen = view
        for other in self.views:
            other.set_class(other is not view, "hidden")

    def set_active(self, active: bool) -> None:
        """Whether the moving keys work in the view that is seen."""
        self.active = active
        self.query_one("#view-title").set_class(active, "active")
        for view in self.views:
            view.set_active(active)

    @on(LogView.Changed)
    def _on_log_changed(self, event: LogView.Changed) -> None:
        event.stop()
        self.show_title()

    def show_title(self) -> None:
        """Which views there are, and how the one that is seen is shown."""
        views = [v for v in self.views if v is self.seen or v.is_of(self.shown)]
        counts = {v: f" {v.count:,}" if v.count else "" for v in views}
        said = self.seen.said
        ways = (
            [f"[{v.NAME}{counts[v]}]" if v is self.seen else f"{v.NAME}{counts[v]}" for v in views],
            [f"[{v.NAME}{counts[v]}]" if v is self.seen else v.NAME for v in views],
            [f"[{self.seen.NAME}{counts[self.seen]}]"],
        )
        texts = [f"2 {f' {self.glyphs.dot} '.join([' '.join(names), *said])}" for names in ways]
        width = max(1, self.query_one("#view-title").size.width)
        self.query_one("#view-title", TitleLine).update(next((t for t in texts if len(t) <= width), texts[-1]))

    # --- keys ---

    def action_view_log(self) -> None:
        self.show_view(self.log_pane)

    def action_view_conclusions(self) -> None:
        self.show_view(self.conclusions_pane)

    def action_view_points(self) -> None:
        self.show_view(self.points_pane)

    def action_view_spec(self) -> None:
        self.show_view(self.spec_pane)

    def action_view_effect(self) -> None:
        self.show_view(self.effect_pane)

    def action_view_figures(self) -> None:
        self.show_view(self.evaluation_pane)

    def action_view_events(self) -> None:
        self.show_view(next(v for v in self.views if isinstance(v, EventsPane)))

    def action_view_gpus(self) -> None:
        self.show_view(self.gpus_pane)

    def action_scroll_left(self) -> None:
        self.seen.scroll_columns(-8)

    def action_scroll_right(self) -> None:
        self.seen.scroll_columns(8)
