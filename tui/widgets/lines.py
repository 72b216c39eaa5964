"""Lists of any length by the line API: only visible rows are rendered, a cursor move repaints two lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qinspect.inspector.text import visible

Piece = tuple[str, str]
"""(text, component class): `("+3.2 %", "up")`."""


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours of one style as one piece, blanks with whatever is before them: every change of style is 40 bytes.
    Blanks of another ground are not: they would lose it, or get one."""
    made: list[Piece] = []
    for text, kind in pieces:
        if made and (kind == made[-1][1] or (text.isspace() and not _grounded(kind) and not _grounded(made[-1][1]))):
            made[-1] = (made[-1][0] + text, made[-1][1])
        else:
            made.append((text, kind))
    return made


def _grounded(kind: str) -> bool:
    return kind.startswith("heat")


def text_width(pane: ScrollView) -> int:
    """Cells in a line. The scrollbar's place is always kept free: a line, and the header over it, are as long before
    the scrollbar comes as after."""
    return max(0, pane.content_region.width - pane.styles.scrollbar_size_vertical)


class LineList(ScrollView, can_focus=False):
    """A list with a cursor. Subclasses give `line(index, width)`; rows are identified by their index.

    The arrow keys are actions of the screen, so this widget binds none.
    """

    BINDINGS: ClassVar[list[BindingType]] = []
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "line", "cursor", "cursor-off", "header", "dim", "up", "down", "same", "odd", "broken", "name", "accent",
    }  # fmt: skip

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, source: LineList, row: int) -> None:
            super().__init__()
            self.source = source
            self.row = row

        def can_replace(self, message: Message) -> bool:
            """Only the last of several moves matters."""
            return isinstance(message, LineList.Moved) and message.source is self.source

    class Clicked(Message):
        """The mouse was here."""

        def __init__(self, source: LineList) -> None:
            super().__init__()
            self.source = source

    class Chosen(Message):
        """A row was clicked or opened."""

        def __init__(self, source: LineList, row: int) -> None:
            super().__init__()
            self.source = source
            self.row = row

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.cursor = 0
        self.active = False
        self._n_rows = 0
        self._cache: dict[tuple[int, bool, bool, int], Strip] = {}
        self._styles: dict[str, Style] = {}

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._n_rows

    def line(self, row: int, width: int) -> Sequence[Piece]:
        """The pieces of one row, at most `width` cells."""
        raise NotImplementedError

    def refresh_line(self, y: int) -> None:
        """Repaint one row, and not the scrollbar beside it."""
        self.refresh(Region(0, y - self.scroll_offset.y, text_width(self), 1))

    def set_rows(self, n: int) -> None:
        """There are `n` rows now, and their contents may have changed."""
        self._n_rows = n
        self.cursor = max(0, min(self.cursor, n - 1))
        self._cache.clear()
        self.virtual_size = Size(text_width(self), n)
        self.refresh()

    def refresh_rows(self) -> None:
        """Contents changed, the number of rows did not."""
        self._cache.clear()
        self.refresh()

    def move_to(self, row: int, tell: bool = True, again: bool = True) -> None:
        """Put the cursor on `row`, scrolled into view. again: say so even where it is there already."""
        row = max(0, min(row, self._n_rows - 1))
        before, self.cursor = self.cursor, row
        if before == row and not again:
            return
        if before != row:
            for y in (before, row):
                self.refresh_line(y)
        self._scroll_into_view(row)
        if tell:
            self.post_message(self.Moved(self, row))

    def _scroll_into_view(self, row: int) -> None:
        """Scroll by a third of a page at a time: a scroll repaints the whole pane, which costs kilobytes over SSH."""
        top, height = self.scroll_offset.y, max(1, self.scrollable_content_region.height)
        if top <= row < top + height:
            return
        ahead = height // 3
        target = row - height + 1 + ahead if row >= top + height else row - ahead
        self.scroll_to(0, max(0, target), animate=False, force=True, immediate=True)

    def move_by(self, rows: int) -> None:
        """Move the cursor by `rows`."""
        self.move_to(self.cursor + rows, again=False)

    @property
    def page(self) -> int:
        """Rows that fit, less one."""
        return max(1, self.scrollable_content_region.height - 1)

    def piece_style(self, name: str) -> Style:
        """The rich style of a component class, cached until the theme changes."""
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self.get_component_rich_style(name, partial=name not in ("line", "cursor"))
        return style

    def notify_style_update(self) -> None:
        """The theme changed: forget what was rendered."""
        super().notify_style_update()
        self._styles.clear()
        self._cache.clear()

    def set_active(self, active: bool) -> None:
        """Whether the moving keys work here: the cursor line shows it."""
        if active != self.active:
            self.active = active
            self.refresh_line(self.cursor)

    def on_resize(self, _: events.Resize) -> None:
        self._cache.clear()
        self.virtual_size = Size(text_width(self), self._n_rows)
        self._scroll_into_view(self.cursor)

    def render_line(self, y: int) -> Strip:
        """One visible line."""
        row = y + self.scroll_offset.y
        width = text_width(self)
        base = self.rich_style
        if row >= self._n_rows:
            return Strip.blank(width, base)
        on = row == self.cursor
        key = (row, on, self.active, width)
        strip = self._cache.get(key)
        if strip is None:
            if len(self._cache) > 2000:
                self._cache.clear()
            under = base + self.piece_style("cursor" if self.active else "cursor-off") if on else base
            segments = [
                Segment(text, under + self.piece_style(name) if name else under)
                for text, name in merged(self._safe_line(row, width))
            ]
            strip = Strip(segments).adjust_cell_length(width, under)
            self._cache[key] = strip
        return strip

    def _safe_line(self, row: int, width: int) -> Sequence[Piece]:
        """One row's pieces; an error in a row is shown in that row, the rest works."""
        try:
            return self.line(row, width)
        except Exception as e:
            return [(visible(f"this row cannot be shown: {type(e).__name__}: {e}", width), "broken")]

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(self))
        row = event.y + self.scroll_offset.y
        if 0 <= row < self._n_rows:
            again = row == self.cursor
            self.move_to(row)
            if again:
                self.post_message(self.Chosen(self, row))
