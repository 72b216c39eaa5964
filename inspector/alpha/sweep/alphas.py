"""The alphas at which everything is known in advance: a grid that stretches near 1."""

from __future__ import annotations

import math
from bisect import bisect_left
from decimal import Decimal

N = 600
LEAST = 0.5
DECADES = 7
"""Down to 1 - 1e-7: float32, in which observers keep alpha, has hardly finer steps there."""
THUMB = (0.5, 0.9, 0.99, 0.999, 0.9995, 0.9999, 0.99999, 1.0)
"""What papers and libraries take without looking."""


def _grid() -> tuple[float, ...]:
    """Even steps of -log10(1 - alpha), each 1 - alpha in three digits; then 1. Of 1, 2 and 5 in a decade the nearest
    steps are exactly those."""
    first = -math.log10(1 - LEAST)
    step = (DECADES - first) / (N - 2)
    rest = [Decimal(f"{10 ** -(first + i * step):.2e}") for i in range(N - 1)]
    for exponent in range(1, DECADES + 1):
        for digit in (1, 2, 5):
            wanted = Decimal(digit).scaleb(-exponent)
            nearest = min(range(N - 1), key=lambda i: abs((rest[i] / wanted).ln()))
            if abs((rest[nearest] / wanted).ln()) < step * math.log(10):
                rest[nearest] = wanted
    return (*(float(1 - r) for r in rest), 1.0)


ALPHAS = _grid()
"""600 alphas from 0.5 to 1, ascending: each some 2.6 % nearer to 1 than the last, the round ones exactly."""


def stretched(alpha: float) -> float:
    """-log10(1 - alpha): the place of an alpha on an axis that stretches near 1; inf for 1."""
    return math.inf if alpha >= 1 else -math.log10(1 - alpha)


def on_grid(alpha: float) -> int | None:
    """The number of an alpha of the grid, None for one in between."""
    i = bisect_left(ALPHAS, alpha)
    return i if i < N and ALPHAS[i] == alpha else None


def nearest(alpha: float) -> int:
    """The number of the alpha of the grid that is nearest to one, where it stretches."""
    at = min(max(bisect_left(ALPHAS, alpha), 1), N - 1)
    if at == N - 1:  # what is left over of the last is nothing, however one measures
        return at if 1 - alpha < (1 - ALPHAS[-2]) / 2 else at - 1
    here = stretched(max(alpha, LEAST))
    return at if stretched(ALPHAS[at]) - here < here - stretched(ALPHAS[at - 1]) else at - 1
