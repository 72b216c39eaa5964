"""A rule: a statistic of each sample, a reducer over samples, a map to the scale; and its inverse, from scale to alpha.

What a rule gives is what the observer would have given on the same samples in the same order, to the bit where the
arithmetic here is the observer's. Every rule prints itself in one notation, `statistic ∘ reducer ∘ map`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import (
    AlphaInterval,
    Bounds,
    MagnitudeTable,
    Rank,
    Rounding,
    entropy_optimal_scale,
    merge,
    mse_optimal_scale,
    remembered,
    solve_alpha,
    solve_alpha_between,
)
from qinspect.inspector.distribution.quantile import Floats
from qinspect.inspector.distribution.table import with_room

Arithmetic = Literal["float32", "float16", "bfloat16"]
"""The dtype an observer computes in: min-max observers keep that of the activation, so scales sit on its grid."""

Tables = Sequence[MagnitudeTable]
"""One table a sample, in the order in which the observer saw them."""

CLAMP = 1e-6
"""No rule makes a smaller scale, whatever the dtype of the values: Quamba's observers divide, cast to float32, and only
then clamp."""

ROOM_ULPS = 4
"""How far from monotone in alpha a float32 moving average of quantiles can be, in float32 steps."""


@dataclass(frozen=True, slots=True)
class Absmax:
    """The largest |x|, at least `floor`."""

    floor: float = 0.0

    def __call__(self, table: MagnitudeTable) -> Floats:
        """float32 scalar. Raises ValueError for a table without values."""
        if not table.n:
            raise ValueError("there is no largest of no values")
        return np.asarray(np.maximum(np.float32(table.absmax), np.float32(self.floor)))

    def at(self, _alpha: float, _bits: int) -> Absmax:
        """The same: it depends on neither."""
        return self

    def __str__(self) -> str:
        return f"absmax(|x|, clamp {_short(self.floor)})" if self.floor else "absmax(|x|)"


@dataclass(frozen=True, slots=True)
class Quantile:
    """The alpha-quantile of |x|, linearly interpolated."""

    alpha: float
    rank: Rank = "float32"

    def __call__(self, table: MagnitudeTable) -> Floats:
        """float32 scalar. Raises ValueError for a table that is empty or not exact."""
        return table.quantile(self.alpha, self.rank).astype(np.float32)

    def at(self, alpha: float, _bits: int) -> Quantile:
        """With another alpha."""
        return replace(self, alpha=alpha)

    def __str__(self) -> str:
        return f"quantile(|x|, {self.alpha!r}, linear{'' if self.rank == 'float32' else f', {self.rank} rank'})"


@dataclass(frozen=True, slots=True)
class MseOptimal:
    """The range of least mean squared error."""

    bits: int = 8
    rounding: Rounding = "half-even"

    def __call__(self, table: MagnitudeTable) -> Floats:
        """float32 scalar, nan where there is no value but 0."""
        return np.asarray(mse_optimal_scale(table, self.bits, self.rounding).w_max, np.float32)

    def at(self, _alpha: float, bits: int) -> MseOptimal:
        """For codes of other bits."""
        return replace(self, bits=bits)

    def __str__(self) -> str:
        return f"mse(|x|, {self.bits} bits, {self.rounding})"


@dataclass(frozen=True, slots=True)
class EntropyOptimal:
    """The range of least Kullback-Leibler divergence."""

    bits: int = 8
    bins: int = 2048

    def __call__(self, table: MagnitudeTable) -> Floats:
        """float32 scalar, nan where there is no value but 0."""
        return np.asarray(entropy_optimal_scale(table, self.bits, self.bins).w_max, np.float32)

    def at(self, _alpha: float, bits: int) -> EntropyOptimal:
        """For codes of other bits."""
        return replace(self, bits=bits)

    def __str__(self) -> str:
        return f"entropy(|x|, {self.bits} bits, {self.bins} bins)"


Statistic = Absmax | Quantile | MseOptimal | EntropyOptimal


@dataclass(frozen=True, slots=True)
class Ema:
    """w + sigma (w_i - w) in float32, from the first sample on: not a maximum, even of maxima."""

    sigma: float = 0.01

    def __call__(self, values: Sequence[Floats]) -> Floats:
        """Over float32 scalars or arrays of one shape."""
        w = values[0]
        with np.errstate(invalid="ignore"):  # inf - inf: nan, as in torch
            for value in values[1:]:
                w = w + np.float32(self.sigma) * (value - w)
        return w

    def __str__(self) -> str:
        return f"ema {self.sigma:g}"


Reducer = Ema | Literal["max", "mean", "pooled"]
"""`pooled`: the statistic is of all samples together, no reducer follows it."""


def _reduce(reducer: Reducer, values: Sequence[Floats]) -> Floats:
    if isinstance(reducer, Ema):
        return reducer(values)
    stacked = np.stack(values)
    reduced: Floats = stacked.max(axis=0) if reducer == "max" else stacked.mean(axis=0, dtype=np.float64)
    return reduced.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Rule:
    """A symmetric scale: w_max of the samples, divided by 2^(bits-1) - 1, at least `clamp`.

    arithmetic: the dtype of w_max and of the division; the result is float32 and then clamped, at `CLAMP` unless a
    caller has a reason.
    """

    statistic: Statistic
    reducer: Reducer
    bits: int = 8
    clamp: float = CLAMP
    arithmetic: Arithmetic = "float32"

    def at(self, alpha: float, bits: int) -> Rule:
        """With another alpha, where it has one, and for codes of other bits."""
        return replace(self, statistic=self.statistic.at(alpha, bits), bits=bits)

    def w_max(self, samples: Tables) -> float:
        """The range that the samples give. Raises ValueError where there is no sample, or one without an answer."""
        return float(self._range(samples, self.statistic))

    def scale(self, samples: Tables) -> float:
        """The scale that the samples give, a float32. Raises as `w_max` does."""
        return float(self.scale_of(self._range(samples, self.statistic)))

    def scale_of_range(self, w_max: float) -> float:
        """The scale of a range that is known already, floored and rounded as the statistic is."""
        floor = self.statistic.floor if isinstance(self.statistic, Absmax) else 0.0
        return float(self.scale_of(self._rounded(max(w_max, floor))))

    def scale_bounds(self, samples: Tables) -> Bounds:
        """The least and the greatest that the scale can be; twice the same where the tables are exact.

        Raises ValueError for tables that are not exact and a statistic that is not monotone in the values.
        """
        low = [t.lower for t in samples]
        if all(t.exact for t in samples):
            return Bounds(*[np.asarray(self.scale(samples), np.float32)] * 2)
        if not isinstance(self.statistic, Absmax | Quantile):
            raise ValueError(f"{self.statistic} of a table that is not exact has no bounds")
        return Bounds(*(np.asarray(self.scale(tables), np.float32) for tables in (low, [t.upper for t in samples])))

    def scales_at(self, samples: Tables, alphas: NDArray[Any]) -> Floats:
        """float32[A]: the scale at each alpha instead of the rule's own. Raises ValueError unless it has one."""
        return self.scale_of(self.w_max_at(samples, alphas))

    def w_max_at(self, samples: Tables, alphas: NDArray[Any]) -> Floats:
        """float32[A]: the range at each alpha. Raises ValueError as `scales_at` does."""
        return self._range_at(samples)(alphas)

    def alpha_of(self, samples: Tables, scale: float, tolerance: float = 0.0) -> AlphaInterval | None:
        """The alphas with which the rule gives `scale`, give or take `tolerance` (relative) and `ROOM_ULPS`. None where
        no alpha from 0 to 1 reaches it. Raises ValueError unless the rule is of a quantile."""
        return self.alphas_of(samples, scale, (tolerance,))[0]

    def alphas_of(self, samples: Tables, scale: float, tolerances: Sequence[float]) -> list[AlphaInterval | None]:
        """As `alpha_of`, at each tolerance."""
        spans = [with_room(scale, t, ROOM_ULPS) for t in tolerances]
        if all(t.exact for t in samples):
            at = remembered(self._scale_at(samples))
            return [solve_alpha(at, low, high) for low, high in spans]
        at_lower = remembered(self._scale_at([t.lower for t in samples]))
        at_upper = remembered(self._scale_at([t.upper for t in samples]))
        return [solve_alpha_between(at_lower, at_upper, low, high) for low, high in spans]

    def _scale_at(self, samples: Tables) -> Callable[[NDArray[Any]], Floats]:
        range_at = self._range_at(samples)
        return lambda alphas: self.scale_of(range_at(alphas))

    def _range_at(self, samples: Tables) -> Callable[[NDArray[Any]], Floats]:
        if not isinstance(self.statistic, Quantile):
            raise ValueError(f"{self.statistic} has no alpha")
        rank = self.statistic.rank
        pooled = [merge(samples)] if self.reducer == "pooled" and len(samples) > 1 else samples
        return lambda alphas: self._range(pooled, lambda t: t.quantile(alphas, rank).astype(np.float32))

    def _range(self, samples: Tables, statistic: Callable[[MagnitudeTable], Floats]) -> Floats:
        if not samples:
            raise ValueError("an observer that has seen nothing has no scale")
        if self.reducer == "pooled":
            return self._rounded(statistic(samples[0] if len(samples) == 1 else merge(samples)))
        return self.w_max_of([statistic(t) for t in samples])

    def w_max_of(self, statistics: Sequence[Floats]) -> Floats:
        """float32: the range, out of the statistic of each sample in order; of scalars, or of arrays of one shape. For
        a reducer over samples."""
        return self._rounded(_reduce(self.reducer, [self._rounded(s) for s in statistics]))

    def scale_of(self, w_max: Floats) -> Floats:
        """The scale that a range gives."""
        step = self._rounded(np.float32(w_max) / np.float32((1 << (self.bits - 1)) - 1))
        # np.maximum, as torch's clamp, lets a nan through
        return np.maximum(step, np.float32(self.clamp))

    def _rounded(self, value: Any) -> Floats:
        if self.arithmetic == "float32":
            return np.asarray(value, np.float32)
        with np.errstate(over="ignore"):
            return np.asarray(value, np.float32).astype(_dtype(self.arithmetic)).astype(np.float32)

    def __str__(self) -> str:
        where = "" if self.arithmetic == "float32" else f" in {self.arithmetic}"
        clamp = f", clamp {_short(self.clamp)}" if self.clamp else ""
        return f"{self.statistic} ∘ {self.reducer} ∘ map(w_max/{(1 << (self.bits - 1)) - 1}{where}{clamp})"


def arithmetic_of(dtype: str) -> Arithmetic:
    """That of values of this dtype. Raises ValueError for one that no observer computes in."""
    found: Arithmetic | None = next((a for a in get_args(Arithmetic) if a == dtype), None)
    if found is None:
        raise ValueError(f"no observer computes in {dtype}")
    return found


def _short(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


def _dtype(arithmetic: Arithmetic) -> np.dtype[Any]:
    if arithmetic == "float16":
        return np.dtype(np.float16)
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found
