"""What many scales do to one distribution at once: shares and errors.

The squared error of a scale s is a sum over codes c: of the x that become c, x^2 - 2 x (s c) + (s c)^2. With prefix
sums of n and x a code costs two look-ups however many magnitudes it has, where `SquaredError` goes over all of them:
600 scales of 8 bits in a few milliseconds. s c is rounded to float32, as there; sums are float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable, beyond, coverage
from qinspect.inspector.distribution.quantization import q_max

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Of each scale. beyond: share of |x| > w_max. clipped: share of values whose code saturates, 1 - coverage.
    sqnr_db: signal to quantization noise; inf where nothing is lost. All nan for what is no scale, or of no values."""

    beyond: NDArray[np.float64]
    clipped: NDArray[np.float64]
    sqnr_db: NDArray[np.float64]


class Gauges:
    """One table, asked about many scales. What does not depend on them is computed once."""

    def __init__(self, table: MagnitudeTable) -> None:
        self.table = table
        self._m = table.middle.astype(np.float64)
        weights = table.counts.astype(np.float64)
        self._n = np.append(0.0, np.cumsum(weights))
        self._x = np.append(0.0, np.cumsum(weights * self._m))
        self._squares = float((weights * self._m * self._m).sum())

    def at(self, w_max: Floats, scales: Floats, bits: int) -> Measured:
        """w_max: [S], the ranges that were asked for. scales: float32[S], what became of them."""
        good = np.isfinite(scales) & (scales > 0) & bool(self.table.n - self.table.n_nan)
        found = Measured(*(np.full(scales.size, np.nan) for _ in range(3)))
        if good.any():
            kept = scales[good].astype(np.float32)
            found.beyond[good] = beyond(self.table, w_max[good])
            found.clipped[good] = np.maximum(1.0 - coverage(self.table, kept, bits), 0.0)
            found.sqnr_db[good] = self._decibels(self.squared_errors(kept, q_max(bits)))
        return found

    @np.errstate(over="ignore", invalid="ignore")  # a code * scale beyond float32 is infinite for libraries too
    def squared_errors(self, scales: NDArray[np.float32], limit: int) -> NDArray[np.float64]:
        """float64[S]: sums of (x - s c)^2, c the code of x, half to even, at most `limit`. Summed by code: c over c - 1
        adds (s c)^2 - (s (c - 1))^2 for each x beyond the edge between them, and takes 2 x s."""
        codes = np.arange(limit + 1, dtype=np.float32)
        steps = (codes * scales[:, None]).astype(np.float64)
        edges = (np.arange(limit) + 0.5) * scales[:, None].astype(np.float64)
        at = np.searchsorted(self._m, edges, "right")
        rise = np.diff(steps, axis=1)
        rise_of_squares = rise * (steps[:, 1:] + steps[:, :-1])
        beyond_n, beyond_x = self._n[-1] - self._n[at], self._x[-1] - self._x[at]
        sums: NDArray[np.float64] = (rise_of_squares * beyond_n - 2.0 * rise * beyond_x).sum(axis=1)
        return np.maximum(sums + self._squares, 0.0)

    @np.errstate(divide="ignore", invalid="ignore")
    def _decibels(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        # What is left of sums that cancel is no error
        lost = np.where(sums < 1e-13 * self._squares, 0.0, sums)
        decibels: NDArray[np.float64] = 10.0 * np.log10(np.divide(self._squares, lost))
        return decibels
