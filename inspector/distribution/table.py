"""The magnitude table: which magnitudes occur and how often. Everything else is computed from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qinspect.inspector.distribution import quantile as quantiles
from qinspect.inspector.distribution import single
from qinspect.inspector.distribution.quantile import AlphaInterval, Floats, Rank
from qinspect.kernels import N_MAGNITUDES, N_PATTERNS, signed_counts

SIXTEEN_BIT = ("float16", "bfloat16")
MAX_POOLED_ENTRIES = 1 << 20
"""A merged table of more magnitudes than this (12 MiB) keeps only their high bits."""


class Bounds(NamedTuple):
    """low <= truth <= high, elementwise; the same array twice where the table is exact."""

    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class MagnitudeTable:
    """The distribution of |x| over the values of a tensor, or of many.

    dtype: `float16`, `bfloat16` or `float32`: what every value can be stored as (upcast values are of the type they
    came from). magnitudes: float32[k], finite, strictly ascending, the first may be 0. counts: int64[k], each at least
    1. n_inf, n_nan: values that are infinite, of either sign, and not a number. signed_absmax: the finite value of
    largest magnitude with its sign (positive where both signs occur); nan where it is not known or nothing is finite.
    dropped_bits: 0 for an exact table; otherwise a value is only known to have the float32 pattern of its entry in all
    but that many low bits, of which the table shows zeros.
    """

    dtype: str
    magnitudes: NDArray[np.float32]
    counts: NDArray[np.int64]
    n_inf: int = 0
    n_nan: int = 0
    signed_absmax: float = math.nan
    dropped_bits: int = 0

    @classmethod
    def of(cls, x: Any, dtype: str | None = None, exact_up_to: int = single.EXACT_ELEMENTS) -> MagnitudeTable:
        """Count an array of float16, bfloat16 or float32, or raw 16-bit patterns whose `dtype` is named.

        float32 is exact where all values are upcast from 16 bits, and up to `exact_up_to` of them; beyond, a value is
        known to 2^-11 of itself. Raises TypeError for other elements.
        """
        array = np.asarray(x)
        name = dtype or array.dtype.name
        if name in SIXTEEN_BIT and array.dtype.name in (name, "uint16", "int16"):
            return cls.from_signed_counts(signed_counts(array), name)
        if name != "float32" or array.dtype != np.float32:
            raise TypeError(f"a table is of float16, bfloat16 or float32, not of {array.dtype}")
        flat = np.ascontiguousarray(array).reshape(-1)
        narrowed = single.narrow(flat)
        if narrowed is not None:
            return cls.from_signed_counts(signed_counts(narrowed), narrowed.dtype.name)
        exact = flat.size <= exact_up_to
        patterns, counts = single.exact_counts(flat) if exact else single.bounded_counts(flat)
        finite = flat[np.isfinite(flat)]
        extreme = _with_sign(float(finite.max(initial=-math.inf)), float(finite.min(initial=math.inf)))
        return cls._from_patterns(patterns, counts, "float32", extreme, 0 if exact else single.DROPPED_BITS)

    @classmethod
    def from_counts(cls, counts: NDArray[Any], dtype: str, signed_absmax: float = math.nan) -> MagnitudeTable:
        """From int64[32768] of `kernels.magnitude_counts`. The sign of the largest value is not in there: give it."""
        if counts.shape != (N_MAGNITUDES,):
            raise ValueError(f"expected {N_MAGNITUDES} counts, not an array of shape {counts.shape}")
        occupied = np.flatnonzero(counts)
        patterns = _widen(occupied.astype(np.uint16), dtype).view(np.uint32)
        return cls._from_patterns(patterns, counts[occupied].astype(np.int64), dtype, signed_absmax, 0)

    @classmethod
    def from_signed_counts(cls, counts: NDArray[Any], dtype: str) -> MagnitudeTable:
        """From int64[65536] of `kernels.signed_counts`."""
        if counts.shape != (N_PATTERNS,):
            raise ValueError(f"expected {N_PATTERNS} counts, not an array of shape {counts.shape}")
        positive, negative = counts[:N_MAGNITUDES], counts[N_MAGNITUDES:]
        table = cls.from_counts(positive + negative, dtype)
        if not table.magnitudes.size:
            return table
        pattern = int(table.patterns[-1])
        return replace(table, signed_absmax=table.largest if positive[pattern] else -table.largest)

    @classmethod
    def _from_patterns(
        cls, patterns: NDArray[np.uint32], counts: NDArray[np.int64], dtype: str, extreme: float, dropped: int
    ) -> MagnitudeTable:
        """Split ascending float32 patterns into the finite ones, infinity and NaN."""
        infinite, nan = np.searchsorted(patterns, [single.INFINITY, single.INFINITY + 1])
        n_inf, n_nan = int(counts[infinite:nan].sum()), int(counts[nan:].sum())
        return cls(dtype, patterns[:infinite].view(np.float32), counts[:infinite], n_inf, n_nan, extreme, dropped)

    @property
    def exact(self) -> bool:
        """Whether every magnitude is known in all its bits."""
        return self.dropped_bits == 0

    @cached_property
    def cumulative(self) -> NDArray[np.int64]:
        """int64[k]: values <= magnitudes[i]."""
        return np.cumsum(self.counts)

    @property
    def n_finite(self) -> int:
        """Values that are neither infinite nor NaN."""
        return int(self.cumulative[-1]) if self.counts.size else 0

    @property
    def n(self) -> int:
        """All values."""
        return self.n_finite + self.n_inf + self.n_nan

    @property
    def n_zero(self) -> int:
        """Values that are 0 or -0. In a table that is not exact, also those below 2^-137."""
        return int(self.counts[0]) if self.counts.size and self.magnitudes[0] == 0 else 0

    @property
    def largest(self) -> float:
        """The largest finite magnitude, nan where there is none."""
        if not self.magnitudes.size:
            return math.nan
        # a bounded table knows its extreme better than its last entry
        return float(self.magnitudes[-1]) if self.exact else abs(self.signed_absmax)

    @property
    def absmax(self) -> float:
        """The largest magnitude as torch's `abs().amax()` gives it: nan if there is a NaN, else inf if there is one."""
        if self.n_nan:
            return math.nan
        return math.inf if self.n_inf else self.largest

    @property
    def patterns(self) -> NDArray[np.uint32]:
        """uint32[k]: bit patterns of the magnitudes in `dtype`."""
        if self.dtype == "float32":
            return self.magnitudes.view(np.uint32)
        return self.magnitudes.astype(_numpy_dtype(self.dtype)).view(np.uint16).astype(np.uint32)

    @property
    def upper(self) -> MagnitudeTable:
        """The table in which every value is as large as it can be: this one, where it is exact."""
        return self if self.exact else self._raised  # a table that holds itself is only freed by the cycle collector

    @cached_property
    def _raised(self) -> MagnitudeTable:
        room = np.uint32((1 << self.dropped_bits) - 1)
        top = (self.magnitudes.view(np.uint32) | room).view(np.float32)
        return replace(self, magnitudes=np.minimum(top, np.float32(self.largest)), dropped_bits=0)

    @cached_property
    def lower(self) -> MagnitudeTable:
        """The table in which every value is as small as it can be, except the largest, which is known."""
        if self.exact or not self.counts.size:
            return replace(self, dropped_bits=0)
        magnitudes, counts = self.magnitudes, self.counts
        if magnitudes[-1] < self.largest:
            one = np.array([counts[-1] - 1, 1]) if counts[-1] > 1 else np.array([1])
            magnitudes = np.append(magnitudes[: counts.size + one.size - 2], np.float32(self.largest))
            counts = np.concatenate([counts[:-1], one])
        return replace(self, magnitudes=magnitudes, counts=counts, dropped_bits=0)

    @cached_property
    def middle(self) -> NDArray[np.float32]:
        """float32[k]: the magnitudes, or the middle of where each can lie."""
        if self.exact:
            return self.magnitudes
        centre = (self.magnitudes.astype(np.float64) + self.upper.magnitudes) / 2
        return centre.astype(np.float32)

    def quantile(self, alpha: ArrayLike, rank: Rank = "float32") -> Floats:
        """The alpha-quantile of |x|, to the bit that of the values: of alpha's shape, float32 or float64 as `rank`.

        With a NaN among the values every quantile is nan, as in torch and numpy. Raises ValueError for an alpha outside
        [0, 1], a table without values, and a table that is not exact: `quantile_bounds` answers for that.
        """
        if not self.exact:
            raise ValueError("the table is not exact: its quantiles are intervals, ask for quantile_bounds")
        if self.n_nan:
            dtype = np.float32 if rank == "float32" else np.float64
            return np.full(np.shape(alpha), np.nan, dtype)
        return quantiles.quantile(self.magnitudes, self.cumulative, self.n_inf, alpha, rank)

    def quantile_bounds(self, alpha: ArrayLike, rank: Rank = "float32") -> Bounds:
        """The least and the greatest that the alpha-quantile can be."""
        low = self.lower.quantile(alpha, rank)
        return Bounds(low, low if self.exact else self.upper.quantile(alpha, rank))

    def alpha_of(self, value: float, tolerance: float = 0.0, rank: Rank = "float32") -> AlphaInterval | None:
        """The alphas whose quantile is `value`, give or take `tolerance` (relative), and an ulp for torch's lerp, which
        is not monotone to the last bit where it changes ends. None where no alpha from 0 to 1 reaches it."""
        low, high = with_room(value, tolerance, ulps=1 if rank == "float32" else 0)
        if self.exact:
            return quantiles.solve_alpha(lambda a: self.quantile(a, rank), low, high)
        return quantiles.solve_alpha_between(
            lambda a: self.lower.quantile(a, rank), lambda a: self.upper.quantile(a, rank), low, high
        )

    def coarse(self) -> MagnitudeTable:
        """The table with single.DROPPED_BITS low bits of each magnitude forgotten; itself where they already are."""
        if not self.exact or self.dtype != "float32":
            return self
        patterns = self.magnitudes.view(np.uint32) & np.uint32(~((1 << single.DROPPED_BITS) - 1) & 0xFFFFFFFF)
        starts = np.flatnonzero(np.diff(patterns, prepend=np.uint32(0xFFFFFFFF)))
        counts = np.add.reduceat(self.counts, starts) if starts.size else self.counts
        extreme = self.signed_absmax if not math.isnan(self.signed_absmax) else self.largest
        kept = patterns[starts].view(np.float32)
        return replace(self, magnitudes=kept, counts=counts, signed_absmax=extreme, dropped_bits=single.DROPPED_BITS)

    def values(self) -> NDArray[np.float32]:
        """float32[n_finite]: every finite magnitude as often as it occurs, ascending. For small tables and tests."""
        return np.repeat(self.magnitudes, self.counts)


