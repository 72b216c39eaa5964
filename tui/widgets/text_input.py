"""One line that is typed in, or filled with a text from elsewhere: shown escaped, kept as it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Input

from qinspect.tui.names import shown


class TextInput(Input):
    """An Input whose value may hold anything: a command of a hostile log, a name with an escape sequence in it.

    `value` is the text itself, and stays it where nobody edits it. A character that a terminal would obey is painted as
    `visible` writes it, in several cells; the cursor goes over those as one, and backspace takes it whole.
    """

    def __init__(self, value: str = "", *, placeholder: str = "", **more: Any) -> None:
        super().__init__(value, placeholder=shown(placeholder, 400), **more)

    @property
    def selected_text(self) -> str:
        """What is copied: pasted into a terminal it must do nothing that it does not show."""
        return shown(super().selected_text)

    @property
    def _value(self) -> Text:
        if self.password:
            return super()._value
        return _Escaped([shown(c) for c in self.value])

    def _position_to_cell(self, position: int) -> int:
        return sum(cell_len(shown(c)) for c in self.value[:position])

    def _cell_offset_to_index(self, offset: int) -> int:
        cell = 0
        for index, c in enumerate(self.value):
            cell += cell_len(shown(c))
            if cell > offset:
                return index
        return max(0, min(offset, len(self.value)))


class _Escaped(Text):
    """Text of parts, one for each character of a value; what is styled by characters is styled by parts."""

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__("".join(parts), no_wrap=True, overflow="ignore", end="")
        self._starts = [0, *accumulate(map(len, parts))]

    def stylize(self, style: Any, start: int = 0, end: int | None = None) -> None:
        """Over the parts of the characters from `start` to `end`."""
        super().stylize(style, self._at(start), None if end is None else self._at(end))

    def stylize_before(self, style: Any, start: int = 0, end: int | None = None) -> None:
        """The same, under what is there."""
        super().stylize_before(style, self._at(start), None if end is None else self._at(end))

    def _at(self, index: int) -> int:
        last = len(self._starts) - 1
        return self._starts[index] if index <= last else self._starts[-1] + index - last
