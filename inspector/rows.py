"""Long tables of which most rows are alike.

A model has 60,000 tensors and 20,000 scales of a few kinds. Here a row is a name or two in columns and the number of
its kind; an object is made of it when somebody looks at it, and what is asked of all rows is asked once of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar, overload

T = TypeVar("T")

OWN = -1
"""The kind of a row that is like no other."""


class Rows(Sequence[T]):
    """Rows that are made when they are looked at, each once.

    columns: in which rows of one kind differ, by the name of the field; all else is the same in them. kind_of: for each
    row its kind, OWN for one that is in `own`. make: makes a row of its place.
    """

    __slots__ = ("_firsts", "_made", "_make", "columns", "kind_of", "own")

    def __init__(
        self,
        columns: Mapping[str, Sequence[str]],
        kind_of: list[int],
        make: Callable[[int], T],
        own: Mapping[int, T] | None = None,
    ) -> None:
        self.columns = columns
        self.kind_of = list(kind_of) if own else kind_of
        self.own = dict(sorted(own.items())) if own else {}
        self._make = make
        self._made: list[T | None] = [None] * len(kind_of)
        for place, row in self.own.items():
            self._made[place], self.kind_of[place] = row, OWN
        self._firsts: dict[int, int] | None = None

    def with_own(self, own: Mapping[int, T]) -> Rows[T]:
        """The same with other rows at these places."""
        return Rows(self.columns, self.kind_of, self._make, {**self.own, **own}) if own else self

    def __len__(self) -> int:
        return len(self.kind_of)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[T, ...]: ...
    def __getitem__(self, at: int | slice) -> T | tuple[T, ...]:
        if isinstance(at, slice):
            return tuple([self[i] for i in range(*at.indices(len(self)))])
        row = self._made[at]
        if row is None:
            row = self._made[at] = self._make(at if at >= 0 else at + len(self))
        return row

    def __iter__(self) -> Iterator[T]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows | tuple | list) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def first_of_kind(self) -> dict[int, int]:
        """The place of the first row of each kind."""
        if self._firsts is None:
            kinds = self.kind_of
            found = {kind: kinds.index(kind) for kind in dict.fromkeys(kinds)}
            found.pop(OWN, None)
            self._firsts = found
        return self._firsts

    def kinds(self, fits: Callable[[T], object]) -> set[int]:
        """The kinds whose rows fit."""
        return {kind for kind, first in self.first_of_kind.items() if fits(self[first])}

    def places(self, fits: Callable[[T], object]) -> list[int]:
        """The places of the rows that fit, in order."""
        kinds, own = self.kinds(fits), {place for place, row in self.own.items() if fits(row)}
        if not kinds:
            return sorted(own)
        return [place for place, kind in enumerate(self.kind_of) if kind in kinds or place in own]


# Of a sequence of any sort. `fits` asks for nothing in which rows of one kind differ: names, roles, places.


def where(rows: Sequence[T], fits: Callable[[T], object]) -> list[T]:
    """The rows that fit, in order."""
    if isinstance(rows, Rows):
        return [rows[place] for place in rows.places(fits)]
    return [row for row in rows if fits(row)]


def how_many(rows: Sequence[T], fits: Callable[[T], object]) -> int:
    """How many rows fit."""
    if isinstance(rows, Rows):
        kinds = rows.kinds(fits)
        return sum(map(rows.kind_of.count, kinds)) + sum(1 for row in rows.own.values() if fits(row))
    return sum(1 for row in rows if fits(row))


def first(rows: Sequence[T], fits: Callable[[T], object]) -> T | None:
    """The first row that fits; None where none does."""
    if isinstance(rows, Rows):
        firsts = [at for at in rows.first_of_kind.values() if fits(rows[at])]
        place = min([*firsts, *(at for at, row in rows.own.items() if fits(row))], default=None)
        return None if place is None else rows[place]
    return next((row for row in rows if fits(row)), None)


def some_fit(rows: Sequence[T], fits: Callable[[T], object]) -> bool:
    """Whether a row fits."""
    return first(rows, fits) is not None


def column(rows: Sequence[T], name: str) -> Sequence[str]:
    """One field of all rows."""
    if isinstance(rows, Rows):
        return rows.columns[name]
    return [getattr(row, name) for row in rows]
