"""A call after a time, on the thread of the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.screen import Screen

REST_S = 0.06
"""What a cursor rests before what it is on is shown: a held key must not open all that it passes."""


def is_going(screen: Screen[Any]) -> bool:
    """Whether a screen, or the program, is being taken away: its widgets may be gone while messages still come."""
    # In this order: a screen that was taken away may have no app to ask
    return not screen.is_attached or not screen.app.is_running


class Later:
    """At most one call to come. It ends with its owner: what fires while the program is leaving must begin nothing.

    Not Textual's `set_timer`: that never fires if the process is held up while it starts, and is left pending when the
    program ends while it pauses.
    """

    def __init__(self, owner: App[Any] | Screen[Any], then: Callable[[], object]) -> None:
        self._owner, self._then = owner, then
        self._handle: asyncio.TimerHandle | None = None

    @property
    def comes(self) -> bool:
        """Whether a call is to come."""
        return self._handle is not None

    def ask(self, seconds: float) -> None:
        """Call in this time, and not at the time that was asked for before."""
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._fire)

    def stop(self) -> None:
        """Do not call."""
        if self._handle:
            self._handle.cancel()
        self._handle = None

    def _fire(self) -> None:
        if self._owner.is_running:
            self._owner.call_later(self._call, self._handle)
        else:
            self._handle = None

    def _call(self, handle: asyncio.TimerHandle) -> None:
        if handle is self._handle:  # else it was stopped, or asked for anew, since it fired
            self._handle = None
            if self._owner.app.is_running:
                self._then()
