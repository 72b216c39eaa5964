"""Any part of a log file of any size, without reading the rest; the file may grow, be cut or be replaced meanwhile.

Opening reads nothing. The end can be shown at once (`tail`); `build_index`, in a worker thread, counts lines so that
any of them can be asked for by number. The reading methods may be called from several threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from qinspect.inspector.errors import CannotOpen, CannotRead
from qinspect.inspector.logs.encoding import Encoding, encoding_of, line_as_utf8
from qinspect.inspector.logs.escapes import last_overwrite, without_escapes
from qinspect.inspector.logs.event import Level
from qinspect.inspector.logs.line_index import BLOCK_BYTES, LineIndex
from qinspect.inspector.logs.patterns import builtin_patterns
from qinspect.inspector.progress import Steps

MAX_LINE_BYTES = 65_536
"""Of a longer line, this much is given."""
MAX_TAIL_BYTES = 64 << 20
"""Without an index, the end of a file is searched this far back for lines."""
_WINDOW_BYTES = MAX_LINE_BYTES + 1
_FINGERPRINT_BYTES = 64
_MAX_RETIRED = 8


def never() -> bool:
    """For work that nobody cancels."""
    return False


class Growth(Enum):
    """What happened to a file since it was last looked at."""

    SAME = "same"
    GROWN = "grown"
    REPLACED = "replaced"
    """Cut, rewritten, or another file under the name: everything known of it is forgotten."""
    GONE = "gone"
    """There is no file under the name; the one that was open can still be read."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line without its line end (`\\n` or `\\r\\n`). data: raw bytes, for `clean`; of a log in UTF-16, as UTF-8.
    number: from 0; None while the index has not counted it. cut: bytes of the line that are not in data. cut_start: the
    part left out, or some of it, is before data."""

    offset: int
    data: bytes
    number: int | None = None
    cut: int = 0
    cut_start: bool = False

    @property
    def level(self) -> Level:
        """The level that the line names; "" if none."""
        return line_level(self.data)


def line_level(data: bytes) -> Level:
    """The level that a logger wrote before a message; "" where there is none."""
    return builtin_patterns().header(line_text(data)).level


def line_text(data: bytes) -> str:
    """The beginning of a line as it is to be read, for what looks for levels."""
    return without_escapes(last_overwrite(data[:4096]).decode("utf-8", "replace"))


class _Source:
    """One opened file and what is known of it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.index = LineIndex()
        found = encoding_of(os.pread(fd, _FINGERPRINT_BYTES, 0))
        self.encoding: Encoding = found[0] if found else "utf-8"
        self.size = self.usable(status.st_size)
        self.mark()

    def usable(self, size: int) -> int:
        """Of so many bytes, those that lines are cut out of: the second half of a line end in UTF-16 is no line."""
        if self.encoding == "utf-16-le" and os.pread(self.fd, 2, max(0, size - 2)) == b"\n\0":
            return size - 1
        return size

    def mark(self) -> None:
        """Remember bytes by which a rewritten file can be told from a grown one."""
        self.ends_line = self.size == 0 or os.pread(self.fd, 1, self.size - 1) == b"\n"
        self._marks = [(at, os.pread(self.fd, min(_FINGERPRINT_BYTES, self.size), at)) for at in self._places()]

    def _places(self) -> tuple[int, int]:
        return 0, max(0, self.size - _FINGERPRINT_BYTES)

    def is_rewritten(self) -> bool:
        return any(os.pread(self.fd, len(data), at) != data for at, data in self._marks)

    @property
    def n_lines(self) -> int | None:
        if self.index.indexed_bytes < self.size:
            return None
        return self.index.n_line_ends + (0 if self.ends_line else 1)


