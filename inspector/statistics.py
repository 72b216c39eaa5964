"""Numbers that describe one tensor: range, moments, percentiles, histogram of codes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (0.0, 0.1, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0)
SAMPLE_ELEMENTS = 1 << 24
"""Percentiles are exact up to this many elements, and of an even sample beyond."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """n: elements. n_nan, n_inf, n_zero, n_negative: of them. minimum ... std: of the finite ones, nan where there are
    none. percentiles: (percent, value of the finite elements), linear interpolation. sampled: percentiles are of an
    even sample."""

    n: int
    n_nan: int
    n_inf: int
    n_zero: int
    n_negative: int
    minimum: float
    maximum: float
    absmax: float
    mean: float
    std: float
    percentiles: tuple[tuple[float, float], ...]
    sampled: bool


@np.errstate(all="ignore")  # a signalling NaN or a number beyond float32 in the file is no event
def describe(chunks: Iterable[NDArray[Any]], n_total: int) -> Statistics:
    """Statistics of the elements of all chunks, `n_total` in all. One chunk is in memory at a time.

    The variance is merged over chunks by Chan's pairwise formula (Chan, Golub, LeVeque 1979).
    """
    n = n_nan = n_inf = n_zero = n_negative = n_finite = 0
    low, high = math.inf, -math.inf
    mean = m2 = 0.0
    step = max(1, -(-n_total // SAMPLE_ELEMENTS))
    sample: list[NDArray[Any]] = []
    for chunk in chunks:
        x = np.asarray(chunk, np.float64).reshape(-1)
        finite = x[np.isfinite(x)]
        nan = int(np.isnan(x).sum())
        n += x.size
        n_nan += nan
        n_inf += x.size - finite.size - nan
        n_zero += int((x == 0).sum())
        n_negative += int((x < 0).sum())
        if not finite.size:
            continue
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        together = n_finite + finite.size
        with np.errstate(over="ignore", invalid="ignore"):  # near the end of float64 the moments are not finite
            chunk_mean = float(finite.mean())
            delta = chunk_mean - mean
            m2 += float(((finite - chunk_mean) ** 2).sum()) + delta * delta * n_finite * finite.size / together
        mean += delta * finite.size / together
        n_finite = together
        sample.append(finite[::step])
    if not n_finite:
        nan_value = math.nan
        return Statistics(
            n, n_nan, n_inf, n_zero, n_negative, nan_value, nan_value, nan_value, nan_value, nan_value, (), False
        )
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.percentile(np.concatenate(sample), PERCENTILES)
    percentiles = tuple((p, float(v)) for p, v in zip(PERCENTILES, points, strict=True))
    return Statistics(
        n, n_nan, n_inf, n_zero, n_negative, low, high, max(abs(low), abs(high)), mean, math.sqrt(m2 / n_finite),
        percentiles, step > 1,
    )  # fmt: skip


MAX_COUNTED_BITS = 16
"""Wider codes have too many levels to be listed."""


def count_codes(chunks: Iterable[NDArray[Any]], bits: int) -> dict[int, int]:
    """How often each level of a `bits`-bit code occurs, all listed, unused ones with 0. They start at 0 where the
    codes are of an unsigned dtype. Empty for more than MAX_COUNTED_BITS."""
    if bits > MAX_COUNTED_BITS:
        return {}
    low = -(1 << (bits - 1))
    counts = np.zeros(1 << bits, np.int64)
    for chunk in chunks:
        low = 0 if chunk.dtype.kind == "u" else low
        counts += np.bincount(chunk.reshape(-1).astype(np.int64) - low, minlength=counts.size)
    return {level: int(c) for level, c in zip(range(low, low + counts.size), counts, strict=True)}
