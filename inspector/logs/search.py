"""Finding text in a large file, by windows that begin and end at line ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from qinspect.inspector.errors import UsageError

WINDOW_BYTES = 1 << 20
"""Searched between two looks at whether the search is cancelled: about a millisecond, five where case is ignored."""
_OVERLAP_BYTES = 4096
"""Lines longer than a window are searched in windows that overlap by this much."""


class Needle:
    """What is searched for, in the encoding of the log. Raises UsageError for a regex that is not valid, or for any in
    UTF-16."""

    def __init__(self, pattern: str, *, case: bool, regex: bool, encoding: str = "utf-8") -> None:
        encoded = pattern.encode(encoding, "surrogateescape" if encoding == "utf-8" else "replace")
        self._lower = not case and not regex and encoded.lower() != encoded.upper()
        self._plain = encoded.lower() if self._lower else encoded
        self._regex: re.Pattern[bytes] | None = None
        if regex and encoding != "utf-8":
            raise UsageError(
                f"a regular expression cannot be searched for in {encoding.upper()}", cure="Search for it as text."
            )
        if regex:
            try:
                self._regex = re.compile(encoded, re.MULTILINE | (0 if case else re.IGNORECASE))
            except (re.error, RecursionError, OverflowError) as e:
                raise UsageError(
                    f"the search is not a valid regular expression: {e}", cure="Search for it as text."
                ) from e

    def first(self, data: bytes) -> int:
        """Where it is first, or -1."""
        if self._regex:
            found = self._regex.search(data)
            return found.start() if found else -1
        return (data.lower() if self._lower else data).find(self._plain)

    def last(self, data: bytes) -> int:
        """Where it is last, or -1."""
        if self._regex:
            at = -1
            for found in self._regex.finditer(data):
                at = found.start()
            return at
        return (data.lower() if self._lower else data).rfind(self._plain)


def forward(fd: int, needle: Needle, at: int, end: int, cancelled: Callable[[], bool]) -> int | None:
    """The offset of the first match from `at`, a line's beginning, to `end`."""
    while at < end and not cancelled():
        data = os.pread(fd, min(WINDOW_BYTES, end - at), at)
        if not data:
            return None
        step = len(data)
        if at + len(data) < end:
            cut = data.rfind(b"\n") + 1
            step = cut or max(1, len(data) - _OVERLAP_BYTES)
            data = data[:cut] if cut else data
        found = needle.first(data)
        if 0 <= found < len(data):
            return at + found
        at += step
    return None


def backward(fd: int, needle: Needle, end: int, cancelled: Callable[[], bool]) -> int | None:
    """The offset of the last match before `end`, a line's beginning or the end of the file."""
    while end > 0 and not cancelled():
        start = max(0, end - WINDOW_BYTES)
        data = os.pread(fd, end - start, start)
        if not data:
            return None
        next_end = start
        if start > 0:
            cut = data.find(b"\n", 0, len(data) - 1) + 1
            data = data[cut:] if cut else data
            start += cut
            next_end = start if cut else start + min(_OVERLAP_BYTES, len(data) - 1)
        found = needle.last(data)
        if 0 <= found < len(data):
            return start + found
        end = next_end
    return None
