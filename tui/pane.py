"""A part of a screen that owns its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.containers import Vertical
from textual.message import Message

from qinspect.tui.outside import copy_to_terminal

Hint = tuple[str, str]
"""(names of actions, label) of what works just here, for the bottom line, which has their keys."""


class Pane(Vertical):
    """Serves the actions named in `ACTIONS` by its methods `action_NAME` while it is the active one of its screen, and
    those in `EVERYWHERE` from any other pane too; what no pane serves is the screen's. What it wants of others it posts
    as a message."""

    ACTIONS: ClassVar[frozenset[str]] = frozenset()
    SENTENCES: ClassVar[Mapping[str, str]] = {}
    """What an action of these does here, where the table of actions says it of another pane. For the help."""
    EVERYWHERE: ClassVar[frozenset[str]] = frozenset()

    class Said(Message):
        """A word for the bottom line."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Working(Message):
        """What is being done, for the bottom line; "" at its end."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Entered(Message):
        """It is to be the active pane: the mouse was here, or its own key led here."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    def serves(self, name: str) -> bool:
        """Whether an action is this pane's while it is the active one, as it is now."""
        return name in self.ACTIONS

    def set_active(self, active: bool) -> None:
        """Whether its keys work."""

    @property
    def hints(self) -> tuple[Hint, ...]:
        """What works here and nowhere else."""
        return ()

    def say(self, text: str) -> None:
        """A word for the bottom line."""
        self.post_message(self.Said(text))

    def copy(self, text: str) -> None:
        """Into the terminal's clipboard."""
        self.say(copy_to_terminal(self.app, text))
