"""What the terminal shows and what it should show: only cells that differ are written.

Textual repaints whole lines, and whole panes when the focus or the scroll position changes, each piece with its full
colours. Over SSH bytes are what makes a key slow, so between Textual and the terminal stands a model of the screen, as
in curses. It understands what Textual writes to paint (move, colours, text); everything else passes unchanged.
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache

from rich.cells import cell_len

_TOKEN = re.compile(
    r"\x1b\[(?:(?P<row>\d+);(?P<column>\d+)H|(?P<style>[\d;]*)m)|(?P<line>\n)|(?P<text>[^\x00-\x1f\x7f]+)"
)
_UNKNOWN = "\0"
"""Stands in a cell of which we do not know what the terminal shows."""
_BRIDGE = 8
"""Unchanged cells between two changed ones that are written again rather than jumped over: a jump takes as much."""

Style = tuple[str, str, str]
"""(attributes, foreground, background) as parameters of SGR, "" for the terminal's own."""
PLAIN: Style = ("", "", "")
_SEEN_ON_BLANKS = frozenset({"4", "7", "9", "21", "53"})
"""Attributes that a blank shows: underline, reverse, strike, double underline, overline."""


@lru_cache(maxsize=4096)
def parse_style(parameters: str) -> Style:
    """The parts of an SGR sequence that starts from nothing, as rich's do: `1;38;2;9;9;9;48;5;17`."""
    attributes: list[str] = []
    foreground = background = ""
    codes = parameters.split(";") if parameters else []
    at = 0
    while at < len(codes):
        code = codes[at]
        n = 1
        if code in ("38", "48"):
            n = 5 if codes[at + 1 : at + 2] == ["2"] else 3
        whole = ";".join(codes[at : at + n])
        number = int(code or 0)
        if code == "38" or 30 <= number <= 37 or 90 <= number <= 97:
            foreground = whole
        elif code == "48" or 40 <= number <= 47 or 100 <= number <= 107:
            background = whole
        elif number == 0:
            attributes, foreground, background = [], "", ""
        elif number not in (39, 49):
            attributes.append(code)
        at += n
    return ";".join(attributes), foreground, background


@lru_cache(maxsize=4096)
def change_style(before: Style, after: Style) -> str:
    """The shortest SGR sequence from one style to another."""
    if before == after:
        return ""
    if after == PLAIN:
        return "\x1b[m"
    if before[0] != after[0]:
        return f"\x1b[{';'.join(['0', *(part for part in after if part)])}m"
    changed = [
        new or default for old, new, default in zip(before[1:], after[1:], ("39", "49"), strict=True) if old != new
    ]
    return f"\x1b[{';'.join(changed)}m"


class Grid:
    """Cells by row: a letter (with the marks that combine with it; "" right of a wide one) and a style."""

    def __init__(self) -> None:
        self.letters: list[list[str]] = []
        self.styles: list[list[Style]] = []

    def reach(self, row: int, width: int) -> None:
        """Make sure that there are cells up to here."""
        while len(self.letters) <= row:
            self.letters.append([])
            self.styles.append([])
        missing = width - len(self.letters[row])
        if missing > 0:
            self.letters[row] += [_UNKNOWN] * missing
            self.styles[row] += [PLAIN] * missing

    def crop(self, columns: int, rows: int) -> None:
        """Drop cells that the terminal does not have any more."""
        for cells in (self.letters, self.styles):
            del cells[rows:]
        for row in range(len(self.letters)):
            del self.letters[row][columns:], self.styles[row][columns:]

    def put(self, row: int, column: int, text: str, style: Style) -> int:
        """Write text; returns the column after it."""
        if text.isascii():
            cells = list(text)
        else:
            cells = []
            for letter in text:
                width = cell_len(letter)
                if width == 0 and cells:
                    cells[-1] += letter
                else:
                    cells += [letter] + [""] * (width - 1)
        end = column + len(cells)
        self.reach(row, end)
        self.letters[row][column:end] = cells
        self.styles[row][column:end] = [style] * len(cells)
        return end


