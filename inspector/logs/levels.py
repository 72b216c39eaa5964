"""Which lines of a huge log are warnings and errors: a scan in windows, of which only candidates are looked at."""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.logs.encoding import Encoding, encoding_of
from qinspect.inspector.logs.event import Level
from qinspect.inspector.logs.file import line_text, never
from qinspect.inspector.logs.harmless import is_mentioned, is_nothing
from qinspect.inspector.logs.header import Header
from qinspect.inspector.logs.patterns import builtin_patterns
from qinspect.inspector.logs.record import record_of
from qinspect.inspector.logs.speakers import key_of

WINDOW_BYTES = 1 << 18
"""Scanned between two looks at whether the scan is cancelled; the interpreter is held for that long."""
_HEAD_BYTES = 4096
_CANDIDATE = re.compile(
    rb"warn|err|crit|fatal|panic|exception|traceback|interrupt|killed|core dumped|segmentation|out of memory"
    rb"|no space left|assertion|(?<![^\s\[\]:])[WEF](?:\d{4} |\]|:onnx)",
    re.IGNORECASE,
)
_WARNING = re.compile(r"(?:^|[\s:])\w*Warning\b: |^\[?W\d{4} |\bwarning: ", re.ASCII)
_ERROR = re.compile(
    r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b(?:$|: )|^\[?[EF]\d{4} |^Killed\b"
    r"|\b(?:error|ERROR|fatal|FATAL): (?!no error)"
)
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^  \+ Exception Group Traceback")


_MAX_TRACEBACK_LINES = 2000
"""Lines for which a traceback is waited for that never ends."""


def level_of(data: bytes) -> Level:
    """The level of one line: what its logger wrote, else what it looks like."""
    text = line_text(data)
    return _judged(text, builtin_patterns().header(text))


def _judged(text: str, header: Header) -> Level:
    message = text[header.size :]
    if _TRACEBACK.search(message):
        return "error"
    if not header.time and is_nothing(message):
        return ""
    if header.level:
        return header.level
    if message.startswith("{"):
        return _level_of_object(message)
    if _ERROR.search(message):
        return "error"
    if _WARNING.search(message):
        return "warning"
    kinds = {p.kind for p, found in builtin_patterns().match(message) if not is_mentioned(message, found.start())}
    return "error" if "error" in kinds else "warning" if "warning" in kinds else ""


def _level_of_object(text: str) -> Level:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    record = record_of(content) if isinstance(content, dict) else None
    if record and record.wrapped and not record.message.startswith("{"):
        return level_of(record.message.encode("utf-8", "replace"))
    return record.level if record else ""


@dataclass(slots=True)
class LevelScan:
    """Numbers (from 0) of the warnings and of the errors up to `offset`, tracebacks whole. Scan again when the file has
    grown. offset, number: where the next scan begins."""

    path: Path
    offset: int = 0
    number: int = 0
    warnings: array[int] = field(default_factory=lambda: array("Q"))
    errors: array[int] = field(default_factory=lambda: array("Q"))
    _open: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Tracebacks that go on, by who speaks and the logger of their lines: the line that was the last of each."""
    _encoding: Encoding | None = None

    def scan(self, end: int, cancelled: Callable[[], bool] = never) -> bool:
        """Go on to byte `end`, whole lines only. False where cancelled. Raises CannotOpen where there is no file."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise CannotOpen(f"cannot be read: {e.strerror or e}", file=self.path) from e
        try:
            while self.offset < end:
                if cancelled():
                    return False
                if not self._scan_window(fd, end):
                    break
        finally:
            os.close(fd)
        return True

    def _scan_window(self, fd: int, end: int) -> bool:
        data = os.pread(fd, min(WINDOW_BYTES, end - self.offset), self.offset)
        if self._encoding is None and self.offset == 0:
            found = encoding_of(data[:64])
            self._encoding = found[0] if found else "utf-8"
        n_taken = whole = data.rfind(b"\n") + 1
        if not whole:
            return self._skip_long_line(fd, data, end)
        if self._encoding != "utf-8":  # levels are ASCII: without NULs they are found, and lines stay lines
            data = data[:whole].replace(b"\0", b"")
            whole = len(data)
        at = n_before = 0
        for start, stop in self._to_look_at(data, whole):
            n_before += data.count(b"\n", at, start)
            at = start
            self._look(data[start:stop], self.number + n_before)
        self.number += n_before + data.count(b"\n", at, whole)
        self.offset += n_taken
        return True

    def _to_look_at(self, data: bytes, whole: int) -> Iterator[tuple[int, int]]:
        """Lines that may be something, and those that follow a traceback's beginning."""
        at = 0
        while at < whole:
            if not self._open:
                found = _CANDIDATE.search(data, at, whole)
                if not found:
                    return
                at = data.rfind(b"\n", at, found.start()) + 1 or at
            stop = data.index(b"\n", at)
            yield at, stop
            at = stop + 1

    def _look(self, line: bytes, number: int) -> None:
        text = line_text(line)
        header = builtin_patterns().header(text)
        if self._open and self._goes_on(text[header.size :], header, number):
            self.errors.append(number)
            return
        level = _judged(text, header)
        if level == "error":
            self.errors.append(number)
            if _TRACEBACK.search(text):
                self._open[key_of(header)] = number
        elif level == "warning":
            self.warnings.append(number)

    def _goes_on(self, message: str, header: Header, number: int) -> bool:
        """Whether a line belongs to a traceback: indented lines, and the first that is not, the error itself."""
        key = key_of(header)
        if key not in self._open and not header.is_loggers:
            key = next((k for k in self._open if k[0] == header.who), key)
        if key not in self._open:
            for old, last in list(self._open.items()):
                if number - last > _MAX_TRACEBACK_LINES:
                    del self._open[old]
            return False
        if message[:1] in (" ", "\t", "|") or not message.strip():
            self._open[key] = number
        else:
            del self._open[key]
        return True

    def _skip_long_line(self, fd: int, data: bytes, end: int) -> bool:
        """A line longer than a window is judged by its beginning. False: its end is not there yet."""
        at = self.offset + len(data)
        while at < end:
            more = os.pread(fd, min(WINDOW_BYTES, end - at), at)
            if not more:
                return False
            found = more.find(b"\n")
            if found >= 0:
                self._look(data[:_HEAD_BYTES], self.number)
                self.number += 1
                self.offset = at + found + 1
                return True
            at += len(more)
        return False
