"""One open file, read by position.

`pread` rather than a memory map: a map of a file that is shortened while it is open ends the process with
SIGBUS, and touched pages count as resident memory; a short read is one clear error, and a buffer is freed.
docs/reading.md has the measurement.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from qinspect.inspector.errors import BrokenFile, CannotOpen, CannotRead


MAX_GAP_BYTES = 1 << 13
"""Bytes between two ranges that are read with them: copying these takes less time than a second read."""

MAX_TOGETHER_BYTES = 1 << 18
"""Read at once where several ranges are. More leaves the cache of a core, and malloc gives it back each time."""


class File:
    """A read-only file with its size and identity at the time of opening. Safe to use from several threads.

    notes: what is odd about it, one sentence each: from opening, and what reading has found since. stored: whether
    positions are those of the file under `path`.
    """

    __slots__ = ("_absolute", "_fd", "identity", "notes", "path", "size")
    stored = True

    def __init__(self, path: Path) -> None:
        """Raises CannotOpen where the path cannot be opened for reading or is no regular file."""
        self.path = path
        self.notes: list[str] = []
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

    def read(self, offset: int, n: int) -> bytes:
        """`n` bytes from `offset`.

        Raises BrokenFile where the range was never inside the file, CannotRead where the file has since shrunk.
        """
        self._check_range(offset, n)
        data = self._pread(offset, n)
        while len(data) < n:  # a signal, or a read over 2 GiB, may end early
            more = self._pread(offset + len(data), n - len(data))
            if not more:
                raise CannotRead(
                    "the file became shorter while it was open",
                    file=self.path,
                    offset=offset + len(data),
                    cure="Open it again once it is completely written.",
                )
            data += more
        return data

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """`read` of each (offset, length), in as few reads as it takes: neighbours come together. Raises as `read`."""
        found = [b""] * len(ranges)
        for start, stop, parts in _together(ranges):
            data = self.read(start, stop - start)
            for i in parts:
                offset, n = ranges[i]
                found[i] = data[offset - start : offset - start + n]
        return found

    def read_into(self, offset: int, buffer: bytearray) -> None:
        """Fill `buffer` from `offset`: `read`, without new memory for each. Raises as `read` does."""
        self._check_range(offset, len(buffer))
        try:
            n = os.preadv(self._fd, (buffer,), offset)
        except OSError as e:
            raise self._unreadable(e, offset) from e
        if n < len(buffer):
            buffer[n:] = self.read(offset + n, len(buffer) - n)

    def _check_range(self, offset: int, n: int) -> None:
        if offset < 0 or n < 0 or offset + n > self.size:
            raise BrokenFile(
                "a read beyond the end of the file was asked for",
                file=self.path,
                offset=offset,
                expected=f"{n} bytes",
                found=f"{max(0, self.size - offset)} bytes",
            )

    def _pread(self, offset: int, n: int) -> bytes:
        try:
            return os.pread(self._fd, n, offset)
        except OSError as e:
            raise self._unreadable(e, offset) from e

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


def _together(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """(start, stop, places in `ranges` of those between) of what is read at once, in the order of the file."""
    start = stop = 0
    parts: list[int] = []
    for i in sorted(range(len(ranges)), key=ranges.__getitem__):
        offset, n = ranges[i]
        if not n:
            continue
        if parts and (offset > stop + MAX_GAP_BYTES or offset + n > start + MAX_TOGETHER_BYTES):
            yield start, stop, parts
            parts = []
        if not parts:
            start = stop = offset
        parts.append(i)
        stop = max(stop, offset + n)
    if parts:
        yield start, stop, parts
