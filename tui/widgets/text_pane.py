"""A pane of finished lines: details, plots, values. It scrolls; it has no cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qinspect.tui.widgets.lines import Piece


class TextPane(ScrollView, can_focus=True):
    """Shows lines made of pieces, or of rich Text (never markup)."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "dim",
        "up",
        "down",
        "same",
        "odd",
        "broken",
        "name",
        "accent",
        "header",
        "a",
        "b",
    }

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._lines: list[Sequence[Piece] | Text] = []

    def show(self, lines: Sequence[Sequence[Piece] | Text | str]) -> None:
        """Replace what is shown and scroll to its start."""
        self._lines = [[(line, "")] if isinstance(line, str) else line for line in lines]
        self.virtual_size = Size(self._width(), len(self._lines))
        self.scroll_to(0, 0, animate=False, force=True, immediate=True)
        self.refresh()

    def _width(self) -> int:
        longest = max((_length(line) for line in self._lines), default=0)
        return max(self.scrollable_content_region.width, longest)

    def on_resize(self, _: events.Resize) -> None:
        self.virtual_size = Size(self._width(), len(self._lines))

    @property
    def plain(self) -> list[str]:
        """The lines as text, for export and tests."""
        return [line.plain if isinstance(line, Text) else "".join(t for t, _ in line) for line in self._lines]

    def render_line(self, y: int) -> Strip:
        """One visible line."""
        row = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if row >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[row]
        if isinstance(line, Text):
            segments = [
                Segment(s.text, base + (s.style or Style.null()))
                for s in line.render(self.app.console)
                if s.text != "\n"
            ]
        else:
            segments = [
                Segment(text, base + self.get_component_rich_style(kind, partial=True) if kind else base)
                for text, kind in line
            ]
        x = self.scroll_offset.x
        return Strip(segments).crop_extend(x, x + width, base)


def _length(line: Sequence[Piece] | Text) -> int:
    return line.cell_len if isinstance(line, Text) else sum(len(text) for text, _ in line)
