"""The line in which a filter, or a text to find, is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from qinspect.tui.widgets.bars import HintBar
from qinspect.tui.widgets.text_input import TextInput


class TypedLine(TextInput):
    """Stands in the place of the hints while it is open: another line would move everything else.

    The screen has `action_keep_text` and `action_drop_text` for enter and escape. Both are served before the next key
    is looked at: that one is no letter any more.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.keep_text", show=False, priority=True),
        Binding("escape", "screen.drop_text", show=False, priority=True),
    ]

    def open(self) -> None:
        """Show it, and let keys be its letters."""
        self._show(True)
        self.screen.set_focus(self)

    def close(self) -> None:
        """Show the hints again. The focus is the screen's to give."""
        self._show(False)

    def allows(self, action: str) -> bool:
        """Whether a key may do this now: while the line is open only its own two, else all but those."""
        return self.display is (action in ("keep_text", "drop_text"))

    def _show(self, on: bool) -> None:
        self.display = on
        self.screen.query_one(HintBar).display = not on
