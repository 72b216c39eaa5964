"""A part of a screen that owns its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.containers import Vertical


class Pane(Vertical):
    """Serves the actions named in `ACTIONS` by its methods `action_NAME` while it is the active one of its screen; what
    it does not serve is the screen's. What it wants of others it posts as a message."""

    ACTIONS: ClassVar[frozenset[str]] = frozenset()
    SENTENCES: ClassVar[Mapping[str, str]] = {}
    """What an action of these does here, where the table of actions says it of another pane. For the help."""
