"""Rows of a few kinds answer as the same rows in a list do."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.rows import Rows, column, first, how_many, some_fit, where


@dataclass(frozen=True)
class Row:
    name: str
    kind: int


KINDS = st.lists(st.integers(0, 3), max_size=20)


def rows_of(kinds: list[int], own: dict[int, int]) -> tuple[Rows[Row], list[Row], list[int]]:
    """Rows, the same in a list, and the places of those that were made."""
    made: list[int] = []
    names = [f"row {place}" for place in range(len(kinds))]

    def make(place: int) -> Row:
        made.append(place)
        return Row(names[place], kinds[place])

    others = {place % len(kinds): kind for place, kind in own.items()} if kinds else {}
    plain = [Row(name, others.get(place, kinds[place])) for place, name in enumerate(names)]
    rows = Rows({"name": names}, kinds, make, {place: Row(names[place], kind) for place, kind in others.items()})
    return rows, plain, made


@given(KINDS, st.dictionaries(st.integers(0, 19), st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_as_a_list(kinds: list[int], own: dict[int, int], wanted: set[int]) -> None:
    rows, plain, _ = rows_of(kinds, own)

    def fits(row: Row) -> bool:
        return row.kind in wanted

    found = [row for row in plain if fits(row)]
    assert where(rows, fits) == where(plain, fits) == found
    assert how_many(rows, fits) == how_many(plain, fits) == len(found)
    assert first(rows, fits) == first(plain, fits) == next(iter(found), None)
    assert some_fit(rows, fits) == some_fit(plain, fits) == bool(found)
    assert column(rows, "name") == column(plain, "name")
    assert rows == plain
    assert list(rows) == plain
    assert len(rows) == len(plain)
    assert rows[1:-1:2] == tuple(plain[1:-1:2])
    assert (rows == tuple(plain[:-1])) == (not plain)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.dictionaries(st.integers(0, 19), st.integers(0, 5)))
def test_other_rows_at_some_places(kinds: list[int], own: dict[int, int]) -> None:
    rows, plain, _ = rows_of(kinds, own)
    other = Row("another", 9)
    assert list(rows.with_own({0: other})) == [other, *plain[1:]]
    assert list(rows) == plain
    assert where(rows.with_own({0: other}), lambda row: row.kind == 9) == [other]


def test_only_what_is_looked_at_is_made_and_once() -> None:
    rows, plain, made = rows_of([0, 1] * 50, {7: 5})
    assert how_many(rows, lambda row: row.kind == 1) == 49
    assert made == [0, 1]
    assert rows[-1] is rows[99]
    assert rows[99] == plain[99]
    assert made == [0, 1, 99]
