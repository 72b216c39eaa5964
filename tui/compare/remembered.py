"""What views took from whole weights is kept for a while: a cursor that moves on one does not read it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
MOST = 6
"""The errors in steps of a weight take 50 MB."""


class Remembered:
    """Of what was asked for last. Asked from the threads of views."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], object] = {}

    def get(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What `make` gives, or gave for this key."""
        known = self._known
        if key in known:
            return known[key]  # type: ignore[return-value]
        made = make()
        self._known = {**dict(list(known.items())[1 - MOST :]), key: made}
        return made