class Frames:
    """Takes what is to be painted, gives what to write. One thread may put while another takes."""

    def __init__(self) -> None:
        self._wanted = Grid()
        self._shown = Grid()
        self._dirty: set[int] = set()
        self._cursor = (0, 0)
        self._lock = threading.Lock()
        self._lost = False
        self._size: tuple[int, int] | None = None

    def forget(self, size: tuple[int, int] | None = None) -> None:
        """The terminal may show anything now: it has another size (columns, rows), or it was not ours for a while. Safe
        in a signal handler."""
        self._size = size or self._size
        self._lost = True

    def put(self, data: str) -> bool:
        """Paint onto the wanted screen; False where `data` is not (only) painting, and nothing was done."""
        tokens = []
        end = 0
        for match in _TOKEN.finditer(data):
            if match.start() != end:
                return False
            end = match.end()
            tokens.append(match)
        if end != len(data) or not tokens:
            return False
        with self._lock:
            row = column = 0
            style = PLAIN
            for match in tokens:
                kind = match.lastgroup
                if kind == "text":
                    text = match["text"]
                    blank = text.isspace() and _SEEN_ON_BLANKS.isdisjoint(style[0].split(";"))
                    column = self._wanted.put(row, column, text, ("", "", style[2]) if blank else style)
                    self._dirty.add(row)
                elif kind == "style":
                    style = parse_style(match["style"])
                elif kind == "column":
                    row, column = int(match["row"]) - 1, int(match["column"]) - 1
                else:
                    row, column = row + 1, 0
            self._cursor = (row, column)
        return True

    def take(self) -> str:
        """The sequences that turn what is shown into what is wanted, "" where they are the same."""
        with self._lock:
            if self._lost:
                self._lost = False
                if self._size:
                    self._wanted.crop(*self._size)
                self._shown = Grid()
                self._dirty = set(range(len(self._wanted.letters)))
            parts: list[str] = []
            style = PLAIN
            for row in sorted(self._dirty):
                style = self._write_row(row, style, parts)
            self._dirty.clear()
            if not parts:
                return ""
            parts.append(change_style(style, PLAIN))
            parts.append(f"\x1b[{self._cursor[0] + 1};{self._cursor[1] + 1}H")
            return "".join(parts)

    def _write_row(self, row: int, style: Style, parts: list[str]) -> Style:
        letters, styles = self._wanted.letters[row], self._wanted.styles[row]
        self._shown.reach(row, len(letters))
        old_letters, old_styles = self._shown.letters[row], self._shown.styles[row]
        if letters == old_letters and styles == old_styles:
            return style
        for start, end in _changed(letters, styles, old_letters, old_styles):
            parts.append(f"\x1b[{row + 1};{start + 1}H")
            at = start
            while at < end:
                here = styles[at]
                stop = at + 1
                while stop < end and styles[stop] == here:
                    stop += 1
                text = "".join(letters[at:stop])
                if not here[0] and not style[0] and text.isspace():
                    here = ("", style[1], here[2])  # a blank looks the same in every foreground
                parts.append(change_style(style, here))
                parts.append(text)
                style, at = here, stop
        self._shown.letters[row], self._shown.styles[row] = letters.copy(), styles.copy()
        return style


def _changed(
    letters: list[str], styles: list[Style], old_letters: list[str], old_styles: list[Style]
) -> list[tuple[int, int]]:
    """Spans of cells to write. Where a row has or had letters that are not one cell wide, all after the first change:
    terminals disagree about how wide those are."""
    cells = zip(letters, old_letters, styles, old_styles, strict=True)
    columns = [i for i, (a, b, s, t) in enumerate(cells) if (a != b or s != t) and a != _UNKNOWN]
    if not columns:
        return []
    if any(len(letter) != 1 for letter in letters) or any(len(letter) != 1 for letter in old_letters):
        start = columns[0]
        while start > 0 and not letters[start]:
            start -= 1
        end = len(letters)
        while end > start and letters[end - 1] == _UNKNOWN:
            end -= 1
        return [(start, end)]
    spans = [(columns[0], columns[0] + 1)]
    for column in columns[1:]:
        start, end = spans[-1]
        if column - end <= _BRIDGE and _UNKNOWN not in letters[end:column]:
            spans[-1] = (start, column + 1)
        else:
            spans.append((column, column + 1))
    return spans
