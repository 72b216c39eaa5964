"""Which alphas remain if the checkpoint was calibrated on other samples, or on these in another order.

What a rule gives at an alpha is then a random number, and the stored scale one draw of it. An alpha remains unless the
scale is in either tail of its draws. Draws come out of the stored tables of samples (`inspector/noise/draws.py`); those
of other samples hold the scale's own chance, and that of our samples.

A rule does not descend in alpha, and neither do the tails of its draws, so the alphas that remain are an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.recover.agreement import Interval
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.distribution.quantile import Floats
from qinspect.inspector.noise.draws import Draws, ema_weights
from qinspect.inspector.observers import Ema, NamedRule

COVERAGE = 0.95
"""Of the interval that all points share: each point's own is made so wide that one of them misses in 5 % at most."""


def _alphas() -> NDArray[np.float64]:
    near_one = 1 - np.geomspace(0.5, 1e-7, 1000)
    return np.concatenate([np.linspace(0, 0.5, 50, endpoint=False), near_one, [1.0]])


GRID = _alphas()
"""Alphas that are tried: the ends of an interval lie on them, the outer neighbour where they would fall between."""


class Spread:
    """The alphas that remain at one point. n_points: how many share the confidence."""

    def __init__(self, tables: Sequence[MagnitudeTable], draws: Draws, n_points: int) -> None:
        self.tables = [t.upper for t in tables]
        self.draws = draws
        self.tail = (1 - COVERAGE) / 2 / n_points

    @cached_property
    def quantiles(self) -> Floats:
        """float64[alphas of GRID, n]: of each sample; those of one alpha lie together, as they are asked for."""
        return np.ascontiguousarray(np.stack([t.quantile(GRID, "float64") for t in self.tables]).T)

    def of_order(self, named: NamedRule, w_max: float) -> Interval | None:
        """If the order was another. None where no alpha remains, or the rule takes samples in any order."""
        if not isinstance(named.rule.reducer, Ema):
            return None
        weights = self.draws.weights(self.draws.orders, ema_weights(named.rule.reducer.sigma, self.draws.n))
        return self._remaining(lambda k: weights @ self.quantiles[k], w_max)

    def of_data(self, named: NamedRule, w_max: float) -> Interval | None:
        """If the samples were others. None where no alpha remains."""
        d = self.draws
        factors = d.factors(self._at(w_max))
        reducer = named.rule.reducer
        if reducer == "pooled":
            return self._pooled(w_max, factors)
        if reducer == "max":
            return self._remaining(lambda k: np.max(self.quantiles[k].take(d.twice) * factors, axis=1), w_max)
        place = ema_weights(reducer.sigma, d.n) if isinstance(reducer, Ema) else np.full(d.n, 1 / d.n)
        weights = d.weights(d.twice, place * factors)
        return self._remaining(lambda k: np.dot(weights, self.quantiles[k]), w_max)

    def _at(self, w_max: float) -> Floats:
        """float64[n]: the samples' quantiles at the alpha whose mean quantile is w_max."""
        k = min(int(np.searchsorted(self.quantiles.mean(axis=1), w_max)), GRID.size - 1)
        found: Floats = self.quantiles[k]
        return found

    def _remaining(self, drawn: Callable[[int], Floats], w_max: float) -> Interval | None:
        """drawn: what alpha number k of the grid gives, float64[draws]."""

        def end(share: float, beyond: Callable[[float], bool]) -> int:
            low, high = 0, GRID.size  # the first k whose `share`-quantile of draws is beyond w_max
            while low < high:
                k = (low + high) // 2
                low, high = (low, k) if beyond(float(np.quantile(drawn(k), share))) else (k + 1, high)
            return low

        first = end(1 - self.tail, lambda drawn_high: drawn_high >= w_max)
        last = end(self.tail, lambda drawn_low: drawn_low > w_max)
        if first == GRID.size or last == 0:
            return None
        return Interval(float(GRID[max(first - 1, 0)]), float(GRID[min(last, GRID.size - 1)]))

    def _pooled(self, w_max: float, factors: NDArray[np.float64]) -> Interval | None:
        """A pooled quantile is w_max at the share of values up to it: no grid is needed."""
        flat = np.empty(factors.size)
        for table, here in zip(self.tables, self.draws.places_of_samples, strict=True):
            cumulative = np.append(0, table.cumulative)
            flat[here] = cumulative[np.searchsorted(table.magnitudes, w_max / factors.ravel()[here], "right")]
        up_to = flat.reshape(factors.shape)
        n = np.array([t.n for t in self.tables]).take(self.draws.twice).sum(axis=1)
        low, high = np.quantile(up_to.sum(axis=1) / n, [self.tail, 1 - self.tail])
        if low >= 1 or high <= 0:
            return None
        return Interval(float(low), float(high))