def merge(tables: Sequence[MagnitudeTable], max_entries: int = MAX_POOLED_ENTRIES) -> MagnitudeTable:
    """The table of all values together: of the tensors' concatenation. Exact if all are, and no more than `max_entries`
    magnitudes occur (only float32 can have so many). Raises ValueError for no tables."""
    if not tables:
        raise ValueError("there is no table of no tables")
    exact = all(t.exact for t in tables)
    dtypes = {t.dtype for t in tables}
    if not exact:
        tables = [replace(t, dtype="float32").coarse() for t in tables]
    magnitudes, counts = _sum(tables, dtypes)
    extreme = _with_sign(*(t.signed_absmax for t in tables if t.magnitudes.size))
    if math.isnan(extreme) and not exact:
        raise ValueError("a table that is not exact must know its largest value")
    dtype = dtypes.pop() if len(dtypes) == 1 else _common_dtype(magnitudes)
    n_inf, n_nan = sum(t.n_inf for t in tables), sum(t.n_nan for t in tables)
    pooled = MagnitudeTable(dtype, magnitudes, counts, n_inf, n_nan, extreme, 0 if exact else single.DROPPED_BITS)
    return pooled if magnitudes.size <= max_entries else pooled.coarse()


def _sum(tables: Sequence[MagnitudeTable], dtypes: set[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Magnitudes that occur in any of the tables, and how often in all."""
    if (
        len(dtypes) == 1 and dtypes <= set(SIXTEEN_BIT) and len(tables) > 1
    ):  # a dense table: sorting takes 20 times as long
        dense = np.zeros(N_MAGNITUDES, np.int64)
        for t in tables:
            dense[t.patterns] += t.counts
        pooled = MagnitudeTable.from_counts(dense, tables[0].dtype)
        return pooled.magnitudes, pooled.counts
    magnitudes, inverse = np.unique(np.concatenate([t.magnitudes for t in tables]), return_inverse=True)
    counts = np.zeros(magnitudes.size, np.int64)
    np.add.at(counts, inverse, np.concatenate([t.counts for t in tables]))  # bincount's weights would round above 2^53
    return magnitudes, counts


def table_from_patterns(
    patterns: NDArray[np.uint32],
    counts: NDArray[np.int64],
    dtype: str,
    n_inf: int,
    n_nan: int,
    signed_absmax: float,
    dropped_bits: int,
) -> MagnitudeTable:
    """The table of finite magnitudes with these ascending bit patterns of `dtype`, as `MagnitudeTable.patterns` has."""
    wide = patterns.view(np.float32) if dtype == "float32" else _widen(patterns.astype(np.uint16), dtype)
    return MagnitudeTable(dtype, wide, counts, n_inf, n_nan, signed_absmax, dropped_bits)


def with_room(value: float, tolerance: float, ulps: int) -> tuple[float, float]:
    """`value` less and more `tolerance` of itself and `ulps` float32 steps."""
    step = ulps * float(np.spacing(np.float32(abs(value))))
    return value - abs(value) * tolerance - step, value + abs(value) * tolerance + step


def _with_sign(*extremes: float) -> float:
    """The extreme of largest magnitude, positive before negative; nan where one is not known or there is none."""
    if any(math.isnan(e) for e in extremes):
        return math.nan
    return max((e for e in extremes if math.isfinite(e)), key=lambda e: (abs(e), e), default=math.nan)


def _common_dtype(magnitudes: NDArray[np.float32]) -> str:
    narrowed = single.narrow(magnitudes)
    return "float32" if narrowed is None else str(narrowed.dtype.name)


def _widen(patterns: NDArray[np.uint16], dtype: str) -> NDArray[np.float32]:
    """16-bit patterns as the float32 of the same value."""
    with np.errstate(invalid="ignore"):  # a signalling NaN among the patterns is no event
        return patterns.view(_numpy_dtype(dtype)).astype(np.float32)


def _numpy_dtype(name: str) -> np.dtype[Any]:
    if name == "float16":
        return np.dtype(np.float16)
    if name != "bfloat16":
        raise ValueError(f"a table of counts is of float16 or bfloat16, not of {name}")
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found
