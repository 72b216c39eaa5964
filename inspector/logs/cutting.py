"""Bytes of a log cut into lines, and lines into the parts that carriage returns make of them.

Of a part that is too long its beginning and its end are kept. States of a bar that say nothing new are passed over
here, before they cost anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from qinspect.inspector.logs.encoding import Transcoder, units_in
from qinspect.inspector.logs.progress import Thinning

MAX_PART_BYTES = 65_536
"""Of a line, or of a part between carriage returns, this much is looked at, half at its beginning and half at its end;
the rest is counted in `cut_bytes`."""
_HALF = MAX_PART_BYTES // 2
At = tuple[int, int]


class Cutting(ABC):
    """Takes bytes as they come and hands on whole parts. `_line`: number of the line, from 1; `_line_has_text`: whether
    a part of it had any."""

    def __init__(self) -> None:
        self._transcoder = Transcoder()
        self._head: list[bytes] = []
        self._tail: list[bytes] = []
        self._head_size = self._tail_size = self._held = 0
        self._position = self._part_offset = self._line_offset = 0
        self._line = self._unit = 1
        self._line_has_text = False
        self._thinning = Thinning()
        self.cut_bytes = 0

    @abstractmethod
    def _read_part(self, raw: bytes, offset: int) -> None:
        """A part, and where it begins."""

    @abstractmethod
    def _read_tail(self, text: str, at: At) -> None:
        """The end of a part whose middle was not kept; its beginning was handed on before."""

    @abstractmethod
    def _line_ends(self) -> None:
        """After the last part of a line."""

    @property
    def n_lines(self) -> int:
        """Lines begun so far."""
        begun = self._position > self._line_offset or self._transcoder.n_held > 0
        return self._line - (0 if begun else 1)

    @property
    def can_skip(self) -> bool:
        """Whether a part of the log may be passed over: not in UTF-16, whose place in a line would be lost."""
        return self._transcoder.encoding == "utf-8"

    def skip(self, n_bytes: int, n_lines: int) -> None:
        """The next `n_bytes`, which hold `n_lines` ends of lines and end with one, are passed over: what comes after
        has its own place and line all the same."""
        for encoding, mark, piece in self._transcoder.close():
            self._feed(piece, encoding, mark)
        self._transcoder = Transcoder()
        self._end_part()
        self._line_ends()
        self._line_has_text = False
        self._line += n_lines
        self._position += n_bytes
        self._part_offset = self._line_offset = self._position

    def _feed(self, data: bytes, encoding: str, mark: int) -> None:
        self._position += mark
        self._unit = 1 if encoding == "utf-8" else 2
        if mark:
            self._part_offset = self._position
        *lines, last = data.split(b"\n")
        for line in lines:
            size = len(line)
            raw = line[:-1] if line.endswith(b"\r") else line
            if self._held or size > _HALF or self._thinning.is_on or self._unit != 1 or b"\r" in raw:
                self._take(line)
                self._end_part()
            else:  # a whole line, as most are
                self._position += size
                if raw:
                    self._read_part(raw, self._part_offset)
            self._end_line()
        self._take(last)

    def _take(self, data: bytes) -> None:
        if b"\r" in data:
            *parts, data = data.split(b"\r")
            n_taken = 0
            while n_taken < len(parts):
                n_taken += self._pass_over(parts, n_taken)
                if n_taken < len(parts):
                    self._hold(parts[n_taken])
                    self._end_part()
                    n_taken += 1
                    self._position += self._unit
                    self._part_offset = self._position
        self._hold(data)

    def _pass_over(self, parts: list[bytes], first: int) -> int:
        """How many parts from the first on are states of the bar that say nothing new."""
        if self._held or self._unit != 1:
            return 0
        n_skipped = self._thinning.count_skipped(parts, first)
        if n_skipped:
            latest = parts[first + n_skipped - 1]
            self._position += sum(map(len, parts[first : first + n_skipped])) + n_skipped
            self._part_offset = self._position
            self._thinning.pass_over(latest, (self._line, self._position - len(latest) - 1))
        return n_skipped

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        size = len(part)
        self._held += size
        self._position += size if self._unit == 1 else units_in(part, "utf-16-le")
        room = _HALF - self._head_size
        if room > 0:
            self._head.append(part[:room])
            self._head_size += min(room, size)
            part = part[room:]
        if part:
            self._tail.append(part)
            self._tail_size += len(part)
            if self._tail_size > 4 * _HALF:
                last = b"".join(self._tail)[-_HALF:]
                self._tail, self._tail_size = [last], len(last)

    def _end_part(self) -> None:
        if not self._held:
            return
        raw = self._head[0] if len(self._head) == 1 else b"".join(self._head)
        tail = b"".join(self._tail)[-_HALF:] if self._tail else b""
        left_out = self._held - len(raw) - len(tail)
        self._head, self._tail, self._head_size, self._tail_size, self._held = [], [], 0, 0, 0
        self.cut_bytes += left_out
        if not tail and self._thinning.skips(raw):
            self._thinning.pass_over(raw, (self._line, self._part_offset))
            self._line_has_text = True
        elif left_out:
            self._read_part(raw, self._part_offset)
            self._read_tail(tail.decode("utf-8", "replace"), (self._line, self._position - self._unit * len(tail)))
        else:
            self._read_part(raw + tail if tail else raw, self._part_offset)

    def _end_line(self) -> None:
        self._line_ends()
        self._line_has_text = False
        self._line += 1
        self._position += self._unit
        self._part_offset = self._line_offset = self._position
