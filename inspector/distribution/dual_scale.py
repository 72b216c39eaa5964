"""Two steps and a bit that chooses: values whose code would saturate take a step `multiplier` times as large.

scale s, multiplier m, codes of `bits` bits: q = round(x / s) where |q| <= q_max, else flagged and q = round(x / (s m)),
saturating at q_max. With m > 2 q_max a flagged value just above the threshold rounds to 0: the dead zone. Storage is
bits + 1 a value: bits = 4 is "W4A5".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.distribution.quantization import Rounding, SquaredError, checked_scales, covered, q_max, signal
from qinspect.inspector.distribution.table import MagnitudeTable

MULTIPLIERS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0)
GRID = 64
"""Scales tried for each multiplier, evenly in the logarithm, over GRID_OCTAVES below absmax / q_max."""
GRID_OCTAVES = 10


@dataclass(frozen=True, slots=True)
class DualScale:
    """scale, multiplier: s and m. flagged: share of values with the flag. dead: share of values that are flagged and
    round to 0. saturated: share of values that saturate even flagged. mse, sqnr_db: over all finite values. Shares are
    of all values but NaN."""

    scale: float
    multiplier: float
    bits: int
    flagged: float
    dead: float
    saturated: float
    mse: float
    sqnr_db: float


def dual_scale(
    table: MagnitudeTable, scale: float, multiplier: float, bits: int = 4, rounding: Rounding = "half-even"
) -> DualScale:
    """What a dual scale does. Raises ValueError for a scale that is no positive float32, or a multiplier below 1."""
    if not multiplier >= 1:
        raise ValueError("a multiplier is at least 1")
    return _measure(table, SquaredError(table), float(checked_scales(scale)[0]), multiplier, bits, rounding)


def best_dual_scale(
    table: MagnitudeTable,
    bits: int = 4,
    multipliers: Sequence[float] = MULTIPLIERS,
    rounding: Rounding = "half-even",
) -> DualScale | None:
    """The scale and multiplier of least mean squared error among a grid; None where there is no value but 0."""
    if not table.largest > 0:
        return None
    error, limit = SquaredError(table), q_max(bits)
    steps = (table.largest / limit * np.exp2(np.linspace(-GRID_OCTAVES, 0.0, GRID))).astype(np.float32)
    steps = steps[steps > 0]
    ends = covered(table, steps, bits, rounding)
    best = (math.inf, 0.0, 0.0)
    for s, end in zip(steps.tolist(), ends.tolist(), strict=True):
        normal = error.sum(s, limit, rounding, 0, end)
        if normal >= best[0]:
            continue
        for m in multipliers:
            wide = float(np.float32(s * m))
            if math.isfinite(wide) and (found := normal + error.sum(wide, limit, rounding, end)) < best[0]:
                best = (found, s, m)
    return _measure(table, error, best[1], best[2], bits, rounding)


def _measure(
    table: MagnitudeTable, error: SquaredError, s: float, m: float, bits: int, rounding: Rounding
) -> DualScale:
    limit = q_max(bits)
    wide = float(checked_scales(s * m)[0])
    normal_end, wide_end = covered(table, [s, wide], bits, rounding).tolist()
    cumulative = np.append(0, table.cumulative)
    n = max(table.n - table.n_nan, 1)
    with np.errstate(over="ignore"):
        zero_end = _zero_end(table, wide, rounding)
    squared = error.sum(s, limit, rounding, 0, normal_end) + error.sum(wide, limit, rounding, normal_end)
    mean = squared / table.n_finite if table.n_finite else math.nan
    ratio = signal(table) / mean if mean > 0 else math.inf
    return DualScale(
        s, m, bits,
        flagged=float(n - cumulative[normal_end]) / n if table.n else 0.0,
        dead=float(cumulative[max(zero_end, normal_end)] - cumulative[normal_end]) / n,
        saturated=float(n - cumulative[max(wide_end, normal_end)]) / n if table.n else 0.0,
        mse=mean,
        sqnr_db=10.0 * math.log10(ratio) if 0 < ratio < math.inf else ratio,
    )  # fmt: skip


def _zero_end(table: MagnitudeTable, step: float, rounding: Rounding) -> int:
    """Entries of the table whose code at `step` is 0; they are its first ones."""
    m, s = table.middle, np.float32(step)
    if rounding == "half-even":
        return int(np.searchsorted(m / s, np.float32(0.5), "right"))
    return int(np.searchsorted(m / s, np.float32(0.5 if rounding == "half-away" else 1.0), "left"))
