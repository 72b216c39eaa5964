"""The run that is shown: its log and its journal, opened; what is new in them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.runs import RunEvent
from qinspect.inspector.runs.show import Seen
from qinspect.tui.runs.feed import Feed
from qinspect.tui.runs.log_facts import LogFacts
from qinspect.tui.runs.log_source import Cancelled, LogSource


@dataclass(frozen=True, slots=True)
class New:
    """What a look found. changed: the log has other lines. problem: why it could not look."""

    events: list[RunEvent]
    changed: bool
    problem: str = ""

    @property
    def is_nothing(self) -> bool:
        """Whether all that there is was known."""
        return not self.events and not self.changed


class ShownRun:
    """`read` belongs into a thread, everything else on the screen's.

    seen: its state, as of the last look at all runs. facts: what its log says as a whole. problem: why its log cannot
    be read. all_read: nothing can come.
    """

    def __init__(self, seen: Seen, facts: LogFacts) -> None:
        self.seen = seen
        self.facts = facts
        self.feed = Feed(seen.run)
        self.source: LogSource | None = None
        self.problem = ""
        self.all_read = False
        self.open_log()

    def open_log(self) -> bool:
        """Whether there is a log now."""
        try:
            self.source = LogSource(self.seen.run.log_path)
        except QinspectError as e:
            self.problem = str(e)
        return self.source is not None

    @property
    def is_live(self) -> bool:
        """Whether it goes on."""
        return self.seen.state.state.is_live

    def read(self, source: LogSource | None, cancelled: Cancelled) -> New:
        """Look into journal and log. source: held for it, and let go of."""
        events: list[RunEvent] = []
        try:
            events = self.feed.read()
            return New(events, source.refresh(cancelled) if source else False)
        except Exception as e:  # whatever it is: the next look is to come
            return New(events, False, str(e) or type(e).__name__)
        finally:
            if source:
                source.let_go()

    def learn(self, new: New) -> None:
        """What a look found is known now."""
        self.all_read = new.is_nothing and not self.is_live
        self.feed.add(new.events)
        if new.changed and self.source and self.source.total is not None:
            self.feed.saw_lines(self.source.total, time.time())

    def close(self) -> None:
        """It is looked at no more."""
        if self.source:
            self.source.let_go()
