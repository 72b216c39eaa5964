"""One interval of alpha out of the intervals of many points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """low ... high: alphas."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    def __contains__(self, alpha: float) -> bool:
        return self.low <= alpha <= self.high


def hull(a: Interval | None, b: Interval | None) -> Interval | None:
    """From the least to the greatest of both."""
    if a is None or b is None:
        return a or b
    return Interval(min(a.low, b.low), max(a.high, b.high))


@dataclass(frozen=True, slots=True)
class Agreement:
    """interval: what the most points share, None where no point has an interval. n_points: how many were asked.
    dissent: those whose own interval has nothing of it, or that have none."""

    interval: Interval | None
    n_points: int
    dissent: tuple[str, ...]

    @property
    def unanimous(self) -> bool:
        """Whether one alpha will do for every point."""
        return self.interval is not None and not self.dissent

    @property
    def n_agreeing(self) -> int:
        """Points that share the interval."""
        return self.n_points - len(self.dissent)


def agree(intervals: Mapping[str, Interval | None]) -> Agreement:
    """The intersection of as many intervals as have one: of all, where that is not empty. Of equally many, the
    narrowest."""
    known = {name: i for name, i in intervals.items() if i is not None}
    best: tuple[int, float, Interval | None, frozenset[str]] = (0, 0.0, None, frozenset())
    for start in {i.low for i in known.values()}:  # the most overlap begins where some interval does
        sharing = frozenset(name for name, i in known.items() if start in i)
        shared = Interval(max(known[n].low for n in sharing), min(known[n].high for n in sharing))
        best = max(best, (len(sharing), -shared.width, shared, sharing), key=lambda b: b[:2])
    return Agreement(best[2], len(intervals), tuple(n for n in intervals if n not in best[3]))
