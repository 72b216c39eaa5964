"""A pane whose lines scroll under the keys that move a cursor elsewhere."""

from __future__ import annotations

from typing import ClassVar

from qinspect.tui.list_pane import FAR, MOVING
from qinspect.tui.pane import Pane


class ScrolledPane(Pane):
    """Rows without a cursor."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING

    def move(self, rows: int) -> None:
        """Down, or up."""
        raise NotImplementedError

    @property
    def page(self) -> int:
        """Rows that fit, less one."""
        raise NotImplementedError

    def action_down(self) -> None:
        self.move(1)

    def action_up(self) -> None:
        self.move(-1)

    def action_page_down(self) -> None:
        self.move(self.page)

    def action_page_up(self) -> None:
        self.move(-self.page)

    def action_top(self) -> None:
        self.move(-FAR)

    def action_bottom(self) -> None:
        self.move(FAR)
