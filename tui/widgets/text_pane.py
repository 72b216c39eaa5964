"""A pane of finished lines: details, plots, values. It scrolls; it has no cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qinspect.tui.glyphs import ASCII, glyphs_for_locale
from qinspect.tui.names import in_locale
from qinspect.tui.widgets.lines import Piece, merged, text_width


class TextPane(ScrollView, can_focus=False):
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

    class Clicked(Message):
        """The mouse was here."""

    class Resized(Message):
        """The pane has another size."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._lines: list[Sequence[Piece] | Text] = []

    def show(self, lines: Sequence[Sequence[Piece] | Text | str]) -> None:
        """Replace what is shown and scroll to its start."""
        before, at = self._lines, self.scroll_offset
        self._lines = [[(line, "")] if isinstance(line, str) else line for line in lines]
        if glyphs_for_locale() is ASCII:  # of messages: names and plots are ASCII already
            pieces = (
                line if isinstance(line, Text) else [(in_locale(t), kind) for t, kind in line] for line in self._lines
            )
            self._lines = list(pieces)
        size = self._content_size()
        if at == (0, 0) and size == self.virtual_size:
            self._refresh_changed(before)
            return
        self.virtual_size = size
        self.scroll_to(0, 0, animate=False, force=True, immediate=True)
        self.refresh()

    def _content_size(self) -> Size:
        """What can be scrolled over. Rounded up where it is larger than the pane: as long as it stays the same, only
        lines that changed are repainted."""
        room, height = text_width(self), self.content_region.height
        if room <= 0 or height <= 0:  # not shown yet: scrollbars that came now would stay, with nothing to scroll
            return Size(0, 0)
        longest = max((_length(line) for line in self._lines), default=0)
        if longest > room:  # not whether its scrollbar is there now: that depends on what was shown before
            height -= self.styles.scrollbar_size_horizontal
        elif len(self._lines) <= height:
            self.show_horizontal_scrollbar = False  # a size that stays the same would keep it, over the last line
        width = room if longest <= room else -(-longest // 64) * 64
        height = height if len(self._lines) <= height else -(-len(self._lines) // 32) * 32
        return Size(width, height)

    def refresh_line(self, y: int) -> None:
        """Repaint one row, and not the scrollbar beside it."""
        self.refresh(Region(0, y - self.scroll_offset.y, text_width(self), 1))

    def _refresh_changed(self, before: Sequence[Sequence[Piece] | Text]) -> None:
        """Repaint only lines that are another text than `before`: over SSH every line is a hundred bytes and more."""
        nothing: Sequence[Piece] = []
        for row in range(min(self.size.height, max(len(before), len(self._lines)))):
            old = before[row] if row < len(before) else nothing
            new = self._lines[row] if row < len(self._lines) else nothing
            if old != new:
                self.refresh_line(row)

    def on_resize(self, _: events.Resize) -> None:
        self.virtual_size = self._content_size()
        self.post_message(self.Resized())

    def on_click(self) -> None:
        self.post_message(self.Clicked())

    @property
    def plain(self) -> list[str]:
        """The lines as text, for export and tests."""
        return [line.plain if isinstance(line, Text) else "".join(t for t, _ in line) for line in self._lines]

    def render_line(self, y: int) -> Strip:
        """One visible line."""
        row = y + self.scroll_offset.y
        width = text_width(self)
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
                for text, kind in merged(line)
            ]
        x = self.scroll_offset.x
        return Strip(segments).crop_extend(x, x + width, base)


def _length(line: Sequence[Piece] | Text) -> int:
    return line.cell_len if isinstance(line, Text) else sum(cell_len(text) for text, _ in line)
