"""One table, four ways out: whatever the cells hold, rows and cells stay what they are."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import visible

CELL = st.text(st.characters(), max_size=30) | st.text("|\\`*<&\"',=+-@;\n\r\t[](", max_size=12)
COLUMNS = (Column("name"), Column("value", True), Column("note"))
ROWS = st.lists(st.tuples(CELL, st.floats().map(repr), CELL), max_size=6)
Rows = Sequence[tuple[str, str, str]]


@given(ROWS)
@example([('say "hi", then\n', "-1.5", "=SUM(A1)")])
def test_csv_reads_back(rows: Rows) -> None:
    header, *back = csv.reader(io.StringIO(Table(COLUMNS, rows).csv(), newline=""), strict=True)
    assert header == ["name", "value", "note"]
    assert [[cell.removeprefix("'") for cell in row] for row in back] == [
        [visible(cell).removeprefix("'") for cell in row] for row in rows
    ]


@given(ROWS)
@example([("=cmd|' /C calc'!A0", "-1.5", "+1"), ("@x", "+2", "-")])
def test_no_csv_cell_that_is_text_is_a_formula(rows: Rows) -> None:
    _, *back = csv.reader(io.StringIO(Table(COLUMNS, rows).csv(), newline=""))
    assert not [row for row in back if row[0][:1] in tuple("=+-@\t\r") and row[0]]
    assert [row[1] for row in back] == [value for _, value, _ in rows]


@given(ROWS)
@example([("a|b", "1", "\\|"), ("\\", "2", "`x`")])
def test_markdown_has_the_cells_of_the_table(rows: Rows) -> None:
    lines = Table(COLUMNS, rows).markdown().split("\n")
    assert len(lines) == 2 + len(rows)
    assert lines[1] == "|---|---:|---|"
    for line in lines:
        assert len(cells_of(line)) == 3


@given(st.text("ab|\\`*<&[]( ", max_size=12))
def test_markdown_cells_read_back(text: str) -> None:
    line = Table(COLUMNS, [(text, "1", "")]).markdown().split("\n")[2]
    cell = re.sub(r"\\([|\\`*(])", r"\1", cells_of(line)[0])
    assert cell.replace("&lt;", "<").replace("&amp;", "&") == text


def cells_of(line: str) -> list[str]:
    """Cells of a GitHub table row: `|` between them, and no `|` is one that a backslash escapes."""
    start, *cells, end = re.split(r"(?<!\\)\|", line)
    assert start == end == ""
    return [cell.removeprefix(" ").removesuffix(" ") for cell in cells]


def test_markdown_makes_no_link_of_a_name() -> None:
    assert "](" not in Table(COLUMNS, [("[weights](https://example.org)", "", "")]).markdown()


@given(ROWS)
def test_text_is_one_line_a_row_and_columns_start_below_their_headers(rows: Rows) -> None:
    lines = Table(COLUMNS, rows).text().split("\n")
    assert len(lines) == 1 + len(rows)
    assert all(line.isprintable() for line in lines)
    start = lines[0].index("note")
    for line, (_, value, note) in zip(lines[1:], rows, strict=True):
        assert line[:start].rstrip().endswith(value)
        assert line[start:] == visible(note, 200).rstrip()


@given(ROWS)
def test_only_empty_columns_are_dropped_and_never_the_first(rows: Rows) -> None:
    kept = Table(COLUMNS, rows).without_empty()
    expected = [i for i in range(3) if i == 0 or any(row[i] for row in rows)]
    assert [c.name for c in kept.columns] == [COLUMNS[i].name for i in expected]
    assert [list(row) for row in kept.rows] == [[row[i] for i in expected] for row in rows]


def test_a_terminal_sees_the_whole_table_whatever_its_width() -> None:
    stream = io.StringIO()
    name = "layers.0.mixer." + "q" * 150
    Table(COLUMNS, [(name, "0.25", "\x1b[31m")]).print_rich(stream)
    shown = stream.getvalue()
    assert "".join(shown.split()).count("q") == 150
    assert "0.25" in shown
    assert "\x1b[31m" not in shown
