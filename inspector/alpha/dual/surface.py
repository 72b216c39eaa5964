"""The error of two steps over thresholds and multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import DualScale, MagnitudeTable, dual_scale
from qinspect.inspector.distribution.quantization import q_max

THRESHOLDS = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0)
"""Shares of values within the threshold."""
FACTORS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 50.0, 200.0, 2025.0)


@dataclass(frozen=True, eq=False)
class Surface:
    """sqnr_db, flagged, dead, saturated: float64[thresholds, multipliers], NaN where a step is no number. thresholds:
    shares of values; multipliers."""

    thresholds: tuple[float, ...]
    multipliers: tuple[float, ...]
    sqnr_db: NDArray[np.float64]
    flagged: NDArray[np.float64]
    dead: NDArray[np.float64]
    saturated: NDArray[np.float64]

    @property
    def best(self) -> tuple[int, int]:
        """Where the error is least."""
        if np.isnan(self.sqnr_db).all():
            return 0, 0
        row, column = np.unravel_index(np.nanargmax(self.sqnr_db), self.sqnr_db.shape)
        return int(row), int(column)


def at_threshold(table: MagnitudeTable, share: float, multiplier: float | None, bits: int = 4) -> DualScale | None:
    """Two steps of which the smaller one reaches to a quantile of |x|: s = quantile / q_max. multiplier: None for the
    one with which the larger one reaches the largest |x|. None where a step would be no positive float32."""
    reach = float(table.upper.quantile(share, "float64")) if table.n_finite else 0.0
    if not 0 < reach < np.inf:
        return None
    m = max(1.0, table.largest / reach) if multiplier is None else multiplier
    try:
        return dual_scale(table, float(np.float32(reach / q_max(bits))), m, bits)
    except ValueError:  # a step beyond float32, or below it
        return None


def surface(
    table: MagnitudeTable,
    thresholds: Sequence[float] = THRESHOLDS,
    multipliers: Sequence[float] = FACTORS,
    bits: int = 4,
) -> Surface:
    """The error of every pair."""
    shape = (len(thresholds), len(multipliers))
    found = np.full((4, *shape), np.nan)
    for i, share in enumerate(thresholds):
        for j, m in enumerate(multipliers):
            made = at_threshold(table, share, m, bits)
            if made is not None:
                found[:, i, j] = made.sqnr_db, made.flagged, made.dead, made.saturated
    return Surface(tuple(thresholds), tuple(multipliers), *found)
