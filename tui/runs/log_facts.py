"""What the log of a run says as a whole: conclusions, settings asked for and in effect, accuracies."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.logs import LogSummary, Setting
from qinspect.inspector.logs.conclusions import noted
from qinspect.inspector.logs.growing import GrowingSummary
from qinspect.inspector.logs.summary import PrintedTable
from qinspect.inspector.progress import Steps, untold
from qinspect.inspector.runs import Run, RunEvent

MOST_BYTES = 32 << 20
"""A log up to this size is read as a whole, at some MB a second; of a larger one, what its journal has."""


class LogFacts:
    """`read` belongs into a thread.

    summary: what was read, None for nothing. size: bytes of the log by then. problem: why it cannot be read. too_large:
    the log is, and the summary was made of the journal.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._reading: GrowingSummary | None = None
        self._lock = threading.Lock()
        self.summary: LogSummary | None = None
        self.problem = ""
        self.too_large = False
        self.is_final = False
        self.size = -1

    def is_due(self, is_live: bool) -> bool:
        """Whether there is more to read than was read, or its end."""
        return not self.is_final and (not is_live or _size(self._run.log_path) != self.size)

    def read(self, is_live: bool, kept: Iterable[RunEvent], on_progress: Steps = untold) -> None:
        """Look at the log. is_live: more may come. kept: what its journal says of it as a whole, for a log
        that is too large.
        on_progress may raise."""
        with self._lock:  # one that was told to end may not have come to it
            size = _size(self._run.log_path)
            try:
                self.summary, self.too_large = self._read(size, is_live, kept, on_progress), size > MOST_BYTES
                self.problem = ""
            except QinspectError as e:
                self.problem = str(e)
            self.size, self.is_final = size, not is_live

    def give_up(self, problem: str) -> None:
        """It cannot be read, and is not tried again."""
        self.problem, self.is_final = problem, True

    def _read(self, size: int, is_live: bool, kept: Iterable[RunEvent], on_progress: Steps) -> LogSummary:
        if size > MOST_BYTES:
            return from_journal(str(self._run.log_path), size, kept)
        self._reading = self._reading or GrowingSummary(self._run.log_path, self._run.spec.argv)
        return self._reading.read(not is_live, on_progress)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def from_journal(path: str, size: int, events: Iterable[RunEvent]) -> LogSummary:
    """What was understood of a log while it was written. What the journal has that is none of it is left out: it may
    be anything."""
    made = LogSummary(path, n_bytes=size)
    asked: dict[str, tuple[Any, int | None]] = {}
    found: dict[str, tuple[Any, int | None]] = {}
    for event in events:
        fields = event.fields
        line = fields.get("line")
        line = line if isinstance(line, int) else None
        if event.kind == "note" and isinstance(fields.get("text"), str):
            lines = fields.get("lines")
            made.notes.append(noted(fields["text"], str(fields.get("rule", "")), _integers(lines)))
        elif event.kind == "setting" and isinstance(name := fields.get("name"), str):
            (found if fields.get("role") == "effective" else asked)[name] = fields.get("value"), line
        elif event.kind == "table" and isinstance(columns := fields.get("columns"), list):
            rows = [r for r in _list(fields.get("rows")) if isinstance(r, list) and len(r) == len(columns)]
            made.tables.append(PrintedTable(line or 0, _texts(columns), tuple(map(_texts, rows))))
        elif event.kind == "result" and isinstance(content := fields.get("json"), dict):
            made.results.append((line or 0, content))
    nothing = (None, None)
    for name in dict.fromkeys([*asked, *found]):
        (requested, at), (effective, in_effect_at) = asked.get(name, nothing), found.get(name, nothing)
        made.settings.append(Setting(name, requested, effective, at, in_effect_at))
    return made


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, values))


def _integers(values: object) -> tuple[int, ...]:
    return tuple(v for v in _list(values) if isinstance(v, int))
