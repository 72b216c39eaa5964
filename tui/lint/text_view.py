"""A view of lines that scrolls: beside the list of findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from qinspect.tui.look import Line
from qinspect.tui.scrolled_pane import ScrolledPane
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import text_width
from qinspect.tui.widgets.text_pane import TextPane


class TextView(ScrolledPane):
    """Subclasses give the lines for a width."""

    TITLE: ClassVar[str] = ""

    def compose(self) -> ComposeResult:
        yield TitleLine(self.TITLE, id=f"{self.id}-title")
        yield TextPane(id=f"{self.id}-text")

    def lines(self, width: int) -> Sequence[Line]:
        """What is shown in so many cells."""
        raise NotImplementedError

    @property
    def text(self) -> TextPane:
        """The lines."""
        return self.query_one(TextPane)

    def set_active(self, active: bool) -> None:
        self.query_one(TitleLine).set_class(active, "active")

    def show_again(self) -> None:
        """What is known now."""
        self.text.show(self.lines(max(20, text_width(self.text) - 1)))

    @on(TextPane.Resized)
    def _on_resized(self) -> None:
        self.show_again()

    @on(TextPane.Clicked)
    def _on_clicked(self) -> None:
        self.post_message(self.Entered(self))

    def move(self, rows: int) -> None:
        """To the last page at most: what the pane can scroll over is longer than its text."""
        last = max(0, len(self.text.plain) - self.page - 1)
        line = self.text.scroll_offset.y + rows
        self.text.scroll_to(y=max(0, min(line, last)), animate=False, force=True)

    @property
    def page(self) -> int:
        return max(1, self.text.scrollable_content_region.height - 1)
