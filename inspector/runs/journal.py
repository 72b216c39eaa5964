"""events.jsonl: one JSON object a line, written by one process and read by any number while it grows.

A line counts when its newline is there. Every event has the next number: one that is missing shows as a gap.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.runs.stored import open_file

_OWN_FIELDS = ("seq", "time", "kind")
_READ_BYTES = 4 << 20
"""Bytes of the file that one call of `read_events` takes in: a screen asks again."""
_MAX_LINE_BYTES = 64 << 20
"""A line longer than this was not written by `Journal`; it is skipped in pieces."""
_MAX_SEQ = 2**53
_MAX_TIME_S = 1e12
_UNUSUAL = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{18}|(?:[\[{][^\[{\]}]*){12}")
"""What a line may hold that is more than a float or a screen can take: numbers without bounds, deep nesting."""
_MAX_TEXT = 16_000
"""Characters of one text in an event; the log has the rest."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One line of the journal. time: seconds since the epoch."""

    seq: int
    time: float
    kind: str
    fields: dict[str, Any] = field(default_factory=dict)


def read_events(path: Path, from_offset: int = 0) -> tuple[list[RunEvent], int]:
    """Events from a byte offset on, at most some megabytes of them, and the offset to go on from.

    A last line without its newline is not read yet; a line that is no event is skipped. At the end of the file the
    offset comes back unchanged. No file is no events. Raises CannotRead where the system refuses.
    """
    try:
        with open_file(path) as f:
            f.seek(from_offset)
            data = f.read(_READ_BYTES)
            while b"\n" not in data and len(data) < _MAX_LINE_BYTES and (more := f.read(_READ_BYTES)):
                data += more
    except FileNotFoundError:
        return [], from_offset
    except OSError as e:
        raise CannotRead(f"cannot be read: {e.strerror or e}", file=path) from e
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) >= _MAX_LINE_BYTES:
        return [], from_offset + len(data)
    events = [event for line in data[:end].split(b"\n") if (event := _parse(line)) is not None]
    return events, from_offset + end


def read_all_events(path: Path, from_offset: int = 0) -> list[RunEvent]:
    """Every event of a journal from a byte offset on."""
    events: list[RunEvent] = []
    offset = from_offset
    while True:
        more, following = read_events(path, offset)
        events += more
        if following == offset:
            return events
        offset = following


def read_last_events(path: Path, n_bytes: int = 64 << 10) -> list[RunEvent]:
    """Events in the last bytes of a journal: enough to say how far a run is, however long its journal."""
    try:
        size = path.stat().st_size
    except OSError:
        return []
    return read_all_events(path, max(0, size - n_bytes))


def missing(events: Sequence[RunEvent]) -> int:
    """How many events the sequence numbers say there were and are not here."""
    return sum(max(0, b.seq - a.seq - 1) for a, b in pairwise(events))


def _parse(line: bytes) -> RunEvent | None:
    """The event of a line; None for a line that is none. Values that no program can calculate with become null."""
    try:
        content = json.loads(line, parse_constant=_nothing)
        if not isinstance(content, dict):
            return None
        seq, when, kind = (content.pop(key, None) for key in _OWN_FIELDS)
        if type(seq) is not int or not 0 <= seq <= _MAX_SEQ or not isinstance(kind, str):
            return None
        if not isinstance(when, int | float) or isinstance(when, bool) or not abs(when) < _MAX_TIME_S:
            return None
        if _UNUSUAL.search(line):
            content = clean(content)
    except (ValueError, RecursionError, OverflowError):
        return None
    return RunEvent(seq, float(when), kind, content)


def _nothing(_name: str) -> None:
    """NaN and Infinity, which are no JSON."""


class Journal:
    """The writing side. A disk that is full makes events get lost, and nothing else: they are counted."""

    def __init__(self, path: Path) -> None:
        """Goes on after the last event that is in the file. Raises OSError where it cannot be made."""
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.seq, self._starts_line = self._last()
        self.lost = 0
        self.problem = ""

    def append(self, kind: str, fields: Mapping[str, Any] | None = None) -> bool:
        """Write one event. False: the system refused, and the event is lost but for its number."""
        self.seq += 1
        own = {"seq": self.seq, "time": round(time.time(), 3), "kind": kind}
        others = {str(k): clean(v) for k, v in (fields or {}).items() if k not in _OWN_FIELDS}
        line = json.dumps({**own, **others}, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        before = -1
        try:
            before = os.fstat(self._fd).st_size
            self._write(line if self._starts_line else b"\n" + line)
        except OSError as e:
            self.lost += 1
            self.problem = e.strerror or str(e)
            # what was written of the line is taken back, else it would spoil the next one
            with contextlib.suppress(OSError):
                if before >= 0:
                    os.ftruncate(self._fd, before)
            return False
        self._starts_line = True
        return True

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def _last(self) -> tuple[int, bool]:
        """Number of the last event, and whether the file ends with a whole line."""
        size = os.fstat(self._fd).st_size
        if size == 0:
            return 0, True
        start = max(0, size - (1 << 20))
        events, _ = read_events(self._path, start)
        return (events[-1].seq if events else 0), os.pread(self._fd, 1, size - 1) == b"\n"


def clean(value: Any, depth: int = 6) -> Any:
    """A value as JSON has it: what is not finite or has no bounds is null, long texts are cut, other types are text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1e18 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}...({len(value) - _MAX_TEXT} more)"
    if depth and isinstance(value, Mapping):
        return {str(k): clean(v, depth - 1) for k, v in value.items()}
    if depth and isinstance(value, list | tuple):
        return [clean(v, depth - 1) for v in value]
    return clean(str(value))
