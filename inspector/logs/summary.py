"""A whole log at a glance: phases, settings, points, warnings, errors, tables, results, conclusions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.finding import Finding
from qinspect.inspector.logs.conclusions import Setting, noted
from qinspect.inspector.logs.ends import Ends
from qinspect.inspector.logs.event import LogEvent
from qinspect.inspector.logs.header import seconds_between
from qinspect.inspector.logs.parser import LogParser
from qinspect.inspector.logs.patterns import Patterns, load_patterns
from qinspect.inspector.progress import Steps, untold

CHUNK_BYTES = 1 << 20
MAX_PHASES = 2_000
MAX_POINTS = 100_000
MAX_MESSAGES = 1_000
MAX_TABLES = 200


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase: where it begins, when (ISO, "" where the log has no times), how long until the next one with a time
    (None for the last), its bar's last state (fields of a progress event) or None."""

    name: str
    text: str
    line: int
    time: str = ""
    seconds: float | None = None
    progress: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PointRow:
    """One row of a table of points."""

    line: int
    fields: dict[str, Any]


@dataclass(slots=True)
class Message:
    """A warning or error with the number of times it came."""

    text: str
    fields: dict[str, Any]
    line: int
    last_line: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """A table that the log shows."""

    line: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class LogSummary:
    """What a log says. left_out counts what the bounds above left out between the first and the last. cut_bytes: the
    middles of lines beyond 64 kB."""

    path: str
    n_bytes: int = 0
    n_lines: int = 0
    cut_bytes: int = 0
    left_out: int = 0
    phases: list[Phase] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    points: dict[str, list[PointRow]] = field(default_factory=dict)
    warnings: list[Message] = field(default_factory=list)
    errors: list[Message] = field(default_factory=list)
    tables: list[PrintedTable] = field(default_factory=list)
    results: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    problems: tuple[str, ...] = ()


