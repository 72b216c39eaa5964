"""A pane that is a list under a title: the moving keys move in the list."""

from __future__ import annotations

from typing import ClassVar

from textual import on

from qinspect.tui.pane import Pane
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import LineList

MOVING = frozenset({"down", "up", "page_down", "page_up", "top", "bottom"})
"""Actions of whatever has a cursor, or scrolls."""
FAR = 1 << 40
"""More rows than anything has."""


class ListPane(Pane):
    """Subclasses say which list, and which title."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING

    @property
    def lines(self) -> LineList:
        """The list."""
        return self.query_one(LineList)

    @property
    def title(self) -> TitleLine:
        """The line over it."""
        return self.query_one(TitleLine)

    def set_active(self, active: bool) -> None:
        self.title.set_class(active, "active")
        self.lines.set_active(active)

    def action_down(self) -> None:
        self.lines.move_by(1)

    def action_up(self) -> None:
        self.lines.move_by(-1)

    def action_page_down(self) -> None:
        self.lines.move_by(self.lines.page)

    def action_page_up(self) -> None:
        self.lines.move_by(-self.lines.page)

    def action_top(self) -> None:
        self.lines.move_by(-FAR)

    def action_bottom(self) -> None:
        self.lines.move_by(FAR)

    @on(LineList.Clicked)
    def _on_clicked(self, event: LineList.Clicked) -> None:
        event.stop()
        self.post_message(self.Entered(self))
