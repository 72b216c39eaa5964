"""What clipping does to one distribution: every number at one alpha or one scale, and the error over all scales.

What is asked about are tables with a name and the scales that are stored for them. Nothing is known of where they come
from: a weight's values counted from a checkpoint, or an activation's counted in a run. A `Gauge` answers for one of
these and one rule; what does not depend on alpha is computed when it is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import (
    AlphaInterval,
    MagnitudeTable,
    beyond,
    code_usage,
    coverage,
    mse_optimal_scale,
)
from qinspect.inspector.distribution.quantization import SquaredError, q_max, rms_shift, signal
from qinspect.inspector.observers import Quantile, Rule
from qinspect.inspector.progress import Steps

OCTAVES = 16
"""The curve of the error goes down to a range 65,536 times smaller than the largest value."""
OCTAVES_ABOVE = 1
SCALES_AN_OCTAVE = 32
MAX_MAGNITUDES = 1 << 18
"""Of a table with more different magnitudes the low bits are forgotten, and numbers become intervals: a million take
longer than a frame."""


class Span(NamedTuple):
    """low <= truth <= high; twice the same where it is known. nan where there is none."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether it is one number (or none at all)."""
        return self.low == self.high or self.low != self.low

    @property
    def middle(self) -> float:
        """The number, or the one in the middle."""
        return self.low if self.known else (self.low + self.high) / 2


