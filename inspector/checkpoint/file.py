"""One open file as a source of bytes.

`pread` rather than a memory map: a map of a file that is shortened while it is open ends the process with
SIGBUS, and touched pages count as resident memory; a short read is one clear error, and a buffer is freed.
docs/reading.md has the measurement.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from qinspect.inspector.checkpoint.source import MAX_GAP_BYTES, Source
from qinspect.inspector.errors import CannotOpen, CannotRead

_MAX_PARTS = 1000
"""Of one read; Linux takes 1,024."""
_NOBODY_LOOKS = memoryview(bytearray(MAX_GAP_BYTES))


class File(Source):
    """A read-only file with its size and identity at the time of opening."""

    __slots__ = ("_absolute", "_fd")
    stored = True

    def __init__(self, path: Path) -> None:
        """Raises CannotOpen where the path cannot be opened for reading or is no regular file."""
        self.path = path
        self.notes = []
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            status = os.fstat(self._fd)
        except (OSError, ValueError) as e:  # ValueError: a name with NUL, or that cannot be encoded
            raise CannotOpen(f"cannot be opened: {getattr(e, 'strerror', None) or e}", file=path) from e
        if not stat.S_ISREG(status.st_mode):  # of what was opened: the path may lead elsewhere by now
            os.close(self._fd)
            self._fd = -1
            raise CannotOpen("is not a regular file", file=path, cure="Give a checkpoint file or its folder.")
        self.size = status.st_size
        self.identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        self._absolute = os.path.abspath(path)  # the working folder may be another one when we look again

    def _pread(self, offset: int, n: int) -> bytes:
        try:
            return os.pread(self._fd, n, offset)
        except OSError as e:
            raise self._unreadable(e, offset) from e

    def read_into(self, offset: int, buffer: bytearray) -> None:
        """`read`, without new memory for each."""
        self._check_range(offset, len(buffer))
        try:
            n = os.preadv(self._fd, (buffer,), offset)
        except OSError as e:
            raise self._unreadable(e, offset) from e
        if n < len(buffer):
            buffer[n:] = self.read(offset + n, len(buffer) - n)

    def read_into_each(self, offsets: Sequence[int], buffers: Sequence[memoryview]) -> None:
        """As `Source.read_into_each`, neighbours in one read: what lies between them goes where nobody looks."""
        start = stop = 0
        parts: list[memoryview] = []
        for offset, buffer in zip(offsets, buffers, strict=True):
            between = offset - stop
            if parts and not (0 <= between <= MAX_GAP_BYTES and len(parts) < _MAX_PARTS):
                self._read_parts(start, parts)
                parts = []
            if not parts:
                start = offset
            elif between:
                parts.append(_NOBODY_LOOKS[:between])
            parts.append(buffer)
            stop = offset + len(buffer)
        if parts:
            self._read_parts(start, parts)

    def _read_parts(self, offset: int, parts: list[memoryview]) -> None:
        n = sum(map(len, parts))
        self._check_range(offset, n)
        try:
            n_read = os.preadv(self._fd, parts, offset)
        except OSError as e:
            raise self._unreadable(e, offset) from e
        if n_read < n:
            super().read_into_each(list(accumulate(map(len, parts[:-1]), initial=offset)), parts)

    def _unreadable(self, e: OSError, offset: int) -> CannotRead:
        """A bad disk, a network share that went away, a closed file."""
        return CannotRead(f"cannot be read: {e.strerror}", file=self.path, offset=offset)

    def changed(self) -> bool:
        """Whether the path no longer leads to the bytes that were opened."""
        try:
            status = os.stat(self._absolute)
        except OSError:
            return True
        return self.identity != (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def gone(self) -> bool:
        """Whether nothing is at the path any more."""
        return not os.path.exists(self._absolute)

    def close(self) -> None:
        """Release the descriptor. Reading afterwards fails."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"File({str(self.path)!r}, {self.size} bytes)"
