"""What the runs screen is made of: panes, the run that is shown, and the reading of its log and journal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.logs import LogLine
from qinspect.inspector.runs import RunEvent
from qinspect.inspector.runs.show import Seen
from qinspect.inspector.text import some
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import RUN_ACTIONS, bindings
from qinspect.tui.glyphs import OF_RUNS, Glyphs
from qinspect.tui.later import REST_S, Later, is_going
from qinspect.tui.names import shown
from qinspect.tui.remote import over_ssh
from qinspect.tui.runs.feed import Feed
from qinspect.tui.runs.lists import EventsList
from qinspect.tui.runs.log_source import LogSource
from qinspect.tui.runs.run_list import RunList, outcome_line
from qinspect.tui.runs.service import RunsService
from qinspect.tui.widgets.bars import HintBar, TitleLine
from qinspect.tui.widgets.lines import LineList
from qinspect.tui.widgets.log import LogView
from qinspect.tui.widgets.typed_line import TypedLine

if TYPE_CHECKING:
    from qinspect.tui.runs.watch import Looked

READ_EVERY_S, READ_EVERY_SSH_S = 0.2, 0.4
"""How often the log of a live run is read: what is painted costs bytes."""
VIEWS = ("log", "points", "spec", "events", "gpus")
PANES = ("list", "view")
NO_RUN = "no run yet: ! starts one"
WIDE = 110
"""From this width on the list stands beside the run, not over it."""


class ReadDone(Message):
    """A look into log and journal is done."""

    def __init__(self, feed: Feed, events: list[RunEvent], changed: bool, problem: str) -> None:
        super().__init__()
        self.feed, self.events, self.changed, self.problem = feed, events, changed, problem


class RunsBase(ActionScreen):
    """Panes and state."""

    BINDINGS: ClassVar[list[BindingType]] = bindings(RUN_ACTIONS)  # type: ignore[assignment]
    AUTO_FOCUS = ""
    actions = RUN_ACTIONS
    SIGNS = (OF_RUNS,)
    LABELLED = PANES
    events_list: EventsList

    def __init__(
        self, service: RunsService, glyphs: Glyphs, is_root: bool = False, choose: str = "", notice: str = ""
    ) -> None:
        super().__init__()
        self.service = service
        self.glyphs = glyphs
        self.is_root = is_root
        self.choose_first = choose
        self.notice = notice
        self.active = "list"
        self.view = "log"
        self.zoomed = False
        self.shown: Seen | None = None
        """The run on the right."""
        self.feed: Feed | None = None
        self.source: LogSource | None = None
        self._rested = Later(self, self.show_run)
        self._reading = False
        self._all_read = False
        self._next_look = Later(self, self._tick)
        self._left = False

    @property
    def is_closed(self) -> bool:
        """Whether it is left, or being taken away."""
        return self._left or is_going(self)

    def leave(self) -> None:
        """Back to what was there before."""
        self._left = True
        self.service.shown = False
        self.dismiss()

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is looked at here."""
        with Horizontal(id="runs-body"):
            with Vertical(id="runs-left"):
                yield TitleLine("1 runs", id="list-title")
                yield RunList(self.glyphs, id="runs")
            with Vertical(id="runs-right"):
                yield TitleLine("", id="run-title")
                yield TitleLine("", id="run-more")
                yield TitleLine("2 log", id="view-title")
                yield from self.compose_views()
        yield TitleLine("GPU", id="gpu-line")
        yield TypedLine(id="find", placeholder="a text in the log; enter finds it, escape closes", compact=True)
        yield HintBar()

    def compose_views(self) -> ComposeResult:
        """What the keys of the views show, one at a time."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.list = self.query_one("#runs", RunList)
        self.log_view = self.query_one("#log", LogView)
        self.hints = self.query_one(HintBar)
        self.hints.say(shown(self.notice))
        self.fit_panes()
        self.show_view("log")
        self.activate("list")
        self.service.listeners.append(self.on_looked)

    def on_unmount(self) -> None:
        if self.on_looked in self.service.listeners:
            self.service.listeners.remove(self.on_looked)
        self._rested.stop()
        self._next_look.stop()
        self.close_run()

    def on_screen_resume(self) -> None:
        self.service.shown = True
        self.service.look_now()

    def on_screen_suspend(self) -> None:
        self.service.shown = self.app.screen is self

    # --- the list ---

    def on_looked(self, looked: Looked) -> None:
        """The runs as they are now."""
        if self.is_closed:
            return
        self.list.show(looked.runs)
        if self.choose_first:
            self.list.choose(self.choose_first)
            self.choose_first = ""
        n, live = len(looked.runs), looked.n_live
        text = self.service.problem or f"1 {some(n, 'run')}{f', {live} live' if live else ''}"
        self.query_one("#list-title", TitleLine).update(shown(text))
        if looked.ended:
            self.hints.say(", ".join(map(outcome_line, looked.ended)))
        before, now = self.shown, self.list.seen
        if (before.run.id if before else None) != (now.run.id if now else None) or (
            now is None and self.log_view.problem != NO_RUN
        ):
            self.show_run()
        else:
            self.shown = now
            if before and now and before.state.state != now.state.state:
                self._all_read = False
            self.show_head()
        self._wake()

    # --- the run ---

    def show_run(self) -> None:
        """What is right of the list is of the run under the cursor now."""
        if self.is_closed:
            return
        seen = self.list.seen
        if seen and self.shown and seen.run.id == self.shown.run.id and self.feed:
            return
        self.close_run()
        self.shown = seen
        problem = NO_RUN
        if seen:
            self.feed = Feed(seen.run)
            problem = self._open_log(seen)
        self.log_view.show(self.source, problem)
        self.show_head()
        self.show_view(self.view)
        self._wake()

    def _open_log(self, seen: Seen) -> str:
        """Returns why it cannot be read, "" where it can."""
        try:
            self.source = LogSource(seen.run.log_path)
        except QinspectError as e:
            return str(e)
        return ""

    def when_rested(self) -> None:
        """Show the run that the cursor is on, once it rests."""
        self._rested.ask(REST_S)

    @property
    def waits(self) -> bool:
        """Whether the cursor has to rest before what it is on is shown."""
        return self._rested.comes

    def close_run(self) -> None:
        """Nothing is read for it any more."""
        self.workers.cancel_group(self, "read")
        if self.source:
            self.source.let_go()
        self.log_view.source = None
        self.source = self.feed = self.shown = None
        self._all_read = False
        self._reading = False

    @property
    def is_live(self) -> bool:
        """Whether the run that is shown goes on."""
        return self.shown is not None and self.shown.state.state.is_live

    def _wake(self) -> None:
        """Read soon, and go on reading while there is something to come."""
        if not self._next_look.comes and not self.is_closed and self.shown and not self._all_read:
            self._next_look.ask(READ_EVERY_SSH_S if over_ssh() else READ_EVERY_S)

    def _tick(self) -> None:
        if self.is_closed or self.feed is None or (self._all_read and not self.is_live):
            return  # nothing can come: nothing wakes up for it
        self._look_at_log()
        self._wake()

    def _look_at_log(self) -> None:
        if not self.is_current or self.feed is None:
            return
        if self._reading:
            if self.source and self.source.total is None and self.log_view.follows:
                self.source.look_at_end()
                self.log_view.update()
            return
        if self.source is None and self.shown and not self._open_log(self.shown):
            self.log_view.show(self.source)
        self._reading = True
        self._read(self.feed, self.source.hold() if self.source else None)

    @work(thread=True, exit_on_error=False, group="read")
    def _read(self, feed: Feed, source: LogSource | None) -> None:
        worker = get_current_worker()
        events: list[RunEvent] = []
        changed, problem = False, ""
        try:
            events = feed.read()
            if source:
                changed = source.refresh(lambda: worker.is_cancelled)
        except Exception as e:  # whatever it is: the next look is to come
            problem = str(e) or type(e).__name__
        finally:
            if source:
                source.let_go()
        self.post_message(ReadDone(feed, events, changed, problem))

    def on_read_done(self, event: ReadDone) -> None:
        """What was read: paint it."""
        if self.is_closed or event.feed is not self.feed:
            return  # of a run that is not shown any more
        self._reading = False
        self._all_read = not self.is_live and not event.events and not event.changed
        if event.events:
            self.feed.add(event.events)
        if event.problem:
            self.hints.say(shown(event.problem, 200))
        source = self.source
        if source and event.changed:
            if source.shift:
                if not self.log_view.follows:
                    self.log_view.moved_by(source.shift)
                source.shift = 0
            if source.total is not None:
                self.feed.saw_lines(source.total, time.time())
            self.log_view.update()
        if event.events:
            self.on_events()
        self.show_view_title()

    def on_events(self) -> None:
        """The journal has more."""

    # --- what is where ---

    def show_head(self) -> None:
        """Name, state, outcome."""

    def show_view(self, view: str) -> None:
        """One of VIEWS."""
        self.view = view
        for name in VIEWS:
            for widget in self.query(f"#{name}"):
                widget.set_class(name != view, "hidden")
        self.show_view_title()

    def show_view_title(self) -> None:
        """Which views there are, and how the log is shown."""

    def time_of(self, line: LogLine) -> float | None:
        """When a line of the log came."""
        return self.feed.time_of(line) if self.feed else None

    @property
    def active_list(self) -> LineList | None:
        """The list that the moving keys move in; None in a log or a text."""
        if self.active == "list":
            return self.list
        found = self.query(f"#{self.view}")
        return found.first(LineList) if found and isinstance(found.first(), LineList) else None

    def activate(self, name: str) -> None:
        """Let the keys work in this pane. Not Textual's focus, which paints both panes anew."""
        self.active = name
        self.set_focus(None)
        self.query_one("#list-title").set_class(name == "list", "active")
        self.query_one("#view-title").set_class(name == "view", "active")
        for widget in self.query(LineList):
            widget.set_active((widget is self.list) == (name == "list"))
        if self.zoomed:
            self.fit_panes()

    def on_resize(self) -> None:
        self.fit_panes()

    def fit_panes(self) -> None:
        """Panes by the size of the terminal: side by side where it is wide."""
        width, height = self.size
        left, right = self.query_one("#runs-left"), self.query_one("#runs-right")
        body = self.query_one("#runs-body")
        wide = width >= WIDE
        self.set_class(wide and not self.zoomed, "wide")
        left.set_class(self.zoomed and self.active == "view", "hidden")
        right.set_class(self.zoomed and self.active == "list", "hidden")
        body.styles.layout = "horizontal" if wide else "vertical"
        left.styles.width = (width * 2 // 5 if width < 180 else 74) if wide and not self.zoomed else "1fr"
        left.styles.height = "1fr" if wide or self.zoomed else max(4, height // 4)
        self.show_head()
