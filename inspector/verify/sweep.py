"""The table: what a rule gives at each alpha, and what that does to the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import Bounds, MagnitudeTable, Rank, beyond, coverage
from qinspect.inspector.distribution.quantile import Floats
from qinspect.inspector.distribution.quantization import SquaredError, q_max
from qinspect.inspector.observers import RULES, Rule
from qinspect.inspector.observers.registry import ANY, TORCH_LIMIT, ranked, with_any_alpha

VERIFIED = ("ema", "pooled")
"""Names of the rules whose scales are checked: Quamba's own, and the one that every other is understood by."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one alpha gives. w_max, scale: the least and the greatest it can be, twice the same where tables are exact.
    beyond: values with |x| > w_max. clipped: values whose code saturates. mse_inliers, mse: mean squared error. Of
    interval ends, the upper one is taken for all of these. None where the scale is no number."""

    alpha: float
    w_max: Bounds
    scale: Bounds
    beyond: int | None
    clipped: int | None
    mse_inliers: float | None
    mse: float | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """name: of RULES. rule: at alpha `ANY`. rows: in the order of the alphas."""

    name: str
    rule: Rule
    rows: tuple[Row, ...]

    @property
    def says(self) -> str:
        """The rule in a phrase for people."""
        return RULES[self.name].says

    @property
    def notation(self) -> str:
        """The rule, with `alpha` for the alpha."""
        return with_any_alpha(str(self.rule), ANY)


class Yardstick:
    """What a scale is measured on: all values but NaN, and of these the inliers, up to the `share`-quantile of all.
    That limit does not move with alpha. limit, n_inliers: of the inliers."""

    def __init__(self, pooled: MagnitudeTable, share: float) -> None:
        self.values = replace(pooled, n_nan=0)
        self.share = share
        self.limit = float(self.values.quantile_bounds(share, "float64").high) if self.values.n else math.nan
        self._end = int(np.searchsorted(pooled.middle, self.limit, "right"))
        self.n_inliers = int(pooled.cumulative[self._end - 1]) if self._end else 0
        self._error = SquaredError(pooled)

    def n_beyond(self, w_max: float) -> int:
        """Values with |x| > w_max."""
        return n_beyond(self.values, w_max)

    def n_clipped(self, scale: float, bits: int) -> int:
        """Values whose code saturates."""
        return n_clipped(self.values, scale, bits)

    def errors(self, scale: float, bits: int) -> tuple[float, float]:
        """Mean squared error of the inliers, and of all finite values."""
        limit = q_max(bits)
        inside = self._error.sum(scale, limit, "half-even", 0, self._end)
        outside = self._error.sum(scale, limit, "half-even", self._end)
        return inside / max(self.n_inliers, 1), (inside + outside) / max(self.values.n_finite, 1)


def rank_for(samples: Sequence[MagnitudeTable]) -> Rank:
    """torch's rank, where torch has an answer."""
    return "float32" if all(t.n <= TORCH_LIMIT for t in samples) else "float64"


def rule_of(name: str, bits: int, samples: Sequence[MagnitudeTable]) -> Rule:
    """The rule of a name, by numpy's rank where torch has no answer for these samples."""
    rule = RULES[name].at(ANY, bits)
    return rule if rank_for(samples) == "float32" else ranked(rule, "float64")


def sweep(
    name: str,
    rule: Rule,
    samples: Sequence[MagnitudeTable],
    alphas: Sequence[float],
    yardstick: Yardstick,
) -> Sweep:
    """The rule at each alpha instead of its own, measured on the yardstick."""
    at = np.array(alphas)
    w_max, scale = Bounds(*_at_ends(rule.w_max_at, samples, at)), Bounds(*_at_ends(rule.scales_at, samples, at))
    ends = zip(alphas, *w_max, *scale, strict=True)
    rows = tuple(_row(a, Bounds(w, x), Bounds(s, t), rule.bits, yardstick) for a, w, x, s, t in ends)
    return Sweep(name, rule, rows)


def _at_ends(
    function: Callable[[Sequence[MagnitudeTable], NDArray[np.float64]], Floats],
    samples: Sequence[MagnitudeTable],
    alphas: NDArray[np.float64],
) -> tuple[Floats, Floats]:
    """The function of the least and of the greatest that every value can be."""
    if all(t.exact for t in samples):
        value = function(samples, alphas)
        return value, value
    return function([t.lower for t in samples], alphas), function([t.upper for t in samples], alphas)


def _row(alpha: float, w_max: Bounds, scale: Bounds, bits: int, yardstick: Yardstick) -> Row:
    s, w = float(scale.high), float(w_max.high)
    if not (math.isfinite(s) and math.isfinite(w)):
        return Row(alpha, w_max, scale, None, None, None, None)
    of_inliers, of_all = yardstick.errors(s, bits)
    return Row(alpha, w_max, scale, yardstick.n_beyond(w), yardstick.n_clipped(s, bits), of_inliers, of_all)


def n_beyond(table: MagnitudeTable, w_max: float) -> int:
    """Values with |x| > w_max; a NaN is none."""
    return round(float(beyond(table, w_max)) * (table.n - table.n_nan))


def n_clipped(table: MagnitudeTable, scale: float, bits: int) -> int:
    """Values whose code saturates; a NaN has none."""
    n = table.n - table.n_nan
    return n - round(float(coverage(table, scale, bits)) * n)
