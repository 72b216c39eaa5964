"""What the journal of one run says, read piece by piece: its events, its points, when its lines came."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qinspect.inspector.logs import LogLine, plain
from qinspect.inspector.logs.header import iso_time
from qinspect.inspector.logs.patterns import builtin_patterns
from qinspect.inspector.runs import Run, RunEvent
from qinspect.inspector.runs.show import number_of

MAX_EVENTS = 20_000
"""Events that are kept for the list; the journal has all."""
MAX_VALUES = 400
"""Values of a point that are kept: a sparkline is not wider."""
MAX_MOMENTS = 50_000
OF_ALL = ("note", "setting", "table", "result")
"""Kinds of events that say something of the log as a whole: they are kept however many others come."""
MAX_OF_ALL = 2_000
_HEAD_BYTES = 512


@dataclass(slots=True)
class LivePoint:
    """All events of one point. values: of each numeric field, in the order in which they came. latest: the last
    fields."""

    name: str
    n: int = 0
    latest: Mapping[str, Any] = field(default_factory=dict)
    values: dict[str, deque[float]] = field(default_factory=dict)
    occurrences: deque[RunEvent] = field(default_factory=lambda: deque(maxlen=MAX_VALUES))

    def add(self, event: RunEvent, fields: Mapping[str, Any]) -> None:
        """One more."""
        self.n += 1
        self.latest = fields
        self.occurrences.append(event)
        for key, value in fields.items():
            number = number_of(value)
            if number is not None:
                self.values.setdefault(key, deque(maxlen=MAX_VALUES)).append(number)

    @property
    def is_named(self) -> bool:
        """Whether its events have a text that tells it from others of its kind."""
        return any(isinstance(v, str) for v in self.latest.values())

    @property
    def shown_field(self) -> str:
        """The numeric field that moves most, relative to its size: settings stay as they are."""
        best, most = "", -1.0
        for key, values in self.values.items():
            low, high = min(values), max(values)
            spread = (high - low) / (max(abs(low), abs(high)) or 1.0)
            if spread > most:
                best, most = key, spread
        return best


class Feed:
    """`read` in a thread, `add` on the screen's."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.n_events = 0
        self.events: deque[RunEvent] = deque(maxlen=MAX_EVENTS)
        self.of_all: deque[RunEvent] = deque(maxlen=MAX_OF_ALL)
        self.points: dict[str, LivePoint] = {}
        self.n_points = self.n_warnings = self.n_errors = 0
        self._offset = 0
        self._line_times: dict[int, float] = {}
        self._moments: list[tuple[int, float]] = []

    def read(self) -> list[RunEvent]:
        """What is new in the journal, some megabytes at most. Raises CannotRead."""
        events, self._offset = self.run.events(self._offset)
        return events

    def add(self, events: list[RunEvent]) -> None:
        """Learn from events."""
        self.n_events += len(events)
        self.events.extend(events)
        for event in events:
            line = event.fields.get("line")
            if isinstance(line, int) and len(self._line_times) < MAX_MOMENTS and event.kind != "progress":
                self._line_times.setdefault(line - 1, event.time)
            if event.kind == "point":
                self._add_point(event)
            elif event.kind in OF_ALL:
                self.of_all.append(event)
            elif event.kind == "warning":
                self.n_warnings += 1
            elif event.kind == "error":
                self.n_errors += 1

    def _add_point(self, event: RunEvent) -> None:
        fields = event.fields.get("fields")
        found = fields if isinstance(fields, Mapping) else {}
        # what is text tells points apart: `GPTQ layer.0.mixer.in_proj`
        words = [str(event.fields.get("name", ""))] + [v for v in found.values() if isinstance(v, str)]
        name = " ".join(words)
        self.n_points += 1
        self.points.setdefault(name, LivePoint(name)).add(event, found)

    def saw_lines(self, n_lines: int, now: float) -> None:
        """There are so many lines now: what came since the last look came now."""
        if (not self._moments or self._moments[-1][0] < n_lines) and len(self._moments) < MAX_MOMENTS:
            self._moments.append((n_lines, now))

    def time_of(self, line: LogLine) -> float | None:
        """When a line came: as the journal knows it, as this screen saw it, or as the line itself says."""
        if line.number is None:
            return written_time(line)
        known = self._line_times.get(line.number)
        if known is not None:
            return known
        at = bisect_right(self._moments, line.number, key=lambda m: m[0])
        return self._moments[at][1] if 0 < at < len(self._moments) else written_time(line)


def written_time(line: LogLine) -> float | None:
    """The time that a logger wrote before its message, in the time of this host unless it names a zone."""
    text = plain(line.data[:_HEAD_BYTES])
    try:
        return datetime.fromisoformat(iso_time(builtin_patterns().header(text).time)).timestamp()
    except (ValueError, OverflowError, OSError):  # none
        return None
