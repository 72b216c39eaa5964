"""What waits until the cursor has rested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from qinspect.tui.later import REST_S, Later


class AfterRest:
    """Calls that are asked for while keys come are made once, when no more come: a held key must not draw a detail for
    every row that it passes. all_end_with: a call that every other one ends with, and is not made beside them."""

    def __init__(self, owner: Screen[Any], all_end_with: Callable[[], None]) -> None:
        self._last = all_end_with
        self._then: dict[Callable[[], None], None] = {}
        self._rested = Later(owner, self._call)

    @property
    def comes(self) -> bool:
        """Whether a call is to come."""
        return self._rested.comes

    def ask(self, then: Callable[[], None]) -> None:
        """Call `then` at rest."""
        self._then[then] = None
        self._rested.ask(REST_S)

    def _call(self) -> None:
        waiting, self._then = self._then, {}
        if len(waiting) > 1:
            waiting.pop(self._last, None)
        for then in waiting:
            then()