class LogFile:
    """A log file, opened for reading. Lines are numbered from 0: line L of a LogEvent is number L - 1.

    Raises CannotOpen where there is no readable file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._retired: list[int] = []
        self._source = self._open()

    def _open(self) -> _Source:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as e:
            raise CannotOpen(f"cannot be read: {e.strerror or e}", file=self.path) from e
        try:
            return _Source(fd)
        except OSError as e:
            os.close(fd)
            raise CannotOpen("not a file that can be read from any place", file=self.path) from e

    def close(self) -> None:
        """Close the file. No other method may be called any more."""
        with self._lock:
            for fd in (*self._retired, self._source.fd):
                os.close(fd)
            self._retired = []

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is known ---

    @property
    def encoding(self) -> Encoding:
        """What the log begins as."""
        return self._source.encoding

    @property
    def size(self) -> int:
        """Bytes, as of opening or the last `grow`."""
        return self._source.size

    @property
    def n_lines(self) -> int | None:
        """Lines, a last one without line end included; None until all of the file is indexed."""
        with self._lock:
            return self._source.n_lines

    @property
    def indexed_bytes(self) -> int:
        """How far the index is."""
        return self._source.index.indexed_bytes

    def grow(self) -> Growth:
        """Look at the file again: bytes that were added become readable. Cheap enough to call ten times a second."""
        with self._lock:
            source = self._source
            try:
                status = os.stat(self.path)
            except OSError:
                return Growth.GONE
            if (status.st_dev, status.st_ino) != source.identity:
                try:
                    made = self._open()
                except CannotOpen:
                    return Growth.GONE
                self._retire(source.fd)
                self._source = made
                return Growth.REPLACED
            size = source.usable(status.st_size)
            if size < source.size or source.is_rewritten():
                self._source = _Source(source.fd)
                return Growth.REPLACED
            if size == source.size:
                return Growth.SAME
            source.size = size
            source.mark()
            return Growth.GROWN

    def _retire(self, fd: int) -> None:
        """Another thread may be reading from it: close only what has been out of use for long."""
        self._retired.append(fd)
        if len(self._retired) > _MAX_RETIRED:
            os.close(self._retired.pop(0))

    def build_index(self, cancelled: Callable[[], bool] = never, on_progress: Steps | None = None) -> bool:
        """Count the lines that are not counted yet. For a worker thread; asks `cancelled` after each 256 KiB.

        Returns True when all is indexed, False if cancelled or if the file was replaced meanwhile. Call it again after
        `grow`.
        """
        source, buffer = self._source, bytearray(BLOCK_BYTES)
        while True:
            with self._lock:
                at, n = source.index.indexed_bytes, source.index.next_size(source.size)
            if n <= 0:
                return source is self._source
            if cancelled() or source is not self._source:
                return False
            got = _read_into(source.fd, memoryview(buffer)[:n], at)
            if got < n:
                return False  # cut meanwhile: grow will tell
            n_line_ends = buffer.count(b"\n", 0, n)
            with self._lock:
                if source.index.indexed_bytes == at:  # else another thread counted it
                    source.index.extend(n, n_line_ends)
            if on_progress:
                on_progress(at + n, source.size)

    # --- lines ---

    def lines(self, start: int, n: int) -> list[LogLine]:
        """n lines from number `start`; fewer at the end. A negative start counts from the end: -1 is the last line.

        What lies beyond the index is counted first, at some GB/s. A negative start needs no index.
        """
        if n <= 0:
            return []
        if start < 0:
            return self.tail(-start)[:n]
        source = self._source
        with self._lock:
            behind = source.index.n_line_ends < start and source.index.indexed_bytes < source.size
        if behind:
            self.build_index()
        at = self._line_start(source, start)
        return [] if at is None else self._read(source, at, n, start)

    def tail(self, n: int) -> list[LogLine]:
        """The last n lines. Without an index at most 64 MB are searched, so that there may be fewer of very long lines,
        and the first may lack its beginning."""
        source, total = self._source, self.n_lines
        if n <= 0 or source.size == 0:
            return []
        if total is not None:
            return self.lines(max(0, total - n), n)
        start, complete = self._start_of_last(source, n)
        found = self._read(source, start, n, None)
        if not complete and found:
            first = found[0]
            found[0] = LogLine(first.offset, first.data, None, first.cut + start, True)
        return found

    def end_of(self, line: LogLine, n: int) -> bytes:
        """The last n bytes of a line of which not all was given: of a progress bar, they are what it shows."""
        if self._source.encoding != "utf-8":
            return line.data[-n:]
        end = line.offset + len(line.data) + line.cut
        return _read(self._source.fd, min(n, end), max(0, end - n))

    def line_at(self, offset: int) -> int:
        """The number of the line that the byte at `offset` is in. The index must reach it."""
        source = self._source
        with self._lock:
            before, at = source.index.before(offset)
        return before + _read(source.fd, offset - at, at).count(b"\n")

    def offset_of(self, number: int) -> int | None:
        """The offset at which a line begins; None where there is none, or the index does not reach it."""
        return self._line_start(self._source, number)

    def _line_start(self, source: _Source, number: int) -> int | None:
        if number == 0:
            return 0 if source.size else None
        with self._lock:
            if number > source.index.n_line_ends:
                return None
            at, nth = source.index.find(number)
        data = _read(source.fd, BLOCK_BYTES, at)
        parts = data.split(b"\n", nth)
        start = at + len(data) - len(parts[-1])
        return start if len(parts) == nth + 1 and start < source.size else None

    def _start_of_last(self, source: _Source, n: int) -> tuple[int, bool]:
        """Where the last n lines begin, and whether a line really begins there."""
        end, left = source.size, n + (1 if source.ends_line else 0)
        earliest = source.size
        while end > 0 and source.size - end < MAX_TAIL_BYTES:
            start = max(0, end - BLOCK_BYTES)
            data = _read(source.fd, end - start, start)
            at = len(data)
            while (at := data.rfind(b"\n", 0, at)) >= 0:
                left -= 1
                if left == 0:
                    return start + at + 1, True
                if start + at + 1 < source.size:
                    earliest = start + at + 1
            end = start
        if end == 0:
            return 0, True
        return (earliest, True) if earliest < source.size else (max(0, source.size - MAX_LINE_BYTES), False)

    def _read(self, source: _Source, at: int, n: int, number: int | None) -> list[LogLine]:
        made: list[LogLine] = []

        def add(offset: int, data: bytes, cut: int = 0) -> None:
            if offset == 0 or source.encoding != "utf-8" or b"\0" in data:
                data = line_as_utf8(data, source.encoding, first=offset == 0)
            made.append(LogLine(offset, data.removesuffix(b"\r"), None if number is None else number + len(made), cut))

        while at < source.size and len(made) < n:
            wanted = min(_WINDOW_BYTES, source.size - at)
            data = _read(source.fd, wanted, at)
            start = 0
            while len(made) < n and (end := data.find(b"\n", start)) >= 0:
                add(at + start, data[start:end])
                start = end + 1
            if len(made) == n or not data:
                break
            if start == 0 and len(data) == _WINDOW_BYTES:  # longer than what is given of a line
                end = self._line_end(source, at + len(data), None if number is None else number + len(made))
                add(at, data[:MAX_LINE_BYTES], end - at - MAX_LINE_BYTES)
                at = end + 1
                continue
            if len(data) < wanted or at + len(data) >= source.size:  # the end, or cut meanwhile
                if start < len(data):
                    add(at + start, data[start:])
                break
            at += start
        return made

    def _line_end(self, source: _Source, at: int, number: int | None) -> int:
        """The next line end from `at` on, in line `number`, or the end of the file: by the index as far as it reaches,
        for a line may be as long as the file."""
        if number is not None:
            following = self._line_start(source, number + 1)
            if following is not None:
                return following - 1
            if number + 1 == source.n_lines:
                return source.size - (1 if source.ends_line else 0)
        while at < source.size:
            data = _read(source.fd, min(BLOCK_BYTES, source.size - at), at)
            found = data.find(b"\n")
            if found >= 0:
                return at + found
            if not data:
                break
            at += len(data)
        return source.size

    # --- search ---

    def search(
        self,
        pattern: str,
        from_line: int = 0,
        direction: int = 1,
        cancelled: Callable[[], bool] = never,
        *,
        case: bool = False,
        regex: bool = False,
    ) -> int | None:
        """The number of the nearest line with `pattern`, from_line itself included; direction 1 is towards the end, -1
        towards the beginning. None where there is none, or when cancelled.

        Raw bytes are searched: also parts of a line that a carriage return hides, and a text that a colour interrupts
        is not found. Without `case`, ASCII letters match in either case. Lines not indexed yet are counted first.
        Raises UsageError for a regex that is not valid, and for any regex where the log is UTF-16.
        """
        from qinspect.inspector.logs.search import Needle, backward, forward

        source = self._source
        needle = Needle(pattern, case=case, regex=regex, encoding=source.encoding)
        if not pattern or not self.build_index(cancelled):
            return None
        total = self.n_lines or 0
        if direction > 0:
            start = self._line_start(source, max(0, from_line))
            found = None if start is None else forward(source.fd, needle, start, source.size, cancelled)
        else:
            end = self._line_start(source, from_line + 1) if 0 <= from_line < total else None
            if from_line < 0:
                return None
            found = backward(source.fd, needle, source.size if end is None else end, cancelled)
        return None if found is None else self.line_at(found)


def _read(fd: int, n: int, at: int) -> bytes:
    try:
        return os.pread(fd, n, at)
    except OSError as e:
        raise CannotRead(f"the log cannot be read: {e.strerror or e}", offset=at) from e


def _read_into(fd: int, buffer: memoryview, at: int) -> int:
    try:
        return os.preadv(fd, [buffer], at)
    except OSError as e:
        raise CannotRead(f"the log cannot be read: {e.strerror or e}", offset=at) from e
