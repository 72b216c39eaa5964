"""The lines of one log as a pane shows them: all, or those of some levels, by row. Only what is asked for is read.

`refresh` belongs into a thread; everything else is quick. As long as the lines of a large log are not counted, its last
ones are there.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum
from heapq import merge
from pathlib import Path

from qinspect.inspector.logs import Growth, LogFile, LogLine
from qinspect.inspector.logs.levels import LevelScan
from qinspect.inspector.progress import Steps

_TAIL_LINES = 2000
"""Lines that can be scrolled over while the rest is being counted."""
_BAR_BYTES = 8192
Cancelled = Callable[[], bool]


class Levels(Enum):
    """Which lines are shown."""

    ALL = "all"
    WARNINGS = "warnings and errors"
    ERRORS = "errors"

    @property
    def next(self) -> Levels:
        """The one after it, round and round."""
        members = list(Levels)
        return members[(members.index(self) + 1) % len(members)]


class LogSource:
    """Rows 0..n_rows-1. Raises CannotOpen where there is no log that can be read."""

    def __init__(self, path: Path) -> None:
        self.file = LogFile(path)
        self.levels = Levels.ALL
        self.total: int | None = None
        """Lines, None until they were counted once."""
        self.shift = 0
        """By how much rows moved when the lines were counted: what was row i of the tail is row i + shift."""
        self._holders = 1
        self._lock = threading.Lock()
        self._scan = LevelScan(path)
        self._tail: list[LogLine] = self.file.tail(_TAIL_LINES)
        self._rows: Sequence[int] = array("Q")
        self._rows_of: tuple[Levels, int, int] | None = None

    def hold(self) -> LogSource:
        """A thread reads from it: the file stays open until everyone let go."""
        with self._lock:
            self._holders += 1
        return self

    def let_go(self) -> None:
        """Who made it, or holds it, needs it no more."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self.file.close()

    # --- in a thread ---

    def refresh(self, cancelled: Cancelled, on_progress: Steps | None = None) -> bool:
        """Look at what was added, count its lines, find its warnings. True where something changed."""
        growth = self.file.grow()
        if growth is Growth.REPLACED:
            self.total, self.shift, self._rows_of = None, 0, None
            self._scan = LevelScan(self.file.path)
            self._tail = self.file.tail(_TAIL_LINES)
        changed = growth in (Growth.GROWN, Growth.REPLACED)
        if (changed or self.total is None) and self.file.build_index(cancelled, on_progress):
            counted = self.file.n_lines
            if counted is not None:  # else it grew meanwhile: the next look counts the rest
                if self.total is None and self._tail:
                    self.shift = self.file.line_at(self._tail[0].offset)
                self.total, changed = counted, True
        if self.levels is not Levels.ALL and self._scan.offset < self.file.size:
            before = self._scan.offset
            self._scan.scan(self.file.size, cancelled)
            changed = changed or self._scan.offset != before
        return changed

    def find(self, text: str, first: int, direction: int, cancelled: Cancelled) -> tuple[int | None, bool]:
        """The nearest line from `first` on that is shown and holds `text`, once around; and whether it came around."""
        number = self._find_shown(text, max(0, first) if direction > 0 else first, direction, cancelled)
        if number is not None or cancelled():
            return number, False
        last = (self.file.n_lines or 1) - 1
        return self._find_shown(text, 0 if direction > 0 else last, direction, cancelled), True

    def _find_shown(self, text: str, first: int, direction: int, cancelled: Cancelled) -> int | None:
        number: int | None = first
        while number is not None and number >= 0:
            number = self.file.search(text, number, direction, cancelled)
            if number is None or self.shows(number):
                return number
            number += direction
        return None

    def look_at_end(self) -> None:
        """While the lines are being counted the end may grow: read it again."""
        self.file.grow()
        self._tail = self.file.tail(_TAIL_LINES // 10)

    # --- rows ---

    @property
    def n_rows(self) -> int:
        """Rows that can be asked for now."""
        if self.levels is not Levels.ALL:
            return len(self._numbers())
        return len(self._tail) if self.total is None else self.total

    def rows(self, start: int, n: int) -> list[LogLine]:
        """Lines from row `start` on."""
        start = max(0, start)
        if self.levels is not Levels.ALL:
            numbers = self._numbers()[start : start + n]
            return [line for i in numbers for line in self.file.lines(i, 1)]
        if self.total is None:
            return self._tail[start : start + n]
        return self.file.lines(start, min(n, self.total - start))

    def data(self, line: LogLine) -> bytes:
        """The bytes to show of a line: of a bar longer than what is given of a line, its end."""
        if line.cut and not line.cut_start and b"\r" in line.data:
            end = self.file.end_of(line, _BAR_BYTES)
            return end[end.find(b"\r") :] if b"\r" in end else line.data
        return line.data

    def row_of(self, number: int) -> int:
        """The row that shows line `number`, or the next one that is shown."""
        if self.levels is Levels.ALL:
            return number
        return bisect_left(self._numbers(), number)

    def number_of(self, row: int) -> int:
        """The line that a row shows."""
        if self.levels is Levels.ALL:
            return row
        numbers = self._numbers()
        return numbers[row] if row < len(numbers) else (self.total or 0)

    def shows(self, number: int) -> bool:
        """Whether line `number` is among those that are shown."""
        row = self.row_of(number)
        return self.levels is Levels.ALL or (row < self.n_rows and self.number_of(row) == number)

    def _numbers(self) -> Sequence[int]:
        scan = self._scan
        key = (self.levels, len(scan.warnings), len(scan.errors))
        if key != self._rows_of:
            errors_only = self.levels is Levels.ERRORS
            self._rows = scan.errors[:] if errors_only else array("Q", merge(scan.warnings, scan.errors))
            self._rows_of = key
        return self._rows
