"""Every number of every point at every alpha of the grid, as arrays: moving over alpha is looking up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.sweep.rules import BITS, WITH_ALPHA, WITHOUT
from qinspect.inspector.observers import RULES

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
_WITH = {c.name: i for i, c in enumerate(WITH_ALPHA)}
_WITHOUT = {c.name: i for i, c in enumerate(WITHOUT)}
MSE = _WITHOUT["mse"]


@dataclass(frozen=True, slots=True)
class PointInfo:
    """n: values. n_samples: tables of samples, 0 where only their sum was kept. exact: whether every magnitude is known
    in all its bits; otherwise ranges are upper bounds. reached: whether the recipe's rule has an alpha there.
    pooled_instead: why rules of samples are answered by the pooled one, "" where they are not."""

    name: str
    dtype: str
    n: int
    n_samples: int
    rotated: bool
    exact: bool
    reached: bool
    pooled_instead: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a rule gives each of P points, with each of BITS: float64[B, P]. w_max: the range, another for other bits
    only where the rule has no alpha. loss_db: below the best scale there is. instead: bool[P], whether the pooled rule
    answers for one that needs tables of samples. nan: no scale, no values."""

    w_max: Float64
    scale: Float64
    beyond: Float64
    clipped: Float64
    sqnr_db: Float64
    loss_db: Float64
    instead: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Grid:
    """P points, A alphas; R rules with an alpha, F without one.

    rows: int32[R, P], which of U rows answers: a point that has no tables of samples has one row for all rules. w_max,
    beyond: float32[U, A]. clipped, sqnr_db: float32[U, B, A]. fixed: float32[5, F, B, P]: w_max, scale, beyond,
    clipped, sqnr_db of the rules without an alpha.
    """

    points: tuple[PointInfo, ...]
    alphas: Float64
    rows: NDArray[np.int32]
    w_max: Float32
    beyond: Float32
    clipped: Float32
    sqnr_db: Float32
    fixed: Float32

    @property
    def names(self) -> tuple[str, ...]:
        """Of the points, in forward order."""
        return tuple(p.name for p in self.points)

    @cached_property
    def _instead(self) -> NDArray[np.bool_]:
        return np.array([bool(p.pooled_instead) for p in self.points])

    @property
    def optimum_scale(self) -> Float64:
        """float64[B, P]: the scales of least error."""
        scale: Float64 = self.fixed[1, MSE].astype(np.float64)
        return scale

    @property
    def optimum_db(self) -> Float64:
        """float64[B, P]: what they reach."""
        sqnr: Float64 = self.fixed[4, MSE].astype(np.float64)
        return sqnr

    def at(self, rule: str, i: int) -> Numbers:
        """What a rule gives at alpha number `i`; at any, where it has none."""
        if rule in _WITHOUT:
            w_max, scale, beyond, clipped, sqnr = self.fixed[:, _WITHOUT[rule]].astype(np.float64)
            return Numbers(w_max, scale, beyond, clipped, sqnr, self._below(sqnr), np.zeros(len(self.points), np.bool_))
        rows = self.rows[_WITH[rule]]
        w_max = self.w_max[rows, i]
        scale = np.array([RULES[rule].scales(w_max, bits) for bits in BITS], np.float64)
        scale[:, ~np.isfinite(w_max)] = np.nan
        ranges, beyond = (np.tile(x.astype(np.float64), (len(BITS), 1)) for x in (w_max, self.beyond[rows, i]))
        clipped, sqnr = (x[rows, :, i].T.astype(np.float64) for x in (self.clipped, self.sqnr_db))
        instead = self._instead if RULES[rule].per_sample else np.zeros(len(self.points), np.bool_)
        return Numbers(ranges, scale, beyond, clipped, sqnr, self._below(sqnr), instead)

    def _below(self, sqnr: Float64) -> Float64:
        return decibels_below(self.optimum_db, sqnr)

    def loss(self, rule: str, bits: int) -> Float64:
        """float64[P, A]: decibels below the best scale, at every alpha; of a rule without one the same at all."""
        b = BITS.index(bits)
        if rule in _WITHOUT:
            once = self._below(self.fixed[4, _WITHOUT[rule]].astype(np.float64))[b]
            return np.repeat(once[:, None], self.alphas.size, axis=1)
        return decibels_below(self.optimum_db[b][:, None], self.sqnr_db[self.rows[_WITH[rule]], b].astype(np.float64))

    def loss_of(self, rule: str, bits: int, point: int) -> Float64:
        """float64[A]: the same of one point."""
        lost: Float64 = self.taken([point]).loss(rule, bits)[0]
        return lost

    def ranges(self, rule: str, point: int) -> Float32:
        """float32[A]: the range of a point at every alpha. Of a rule that has one."""
        ranges: Float32 = self.w_max[self.rows[_WITH[rule], point]]
        return ranges

    def taken(self, points: Sequence[int]) -> Grid:
        """Only these points."""
        chosen = list(points)
        return replace(
            self, points=tuple(self.points[i] for i in chosen), rows=self.rows[:, chosen],
            fixed=self.fixed[..., chosen],
        )  # fmt: skip

    def bracket(self, rule: str, point: int, scale: float, bits: int) -> tuple[float, float] | None:
        """The alphas of the grid that give a stored scale; the two neighbours between which it lies where none does.
        None where it is beyond both ends, or no rule with an alpha is asked."""
        if rule not in _WITH or not scale > 0:
            return None
        scales = RULES[rule].scales(self.ranges(rule, point), bits).astype(np.float64)  # none is below the clamp
        if np.isnan(scales).any():
            return None
        first = int(np.searchsorted(scales, scale * (1 - ROUNDINGS), "left"))
        last = int(np.searchsorted(scales, scale * (1 + ROUNDINGS), "right")) - 1
        low, high = (first, last) if first <= last else (last, first)
        if not 0 <= low <= high < scales.size:
            return None
        return float(self.alphas[low]), float(self.alphas[high])

    def ends(self, rule: str, point: int, bits: int) -> tuple[float, float] | None:
        """The scales at the first and the last alpha; None where they are not known."""
        if rule not in _WITH:
            return None
        low, high = RULES[rule].scales(self.ranges(rule, point)[[0, -1]], bits).tolist()
        return (low, high) if np.isfinite([low, high]).all() else None


ROUNDINGS = 1e-6
"""A scale is a range divided and multiplied again in float32."""


@np.errstate(invalid="ignore")
def decibels_below(best: Float64, sqnr: Float64) -> Float64:
    """best - sqnr; 0 where neither loses anything."""
    return np.where(best == sqnr, 0.0, best - sqnr)
