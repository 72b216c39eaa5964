"""Where the bytes of a checkpoint come from: a file, memory, a part of either, one day a server.

Readers know no more of it than this: how many bytes there are, and how to get some of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from qinspect.inspector.errors import BrokenFile, CannotRead

MAX_GAP_BYTES = 1 << 13
"""Bytes between two ranges that are read with them: copying these takes less time than a second read."""

MAX_TOGETHER_BYTES = 1 << 18
"""Read at once where several ranges are. More leaves the cache of a core, and malloc gives it back each time."""


class Source(ABC):
    """`size` bytes that are read by position. Safe to use from several threads.

    path: the file that errors name, be these its bytes or taken out of it. identity: the first two parts are equal only
    for the same bytes. notes: what is odd about it, one sentence each: from opening, and what reading has found since.
    stored: whether positions are those of the file under `path`. A subclass sets these and implements `_pread`.
    """

    __slots__ = ("identity", "notes", "path", "size")
    stored = False

    path: Path
    size: int
    identity: tuple[object, ...]
    notes: list[str]

    @abstractmethod
    def _pread(self, offset: int, n: int) -> bytes:
        """At most `n` bytes from `offset`, which is inside; fewer where reading ended early, none at the end. Raises
        CannotRead."""

    def read(self, offset: int, n: int) -> bytes:
        """`n` bytes from `offset`.

        Raises BrokenFile where the range was never inside, CannotRead where the source has since shrunk or cannot be
        read.
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

    def read_into(self, offset: int, buffer: bytearray) -> None:
        """Fill `buffer` from `offset`. Raises as `read` does."""
        buffer[:] = self.read(offset, len(buffer))

    def read_into_each(self, offsets: Sequence[int], buffers: Sequence[memoryview]) -> None:
        """Fill each buffer from its offset, which come in rising order. Raises as `read` does."""
        for offset, buffer in zip(offsets, buffers, strict=True):
            buffer[:] = self.read(offset, len(buffer))

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """`read` of each (offset, length), in as few reads as it takes: neighbours come together. Raises as `read`
        does."""
        found = [b""] * len(ranges)
        for start, stop, parts in _together(ranges):
            data = self.read(start, stop - start)
            for i in parts:
                offset, n = ranges[i]
                found[i] = data[offset - start : offset - start + n]
        return found

    def _check_range(self, offset: int, n: int) -> None:
        if offset < 0 or n < 0 or offset + n > self.size:
            raise BrokenFile(
                "a read beyond the end of the file was asked for",
                file=self.path,
                offset=offset,
                expected=f"{n} bytes",
                found=f"{max(0, self.size - offset)} bytes",
            )

    def changed(self) -> bool:
        """Whether what was opened is no longer there, or is another now."""
        return False

    def gone(self) -> bool:
        """Whether nothing is there any more."""
        return False

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Release what it holds. Reading afterwards may fail."""


class View(Source):
    """Bytes that come out of others. parent: the source that they are named, noted and watched with; a path where
    there is none."""

    __slots__ = ("_parent",)

    def __init__(self, parent: Source | Path, size: int) -> None:
        self.size = size
        self._parent = None if isinstance(parent, Path) else parent
        if isinstance(parent, Path):
            self.path, self.notes, self.identity = parent, [], (parent, size)
        else:
            self.path, self.notes, self.identity = parent.path, parent.notes, parent.identity

    def changed(self) -> bool:
        """Whether what it was taken out of has changed."""
        return self._parent is not None and self._parent.changed()

    def gone(self) -> bool:
        """Whether what it was taken out of is gone."""
        return self._parent is not None and self._parent.gone()


class Memory(View):
    """Bytes that are held."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes, parent: Source | Path) -> None:
        super().__init__(parent, len(data))
        self._data = data
        if isinstance(parent, Path):
            self.identity = (parent, hash(data), len(data))

    def _pread(self, offset: int, n: int) -> bytes:
        return self._data[offset : offset + n]


def _together(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """(start, stop, places in `ranges` of those between) of what is read at once, in the order of the bytes."""
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
