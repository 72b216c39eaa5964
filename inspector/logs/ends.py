"""Bounds that keep the end: of a flood the middle is left out, for what ended a run stands last."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Ends(Generic[T]):
    """The first and the last of many, `limit` in all."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._first: list[T] = []
        self._last: deque[T] = deque(maxlen=limit - self._half)
        self.left_out = 0

    def add(self, item: T) -> T | None:
        """Take one; the one that is dropped for it, if any."""
        if len(self._first) < self._half:
            self._first.append(item)
            return None
        dropped = self._last[0] if len(self._last) == self._last.maxlen else None
        self._last.append(item)
        self.left_out += dropped is not None
        return dropped

    def replace_last(self, item: T) -> None:
        """Another for the one that was taken last."""
        (self._last or self._first)[-1] = item

    @property
    def latest(self) -> T | None:
        """The one that was taken last."""
        return self._last[-1] if self._last else self._first[-1] if self._first else None

    def all(self) -> list[T]:
        """Those that are kept, in order."""
        return [*self._first, *self._last]


def both_ends(text: str, limit: int) -> str:
    """A text of at most about `limit` characters: its beginning and its end."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... {text[-half:]}"
