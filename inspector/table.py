"""One table, four ways out: aligned text, rich on a terminal, CSV, Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from qinspect.inspector.text import visible


@dataclass(frozen=True, slots=True)
class Column:
    """A header and whether its cells are numbers (aligned right)."""

    name: str
    right: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of cells. Cells may hold untrusted names: every way out makes them visible."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]

    def without_empty(self) -> Table:
        """Only the columns in which some row has text, and the first: for people, whose screens are narrow."""
        kept = [i for i in range(len(self.columns)) if i == 0 or any(row[i] for row in self.rows)]
        return Table(tuple(self.columns[i] for i in kept), [[row[i] for i in kept] for row in self.rows])

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

    def print_rich(self, stream: TextIO) -> None:
        """A rich table, folded to the terminal's width."""
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for column in self.columns:
            table.add_column(
                column.name, justify="right" if column.right else "left", no_wrap=column.right, overflow="fold"
            )
        for row in self.rows:
            table.add_row(*(Text(visible(cell, 200)) for cell in row))
        Console(file=stream, highlight=False, emoji=False, markup=False).print(table)


_MARKDOWN_ESCAPES = str.maketrans({"\\": "\\\\", "|": "\\|", "`": "\\`", "*": "\\*", "<": "&lt;", "&": "&amp;"})


def _inert(cell: str, numeric: bool) -> str:
    return "'" + cell if cell[:1] in ("=", "+", "-", "@") and not numeric else cell
