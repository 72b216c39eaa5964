"""The last thing that text meets before the terminal: whatever a widget forgot to escape does nothing there.

Widgets show names with `shown`, which writes out what a terminal would obey and takes the cells for it. This is not
that: it may not change how wide a line is, so it only makes such characters harmless. Every line of every widget goes
through it, Textual's own too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from qinspect.inspector.text import is_plain

STANDS_FOR = "?"
"""A character that takes cells and is not to be painted."""


class Border(LineFilter):
    """Makes segments of text that only paint cells. Control segments are Textual's own."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments where there is nothing to take out, which is always but for a mistake."""
        if all(s.control or is_plain(s.text) for s in segments):
            return segments
        return [s if s.control else Segment(harmless(s.text), s.style) for s in segments]


BORDER = Border()


def harmless(text: str) -> str:
    """`text` in as many cells, without a character that a terminal would obey or not show."""
    return text if is_plain(text) else "".join(_cells(c) for c in text)


def _cells(c: str) -> str:
    if is_plain(c) or (c == "\N{NO-BREAK SPACE}") or unicodedata.category(c) in ("Mn", "Me"):
        return c
    return STANDS_FOR * cell_len(c)


def with_border(filters: Sequence[LineFilter]) -> Sequence[LineFilter]:
    """The filters of an app, and this one first: the others may cut and colour what is harmless."""
    return (BORDER, *filters)