class Summary:
    """Builds a LogSummary from events as they come."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._phases: Ends[Phase] = Ends(MAX_PHASES)
        self._has_phases = False
        self._points: Ends[tuple[str, PointRow]] = Ends(MAX_POINTS)
        self._warnings: Ends[Message] = Ends(MAX_MESSAGES)
        self._errors: Ends[Message] = Ends(MAX_MESSAGES)
        self._tables: Ends[PrintedTable] = Ends(MAX_TABLES)
        self._results: Ends[tuple[int, dict[str, Any]]] = Ends(MAX_TABLES)
        self._notes: Ends[Finding] = Ends(MAX_MESSAGES)
        self._seen: dict[tuple[str, str], Message] = {}

    def add(self, event: LogEvent) -> None:
        """Take one event."""
        fields = event.fields
        if event.kind == "phase":
            self._has_phases = True
            self._phases.add(Phase(fields["name"], fields["text"], event.line, fields.get("time", "")))
        elif event.kind == "progress":
            self._progress(fields, event.line)
        elif event.kind == "point":
            self._points.add((fields["name"], PointRow(event.line, fields["fields"])))
        elif event.kind == "warning":
            self._message(self._warnings, event)
        elif event.kind == "error":
            self._message(self._errors, event)
        elif event.kind == "table":
            self._tables.add(PrintedTable(event.line, tuple(fields["columns"]), tuple(map(tuple, fields["rows"]))))
        elif event.kind == "result":
            self._results.add((event.line, fields["json"]))
        elif event.kind == "note":
            self._notes.add(noted(fields["text"], fields["rule"], tuple(fields["lines"])))

    def _progress(self, fields: dict[str, Any], line: int) -> None:
        """A bar belongs to its phase. Where no phase is known, each bar is one."""
        last = self._phases.latest
        if last is None or (not self._has_phases and not _goes_on(last.progress, fields)):
            self._phases.add(Phase(fields["name"], "", line, progress=fields))
        else:
            self._phases.replace_last(replace(last, progress=fields))

    def finish(self, parser: LogParser, n_bytes: int) -> LogSummary:
        """Close the parser and return the summary. n_bytes: length of the log."""
        for event in parser.close():
            self.add(event)
        return self._made(parser, n_bytes, self._notes.all())

    def so_far(self, parser: LogParser, n_bytes: int) -> LogSummary:
        """The summary of what was read, of which more may come: without what only the end of a log shows."""
        return self._made(parser, n_bytes, parser.notes())

    def _made(self, parser: LogParser, n_bytes: int, notes: list[Finding]) -> LogSummary:
        made = LogSummary(self._path)
        made.phases, made.notes = self._phases.all(), notes
        for name, row in self._points.all():
            made.points.setdefault(name, []).append(row)
        # a block is told when it is complete, which can be after what came between its lines
        made.warnings, made.errors = (sorted(m.all(), key=lambda x: x.line) for m in (self._warnings, self._errors))
        made.tables, made.results = self._tables.all(), self._results.all()
        kept = (self._phases, self._points, self._warnings, self._errors, self._tables, self._results, self._notes)
        made.left_out = sum(k.left_out for k in kept)
        made.n_bytes, made.n_lines, made.cut_bytes = n_bytes, parser.n_lines, parser.cut_bytes
        made.settings = parser.settings()
        timed = [i for i, p in enumerate(made.phases) if p.time]
        for i, after in pairwise(timed):
            seconds = seconds_between(made.phases[i].time, made.phases[after].time)
            made.phases[i] = replace(made.phases[i], seconds=seconds)
        return made

    def _message(self, messages: Ends[Message], event: LogEvent) -> None:
        key = (event.kind, event.fields["text"])
        before = self._seen.get(key)
        if before:
            before.count += 1
            before.last_line = event.line
            return
        self._seen[key] = made = Message(event.fields["text"], event.fields, event.line, event.line)
        dropped = messages.add(made)
        if dropped:
            del self._seen[event.kind, dropped.text]


def _goes_on(before: dict[str, Any] | None, after: dict[str, Any]) -> bool:
    """Whether two states are of one bar."""
    if before is None:
        return False
    return bool(
        before["name"] == after["name"] and before["total"] == after["total"] and before["done"] <= after["done"]
    )


def summarize(
    path: str | Path,
    patterns: Patterns | None = None,
    on_progress: Steps = untold,
) -> LogSummary:
    """Read a log from beginning to end; `-` is stdin. on_progress is told bytes read and bytes in all.

    Raises CannotOpen where it cannot be read.
    """
    if str(path) == "-":
        return summarize_stream(sys.stdin.buffer, "-", 0, patterns, on_progress)
    with opened_log(path) as stream:
        total = os.fstat(stream.fileno()).st_size
        return summarize_stream(stream, str(path), total, patterns, on_progress)


@contextmanager
def opened_log(path: str | Path) -> Iterator[BinaryIO]:
    """A log to read bytes from. Raises CannotOpen where it cannot be opened, or reading from it fails."""
    try:
        with Path(path).open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise CannotOpen("no such file", file=path) from None
    except IsADirectoryError:
        raise CannotOpen("a folder, not a log", file=path, cure="Name a file in it.") from None
    except OSError as e:
        raise CannotOpen(f"cannot be read: {e.strerror or e}", file=path) from e


def summarize_stream(
    stream: BinaryIO,
    name: str,
    total: int,
    patterns: Patterns | None,
    on_progress: Steps,
) -> LogSummary:
    """The same for anything that bytes can be read from. total: bytes expected, for on_progress."""
    patterns = load_patterns() if patterns is None else patterns
    parser, summary, done = LogParser(patterns), Summary(name), 0
    while data := stream.read(CHUNK_BYTES):
        for event in parser.feed(data):
            summary.add(event)
        done += len(data)
        on_progress(done, max(total, done))
    made = summary.finish(parser, done)
    made.problems = patterns.problems
    return made
