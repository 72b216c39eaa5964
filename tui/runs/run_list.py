"""The list of runs: one a line, columns as far as there is room."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qinspect.inspector.runs import State
from qinspect.inspector.runs.show import Seen, damage_text, duration, duration_s, number_of
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.runs.watch import state_word
from qinspect.tui.widgets.lines import LineList, Piece

_KINDS = {
    State.STARTING: "accent",
    State.RUNNING: "down",
    State.UNSUPERVISED: "up",
    State.FINISHED: "same",
    State.FAILED: "broken",
    State.CANCELLED: "up",
    State.LOST: "broken",
    State.DAMAGED: "broken",
}
_BAR = 12
clock_now = time.time
_NARROW = 46
"""Below this width, as beside the models, only what matters most is shown."""


def sign(seen: Seen, g: Glyphs) -> Piece:
    """The state as a sign and its colour."""
    state = seen.state.state
    if seen.damage and not state.is_live:
        return g.broken, "broken"
    signs = {State.FINISHED: g.done, State.FAILED: g.broken, State.CANCELLED: g.stopped, State.LOST: g.lost}
    return signs.get(state, g.live), _KINDS[state]


def share_done(seen: Seen) -> float | None:
    """How much of the bar that moved last is done, 0..1."""
    fields = seen.progress.fields if seen.progress else {}
    done, total = number_of(fields.get("done")), number_of(fields.get("total"))
    return None if done is None or not total or total <= 0 else max(0.0, min(1.0, done / total))


def seconds_left(seen: Seen) -> float | None:
    """How long the bar that moved last will take, if it goes on as it does."""
    fields = seen.progress.fields if seen.progress else {}
    done, total, rate = (number_of(fields.get(k)) for k in ("done", "total", "rate"))
    return None if done is None or not total or not rate or rate <= 0 else max(0.0, (total - done) / rate)


def short_time(seconds: float) -> str:
    """A time span in at most six cells: `8s`, `3m04s`, `2h05m`, `12d`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 100 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d"


