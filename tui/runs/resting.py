"""Waiting until a cursor rests: a held key must not open every run that it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.screen import Screen

REST_S = 0.06


class Resting:
    """Calls `then` on the screen's thread once nothing was asked for during REST_S."""

    def __init__(self, screen: Screen[None], then: Callable[[], object]) -> None:
        self._screen, self._then = screen, then
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether a call is to come."""
        return self._timer is not None

    def ask(self) -> None:
        """Call `then` soon."""
        self.stop()
        # Not `set_timer`: Textual's timer never fires if the process is held up while it starts.
        self._timer = asyncio.get_running_loop().call_later(REST_S, self._fire)

    def stop(self) -> None:
        """Do not."""
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._screen.call_later(self._then)
