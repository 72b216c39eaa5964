"""One table, four ways out: aligned text, rich on a terminal, CSV, Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qinspect.inspector.text import visible


@dataclass(frozen=True, slots=True)
class Column:
    """A header, whether its cells are numbers (aligned right), and in which turn it is left out where the table is
    wider than the terminal (0: never)."""

    name: str
    right: bool = False
    drop: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of cells. Cells may hold untrusted names: every way out makes them visible."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]

    def without_empty(self) -> Table:
        """Only the columns in which some row has text, and the first: for people, whose screens are narrow."""
        kept = [i for i in range(len(self.columns)) if i == 0 or any(row[i] for row in self.rows)]
        return Table(tuple(self.columns[i] for i in kept), [[row[i] for i in kept] for row in self.rows])

    def fitted(self, width: int) -> Table:
        """The same in at most `width` cells: columns are left out by their turn, then the first one's cells are cut in
        the middle. A name is never broken over lines."""
        table = self
        while table._width() > width and any(c.drop for c in table.columns):
            out = max(range(len(table.columns)), key=lambda i: table.columns[i].drop)
            kept = [i for i in range(len(table.columns)) if i != out]
            table = Table(tuple(table.columns[i] for i in kept), [[row[i] for i in kept] for row in table.rows])
        over = table._width() - width
        if over <= 0:
            return table
        room = max(12, max(len(visible(row[0], 200)) for row in table.rows) - over)
        return Table(table.columns, [[_cut(visible(row[0], 200), room), *row[1:]] for row in table.rows])

    def _width(self) -> int:
        cells = [[c.name for c in self.columns], *([visible(x, 200) for x in row] for row in self.rows)]
        return sum(max(len(line[i]) for line in cells) for i in range(len(self.columns))) + 2 * len(self.columns) - 2

    def text(self, indent: str = "  ") -> str:
        """Aligned columns, two spaces apart, no ruler lines: for pipes and logs."""
        rows = [[visible(cell, 200) for cell in row] for row in self.rows]
        header = [c.name for c in self.columns]
        widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
        lines = []
        for row in [header, *rows]:
            cells = [
                cell.rjust(w) if c.right else cell.ljust(w)
                for cell, w, c in zip(row, widths, self.columns, strict=True)
            ]
            lines.append((indent + "  ".join(cells)).rstrip())
        return "\n".join(lines)

    def markdown(self) -> str:
        """A GitHub table."""

        def cell(text: str) -> str:
            return visible(text, 200).translate(_MARKDOWN_ESCAPES).replace("](", "]\\(")

        lines = ["| " + " | ".join(c.name for c in self.columns) + " |"]
        lines.append("|" + "|".join("---:" if c.right else "---" for c in self.columns) + "|")
        lines.extend("| " + " | ".join(cell(c) for c in row) + " |" for row in self.rows)
        return "\n".join(lines)

    def csv(self) -> str:
        """RFC 4180 with a header line. A cell that a spreadsheet would run as a formula gets a leading quote."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([c.name for c in self.columns])
        writer.writerows(
            [_inert(visible(cell), c.right) for cell, c in zip(row, self.columns, strict=True)] for row in self.rows
        )
        return out.getvalue()

    def rich(self, width: int) -> str:
        """Bold headers and no ruler lines, in `width` cells: for a terminal."""
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        out = io.StringIO()
        console = Console(file=out, width=width, force_terminal=True, highlight=False, emoji=False, markup=False)
        fitted = self.fitted(width)
        table = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in fitted.columns:
            side: Literal["left", "right"] = "right" if column.right else "left"
            table.add_column(column.name, justify=side, no_wrap=True, overflow="ellipsis")
        for row in fitted.rows:
            table.add_row(*(Text(visible(cell, 200)) for cell in row))
        console.print(table)
        return out.getvalue().rstrip("\n")


_MARKDOWN_ESCAPES = str.maketrans({"\\": "\\\\", "|": "\\|", "`": "\\`", "*": "\\*", "<": "&lt;", "&": "&amp;"})


def _cut(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    tail = (room - 2) * 2 // 3
    return f"{text[: room - 2 - tail]}..{text[-tail:]}"


def _inert(cell: str, numeric: bool) -> str:
    return "'" + cell if cell[:1] in ("=", "+", "-", "@") and not numeric else cell