def age(seconds: float, live: bool) -> str:
    """How long ago a run was started: of one that ended without its seconds, which would be painted again and again."""
    if live:
        return short_time(seconds)
    minutes = int(max(0.0, seconds) // 60)
    if minutes < 60:
        return f"{minutes}m" if minutes else "<1m"
    return f"{minutes // 60}h" if minutes < 48 * 60 else f"{minutes // 1440}d"


def bar(part: float, width: int, g: Glyphs) -> str:
    """A progress bar in `width` cells."""
    full = round(part * width)
    return g.bar * full + g.bar_rest * (width - full)


def percent_text(seen: Seen) -> str:
    """`41 %`, or how many where the whole is not known; "" for a run without progress."""
    part = share_done(seen)
    if part is not None:
        return f"{100 * part:.0f} %"
    done = number_of(seen.progress.fields.get("done")) if seen.progress else None
    return "" if done is None else f"{done:,g}"


def _narrow_line(seen: Seen, width: int, g: Glyphs) -> list[Piece]:
    """Sign, name, then percent and time left, or how it ended."""
    mark = sign(seen, g)
    live, left, took = seen.state.state.is_live, seconds_left(seen), duration_s(seen)
    if live:
        tail = f"{percent_text(seen):>6} {'' if left is None else '-' + short_time(left):>7}"
        word = f"{state_word(seen)} " if width >= 34 else ""
    else:
        tail, word = f"{'' if took is None else short_time(took):>7}", f"{state_word(seen)} "
    room = max(1, width - 3 - len(tail) - len(word))
    name = fill(shown(seen.run.spec.name, 200), room, g.cut)
    return [mark, (f" {word}", mark[1]), (name, "name" if live else ""), (" ", ""), (tail, "accent" if live else "dim")]


def run_line(seen: Seen, width: int, g: Glyphs, now: float) -> list[Piece]:
    """Sign and state, name, phase or command, bar, percent, time left (of a run that ended: taken), time since its
    start: phase and bar give way first."""
    live = seen.state.state.is_live
    if width < _NARROW:
        return _narrow_line(seen, width, g)
    left, took = seconds_left(seen), duration_s(seen)
    time_text = "" if took is None else short_time(took)
    if live:
        time_text = "" if left is None else f"-{short_time(left)}"
    tail: list[Piece] = [
        (f"{percent_text(seen) if live else '':>6}", ""),
        (f"{time_text:>8}", "accent" if live else ""),
        (f"{age(now - seen.run.spec.created, live):>7}", "dim"),
    ]
    room = width - 13 - 21
    part = share_done(seen)
    if room >= 16 + _BAR + 1:
        tail.insert(0, (f" {bar(part, _BAR, g) if live and part is not None else ' ' * _BAR}", "down"))
        room -= _BAR + 1
    if room >= 42:
        phase = shown(str(seen.phase.fields.get("name", "")), 60) if seen.phase and live else ""
        damage = shown(damage_text(seen), 200)
        command = damage or phase or shown(seen.run.spec.command, 200)
        colour = "broken" if damage else "" if phase else "dim"
        tail.insert(0, (" " + fill(command, room - 25, g.cut), colour))
        room = 24
    mark = sign(seen, g)
    name = fill(shown(seen.run.spec.name, 200), max(1, room), g.cut)
    return [mark, (f" {state_word(seen):<10} ", mark[1]), (name, "name" if live else ""), *tail]


class RunList(LineList):
    """Runs, the live ones first. The cursor stays on its run."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.runs: tuple[Seen, ...] = ()
        self.chosen = ""
        """The id of the run under the cursor."""
        self._painted: dict[int, Sequence[Piece]] = {}
        self._now = clock_now()

    def show(self, runs: tuple[Seen, ...]) -> None:
        """Show these runs; only lines that changed are painted."""
        many = len(runs) != len(self.runs)
        self.runs = runs
        self._now = clock_now()
        at = next((i for i, s in enumerate(runs) if s.run.id == self.chosen), None)
        if many:
            self.cursor = at if at is not None else min(self.cursor, max(0, len(runs) - 1))
            self._painted.clear()
            self.set_rows(len(runs))
            if runs:
                self.move_to(self.cursor, tell=False)
        else:
            if at is not None and at != self.cursor:
                self.move_to(at, tell=False)
            self._cache.clear()
            for row, before in list(self._painted.items()):
                if row < len(runs) and self.make_line(row, self._line_width) != before:
                    self.refresh_line(row)
        self.chosen = self.seen.run.id if self.seen else ""

    def choose(self, run_id: str) -> None:
        """Put the cursor on a run."""
        row = next((i for i, s in enumerate(self.runs) if s.run.id == run_id), None)
        if row is not None:
            self.move_to(row)

    def move_to(self, row: int, tell: bool = True, again: bool = True) -> None:
        super().move_to(row, tell, again)
        self.chosen = self.seen.run.id if self.seen else ""

    @property
    def seen(self) -> Seen | None:
        """The run under the cursor."""
        return self.runs[self.cursor] if self.cursor < len(self.runs) else None

    _line_width = 0

    def make_line(self, row: int, width: int) -> list[Piece]:
        return run_line(self.runs[row], width, self.glyphs, self._now)

    def line(self, row: int, width: int) -> Sequence[Piece]:
        self._line_width = width
        made = self._painted[row] = self.make_line(row, width)
        return made


def outcome_line(seen: Seen) -> str:
    """`quantize finished after 25.9 s`, `failed after 3.0 s, exit code 1`: for the hint bar."""
    result = seen.state.result
    took = duration_s(seen)
    parts = f"{shown(seen.run.spec.name, 60)} {seen.state.state}"
    parts += f" after {duration(took)}" if took is not None else ""
    if result and result.exit_code:
        parts += f", exit code {result.exit_code}"
    elif result and result.signal:
        parts += f", {result.signal}"
    return parts
