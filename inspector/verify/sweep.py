"""The table: what a rule gives at each alpha, and what that does to the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import Bounds, MagnitudeTable, Rank, beyond, coverage, mse
from qinspect.inspector.distribution.quantile import Floats
from qinspect.inspector.observers import Ema, Quantile, Rule

TORCH_LIMIT = 1 << 24
"""Values of a sample beyond which torch.quantile refuses, and a float32 rank no longer reaches every value."""

ANY = 0.5
"""The alpha of a rule that is asked at others."""


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
    """name: `ema` or `one-batch`. rule: at any alpha. rows: in the order of the alphas."""

    name: str
    rule: Rule
    rows: tuple[Row, ...]

    @property
    def notation(self) -> str:
        """The rule, with `alpha` for the alpha."""
        return str(self.rule).replace(f"(|x|, {ANY!r},", "(|x|, alpha,")


@dataclass(frozen=True, slots=True)
class Inliers:
    """The values up to the `share`-quantile of all values together: a yardstick that does not move with alpha."""

    share: float
    limit: float
    table: MagnitudeTable

    @classmethod
    def of(cls, pooled: MagnitudeTable, share: float) -> Inliers:
        """Those of all values together."""
        limit = float(pooled.quantile_bounds(share, "float64").high)
        k = int(np.searchsorted(pooled.middle, limit, "right"))
        kept = pooled.upper.magnitudes if not pooled.exact else pooled.magnitudes
        cut = replace(pooled, magnitudes=kept[:k], counts=pooled.counts[:k], n_inf=0, n_nan=0, dropped_bits=0)
        return cls(share, limit, cut)


def ema_rule(bits: int, rank: Rank = "float32") -> Rule:
    """Quamba's percentile observer: a moving average of per-sample quantiles, as torch ranks them."""
    return Rule(Quantile(ANY, rank), Ema(), bits)


def one_batch_rule(bits: int) -> Rule:
    """The quantile of all values together, as numpy ranks them, at any number of values."""
    return Rule(Quantile(ANY, "float64"), "pooled", bits)


def rank_for(samples: Sequence[MagnitudeTable]) -> Rank:
    """torch's rank, where torch has an answer."""
    return "float32" if all(t.n <= TORCH_LIMIT for t in samples) else "float64"


def sweep(
    name: str,
    rule: Rule,
    samples: Sequence[MagnitudeTable],
    pooled: MagnitudeTable,
    inliers: Inliers,
    alphas: Sequence[float],
) -> Sweep:
    """The rule at each alpha instead of its own. pooled: the values that each scale is measured on."""
    at = np.array(alphas)
    w_max, scale = Bounds(*_at_ends(rule.w_max_at, samples, at)), Bounds(*_at_ends(rule.scales_at, samples, at))
    ends = zip(alphas, *w_max, *scale, strict=True)
    rows = tuple(_row(a, Bounds(w, x), Bounds(s, t), rule.bits, pooled, inliers) for a, w, x, s, t in ends)
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


def _row(alpha: float, w_max: Bounds, scale: Bounds, bits: int, pooled: MagnitudeTable, inliers: Inliers) -> Row:
    s, w = float(scale.high), float(w_max.high)
    if not (math.isfinite(s) and math.isfinite(w)):
        return Row(alpha, w_max, scale, None, None, None, None)
    return Row(
        alpha,
        w_max,
        scale,
        beyond=n_beyond(pooled, w),
        clipped=n_clipped(pooled, s, bits),
        mse_inliers=float(mse(inliers.table, s, bits)),
        mse=float(mse(pooled, s, bits)),
    )


def n_beyond(table: MagnitudeTable, w_max: float) -> int:
    """Values with |x| > w_max; a NaN is none."""
    return round(float(beyond(table, w_max)) * (table.n - table.n_nan))


def n_clipped(table: MagnitudeTable, scale: float, bits: int) -> int:
    """Values whose code saturates; a NaN has none."""
    n = table.n - table.n_nan
    return n - round(float(coverage(table, scale, bits)) * n)
