"""How far chance moves a scale, resampled from the tables of samples that a calibration stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.distribution.quantile import Floats
from qinspect.inspector.noise.band import Band, Floor
from qinspect.inspector.noise.draws import DRAWS, Draws, ema_weights
from qinspect.inspector.observers import Absmax, Ema, Quantile
from qinspect.inspector.significance import LEVEL

PAIRINGS = 32
"""Each draw is compared with so many others: the least p is 1 of DRAWS * PAIRINGS."""
_GRID = 256
"""Magnitudes between the samples' least and largest quantile, on which pooled counts are interpolated."""
_LEAST = 1e-30

Drawn = NDArray[np.float64]
"""float64[draws]: the range that each draw gives."""


class Resampling:
    """Bands of the points of one calibration. Points with as many samples share what chance does to them."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._draws = cache(Draws)

    def bands(self, role: str, scale: float, percent: float | None) -> Iterator[Band]:
        """Of another order, where the rule takes one, and of other samples. Nothing for a point that is not of the
        calibration or has no tables of samples. scale: A's; the rule is asked at the alpha that gives it, or the
        nearest. percent: the difference found, B from A, None where it is not known."""
        if role not in self.calibration.points or not self.calibration.keeps_samples(role):
            return
        tables = [t.upper for t in self.calibration.tables(role)]
        if len(tables) < 2 or not all(t.n for t in tables):
            return
        rule = self.calibration.applied(role, 0.5).rule
        if isinstance(rule.statistic, Quantile):
            alpha = self._alpha(role, tables, scale)
            quantiles = np.stack([t.quantile(alpha, rule.statistic.rank) for t in tables]).astype(np.float64)
        elif isinstance(rule.statistic, Absmax):
            alpha, quantiles = 1.0, np.array([t.absmax for t in tables], np.float64)
        else:
            return
        if not np.isfinite(quantiles).all():
            return
        draws, order = self._draws(len(tables)), None
        if isinstance(rule.reducer, Ema):
            place = ema_weights(rule.reducer.sigma, draws.n)
            order = quantiles[draws.orders] @ place
            drawn: Drawn = (quantiles[draws.once] * draws.factors(quantiles)) @ place
        elif rule.reducer == "pooled":
            drawn = _pooled(tables, quantiles, alpha, draws)
        else:
            moved = quantiles[draws.once] * draws.factors(quantiles)
            drawn = moved.max(axis=1) if rule.reducer == "max" else moved.mean(axis=1)
        of_data = _band(drawn, "data", draws.n, percent)
        if order is not None:
            of_order = _band(order, "order", draws.n, percent)
            yield of_order
            if of_order.high > of_data.high:  # other samples come in another order too
                of_data = replace(of_order, floor="data")
        yield of_data

    def _alpha(self, role: str, tables: Sequence[MagnitudeTable], scale: float) -> float:
        rule = self.calibration.applied(role, 0.5).rule
        found = rule.alpha_of(tables, scale)
        if found is not None:
            return found.low
        return 1.0 if scale > float(rule.scales_at(tables, np.array([0.5]))[0]) else 0.0


def _pooled(tables: Sequence[MagnitudeTable], quantiles: Floats, alpha: float, draws: Draws) -> Drawn:
    """The alpha-quantile of all values of the samples drawn. It lies between the least and the largest of the samples'
    own, so counts up to a grid between those are enough; in between, linear in the logarithm."""
    low, high = max(float(quantiles.min()), _LEAST), max(float(quantiles.max()), 2 * _LEAST)
    grid = np.geomspace(low, high, _GRID) if high > low else np.array([low, low * (1 + 1e-6)])
    up_to = np.stack([np.append(0, t.cumulative)[np.searchsorted(t.magnitudes, grid, "right")] for t in tables])
    times = draws.weights(draws.once, np.ones(draws.n))
    share = (times @ up_to) / (times @ np.array([t.n for t in tables], np.float64))[:, None]
    k = np.clip((share < alpha).sum(axis=1), 1, grid.size - 1)
    rows = np.arange(DRAWS)
    before, after = share[rows, k - 1], share[rows, k]
    part = np.clip((alpha - before) / np.maximum(after - before, _LEAST), 0, 1)
    found: Drawn = np.exp(np.log(grid[k - 1]) + part * np.log(grid[k] / grid[k - 1]))
    return found


def _band(drawn: Drawn, floor: Floor, n: int, percent: float | None) -> Band:
    """Of the difference of two such scales: each draw against others, in the logarithm, in which it is symmetric."""
    logs = np.log(np.maximum(drawn, _LEAST))
    apart = np.concatenate([np.abs(logs - np.roll(logs, k)) for k in range(1, PAIRINGS + 1)])
    half = float(np.quantile(apart, 1 - LEVEL))
    p = None
    if percent is not None and percent > -100:
        p = (1 + int(np.count_nonzero(apart >= abs(math.log1p(percent / 100))))) / (1 + apart.size)
    return Band(100 * math.expm1(-half), 100 * math.expm1(half), floor, "resampled", 1 - LEVEL, n, p)
