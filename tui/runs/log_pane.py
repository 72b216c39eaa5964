"""The log of the run: followed, wrapped, by level, searched."""

from __future__ import annotations

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.logs import LogLine
from qinspect.tui.key_names import key
from qinspect.tui.list_pane import MOVING
from qinspect.tui.names import shown
from qinspect.tui.runs.log_source import Levels, LogSource
from qinspect.tui.runs.shown_run import New, ShownRun
from qinspect.tui.runs.view import ScrolledView
from qinspect.tui.widgets.log import LogView


class Found(Message):
    """A search is done. number: the line, None for no match."""

    def __init__(self, request: int, number: int | None, wrapped: bool, problem: str = "") -> None:
        super().__init__()
        self.request, self.number, self.wrapped, self.problem = request, number, wrapped, problem


class LogPane(ScrolledView):
    """The view that a run opens with."""

    NAME = "log"
    FRONT = frozenset({"next_match", "previous_match", "follow", "level", "wrap", "timestamps"})
    EVERYWHERE = FRONT
    ACTIONS = MOVING | {"copy_line"}

    class Again(Message):
        """What is shown of it is to be found out again."""

    def compose(self) -> ComposeResult:
        self.log_view = LogView(id="log")
        self.searching = False
        self._request = 0
        yield self.log_view

    @property
    def source(self) -> LogSource | None:
        """The log's lines, None where there is no log."""
        return self.shown.source if self.shown else None

    def show_run(self, run: ShownRun | None) -> None:
        super().show_run(run)
        self.log_view.show(self.source, run.problem if run else f"no run yet: {key('start_run')} starts one")

    def let_go(self) -> None:
        """The run is not shown any more: nothing is read of it."""
        self.log_view.source = self.shown = None

    def fill(self, fresh: bool = False) -> None:
        """It paints itself."""

    def more(self, new: New) -> None:
        if not new.changed:
            return
        source = self.source
        if source and source.shift:
            if not self.log_view.follows:
                self.log_view.moved_by(source.shift)
            source.shift = 0
        self.log_view.update()

    def look_at_end(self) -> None:
        """While the lines are being counted the end may grow."""
        if self.source and self.source.total is None and self.log_view.follows:
            self.source.look_at_end()
            self.log_view.update()

    @property
    def said(self) -> list[str]:
        source, log = self.source, self.log_view
        if source is None:
            return []
        parts = []
        if not log.follows:
            parts.append(f"stays here, {log.n_new:,} new" if log.n_new else "stays here")
        elif self.shown and self.shown.is_live:
            parts.append("follows")
        if source.levels is not Levels.ALL:
            parts.append(f"{source.levels.value}: {source.n_rows:,}")
        if log.text:
            parts.append(f"find {shown(log.text, 30)!r}")
        return parts

    @on(LogView.Clicked)
    def _on_clicked(self, event: LogView.Clicked) -> None:
        event.stop()
        self.post_message(self.Entered(self))

    # --- moving ---

    def move(self, rows: int) -> None:
        self.log_view.scroll_rows(rows)

    @property
    def page(self) -> int:
        return self.log_view.page

    def scroll_columns(self, columns: int) -> None:
        self.log_view.scroll_columns(columns)

    def action_top(self) -> None:
        self.log_view.go_to_top()

    def action_bottom(self) -> None:
        self.log_view.follow()

    # --- how it is shown ---

    def action_follow(self) -> None:
        if self.source:
            self.log_view.follow(not self.log_view.follows)

    def action_wrap(self) -> None:
        if self.source:
            self.log_view.wraps = not self.log_view.wraps
            self.log_view.sub = 0
            self.log_view.forget()

    def action_timestamps(self) -> None:
        if self.source:
            self.log_view.times = None if self.log_view.times else self._time_of
            self.log_view.forget()

    def _time_of(self, line: LogLine) -> float | None:
        return self.shown.feed.time_of(line) if self.shown else None

    def action_level(self) -> None:
        source, log = self.source, self.log_view
        if source is None:
            return
        number = source.number_of(log.top)
        source.levels = source.levels.next
        log.top, log.sub = source.row_of(number), 0
        self.post_message(self.Again())
        log.forget()

    def action_copy_line(self) -> None:
        text = self.log_view.text_of_mark()
        if text:
            self.copy(text)
        else:
            self.say(f"no line is marked: {key('find')} finds one")

    # --- finding ---

    def find(self, text: str) -> None:
        """Mark it wherever it is, and go to where it is next."""
        log = self.log_view
        log.text = text
        log.forget()
        if text:
            self._search(-1 if log.follows else 1, from_here=True)

    def action_next_match(self) -> None:
        self._search(1)

    def action_previous_match(self) -> None:
        self._search(-1)

    def _search(self, direction: int, from_here: bool = False) -> None:
        source, log = self.source, self.log_view
        if source is None:
            return
        if not log.text:
            self.say(f"nothing to find: {key('find')} asks for a text")
            return
        if log.mark is not None and not from_here:
            first = log.mark + direction
        else:
            first = source.number_of(log.top + (log.page if direction < 0 else 0))
        self._request += 1
        self.searching = True
        self.post_message(self.Working(f"looking for {shown(log.text, 30)!r} ({key('close_runs')} ends it)"))
        self._search_in_thread(self._request, source.hold(), log.text, first, direction)

    @work(thread=True, exclusive=True, exit_on_error=False, group="search")
    def _search_in_thread(self, request: int, source: LogSource, text: str, first: int, direction: int) -> None:
        worker = get_current_worker()
        try:
            number, wrapped = source.find(text, first, direction, lambda: worker.is_cancelled)
            answer = Found(request, number, wrapped)
        except Exception as e:  # whatever it is: the search has an end
            answer = Found(request, None, False, str(e) or type(e).__name__)
        finally:
            source.let_go()
        self.post_message(answer)

    @on(Found)
    def _on_found(self, event: Found) -> None:
        event.stop()
        source = self.source
        if event.request != self._request or not self.searching or source is None:
            return
        self.searching = False
        self.post_message(self.Working(""))
        if event.number is None:
            self.say(event.problem or f"not found: {shown(self.log_view.text, 30)!r}")
            return
        self.say("from the other end" if event.wrapped else "")
        self.log_view.mark = event.number
        if source.total is not None and source.shift:
            self.log_view.moved_by(source.shift)
            source.shift = 0
        self.log_view.go_to(source.row_of(event.number))

    def end_search(self) -> bool:
        """Escape: whether there was anything to end."""
        if self.searching:
            self.searching = False
            self.workers.cancel_group(self, "search")
            self.post_message(self.Working(""))
            self.say("the search was ended")
        elif self.log_view.text:
            self.log_view.text, self.log_view.mark = "", None
            self.log_view.forget()
        else:
            return False
        return True
