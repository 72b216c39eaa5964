"""A log of any size: follow its end, stay where one reads, wrap, find. What is on the screen is all that is read."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from typing import ClassVar

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.logs import LogLine, clean, plain
from qinspect.inspector.logs import Style as LogStyle
from qinspect.inspector.logs.escapes import last_overwrite
from qinspect.tui.names import in_locale, shown
from qinspect.tui.runs.log_source import LogSource

_MAX_WRAPPED = 100
"""Screen rows that one line may take."""
_KEPT = 600
"""Lines kept as they were rendered."""
TIME_WIDTH = 9


class LogView(Widget, can_focus=False):
    """The pane. The position is a row and a part of it, so that wrapped lines need not be counted."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"dim", "found", "marked", "thumb"}

    class Changed(Message):
        """It follows, or no longer; or there are new lines: the title shows it."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LogView.Changed)

    class Clicked(Message):
        """The mouse was here."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.source: LogSource | None = None
        self.problem = ""
        """Shown instead of lines."""
        self.follows = True
        self.wraps = False
        self.times: Callable[[LogLine], float | None] | None = None
        """When a line came, in seconds since the epoch; None: no times are shown."""
        self.text = ""
        """What is looked for: shown where it is."""
        self.mark: int | None = None
        """The number of the line that was found."""
        self.top = self.sub = self.x = 0
        self._seen_rows = 0
        self._at_first = False
        self._painted: list[Strip] = []
        self._made: dict[tuple[object, ...], list[Strip]] = {}

    # --- what is shown ---

    def show(self, source: LogSource | None, problem: str = "") -> None:
        """Another log, from its end."""
        self.source, self.problem = source, problem
        self.follows, self.mark = True, None
        self.top = self.sub = self.x = self._seen_rows = 0
        self._made.clear()
        self.update()

    @property
    def n_new(self) -> int:
        """Lines that came while it did not follow."""
        return 0 if self.follows or not self.source else max(0, self.source.n_rows - self._seen_rows)

    def moved_by(self, rows: int) -> None:
        """The rows have other numbers now."""
        self.top = 0 if self._at_first else self.top + rows
        self._seen_rows += rows

    def forget(self) -> None:
        """What is shown is made in another way now."""
        self._made.clear()
        self.update()

    def update(self) -> None:
        """Read what is to be seen, and paint the lines that changed."""
        painted = self._lay_out()
        before, self._painted = self._painted, painted
        blank: Strip | None = None
        for y in range(max(len(before), len(painted))):
            old = before[y] if y < len(before) else blank
            new = painted[y] if y < len(painted) else blank
            if old is not new:
                self.refresh(Region(0, y, self.size.width, 1))
        self.refresh(Region(self.size.width - 1, 0, 1, self.size.height))
        # Textual ends a message's way at its sender, and takes for the sender whoever's handler called this.
        self.post_message(self.Changed().set_sender(self))

    def _lay_out(self) -> list[Strip]:
        height, source = self.size.height, self.source
        if height <= 0:
            return []
        if source is None:
            return self._message(self.problem, "dim")
        try:
            return self._visible_strips(source, height)
        except (QinspectError, OSError) as e:  # a file system that went away
            return self._message(str(e), "")

    def _message(self, text: str, kind: str) -> list[Strip]:
        """A sentence instead of lines."""
        style = self.rich_style
        style += self.get_component_rich_style(kind, partial=True) if kind else Style.null()
        parts = textwrap.wrap(shown(text, 2000), max(10, self.size.width - 2))
        return [Strip([Segment(f" {part}", style)]) for part in parts]

    def _visible_strips(self, source: LogSource, height: int) -> list[Strip]:
        n = source.n_rows
        if self.follows:
            self._go_to_end(n, height)
        else:
            self.top = max(0, min(self.top, n - 1))
        strips: list[Strip] = []
        for line in source.rows(self.top, height):
            strips += self._strips_of(line)
            if len(strips) - self.sub >= height:
                break
        return strips[self.sub : self.sub + height]

    def _go_to_end(self, n: int, height: int) -> None:
        """Put the position so that the last row is at the bottom."""
        self._seen_rows = n
        self.top, self.sub = self._end(n, height)

    def _end(self, n: int, height: int) -> tuple[int, int]:
        """The position at which the last row is at the bottom."""
        assert self.source is not None
        first = max(0, n - height)
        if not self.wraps:
            return first, 0
        lines = self.source.rows(first, height)
        room = height
        for i in range(len(lines) - 1, -1, -1):
            room -= len(self._strips_of(lines[i]))
            if room <= 0:
                return first + i, -room
        return first, 0

    # --- one line ---

    @property
    def _text_width(self) -> int:
        return max(1, self.size.width - 1 - (TIME_WIDTH if self.times else 0))

    def _strips_of(self, line: LogLine) -> list[Strip]:
        """The screen rows of a line."""
        assert self.source is not None
        number = line.number if line.number is not None else -1
        width = self._text_width
        came = self.times(line) if self.times else None
        marked = number >= 0 and number == self.mark
        key = (line.offset, len(line.data), line.cut, width, self.wraps, self.x, self.text, marked, came)
        made = self._made.get(key)
        if made is None:
            if len(self._made) > _KEPT:
                self._made.clear()
            made = self._made[key] = self._make(line, width, came, marked)
        return made

    def _make(self, line: LogLine, width: int, came: float | None, marked: bool) -> list[Strip]:
        assert self.source is not None
        cells = width * _MAX_WRAPPED if self.wraps else self.x + width
        data = last_overwrite(self.source.data(line))
        limit = 4096 + 8 * cells
        base = self.rich_style
        if marked:
            base += self.get_component_rich_style("marked", partial=False)
        note = f" (a line of {len(line.data) + line.cut:,} bytes)"
        segments = self._segments(data[:limit], base, cells - len(note) if self.wraps else cells + width)
        shown = sum(len(s.text) for s in segments)
        if self.wraps and (line.cut or len(data) > limit or shown >= cells - len(note)):
            segments.append(Segment(note, base + Style(italic=True)))
        whole = Strip(segments)
        if not self.wraps:
            parts = [whole.crop_extend(self.x, self.x + width, base)]
        else:
            n = min(_MAX_WRAPPED, max(1, -(-whole.cell_length // width)))
            parts = [whole.crop_extend(i * width, (i + 1) * width, base) for i in range(n)]
        return [self._with_time(p, came, i, base) for i, p in enumerate(parts)]

    def _segments(self, data: bytes, base: Style, most: int) -> list[Segment]:
        segments: list[Segment] = []
        for text, style in clean(data):
            part = in_locale(text[:most])[:most]
            most -= len(part)
            segments.append(Segment(part, base + _rich(style) if style != _PLAIN else base))
            if most <= 0:
                break
        return self._with_found(segments) if self.text else segments

    def _with_found(self, segments: list[Segment]) -> list[Segment]:
        """What is looked for, in another colour."""
        found_style = self.get_component_rich_style("found", partial=True)
        needle = self.text.lower()
        made: list[Segment] = []
        for text, style, _ in segments:
            low, at = text.lower(), 0
            if len(low) != len(text):  # a letter whose small form is longer: its places would be wrong
                low = text
            while (found := low.find(needle, at)) >= 0:
                made.append(Segment(text[at:found], style))
                made.append(Segment(text[found : found + len(needle)], (style or Style.null()) + found_style))
                at = found + len(needle)
            made.append(Segment(text[at:], style))
        return [s for s in made if s.text]

    def _with_time(self, strip: Strip, came: float | None, part: int, base: Style) -> Strip:
        if not self.times:
            return strip
        text = time.strftime("%H:%M:%S", time.localtime(came)) if came is not None and part == 0 else ""
        dim = base + self.get_component_rich_style("dim", partial=True)
        return Strip([Segment(f"{text:<{TIME_WIDTH}}", dim), *strip])

    # --- moving ---

    def follow(self, on: bool = True) -> None:
        """Follow the end, or stay."""
        if not on and self.follows and self.source:
            self._seen_rows = self.source.n_rows
        self.follows, self._at_first = on, False
        self.update()

    def go_to(self, row: int) -> None:
        """A row into view, a third from the top."""
        self.follow(False)
        height = self.size.height
        if not (self.top <= row < self.top + height and not self.wraps):
            self.top, self.sub = max(0, row - height // 3), 0
        self.update()

    def text_of_mark(self) -> str:
        """The line that was found, "" where there is none."""
        if self.source is None or self.mark is None or not self.source.shows(self.mark):
            return ""
        return "".join(plain(line.data) for line in self.source.rows(self.source.row_of(self.mark), 1))

    def go_to_top(self) -> None:
        """The first line, also where it is only known later how many there are before the last ones."""
        self.follow(False)
        self.top, self.sub, self._at_first = 0, 0, True
        self.update()

    def scroll_rows(self, rows: int) -> None:
        """Up (negative) stays there; down to the end follows again."""
        source = self.source
        if source is None or (rows > 0 and self.follows):
            return
        self.follow(False)
        if not self.wraps:
            self.top = max(0, self.top + rows)
        else:
            self._step_wrapped(rows)
        end = self._end(source.n_rows, self.size.height)
        if (self.top, self.sub) >= end:
            self.top, self.sub = end
            self.follows = rows > 0
        self.update()

    def _step_wrapped(self, rows: int) -> None:
        assert self.source is not None
        self.sub += rows
        while self.sub < 0 and self.top > 0:
            self.top -= 1
            self.sub += sum(len(self._strips_of(line)) for line in self.source.rows(self.top, 1)) or 1
        self.sub = max(0, self.sub)
        while lines := self.source.rows(self.top, 1):
            n = len(self._strips_of(lines[0]))
            if self.sub < n or self.top >= self.source.n_rows - 1:
                break
            self.sub -= n
            self.top += 1

    def scroll_columns(self, columns: int) -> None:
        """To the right or left, where lines do not wrap."""
        if not self.wraps:
            self.x = max(0, self.x + columns)
            self.update()

    @property
    def page(self) -> int:
        """Rows that fit, less one."""
        return max(1, self.size.height - 1)

    # --- Textual ---

    def render_line(self, y: int) -> Strip:
        """One line, and its piece of the scrollbar."""
        width, base = max(0, self.size.width - 1), self.rich_style
        strip = self._painted[y] if y < len(self._painted) else Strip.blank(width, base)
        thumb = base + self.get_component_rich_style("thumb", partial=True)
        return Strip([*strip.crop_extend(0, width, base), Segment(" ", thumb if self._is_thumb(y) else base)])

    def _is_thumb(self, y: int) -> bool:
        n, height = self.source.n_rows if self.source else 0, self.size.height
        if n <= height or height <= 0:
            return False
        size = max(1, height * height // n)
        start = height - size if self.follows else round(self.top / max(1, n - height) * (height - size))
        return start <= y < start + size

    def notify_style_update(self) -> None:
        """The theme changed: forget what was rendered."""
        super().notify_style_update()
        self._made.clear()
        self._painted = []
        self.call_later(self.update)

    def on_resize(self, _: events.Resize) -> None:
        self._painted = []
        self.update()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.scroll_rows(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.scroll_rows(-3)

    def on_click(self) -> None:
        self.post_message(self.Clicked())


_PLAIN = LogStyle()


def _rich(style: LogStyle) -> Style:
    """A style of the log as one of the screen."""
    return Style(
        color=_color(style.fg),
        bgcolor=_color(style.bg),
        bold=style.bold or None,
        dim=style.dim or None,
        italic=style.italic or None,
        underline=style.underline or None,
        reverse=style.reverse or None,
    )


def _color(value: int | tuple[int, int, int] | None) -> Color | None:
    if value is None:
        return None
    return Color.from_ansi(value) if isinstance(value, int) else Color.from_rgb(*value)
