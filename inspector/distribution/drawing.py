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
    table: MagnitudeTable, width: int, low: float | None = None, high: float | None = None, step: float = 0.0
) -> LogHistogram | None:
    """`width` bins of |x| between low and high, the smallest and the largest magnitude but 0 unless given. Infinite
    values are above. step: of magnitudes that are whole multiples of it; each is spread over its step then, for bins
    that are narrower would hold one or none of them. None where there is nothing to draw. Raises ValueError unless
    0 < low < high and width >= 1."""
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
    if step > 0:
        below = _below(table, edges, step)
    else:
        below = np.append(0, table.cumulative)[np.searchsorted(table.middle, edges)]
        below[-1] = np.append(0, table.cumulative)[np.searchsorted(table.middle, high, "right")]
    n_above = table.n_finite - int(below[-1]) + table.n_inf
    return LogHistogram(edges, np.diff(below), table.n_zero, int(below[0]) - table.n_zero, n_above)


def _below(table: MagnitudeTable, edges: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    """int64: how many magnitudes lie below each edge, zeros among them, each spread evenly over its step."""
    levels = np.rint(table.middle[table.middle > 0].astype(np.float64) / step)
    ends = np.stack([levels - 0.5, levels + 0.5], axis=1).reshape(-1) * step
    up_to = np.append(table.n_zero, table.cumulative[table.middle > 0])
    counts = np.stack([up_to[:-1], up_to[1:]], axis=1).reshape(-1)
    found: NDArray[np.int64] = np.rint(np.interp(edges, ends, counts)).astype(np.int64)
    return found
