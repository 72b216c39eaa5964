"""How sure a mean over tokens is. Tokens of one document are not independent: whole windows are drawn again, with all
their tokens, for the reference and the model together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.accuracy.comparing import smallest_detectable
from qinspect.inspector.significance import LEVEL, normal_p, normal_quantile

Floats = NDArray[np.float64]
DRAWS = 2000
FEWEST_WINDOWS = 8
"""Of fewer no interval is given: the draws would be of a handful of numbers."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and the interval that the block bootstrap gives it (percentile method, 1 - LEVEL), with the spread of its
    draws; NaN where there are too few windows."""

    value: float
    low: float
    high: float
    spread: float = math.nan

    def within(self, margin: float) -> bool:
        """Whether the interval lies between -margin and margin."""
        return -margin <= self.low and self.high <= margin

    @property
    def p(self) -> float:
        """How likely chance alone is as far from zero, by the normal approximation; 1 where that is not known."""
        if self.value == 0 or math.isnan(self.spread):
            return 1.0
        return normal_p(self.value / self.spread) if self.spread > 0 else 0.0

    @property
    def smallest(self) -> float:
        """What would mostly be told from zero: with 80 % power at 5 %."""
        return smallest_detectable(self.spread)


def draws(n_windows: int, seed: int) -> NDArray[np.int64]:
    """int64[DRAWS, n_windows]: how often each window is in a draw."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_windows, np.full(n_windows, 1 / n_windows), DRAWS)


def estimate(values: Floats, window: NDArray[np.int64], times: NDArray[np.int64]) -> Estimate:
    """The mean of values over all tokens. window: of each token, from 0. times: as `draws` gives them."""
    n_windows = times.shape[1]
    sums = np.bincount(window, values, n_windows)
    counts = np.bincount(window, minlength=n_windows).astype(float)
    mean = float(values.mean()) if values.size else float("nan")
    if int((counts > 0).sum()) < FEWEST_WINDOWS:
        return Estimate(mean, math.nan, math.nan)
    drawn = (times @ sums) / np.maximum(times @ counts, 1)
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return Estimate(mean, float(low), float(high), float(drawn.std()))


def estimate_so_far(sums: Floats, counts: Floats) -> Estimate:
    """The mean of all tokens of windows, of which each has a sum and a number of tokens, as `estimate` has it, but with
    an interval that costs nothing: that of a ratio of two sums over windows drawn at random (Cochran, Sampling
    Techniques, 6.3), by the normal approximation. For figures that are shown while others are still to come."""
    n = int((counts > 0).sum())
    mean = float(sums.sum() / counts.sum()) if n else math.nan
    if n < FEWEST_WINDOWS:
        return Estimate(mean, math.nan, math.nan)
    apart = (sums - mean * counts)[counts > 0]
    spread = float(np.sqrt((apart**2).sum() * n / (n - 1))) / float(counts.sum())
    reach = normal_quantile(1 - LEVEL / 2) * spread
    return Estimate(mean, mean - reach, mean + reach, spread)
