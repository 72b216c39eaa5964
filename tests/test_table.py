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


@given(ROWS, st.integers(20, 200))
def test_a_terminal_gets_a_table_that_fits_and_breaks_no_row(rows: Rows, width: int) -> None:
    table = Table(COLUMNS, rows)
    lines = table.fitted(width).text("").split("\n")
    assert len(lines) == 1 + len(rows)
    if all(len(visible(cell)) < 6 for row in rows for cell in row[1:]):
        assert max(map(len, lines)) <= max(width, 60)


def test_columns_are_left_out_by_their_turn_and_long_names_are_cut_in_the_middle() -> None:
    columns = (Column("name"), Column("value", True), Column("first to go", drop=2), Column("then this", drop=1))
    name = "layers.0.mixer." + "q" * 60 + ".weight"
    table = Table(columns, [(name, "0.25", "x" * 30, "y" * 20)])
    assert [c.name for c in table.fitted(200).columns] == [c.name for c in columns]
    assert [c.name for c in table.fitted(120).columns] == ["name", "value", "then this"]
    narrow = table.fitted(40)
    assert [c.name for c in narrow.columns] == ["name", "value"]
    cut = narrow.rows[0][0]
    assert cut.startswith("layers.0")
    assert cut.endswith(".weight")
    assert ".." in cut


def test_a_terminal_gets_no_escape_of_a_name() -> None:
    shown = Table(COLUMNS, [("name", "0.25", "\x1b[31m")]).rich(80)
    assert "0.25" in shown
    assert "\x1b[31m" not in shown
