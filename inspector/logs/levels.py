"""Which lines of a huge log are warnings and errors: a scan in windows, of which only candidates are looked at."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.logs.escapes import last_overwrite, without_escapes
from qinspect.inspector.logs.event import Level
from qinspect.inspector.logs.file import line_level, never

WINDOW_BYTES = 1 << 18
"""Scanned between two looks at whether the scan is cancelled; the interpreter is held for that long."""
_HEAD_BYTES = 4096
_CANDIDATE = re.compile(
    rb"warn|err|crit|fatal|panic|exception|traceback|interrupt|killed|^\[?[WEF]\d{4}", re.IGNORECASE | re.MULTILINE
)
_WARNING = re.compile(r"(?:^|[\s:])\w*Warning\b: |^\[?W\d{4} |\bwarning: ", re.ASCII)
_ERROR = re.compile(
    r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b(?:$|: )|^\[?[EF]\d{4} |\b(?:error|ERROR|fatal|FATAL): |^Killed\b"
)
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^  \+ Exception Group Traceback")


def level_of(data: bytes) -> Level:
    """The level of one line: what its logger wrote, else what it looks like."""
    named = line_level(data)
    if named:
        return named
    text = without_escapes(last_overwrite(data[:_HEAD_BYTES]).decode("utf-8", "replace"))
    if _ERROR.search(text) or _TRACEBACK.search(text):
        return "error"
    return "warning" if _WARNING.search(text) else ""


@dataclass(slots=True)
class LevelScan:
    """Numbers (from 0) of the warnings and of the errors up to `offset`, tracebacks whole. Scan again when the file has
    grown. offset, number: where the next scan begins."""

    path: Path
    offset: int = 0
    number: int = 0
    warnings: array[int] = field(default_factory=lambda: array("Q"))
    errors: array[int] = field(default_factory=lambda: array("Q"))
    _in_traceback: bool = False

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
        whole = data.rfind(b"\n") + 1
        if not whole:
            return self._skip_long_line(fd, data, end)
        at = n_before = 0
        for start, stop in self._to_look_at(data, whole):
            n_before += data.count(b"\n", at, start)
            at = start
            self._look(data[start:stop], self.number + n_before)
        self.number += n_before + data.count(b"\n", at, whole)
        self.offset += whole
        return True

    def _to_look_at(self, data: bytes, whole: int) -> Iterator[tuple[int, int]]:
        """Lines that may be something, and those that follow a traceback's beginning."""
        at = 0
        while at < whole:
            if not self._in_traceback:
                found = _CANDIDATE.search(data, at, whole)
                if not found:
                    return
                at = data.rfind(b"\n", at, found.start()) + 1 or at
            stop = data.index(b"\n", at)
            yield at, stop
            at = stop + 1

    def _look(self, line: bytes, number: int) -> None:
        if self._in_traceback:
            # indented lines belong to it, and the first that is not: the error itself
            self._in_traceback = line[:1] in (b" ", b"\t", b"|") or not line.strip()
            self.errors.append(number)
            return
        level = level_of(line)
        if level == "error":
            self.errors.append(number)
            self._in_traceback = b"Traceback (most recent" in line
        elif level == "warning":
            self.warnings.append(number)

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
