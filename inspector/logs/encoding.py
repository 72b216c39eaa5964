"""Logs that are not UTF-8: what Windows PowerShell writes is UTF-16, with or without a mark, or both in one file.

A log is read as UTF-8. Where a line begins as UTF-16 does, what follows is UTF-16, until a line begins that is plain
ASCII text. Bytes that are neither are shown as U+FFFD, as before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

Encoding = Literal["utf-8", "utf-16-le", "utf-16-be"]
_HEAD_BYTES = 8
"""Four characters with NULs between them are UTF-16; no program prints them otherwise."""
_LOOK_AHEAD_BYTES = 32
_SIGNATURES: tuple[tuple[bytes, Encoding], ...] = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_GRAPHIC = rb"[\x21-\x7e]"
_UNIT = rb"[\x20-\x7e\t\r\n]"
_ALTERNATE: tuple[tuple[re.Pattern[bytes], Encoding], ...] = (
    (re.compile(_GRAPHIC + rb"\0(?:" + _UNIT + rb"\0){3}", re.DOTALL), "utf-16-le"),
    (re.compile(rb"\0" + _GRAPHIC + rb"(?:\0" + _UNIT + rb"){3}", re.DOTALL), "utf-16-be"),
)
_ASCII = re.compile(rb"[\x20-\x7e\t\r\x1b]*")


def encoding_of(head: bytes) -> tuple[Encoding, int] | None:
    """What a piece of a log begins as: its encoding, and the bytes of the mark before it. None for no sign of either,
    which is UTF-8."""
    for mark, name in _SIGNATURES:
        if head.startswith(mark):
            return name, len(mark)
    for pattern, name in _ALTERNATE:
        if pattern.match(head):
            return name, 0
    return None


def line_as_utf8(data: bytes, encoding: Encoding, *, first: bool = False) -> bytes:
    """A line that was cut out at bytes 0x0A, as UTF-8, without a mark. encoding: that of the log, as it begins; a line
    of UTF-16 in a log that is not is seen by its NULs. first: of the file."""
    if first:
        for mark, name in _SIGNATURES:
            if name == encoding:
                data = data.removeprefix(mark)
    if encoding == "utf-8":
        if b"\0" not in data:
            return data
        found = encoding_of(data) or encoding_of(data.removeprefix(b"\0"))
        if not found:
            return data
        encoding = found[0]
    if encoding == "utf-16-le":
        data = data.removeprefix(b"\0")  # the other half of the line end before it
    elif len(data) % 2:
        data = data[:-1]  # of the one behind it
    return data.decode(encoding, "replace").encode("utf-8", "replace")


class Transcoder:
    """Bytes as they come, out as UTF-8; how they are cut into chunks does not matter.

    Each piece says how many bytes of the log a unit of it took: in UTF-16 two a code unit.
    """

    def __init__(self) -> None:
        self.encoding: Encoding = "utf-8"
        self._held = b""
        self._at_line_start = self._first = True

    def feed(self, data: bytes) -> Iterator[tuple[Encoding, int, bytes]]:
        """(encoding, bytes of a mark before it, the piece as UTF-8)."""
        if not self._held and self.encoding == "utf-8" and self._plain(data):
            if data:
                self._at_line_start, self._first = data.endswith(b"\n"), False
                yield "utf-8", 0, data
            return
        yield from self._pieces(self._held + data, final=False)

    def close(self) -> Iterator[tuple[Encoding, int, bytes]]:
        """What was held back."""
        yield from self._pieces(self._held, final=True)

    @property
    def n_held(self) -> int:
        """Bytes that were taken and not given yet."""
        return len(self._held)

    def _plain(self, data: bytes) -> bool:
        """Nothing in it can begin UTF-16 or a mark: the usual case, seen at the speed of memchr."""
        if b"\0" in data or b"\xff\xfe" in data or b"\xfe\xff" in data or b"\xef\xbb\xbf" in data:
            return False
        last = data.rfind(b"\n")
        if last < 0 and not self._at_line_start:
            return True
        tail = data[last + 1 :]
        # a first byte alone can be half of UTF-16, or of a mark; no line end is to be held back for that
        return not tail or (len(tail) > 1 and tail not in (b"\xef\xbb",))

    def _pieces(self, data: bytes, *, final: bool) -> Iterator[tuple[Encoding, int, bytes]]:
        self._held = b""
        at = 0
        while at < len(data):
            mark = 0
            if self._at_line_start:
                found = self._decide(data, at, final=final)
                if found is None:
                    self._held = data[at:]
                    return
                self.encoding, mark = found
                at += mark
            end = self._line_end(data, at)
            whole = end > 0
            stop = end if whole else len(data)
            if self.encoding != "utf-8" and not whole:
                stop -= (stop - at) % 2 if not final else 0
                stop = self._before_surrogate(data, at, stop) if not final else stop
            if stop > at or mark:
                yield self.encoding, mark, self._converted(data[at:stop])
            self._at_line_start = whole
            if not whole:
                self._held = data[stop:]
                return
            at = stop

    def _decide(self, data: bytes, at: int, *, final: bool) -> tuple[Encoding, int] | None:
        """The encoding of the line that begins at `at`, and its mark; None: more bytes must be seen."""
        head = data[at : at + _LOOK_AHEAD_BYTES]
        found = encoding_of(head)
        if found and found[1] and found[0] != "utf-8" and not self._first:
            # a mark in the midst of a log counts only before what looks like UTF-16: other bytes can be alike
            rest = head[found[1] :]
            if len(rest) < _HEAD_BYTES and not final and _may_alternate(rest):
                return None
            found = found if encoding_of(rest) == (found[0], 0) else None
        if found:
            self._first = False
            return found
        if self.encoding == "utf-8":
            if len(head) < _HEAD_BYTES and not final and self._may_become(head):
                return None
            self._first = False
            return "utf-8", 0
        line, end, _ = head.partition(b"\n")
        if not end and len(head) < _LOOK_AHEAD_BYTES and not final:
            return None
        ascii_text = len(line) > 1 and _ASCII.fullmatch(line) is not None
        return ("utf-8" if ascii_text else self.encoding), 0

    @staticmethod
    def _may_become(head: bytes) -> bool:
        """Whether so few bytes can be the beginning of UTF-16 or of a mark."""
        return any(mark.startswith(head) for mark, _ in _SIGNATURES) or _may_alternate(head)

    def _line_end(self, data: bytes, at: int) -> int:
        """Where the line that begins at `at` ends, behind its line end; 0 if it does not in these bytes."""
        if self.encoding == "utf-8":
            # lines up to the next that has a NUL are one piece: only they can begin something else
            return data.find(b"\n", at) + 1
        unit = b"\n\0" if self.encoding == "utf-16-le" else b"\0\n"
        found = data.find(unit, at)
        while found >= 0 and (found - at) % 2:
            found = data.find(unit, found + 1)
        return found + 2 if found >= 0 else 0

    def _before_surrogate(self, data: bytes, at: int, stop: int) -> int:
        """A high surrogate at the end waits for its other half."""
        high = stop - 1 if self.encoding == "utf-16-le" else stop - 2
        return stop - 2 if stop - 2 >= at and 0xD8 <= data[high] < 0xDC else stop

    def _converted(self, data: bytes) -> bytes:
        if self.encoding == "utf-8":
            return data
        return data.decode(self.encoding, "replace").encode("utf-8", "replace")


def _may_alternate(head: bytes) -> bool:
    """Whether NULs can stand between characters here once there are enough bytes."""
    filler = b"A\0A\0A\0A\0", b"\0A\0A\0A\0A"
    return any(p.match(head + f[len(head) :]) for (p, _), f in zip(_ALTERNATE, filler, strict=True))


def units_in(part: bytes, encoding: Encoding) -> int:
    """How many bytes of the log a piece of UTF-8 took there."""
    return len(part) if encoding == "utf-8" else len(part.decode("utf-8", "replace").encode("utf-16-le", "replace"))
