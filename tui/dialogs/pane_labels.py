"""A letter on every pane: the next key goes to that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.widgets import Static

LETTERS = "asdfghjkl"
"""Where the fingers lie."""


class PaneLabels(ModalScreen[str]):
    """Dismissed with the name of a pane, or with "". Any other key is no choice."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss('')", "close", priority=True)]
    AUTO_FOCUS = ""

    def __init__(self, panes: Mapping[str, Region]) -> None:
        """panes: name to where its title, or its line, is on the screen. As many as there are letters."""
        super().__init__()
        self.panes = dict(zip(LETTERS, panes.items(), strict=False))

    def compose(self) -> ComposeResult:
        for letter, (_, region) in self.panes.items():
            label = Static(f" {letter} ", classes="pane-label", markup=False)
            label.styles.offset = (max(region.x, region.right - 4), region.y)
            yield label

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss(self.panes[event.key][0] if event.key in self.panes else "")

    def on_click(self, event: events.Click) -> None:
        """On a label: there."""
        found = [name for name, r in self.panes.values() if r.contains_point(event.screen_offset)]
        self.dismiss(found[0] if found else "")
