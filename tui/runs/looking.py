"""What is shown of a run: views, finding, how the log is shown, GPUs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.timer import Timer
from textual.worker import get_current_worker

from qinspect.inspector.runs.gpus import GpuSample, GpuSampler
from qinspect.tui.names import shown
from qinspect.tui.runs.base import RunsBase
from qinspect.tui.runs.gpu_lines import gpu_line, gpu_lines
from qinspect.tui.runs.lists import EventsList, PointsList
from qinspect.tui.runs.log_source import LogSource
from qinspect.tui.runs.spec_lines import spec_lines
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import text_width
from qinspect.tui.widgets.log import LogView
from qinspect.tui.widgets.text_pane import TextPane
from qinspect.tui.widgets.typed_line import TypedLine

if TYPE_CHECKING:
    from qinspect.tui.runs.watch import Looked

GPU_LIVE_S, GPU_IDLE_S, GPU_NONE_S = 2.0, 20.0, 120.0
"""Between two looks at the GPUs: while a run goes on, while none does, where there is no driver."""


class Sampled(Message):
    """What the GPUs do."""

    def __init__(self, sample: GpuSample) -> None:
        super().__init__()
        self.sample = sample


class Found(Message):
    """A search is done. number: the line, None for no match."""

    def __init__(self, request: int, number: int | None, wrapped: bool, problem: str = "") -> None:
        super().__init__()
        self.request, self.number, self.wrapped, self.problem = request, number, wrapped, problem


class RunsLooking(RunsBase):
    """Actions that change nothing but what is seen."""

    def compose_views(self) -> ComposeResult:
        yield LogView(id="log")
        yield PointsList(self.glyphs, id="points")
        yield TextPane(id="spec")
        yield EventsList(self.glyphs, id="events")
        yield TextPane(id="gpus")

    def on_mount(self) -> None:  # before that of the base class, which Textual calls itself
        self.points_list = self.query_one("#points", PointsList)
        self.events_list = self.query_one("#events", EventsList)
        self.gpu_sample: GpuSample | None = None
        self.searching = False
        self._sampler: GpuSampler | None = None
        self._sampling = False
        self._sampled_at = -1e9
        self._request = 0
        self._gpu_timer: Timer = self.set_interval(1.0, self._sample_when_due)

    # --- views ---

    def show_view(self, view: str) -> None:
        super().show_view(view)
        self.fill_view(fresh=True)
        self.activate(self.active)

    def fill_view(self, fresh: bool = False) -> None:
        """Show what is known, in the view that is seen."""
        if self.view == "points":
            self.points_list.show(self.feed)
        elif self.view == "events":
            self.events_list.show(self.feed, fresh)
        elif self.view == "spec":
            pane = self.query_one("#spec", TextPane)
            runs = self.list.runs
            pane.show(spec_lines(self.shown, runs, max(20, text_width(pane))) if self.shown else ["no run is chosen"])
        elif self.view == "gpus":
            spec = self.shown.run.spec if self.shown else None
            self.query_one("#gpus", TextPane).show(gpu_lines(self.gpu_sample, spec))

    def on_events(self) -> None:
        if self.view in ("points", "events"):
            self.fill_view()

    def on_looked(self, looked: Looked) -> None:
        if self.is_closed:
            return
        before = self.shown.state.state if self.shown else None
        super().on_looked(looked)
        if self.view == "spec" and self.shown and self.shown.state.state != before:
            self.fill_view()

    @on(TextPane.Resized)
    def _on_resized(self) -> None:
        if self.view == "spec":
            self.fill_view()

    def action_view_log(self) -> None:
        self.show_view("log")

    def action_view_points(self) -> None:
        self.show_view("points")

    def action_view_spec(self) -> None:
        self.show_view("spec")

    def action_view_events(self) -> None:
        self.show_view("events")

    def action_view_gpus(self) -> None:
        self.show_view("gpus")

    # --- how the log is shown ---

    def _to_log(self) -> bool:
        """Bring the log to the front; whether there is one."""
        if self.view != "log":
            self.show_view("log")
        return self.source is not None

    def action_follow(self) -> None:
        if self._to_log():
            self.log_view.follow(not self.log_view.follows)

    def action_wrap(self) -> None:
        if self._to_log():
            self.log_view.wraps = not self.log_view.wraps
            self.log_view.sub = 0
            self.log_view.forget()

    def action_timestamps(self) -> None:
        if self._to_log():
            self.log_view.times = None if self.log_view.times else self.time_of
            self.log_view.forget()

    def action_level(self) -> None:
        if not self._to_log() or self.source is None:
            return
        source, log = self.source, self.log_view
        number = source.number_of(log.top)
        source.levels = source.levels.next
        log.top, log.sub = source.row_of(number), 0
        self.log_changed()

    def log_changed(self) -> None:
        """What is shown of the log is to be found out again."""
        self._all_read = False
        self._wake()
        self.log_view.forget()

    # --- finding ---

    def action_find(self) -> None:
        if not self._to_log():
            return
        box = self.query_one("#find", TypedLine)
        box.cursor_blink = False
        box.open()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a text is typed keys are its letters, but for its own enter and escape."""
        return self.query_one("#find", TypedLine).allows(action)

    def action_keep_text(self) -> None:
        box = self.query_one("#find", TypedLine)
        box.close()
        self.activate("view")
        log = self.log_view
        log.text = box.value
        log.forget()
        if log.text:
            self._search(-1 if log.follows else 1, from_here=True)

    def action_drop_text(self) -> None:
        self.query_one("#find", TypedLine).close()
        self.set_focus(None)

    def action_next_match(self) -> None:
        self._search(1)

    def action_previous_match(self) -> None:
        self._search(-1)

    def _search(self, direction: int, from_here: bool = False) -> None:
        if not self._to_log() or self.source is None:
            return
        if not self.log_view.text:
            self.hints.say("nothing to find: / asks for a text")
            return
        log, source = self.log_view, self.source
        if log.mark is not None and not from_here:
            first = log.mark + direction
        else:
            first = source.number_of(log.top + (log.page if direction < 0 else 0))
        self._request += 1
        self.searching = True
        self.hints.work(f"looking for {shown(log.text, 30)!r} (esc ends it)")
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
        if self.is_closed or event.request != self._request or not self.searching or self.source is None:
            return
        self.searching = False
        self.hints.work("")
        if event.number is None:
            self.hints.say(event.problem or f"not found: {shown(self.log_view.text, 30)!r}")
            return
        self.hints.say("from the other end" if event.wrapped else "")
        self.log_view.mark = event.number
        if self.source.total is not None and self.source.shift:
            self.log_view.moved_by(self.source.shift)
            self.source.shift = 0
        self.log_view.go_to(self.source.row_of(event.number))

    def end_search(self) -> bool:
        """Escape: whether there was anything to end."""
        if self.searching:
            self.searching = False
            self.workers.cancel_group(self, "search")
            self.hints.work("")
            self.hints.say("the search was ended")
        elif self.log_view.text:
            self.log_view.text, self.log_view.mark = "", None
            self.log_view.forget()
        else:
            return False
        return True

    # --- GPUs ---

    def _sample_when_due(self) -> None:
        """Gently, in a thread, and only while somebody looks."""
        if self._sampling or self.is_closed or not self.is_current:
            return
        has_gpus = self.gpu_sample is None or self.gpu_sample.gpus
        every = GPU_NONE_S if not has_gpus else GPU_LIVE_S if self.service.n_live else GPU_IDLE_S
        if time.monotonic() - self._sampled_at >= every:
            self._sampling = True
            self._sample()

    @work(thread=True, exit_on_error=False, group="gpu")
    def _sample(self) -> None:
        self._sampler = self._sampler or GpuSampler()
        self.post_message(Sampled(self._sampler.sample()))

    @on(Sampled)
    def _on_sampled(self, event: Sampled) -> None:
        self._sampling = False
        self._sampled_at = time.monotonic()
        self.gpu_sample = event.sample
        if self.is_closed:
            return
        self.show_gpus()

    def show_gpus(self) -> None:
        """The line at the bottom, and the view."""
        spec = self.shown.run.spec if self.shown else None
        line = self.query_one("#gpu-line", TitleLine)
        line.update(gpu_line(self.gpu_sample, spec, max(20, self.size.width - 2)))
        if self.view == "gpus":
            self.fill_view()
