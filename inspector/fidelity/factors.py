"""Channels that were multiplied: smoothing and AWQ scale the inputs of a weight, and what comes before it takes the
inverse. The distance of such a weight from the original is large and says little of what quantization cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.fidelity.sums import Numbers, sqnr_db

GAIN_DB = 1.0
"""Undoing the factors has to win so much; on noise alone a factor for each channel wins next to nothing."""
SPREAD = 1.05
"""The largest factor over the least: what scales all channels alike smooths nothing."""
MIN_VALUES = 16
"""Of a channel: with fewer, a factor for each fits noise."""


@dataclass(frozen=True, slots=True)
class Factors:
    """axis: `input` or `output` channels. least, largest: factor of a channel, B over A, by least squares. sqnr: of B
    with each channel divided by its factor, in dB."""

    axis: str
    least: float
    largest: float
    sqnr: float

    @property
    def said(self) -> str:
        """For people."""
        undone = "nothing differs" if math.isinf(self.sqnr) else f"SQNR {self.sqnr:.2f} dB"
        return f"{self.axis} channels multiplied by {self.least:.3g} to {self.largest:.3g}; with that undone, {undone}"


def factors_of(columns: Numbers, rows: Numbers, shape: tuple[int, int], sqnr: float) -> Factors | None:
    """What fits better, if anything does. columns, rows: float64[3, n], the sums of a*a, a*b and b*b of each. shape: of
    the weight. sqnr: as it stands."""
    found = [_fitted("input", columns, shape[0], sqnr), _fitted("output", rows, shape[1], sqnr)]
    return max((f for f in found if f), key=lambda f: f.sqnr, default=None)


def _fitted(axis: str, sums: Numbers, n_values: int, sqnr: float) -> Factors | None:
    if n_values < MIN_VALUES or sums.shape[1] < 2:
        return None
    aa, ab, bb = sums[:, sums[0] > 0]
    if aa.size < 2 or not (ab > 0).all():
        return None
    factor = ab / aa
    left = np.maximum(bb - ab * factor, 0.0) / factor**2
    noise = float(left.sum())
    if noise < 1e-14 * float(aa.sum()):  # what rounding leaves of a difference
        noise = 0.0
    undone = sqnr_db(float(aa.sum()), noise)
    least, largest = float(factor.min()), float(factor.max())
    if largest < SPREAD * least or not undone > sqnr + GAIN_DB:
        return None
    return Factors(axis, least, largest, undone)
