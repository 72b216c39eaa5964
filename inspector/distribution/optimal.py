"""Scales that are best by a measure: least squared error, least divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution.quantization import Rounding, SquaredError, q_max
from qinspect.inspector.distribution.table import MagnitudeTable

GRID = 200
"""Scales tried first, evenly in the logarithm, over RANGE_OCTAVES below absmax / q_max."""
RANGE_OCTAVES = 12
"""A scale 4,096 times smaller than absmax / q_max: real outliers are up to some hundred times the rest."""
REFINEMENTS = 3
"""Each looks at GRID // 8 scales around the best: the last steps are 4e-6 of a scale apart."""
ENTROPY_BINS = 2048
"""Bins of the reference histogram, as in TensorRT's and its descendants' calibrators."""


@dataclass(frozen=True, slots=True)
class OptimalScale:
    """scale: float32, as a Python float. w_max: scale * q_max. loss: mean squared error, or divergence in nats. nan
    where there is no value but 0."""

    scale: float
    w_max: float
    loss: float


_NONE = OptimalScale(math.nan, math.nan, math.nan)


def mse_optimal_scale(table: MagnitudeTable, bits: int = 8, rounding: Rounding = "half-even") -> OptimalScale:
    """The scale of least mean squared error: the best of a grid, refined. The error has many local minima, so this is
    the best of what was tried, not a proof; among equals the larger scale."""
    limit = q_max(bits)
    if not table.largest > 0:
        return _NONE
    error = SquaredError(table)
    top = table.largest / limit
    exponents = np.linspace(-RANGE_OCTAVES, 0.0, GRID)
    step = exponents[1] - exponents[0]
    best_sum, best_exponent = math.inf, 0.0
    for _ in range(REFINEMENTS + 1):
        for e in exponents[::-1]:
            scale = float(np.float32(top * 2.0**e))
            # an underflow to 0 is no scale
            if scale > 0 and (found := error.sum(scale, limit, rounding)) < best_sum:
                best_sum, best_exponent = found, float(e)
        exponents = np.linspace(best_exponent - step, min(best_exponent + step, 0.0), GRID // 8)
        step = exponents[1] - exponents[0]
    best = float(np.float32(top * 2.0**best_exponent))
    return OptimalScale(best, best * limit, best_sum / table.n_finite)


def entropy_optimal_scale(
    table: MagnitudeTable, bits: int = 8, bins: int = ENTROPY_BINS, stride: int = 1
) -> OptimalScale:
    """The scale of least Kullback-Leibler divergence between the clipped and the quantized histogram.

    The method of Migacz, "8-bit Inference with TensorRT" (GTC 2017): |x| in `bins` equal bins of 0 ... absmax; for each
    number i of kept bins, P has what is beyond in its last bin, Q merges the kept bins into 2^(bits-1) levels and
    spreads each level evenly over those of its bins that P has. All i at once, from prefix sums.
    """
    levels = q_max(bits) + 1
    if not table.largest > 0:
        return _NONE
    edges = np.linspace(0.0, table.largest, bins + 1)
    place = np.clip(np.searchsorted(edges, table.middle, "right") - 1, 0, bins - 1)
    histogram = np.bincount(place, weights=table.counts, minlength=bins).astype(np.float64)
    kept = np.arange(min(levels, bins), bins + 1, stride)
    divergence = _divergence(histogram, kept, levels)
    best = int(np.flatnonzero(divergence == divergence.min())[-1])
    w_max = float(edges[kept[best]])
    return OptimalScale(float(np.float32(w_max / (levels - 1))), w_max, float(divergence[best]))


def _divergence(histogram: NDArray[np.float64], kept: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """float64[len(kept)]: KL(P || Q) in nats, inf where Q is 0 where P is not."""
    total = histogram.sum()
    mass, used, own = (np.append(0.0, np.cumsum(h)) for h in (histogram, histogram > 0, _xlogx(histogram)))
    last = kept - 1
    beyond = total - mass[kept]
    # level j of i kept bins: bins floor(j i / levels) ... floor((j + 1) i / levels)
    cut = np.arange(levels + 1)[None, :] * kept[:, None] // levels
    q = np.diff(mass[cut], axis=1)
    bins_used = np.diff(used[cut], axis=1)
    bins_used[:, -1] += (histogram[last] == 0) & (beyond > 0)
    p = q.copy()
    p[:, -1] += beyond
    p_log_p = own[kept] - _xlogx(histogram[last]) + _xlogx(histogram[last] + beyond)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_log_q = np.where(p > 0, p * np.log(q / bins_used), 0.0).sum(axis=1)
    # P = p / total, Q = q / (what is kept)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence: NDArray[np.float64] = (p_log_p - p_log_q) / total + np.log(mass[kept] / total)
    return np.where(np.isfinite(divergence), divergence, np.inf)


def _xlogx(x: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.where(x > 0, x, 1.0)
    value: NDArray[np.float64] = safe * np.log(safe)
    return value
