"""One point: two steps and a selector beside one step of 8 and of 4 bits, fixed thresholds, and the modes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qinspect.inspector.alpha.dual.modes import MODES, ModeResult, measured
from qinspect.inspector.alpha.dual.surface import at_threshold
from qinspect.inspector.distribution import DualScale, MagnitudeTable, best_dual_scale, mse_optimal_scale, sqnr_db
from qinspect.inspector.distribution.dual_scale import MULTIPLIERS

BITS = 4
"""Of a code; the selector is one more."""
MOST_MULTIPLIER = 15.0
"""With more, 2 q_max + 1, flagged values just above the threshold round to 0."""
THRESHOLDS = (0.99, 0.995, 0.999)
FACTORS: tuple[float | None, ...] = (2.0, 3.0, 5.0, 10.0, 20.0, 2025.0, None)
"""None: the largest |x| over the threshold."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """threshold: the share of values within it. multiplier: None for the largest |x| over the threshold. found: None
    where a step would be no number."""

    threshold: float
    multiplier: float | None
    found: DualScale | None


@dataclass(frozen=True, slots=True)
class DualPoint:
    """name. scale: the step that the calibration gave at `alpha`. int8, int4: SQNR in dB at the step of least error;
    given: int8 at `scale`. best: the pair of least error with a multiplier up to MOST_MULTIPLIER; free: with any that
    is tried. fixed: thresholds and multipliers as in the notes. modes: at `scale`. All None, or NaN, where there is no
    value but 0, or no scale."""

    name: str
    n: int
    alpha: float
    scale: float
    given: float
    int8: float
    int4: float
    best: DualScale | None
    free: DualScale | None
    fixed: tuple[Fixed, ...]
    modes: tuple[ModeResult, ...]

    @property
    def lost_db(self) -> float:
        """What two steps of 4 bits lose against one of 8; NaN where either is not known."""
        return math.nan if self.best is None else self.int8 - self.best.sqnr_db

    @property
    def binds(self) -> bool:
        """Whether a multiplier beyond MOST_MULTIPLIER would have less error."""
        return self.free is not None and self.free.multiplier > MOST_MULTIPLIER


def dual_point(name: str, table: MagnitudeTable, alpha: float, scale: float) -> DualPoint:
    """What is known of a point. scale: its step at alpha, NaN for none."""
    best = free = best_dual_scale(table, BITS)
    if free is not None and free.multiplier > MOST_MULTIPLIER:  # else it is the best of those, too
        best = best_dual_scale(table, BITS, tuple(m for m in MULTIPLIERS if m <= MOST_MULTIPLIER))
    ok = 0 < scale < math.inf
    return DualPoint(
        name, table.n, alpha, scale,
        _sqnr(table, scale, 8) if ok else math.nan,
        _best_of_one(table, 8), _best_of_one(table, 4),
        best, free,
        tuple(Fixed(t, m, at_threshold(table, t, m, BITS)) for t in THRESHOLDS for m in FACTORS),
        tuple(measured(table, mode, scale) for mode in MODES) if ok else (),
    )  # fmt: skip


def _best_of_one(table: MagnitudeTable, bits: int) -> float:
    return _sqnr(table, mse_optimal_scale(table, bits).scale, bits)


def _sqnr(table: MagnitudeTable, scale: float, bits: int) -> float:
    return float(sqnr_db(table, scale, bits)) if 0 < scale < math.inf else math.nan
