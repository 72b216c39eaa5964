"""Round numbers for axes: 1, 2, 2.5 or 5 times a power of ten, decades on logarithmic ones, as many as have room.

Ticks are decimals, so that what is written is the number where the tick stands, to its last digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

_ROUND = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5))
_FEW = 3
"""Ticks of a logarithmic axis that are enough: with fewer they are those of a linear one."""
_MOST = 1000
"""Ticks of a candidate: more have room in no terminal."""
GAP = 2
"""Blank cells between two labels, at least."""


@dataclass(frozen=True, slots=True)
class Tick:
    """at: the number. label: as it is written."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Placed:
    """column: of the tick. start: the first cell of its label."""

    column: int
    start: int
    label: str


def steps(low: float, high: float, most: int) -> Iterator[Decimal]:
    """Round steps from the finest that gives at most `most` intervals between two finite numbers."""
    span = Decimal(high) - Decimal(low)
    if span <= 0:
        return
    power = (span / max(1, most)).adjusted()
    while True:
        for step in (m.scaleb(power) for m in _ROUND):
            if step * most >= span:
                yield step
            if step > 10 * max(span, abs(Decimal(high)), abs(Decimal(low))):
                return
        power += 1


def linear(low: float, high: float, most: int) -> Iterator[list[Tick]]:
    """Ticks of a linear axis, the closest first; the last candidate has one at most."""
    for step in steps(low, high, most):
        first, last = (int(Decimal(end) / step) for end in (low, high))
        at = [k * step for k in range(first - 1, last + 2) if low <= float(k * step) <= high]
        if len(at) <= _MOST:
            yield labelled(at)


def logarithmic(low: float, high: float, most: int) -> Iterator[list[Tick]]:
    """Ticks of a logarithmic axis from one positive number to another: 1, 2 and 5 times powers of ten, or these alone.
    Within a decade they are those of a linear one."""
    if not 0 < low < high < math.inf:
        return
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    finest, decades = (
        [x for p in powers for m in multiples if low <= float(x := Decimal(m).scaleb(p)) <= high]
        for multiples in ((1, 2, 5), (1,))
    )
    if len(finest) < _FEW:
        yield from linear(low, high, most)
    yield [_tick(x) for x in finest]
    for every in range(1, len(decades) + 1):
        yield [_tick(x) for x in decades if x.adjusted() % every == 0]


def labelled(at: Sequence[Decimal]) -> list[Tick]:
    """Numbers of one axis, all with the same digits after the point, or all with an exponent where that is shorter."""
    places = max((-int(x.normalize().as_tuple().exponent) for x in at if x), default=0)
    fixed = [f"{x:.{max(0, places)}f}" if x else "0" for x in at]
    powers = [_power(x) for x in at]
    shorter = fixed if max(map(len, fixed), default=0) <= max(map(len, powers), default=0) else powers
    return [Tick(float(x), label) for x, label in zip(at, shorter, strict=True)]


def _tick(x: Decimal) -> Tick:
    fixed, power = f"{x.normalize():f}", _power(x)
    return Tick(float(x), fixed if len(fixed) <= max(4, len(power)) else power)


def _power(x: Decimal) -> str:
    if not x:
        return "0"
    exponent = x.adjusted()
    return f"{x.scaleb(-exponent).normalize():f}e{exponent}"


def fitted(candidates: Iterator[list[Tick]], column: Callable[[float], int], width: int) -> list[Placed]:
    """The first candidate whose labels all have room under their ticks in `width` cells: no label touches another or an
    end."""
    for ticks in candidates:
        placed = [under(column(t.at), t.label, width) for t in ticks if 0 <= column(t.at) < width]
        if placed and all(p.start >= 0 for p in placed) and _apart(placed):
            return placed
    return []


def under(column: int, label: str, width: int) -> Placed:
    """A label in the middle under its tick, or as near to it as the ends allow; its start is negative without room."""
    return Placed(column, min(max(0, column - len(label) // 2), width - len(label)), label)


def _apart(placed: Sequence[Placed]) -> bool:
    return all(p.start + len(p.label) + GAP <= after.start for p, after in pairwise(placed))


def beside(candidates: Iterator[list[Tick]], row: Callable[[float], int], rows: int, width: int) -> dict[int, str]:
    """Labels of rows, counted from the bottom: those of the first candidate of which no two are in the same row or in
    neighbouring ones. Row -1 is the axis."""
    for ticks in candidates:
        at = [(row(t.at), t.label) for t in ticks]
        apart = all(after - r >= 2 for (r, _), (after, _) in pairwise(at)) or len(at) == 1
        if at and apart and all(-1 <= r < rows and len(label) <= width for r, label in at):
            return dict(at)
    return {}
