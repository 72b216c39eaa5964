"""Normally distributed numbers that are the same each time: what weights are taken for where none are read."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


@lru_cache(4)
def normal_quantiles(n: int) -> NDArray[np.float64]:
    """[n] numbers of the standard normal distribution in ascending order, one quantile each: those of (i + 0.5) / n.
    Made by the standard library: importing scipy takes longer than 131,072 of them. Not to be written to."""
    quantile = NormalDist().inv_cdf
    made = np.array([quantile((i + 0.5) / n) for i in range(n)])
    made.flags.writeable = False
    return made