NOTHING = Span(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Marker:
    """A scale that is stored for the point: one number, or the least, the median and the greatest of many. bits: of the
    codes that it scales. limit: the largest magnitude that these stand for at a scale of one; None for that of
    integers with a sign, 127 of 8 bits."""

    label: str
    low: float
    middle: float
    high: float
    bits: int
    limit: float | None = None

    @property
    def is_one(self) -> bool:
        """Whether one scale holds for all values."""
        return self.low == self.high

    @property
    def of_integers(self) -> bool:
        """Whether its codes are the integers that scales are measured with."""
        return self.limit is None or self.limit == q_max(self.bits)

    @property
    def w_max(self) -> tuple[float, float, float]:
        """The ranges that the scales stand for."""
        limit = q_max(self.bits) if self.limit is None else self.limit
        return self.low * limit, self.middle * limit, self.high * limit


@dataclass(frozen=True, eq=False)
class NamedTables:
    """samples: the tables that a rule takes, in the observer's order. pooled: of all values. markers: stored scales.
    bits: of the codes that are looked at first."""

    name: str
    samples: Sequence[MagnitudeTable]
    pooled: MagnitudeTable
    markers: tuple[Marker, ...] = ()
    bits: int = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """What one scale does.

    w_max: the range; an interval where the table is not exact. scale: the step, in the middle of its interval, and what
    everything else is of; nan where the range makes none (0, infinite, not a number). Shares are of all values but NaN.
    mse, sqnr_db: over the finite values. unused_levels: of the magnitudes of codes, `levels` of them.
    """

    bits: int
    w_max: Span
    scale: float
    beyond: Span = NOTHING
    coverage: Span = NOTHING
    mse: Span = NOTHING
    sqnr_db: Span = NOTHING
    unused_levels: int = 0
    levels: int = 0
    effective_bits: float = math.nan

    @property
    def is_scale(self) -> bool:
        """Whether there is a scale, and with it all the rest."""
        return not math.isnan(self.scale)


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """scales: float32[S], ascending. sqnr_db: float64[S]. best: the scale of least error among them, the refined grid
    of `mse_optimal_scale` and the stored scales; None where there is no value but 0. best_alpha: alphas that give it;
    marker_alphas: those that give each stored scale."""

    bits: int
    scales: NDArray[np.float32]
    sqnr_db: NDArray[np.float64]
    best: Reading | None
    best_alpha: AlphaInterval | None
    markers: tuple[Reading, ...]
    marker_alphas: tuple[AlphaInterval | None, ...]

    def below_best(self, reading: Reading) -> float:
        """Decibels that a scale loses against the best one; 0 where neither loses anything. nan for no scale."""
        if self.best is None or not reading.is_scale:
            return math.nan
        best, here = self.best.sqnr_db.middle, reading.sqnr_db.middle
        return 0.0 if best == here else best - here


class Gauge:
    """Everything about one point under one rule. table: of all its values.

    rule: of a quantile; its alpha is where a cursor begins. alphas: those whose ranges are wanted again and again.
    Raises ValueError for a rule of anything else.
    """

    def __init__(self, tables: NamedTables, rule: Rule, alphas: Sequence[float] = ()) -> None:
        if not isinstance(rule.statistic, Quantile):
            raise ValueError(f"{rule.statistic} has no alpha")
        self.tables, self.rule = tables, rule
        self.table = tables.pooled if tables.pooled.magnitudes.size <= MAX_MAGNITUDES else tables.pooled.coarse()
        self._error = SquaredError(self.table)
        self._ranges = dict(zip(alphas, self._ranges_at(alphas), strict=True)) if alphas else {}

    @cached_property
    def _signal(self) -> float:
        return signal(self.table)

    @cached_property
    def _shift(self) -> float:
        return rms_shift(self.table)

    def rule_at(self, alpha: float, bits: int) -> Rule:
        """The rule with another alpha and another number of bits."""
        return self.rule.at(alpha, bits)

    def range_at(self, alpha: float) -> Span:
        """w_max; nan for a point without values."""
        known = self._ranges.get(alpha)
        return self._ranges_at([alpha])[0] if known is None else known

    def _ranges_at(self, alphas: Sequence[float]) -> list[Span]:
        samples = self.tables.samples
        if not samples or not all(t.n for t in samples):
            return [NOTHING] * len(alphas)
        wanted = np.asarray(alphas, np.float64)
        low = self.rule.w_max_at([t.lower for t in samples], wanted)
        exact = all(t.exact for t in samples)
        high = low if exact else self.rule.w_max_at([t.upper for t in samples], wanted)
        return [Span(float(a), float(b)) for a, b in zip(low, high, strict=True)]

    def at(self, alpha: float, bits: int) -> Reading:
        """What the rule gives at an alpha."""
        w_max = self.range_at(alpha)
        if not (math.isfinite(w_max.middle) and w_max.middle > 0):
            return Reading(bits, w_max, math.nan)
        scale = float(self.rule_at(alpha, bits).scale_of(np.asarray(w_max.middle, np.float32)))
        return self.at_scale(scale, bits, w_max)

    def at_scale(self, scale: float, bits: int, w_max: Span | None = None) -> Reading:
        """What a scale does; its range is scale * q_max unless given. For one thread: `curve` may run in another."""
        return self._measured(self._error, scale, bits, w_max)

    def _measured(self, error: SquaredError, scale: float, bits: int, w_max: Span | None = None) -> Reading:
        step = float(np.float32(scale))
        if not (math.isfinite(step) and step > 0):
            return Reading(bits, w_max or NOTHING, math.nan)
        limit = q_max(bits)
        w_max = w_max or Span(*[step * limit] * 2)
        used = code_usage(self.table, step, bits)
        mse = self._mse(error, step, limit)
        return Reading(
            bits, w_max, step,
            beyond=self._over(lambda t: float(beyond(t, w_max.middle))),
            coverage=self._over(lambda t: float(coverage(t, step, bits))),
            mse=mse,
            sqnr_db=Span(self._decibels(mse.high), self._decibels(mse.low)),
            unused_levels=used.unused_levels,
            levels=limit + 1,
            effective_bits=used.effective_bits,
        )  # fmt: skip

    def _over(self, ask: Callable[[MagnitudeTable], float]) -> Span:
        """What is monotone in the values: asked of the smallest and of the largest that they can be."""
        if self.table.exact:
            return Span(*[ask(self.table)] * 2)
        return Span(*sorted((ask(self.table.lower), ask(self.table.upper))))

    def _mse(self, error: SquaredError, scale: float, limit: int) -> Span:
        n = self.table.n_finite
        if not n:
            return NOTHING
        mean = error.sum(scale, limit, "half-even") / n
        if self.table.exact:
            return Span(mean, mean)
        root = math.sqrt(mean)
        return Span(max(root - self._shift, 0.0) ** 2, (root + self._shift) ** 2)

    def _decibels(self, mse: float) -> float:
        if mse == 0:
            return math.inf if self._signal > 0 else math.nan
        ratio = self._signal / mse
        return 10 * math.log10(ratio) if ratio > 0 else -math.inf

    def curve(self, bits: int, check: Steps) -> ErrorCurve:
        """The error over all scales worth looking at, the best of them, and what the stored ones do."""
        limit, largest = q_max(bits), self.table.largest
        error = SquaredError(self.table)  # of its own: it computes in place, and the cursor moves meanwhile
        marked = tuple(self._measured(error, m.w_max[1] / limit, bits) for m in self.tables.markers)
        if not largest > 0:
            none = tuple(None for _ in marked)
            return ErrorCurve(bits, np.zeros(0, np.float32), np.zeros(0), None, None, marked, none)
        exponents = np.arange(-OCTAVES * SCALES_AN_OCTAVE, OCTAVES_ABOVE * SCALES_AN_OCTAVE + 1) / SCALES_AN_OCTAVE
        scales = (largest / limit * np.exp2(exponents)).astype(np.float32)
        scales = scales[scales > 0]
        found = np.empty(scales.size)
        for i, scale in enumerate(scales.tolist()):
            if not i % 16:
                check(i, scales.size)
            found[i] = self._decibels(self._mse(error, scale, limit).middle)
        check(scales.size, scales.size)
        refined = self._measured(error, mse_optimal_scale(self.table, bits).scale, bits)
        on_curve = self._measured(error, float(scales[int(found.argmax())]), bits)
        best = min((r for r in (refined, on_curve, *marked) if r.is_scale), key=lambda r: r.mse.middle)
        alphas = tuple(self._alpha_of(r) for r in (best, *marked))
        return ErrorCurve(bits, scales, found, best, alphas[0], marked, alphas[1:])

    def _alpha_of(self, reading: Reading) -> AlphaInterval | None:
        if not reading.is_scale or not self.tables.samples or not all(t.n for t in self.tables.samples):
            return None
        return self.rule_at(0.5, reading.bits).alpha_of(self.tables.samples, reading.scale)
