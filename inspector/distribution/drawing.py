"""Bins for a plot, of any width, from exact counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution.table import MagnitudeTable


@dataclass(frozen=True, slots=True)
class LogHistogram:
    """edges: float64[width + 1] of |x|, evenly in the logarithm. counts: int64[width]; edges[i] <= |x| < edges[i + 1],
    the last bin with its upper edge. n_zero, n_below, n_above: values without a place: 0, under and over the edges."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    n_zero: int
    n_below: int
    n_above: int


def log_histogram(
    table: MagnitudeTable, width: int, low: float | None = None, high: float | None = None
) -> LogHistogram | None:
    """`width` bins of |x| between low and high, the smallest and the largest magnitude but 0 unless given. Infinite
    values are above. None where there is nothing to draw. Raises ValueError unless 0 < low < high and width >= 1."""
    m = table.middle[table.middle > 0]
    if not m.size:
        return None
    low = float(m[0]) if low is None else low
    high = table.largest if high is None else high
    if low == high:  # one magnitude: in the middle of an octave
        low, high = low / math.sqrt(2), high * math.sqrt(2)
    if not (0 < low < high < math.inf and width >= 1):
        raise ValueError("a logarithmic axis goes from a positive number to a larger one, in at least one bin")
    edges = np.exp2(np.linspace(math.log2(low), math.log2(high), width + 1))
    edges[0], edges[-1] = low, high  # as given, not through a logarithm and back
    below = np.append(0, table.cumulative)[np.searchsorted(table.middle, edges)]
    below[-1] = np.append(0, table.cumulative)[np.searchsorted(table.middle, high, "right")]
    n_above = table.n_finite - int(below[-1]) + table.n_inf
    return LogHistogram(edges, np.diff(below), table.n_zero, int(below[0]) - table.n_zero, n_above)
