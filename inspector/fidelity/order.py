"""In which order weights are measured for somebody who watches: the one that is likely to be worst first, told from a
few rows of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.blocks import UNIT_ELEMENTS, Unit, row_step, values_of, widened
from qinspect.inspector.fidelity.pairs import Pair
from qinspect.inspector.fidelity.sums import sqnr_db

Arrange = Callable[[Sequence[Pair]], list[Pair]]
SAMPLED_VALUES = 1 << 13
"""Of each weight, from its middle: enough for a SQNR to about 0.1 dB."""
MOST_PAIRS = 4096
"""Of more, such as experts by the ten thousand, reading a bit of each takes longer than it is worth."""


def as_they_come(pairs: Sequence[Pair]) -> list[Pair]:
    """In A's order."""
    return list(pairs)


def worst_first(pairs: Sequence[Pair]) -> list[Pair]:
    """By the SQNR of a few rows, the least first; what has no rows, or cannot be read, last, in the order in which it
    comes."""
    if len(pairs) > MOST_PAIRS:
        return list(pairs)
    guesses = [_guess(p) for p in pairs]
    order = sorted(range(len(pairs)), key=lambda i: (math.isnan(guesses[i]), guesses[i], i))
    return [pairs[i] for i in order]


def _guess(pair: Pair) -> float:
    """In dB, NaN where there is none."""
    if len(pair.shape) < 2 or not pair.n:
        return math.nan
    n_rows, columns = pair.shape[0], math.prod(pair.shape[1:])
    step = math.lcm(row_step(pair.a), row_step(pair.b))
    first = n_rows // 2 // step * step
    rows = min(max(1, SAMPLED_VALUES // columns // step) * step, n_rows - first)
    if rows * columns > UNIT_ELEMENTS:
        return math.nan
    unit = Unit(first * columns, rows, columns, first, True)
    a, b = np.empty((rows, columns)), np.empty((rows, columns))
    try:
        for values, out in zip(values_of(pair, unit), (a, b), strict=True):
            widened(values, out)
    except QinspectError:
        return math.nan
    pair.derive(a, b)
    d = b - a
    a, d = a[np.isfinite(d)], d[np.isfinite(d)]
    return sqnr_db(float(a @ a), float(d @ d)) if d.size else math.nan
