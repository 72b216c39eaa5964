"""The scales, one a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from qinspect.inspector.compare.results import ScalePair
from qinspect.tui.compare.columns import ColumnSpec, Names, layout
from qinspect.tui.compare.fidelity import Measured, sqnr_text
from qinspect.tui.compare.rows import Values, cell, sign
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill, fill_name
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import LineList, Piece, text_width

_DIM = ("shape", "kind", "granularity", "copies")


class Headed(LineList):
    """A list with columns. Two cells stand before them, for a sign."""

    def columns(self, width: int) -> list[tuple[ColumnSpec, int]]:
        """Those that fit, with their widths."""
        raise NotImplementedError

    def heading(self, column: str) -> str:
        """What stands over a column."""
        return column


class ScaleTable(Headed):
    """Rows are scale pairs; values of visible rows are asked for when they are first drawn."""

    class Wanted(Message):
        """Values of these rows are on screen and not known yet."""

        def __init__(self, pairs: list[ScalePair]) -> None:
            super().__init__()
            self.pairs = pairs

    class MethodsWanted(Message):
        """Methods of the weights of these rows are on screen and not known yet."""

        def __init__(self, pairs: list[ScalePair]) -> None:
            super().__init__()
            self.pairs = pairs

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.two = True
        self.method_of: Callable[[ScalePair], str | None] = lambda _: ""
        self._without_method: list[ScalePair] = []
        self.names = Names()
        self.pairs: list[ScalePair] = []
        self.values: dict[str, Values] = {}
        self.measured = Measured()
        self.bookmarks: set[str] = set()
        self._asked: set[str] = set()
        self._missing: list[ScalePair] = []

    def show(self, pairs: list[ScalePair], two: bool) -> None:
        """Show these rows, keeping the cursor on the same scale where it is still there."""
        role = self.pair.role if self.pair else None
        self.pairs, self.two = pairs, two
        if role is not None:
            self.cursor = next((i for i, p in enumerate(pairs) if p.role == role), 0)
        self.set_rows(len(pairs))
        if pairs:
            self.move_to(self.cursor, tell=False)

    @property
    def pair(self) -> ScalePair | None:
        """The row under the cursor."""
        return self.pairs[self.cursor] if self.cursor < len(self.pairs) else None

    def learn(self, values: dict[str, Values]) -> None:
        """Values that were read."""
        self.values.update(values)
        self.refresh_rows()

    def columns(self, width: int) -> list[tuple[ColumnSpec, int]]:
        return layout(self.two, width, self.names)

    def heading(self, column: str) -> str:
        """Over the names what all of them begin with."""
        prefix = self.names.prefix
        return f"{column} {shown(prefix)}{self.glyphs.cut}" if column == "scale" and prefix else column

    def forget_values(self) -> None:
        """The models changed."""
        self.values.clear()
        self._asked.clear()

    def line(self, row: int, width: int) -> Sequence[Piece]:
        p = self.pairs[row]
        values = self.values.get(p.role)
        if values is None and p.difference is None and p.role not in self._asked:
            self._asked.add(p.role)
            if not self._missing:
                self.call_later(self._ask)
            self._missing.append(p)
        mark = sign(p, self.two, self.glyphs)
        pieces: list[Piece] = [mark, (self.glyphs.bookmark if p.role in self.bookmarks else " ", "accent")]
        for column, w in self.columns(width):
            if column.name == "scale":
                text = fill_name(shown(p.role.removeprefix(self.names.prefix)), w, self.glyphs.cut)
            elif column.name == "SQNR":
                text = fill(sqnr_text(self.measured.sqnr_of_scale(p.role)), w, self.glyphs.cut, right=True)
            elif column.name == "method":
                text = fill(self._method(p), w, self.glyphs.cut)
            else:
                text = fill(cell(p, column.name, values or (None, None)), w, self.glyphs.cut, right=column.right)
            kind = mark[1] if column.name == "B vs A" else "dim" if column.name in _DIM else ""
            pieces += [(text, kind), (" ", "")]
        return pieces[:-1]

    def _method(self, pair: ScalePair) -> str:
        """What is known of it; asked for where that is nothing."""
        said = self.method_of(pair)
        if said is None:
            if not self._without_method:
                self.call_later(self._ask_methods)
            self._without_method.append(pair)
        return said or ""

    def _ask_methods(self) -> None:
        wanted, self._without_method = self._without_method, []
        self.post_message(self.MethodsWanted(wanted))

    def ask_for_methods(self, pairs: Sequence[ScalePair]) -> None:
        """Ask for the methods of rows that were not on the screen yet: they are to be sorted."""
        self._without_method = [p for p in pairs if self.method_of(p) is None]
        self._ask_methods()

    def ask_for(self, pairs: Sequence[ScalePair]) -> None:
        """Ask for the values of rows that were not on the screen yet: they are to be sorted."""
        wanted = [p for p in pairs if p.difference is None and p.role not in self._asked]
        self._asked.update(p.role for p in wanted)
        if wanted:
            self.post_message(self.Wanted(wanted))

    def _ask(self) -> None:
        wanted, self._missing = self._missing, []
        if wanted:
            self.post_message(self.Wanted(wanted))


class TableHeader(Widget):
    """The columns' names over the table."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"header"}

    class Clicked(Message):
        """A column's name was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, table: Headed, id: str = "table-header") -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.table = table
        self.sort = "forward"

    def render_line(self, y: int) -> Strip:
        """The one line."""
        width = text_width(self.table) or self.size.width
        text = "  "
        for column, w in self.table.columns(width):
            name = f"{self.table.heading(column.name)}{'*' * (column.name == self.sort)}"
            text += fill(name, w, "~" if name.isascii() else "\N{HORIZONTAL ELLIPSIS}", right=column.right) + " "
        style = self.rich_style
        return Strip([Segment(text[:width].ljust(self.size.width), style)])

    def on_click(self, event: events.Click) -> None:
        end = 2
        for column, w in self.table.columns(text_width(self.table)):
            end += w + 1
            if event.x < end:
                self.post_message(self.Clicked(column.name))
                return
