"""Going through the header of a file from its beginning, a window at a time: a header can hold a vocabulary of many
megabytes, of which nothing is kept."""

from __future__ import annotations

import struct

from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import BrokenFile

_FIRST_BYTES = 1 << 16
_MOST_BYTES = 1 << 22
"""A window grows from the one to the other: a small header is one small read, a large one few."""


class Cursor:
    """order: `<` or `>`, of all numbers. position: of the next byte."""

    __slots__ = ("_base", "_buffer", "_u32", "_u64", "_window", "file", "order", "position")

    def __init__(self, file: Source, order: str, position: int) -> None:
        self.file = file
        self.order = order
        self.position = position
        self._base = position
        self._buffer = b""
        self._window = _FIRST_BYTES
        self._u32 = struct.Struct(order + "I")
        self._u64 = struct.Struct(order + "Q")

    @property
    def remaining(self) -> int:
        """Bytes to the end of the file."""
        return self.file.size - self.position

    def ahead(self, n: int) -> tuple[bytes, int]:
        """A buffer and the place in it of the next byte: `n` bytes follow, fewer where the file ends before."""
        at = self.position - self._base
        if 0 <= at <= len(self._buffer) and (
            len(self._buffer) - at >= n or self._base + len(self._buffer) == self.file.size
        ):
            return self._buffer, at
        wanted = min(self.remaining, max(n, self._window))
        self._window = min(2 * self._window, _MOST_BYTES)
        self._buffer = self.file.read(self.position, wanted)
        self._base = self.position
        return self._buffer, 0

    def take(self, n: int) -> bytes:
        """The next `n` bytes. Raises BrokenFile where the file ends before."""
        self.check(n)
        buffer, at = self.ahead(n)
        self.position += n
        return buffer[at : at + n]

    def skip(self, n: int) -> None:
        """Go on by `n` bytes. Raises as `take`."""
        self.check(n)
        self.position += n

    def check(self, n: int) -> None:
        """Raises BrokenFile where fewer than `n` bytes follow."""
        if n > self.remaining:
            raise BrokenFile(
                "the header reaches beyond the end of the file", file=self.file.path, offset=self.position,
                expected=f"{n} bytes", found=f"{self.remaining} bytes",
                cure="The file is truncated or damaged: download or copy it again.",
            )  # fmt: skip

    def u32(self) -> int:
        """The next number of four bytes."""
        found: int = self._u32.unpack(self.take(4))[0]
        return found

    def u64(self) -> int:
        """The next number of eight bytes."""
        found: int = self._u64.unpack(self.take(8))[0]
        return found

    def skip_strings(self, n: int) -> None:
        """Go on by `n` strings."""
        length_of = self._u64.unpack_from
        while n:
            self.check(8)
            buffer, at = self.ahead(_FIRST_BYTES)
            start, last = at, len(buffer) - 8
            while n and at <= last:
                at += 8 + length_of(buffer, at)[0]
                n -= 1
            self.skip(at - start)
