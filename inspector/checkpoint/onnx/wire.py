"""Protocol Buffers, a field at a time: of a file of any size only what is asked for is read, through a window.

A message is a range of the file. Its fields are numbers, or ranges that may be messages themselves
(https://protobuf.dev/programming-guides/encoding/). Each is checked against the range that it is in.
"""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import BrokenFile

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_LEAST_BYTES, _MOST_BYTES = 1 << 12, 1 << 20
"""Of the window: it grows as long as one follows the other, and is small again behind what was passed over."""
_MAX_VARINT_BYTES = 10
_AGAIN = "The file is truncated or damaged: download or copy it again."

Field = tuple[int, int, int, int, int]
"""(number, wire type, value of a number, where its bytes begin, where they end)."""


class Wire:
    """The bytes of one file."""

    __slots__ = ("_base", "_buffer", "_window", "file")

    def __init__(self, file: Source) -> None:
        self.file = file
        self._buffer = b""
        self._base = 0
        self._window = _LEAST_BYTES

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """The fields of the message from `start` to `stop`. Raises BrokenFile where they do not fill it."""
        at = start
        while at < stop:
            first = at
            tag, at = self._varint(at, stop)
            number, wire = tag >> 3, tag & 7
            if wire == LENGTH:
                n, at = self._varint(at, stop)
                end = at + n
            elif wire == VARINT:
                n, end = self._varint(at, stop)
            elif wire in _WIDTHS:
                n, end = 0, at + _WIDTHS[wire]
            else:
                number = 0  # groups are from before ONNX
                end = at
            if not 0 < number < 1 << 29:
                raise BrokenFile(
                    "is not a field of a message", file=self.file.path, offset=first,
                    expected="a number from 1 and a known wire type", found=f"number {tag >> 3}, type {wire}",
                    cure=_AGAIN,
                )  # fmt: skip
            if end > stop:
                raise self._beyond(at, stop, end - at)
            yield number, wire, n, at, end
            at = end

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """(value, the position behind it). Raises BrokenFile."""
        i = at - self._base
        buffer = self._buffer
        if i < 0 or i + _MAX_VARINT_BYTES > len(buffer):
            buffer, i = self._move(at), 0
        elif at < stop and buffer[i] < 128:  # nearly all are
            return buffer[i], at + 1
        value = shift = 0
        for byte in buffer[i : min(i + _MAX_VARINT_BYTES, stop - self._base)]:
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value & 0xFFFFFFFFFFFFFFFF, at + shift // 7
        raise self._beyond(at, stop, shift // 7 + 1)

    def _move(self, at: int) -> bytes:
        """The window from `at` on."""
        follows = 0 <= at - self._base <= len(self._buffer)
        self._window = min(2 * self._window, _MOST_BYTES) if follows else _LEAST_BYTES
        self._buffer = self.file.read(at, min(self._window, self.file.size - at))
        self._base = at
        return self._buffer

    def _beyond(self, at: int, stop: int, n: int) -> BrokenFile:
        if stop >= self.file.size:
            problem, most = "the header reaches beyond the end of the file", self.file.size - at
        else:
            problem, most = "a field reaches beyond the message that it is in", stop - at
        return BrokenFile(
            problem, file=self.file.path, offset=at, expected=f"at most {most} bytes", found=str(n), cure=_AGAIN
        )

    def numbers(self, field: Field) -> list[int]:
        """The integers of a repeated field, be they packed or one by itself. Raises BrokenFile."""
        _, wire, value, start, stop = field
        if wire == VARINT:
            return [value]
        found = []
        while wire == LENGTH and start < stop:
            value, start = self._varint(start, stop)
            found.append(value)
        return found

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of a range, out of the window where they are in it."""
        i = start - self._base
        if i >= 0 and stop - self._base <= len(self._buffer):
            return self._buffer[i : stop - self._base]
        return self.file.read(start, stop - start)
