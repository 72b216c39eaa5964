"""What a scale does to a distribution: codes, coverage, error.

Codes are symmetric, -q_max ... q_max, q_max = 2^(bits-1) - 1.

A table has no signs, so a negative value that a format would store as -2^(bits-1) counts here as one that saturates at
-q_max. The arithmetic is that of the libraries: x / scale and code * scale are rounded to float32, as they do it; sums
are float64. Values that are not finite have no error; an infinite one saturates, a NaN is left out of shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qinspect.inspector.distribution.quantile import Floats
from qinspect.inspector.distribution.table import Bounds, MagnitudeTable

Rounding = Literal["half-even", "half-away", "truncate"]
"""How x / scale becomes a code: torch and Triton round half to even, CUDA's roundf away from 0, a cast truncates."""

Float64 = NDArray[np.float64]


def q_max(bits: int) -> int:
    """The largest code of a symmetric signed integer: 127 for 8 bits. Raises ValueError outside 2 ... 16 bits."""
    if not 2 <= bits <= 16:
        raise ValueError(f"codes have 2 to 16 bits, not {bits}")
    return (1 << (bits - 1)) - 1


def checked_scales(scales: ArrayLike) -> NDArray[np.float32]:
    """float32[S], of scales of any shape. Raises ValueError for one that is not positive and finite in float32."""
    s = np.asarray(scales, np.float64).reshape(-1).astype(np.float32)
    if not (np.isfinite(s) & (s > 0)).all():
        raise ValueError("a scale is a positive, finite float32")
    return s


def round_codes(ratio: NDArray[np.float32], rounding: Rounding) -> NDArray[np.float32]:
    """Round x / scale, not negative, in place, to integers as float32."""
    if rounding == "half-even":
        return np.rint(ratio, out=ratio)
    whole = np.trunc(ratio)
    if rounding == "half-away":
        # ratio + 0.5 would round up the float32 just under a half; this difference is exact
        with np.errstate(invalid="ignore"):  # inf - inf, of a ratio beyond float32, is no half: inf stays
            whole += ratio - whole >= np.float32(0.5)
    ratio[...] = whole
    return ratio


def covered(table: MagnitudeTable, scales: ArrayLike, bits: int, rounding: Rounding = "half-even") -> NDArray[np.int64]:
    """int64[S]: entries of `table.middle` whose code does not saturate: its first ones, for codes do not descend."""
    s, limit, m = checked_scales(scales), q_max(bits), table.middle
    if not m.size:
        return np.zeros(s.size, np.int64)
    edge = (limit + (1.0 if rounding == "truncate" else 0.5)) * s.astype(np.float64)
    at = np.searchsorted(m, edge)
    # x / scale rounds to float32, so the true edge may be a step off: ask the codes themselves
    while True:
        fits = (at < m.size) & (_codes_at(m, at, s, rounding) <= limit)
        over = (at > 0) & (_codes_at(m, at - 1, s, rounding) > limit)
        if not (fits | over).any():
            return at
        at = at + fits - over


def _codes_at(m: NDArray[np.float32], at: NDArray[np.int64], s: NDArray[np.float32], rounding: Rounding) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        return round_codes(m[np.clip(at, 0, m.size - 1)] / s, rounding)


def coverage(table: MagnitudeTable, scales: ArrayLike, bits: int = 8, rounding: Rounding = "half-even") -> Float64:
    """Share of values whose code does not saturate, round(|x| / scale) <= q_max. Of the shape of `scales`, nan for no
    values.

    1 - coverage is what is clipped. Not the share within w_max: see `beyond`.
    """
    at = covered(table, scales, bits, rounding)
    return _share(np.append(0, table.cumulative)[at], table).reshape(np.shape(scales))


def beyond(table: MagnitudeTable, w_max: ArrayLike) -> Float64:
    """Share of values with |x| > w_max; of the shape of `w_max`, nan for no values.

    Not what is clipped: scale = w_max / q_max is rounded (to float16 in some observers), and round() lets half a step
    over w_max through.
    """
    at = np.searchsorted(table.middle, np.asarray(w_max, np.float64), "right")
    n = table.n - table.n_nan
    return _share(n - np.append(0, table.cumulative)[at], table)


def _share(count: NDArray[np.int64], table: MagnitudeTable) -> Float64:
    n = table.n - table.n_nan
    share: Float64 = count / np.float64(n) if n else np.full(count.shape, np.nan)
    return share


def mse(table: MagnitudeTable, scales: ArrayLike, bits: int = 8, rounding: Rounding = "half-even") -> Float64:
    """Mean of (x - scale * code)^2 over the finite values; of the shape of `scales`, nan for no values.

    Of a table that is not exact: as if each value stood in the middle of where it can be; `mse_bounds` has the
    interval.
    """
    s, limit = checked_scales(scales), q_max(bits)
    error = SquaredError(table)
    sums = [error.sum(float(step), limit, rounding) for step in s]
    return (np.array(sums) / table.n_finite if table.n_finite else np.full(s.size, np.nan)).reshape(np.shape(scales))


class SquaredError:
    """Sums of squared errors of one table at many scales: what does not depend on the scale is computed once."""

    def __init__(self, table: MagnitudeTable) -> None:
        self.m = table.middle
        self.m64 = self.m.astype(np.float64)
        self.weights = table.counts.astype(np.float64)
        self.squares = np.append(0.0, np.cumsum(self.weights * self.m64 * self.m64))
        """float64[k + 1]: sum of x^2 over the first entries: the error of those whose code is 0."""
        self._codes = np.empty_like(self.m)
        self._error = np.empty_like(self.m64)

    def sum(self, scale: float, limit: int, rounding: Rounding, start: int = 0, stop: int | None = None) -> float:
        """Sum of (x - scale * min(code, limit))^2 over the entries from `start` to `stop`."""
        s = np.float32(scale)
        stop = self.m.size if stop is None else stop
        first = min(max(start, int(np.searchsorted(self.m, 0.49 * float(s)))), stop)  # codes before it are 0
        codes, error = self._codes[first:stop], self._error[first:stop]
        with np.errstate(over="ignore"):  # a code * scale beyond float32 is infinite for libraries too
            np.divide(self.m[first:stop], s, out=codes)
            round_codes(codes, rounding)
            np.minimum(codes, np.float32(limit), out=codes)
            codes *= s
        np.subtract(self.m64[first:stop], codes, out=error)
        error *= error
        error *= self.weights[first:stop]
        # Not np.dot: BLAS splits it over threads, which on a busy machine wait milliseconds for each other.
        return float(self.squares[first] - self.squares[start] + error.sum())


def signal(table: MagnitudeTable) -> float:
    """Mean of x^2 over the finite values, nan for none."""
    m = table.middle.astype(np.float64)
    return float(np.dot(m * m, table.counts) / table.n_finite) if table.n_finite else float("nan")


@np.errstate(divide="ignore", invalid="ignore")
def sqnr_db(table: MagnitudeTable, scales: ArrayLike, bits: int = 8, rounding: Rounding = "half-even") -> Float64:
    """Signal to quantization noise, 10 log10(mean x^2 / mse), in decibels; inf where nothing is lost."""
    ratio: Float64 = np.divide(signal(table), mse(table, scales, bits, rounding))
    decibels: Float64 = 10.0 * np.log10(ratio)
    return decibels


def mse_bounds(table: MagnitudeTable, scales: ArrayLike, bits: int = 8, rounding: Rounding = "half-even") -> Bounds:
    """The least and the greatest that `mse` can be: the same twice for an exact table.

    |error| is the distance to the nearest of the points that codes stand for, so it changes by no more than the value
    does; by Minkowski's inequality the root of the mean squared error changes by no more than the root mean square of
    the shifts, half the width of each entry. Raises ValueError for truncation, whose error jumps.
    """
    at_middle = mse(table, scales, bits, rounding)
    if table.exact:
        return Bounds(at_middle, at_middle)
    if rounding == "truncate":
        raise ValueError("the error of truncation has no bounds in a table that is not exact")
    room = rms_shift(table)
    root = np.sqrt(at_middle)
    return Bounds(np.maximum(root - room, 0.0) ** 2, (root + room) ** 2)


def rms_shift(table: MagnitudeTable) -> float:
    """By how much the root of a mean squared error can differ from what it is in the middle of every entry: the root
    mean square of half their widths, and a little for rounding. 0 for an exact table."""
    if table.exact:
        return 0.0
    shift = table.upper.magnitudes.astype(np.float64) - table.middle
    return float(np.sqrt(np.dot(shift * shift, table.counts) / max(table.n_finite, 1)) * (1 + 1e-6))


@dataclass(frozen=True, slots=True)
class CodeUsage:
    """counts: int64[q_max + 1], finite values at each |code|. unused_levels: of these, how many are 0. magnitude_bits:
    entropy of |code| in bits. effective_bits: the same of the signed code where both signs are equally likely, its
    upper bound otherwise."""

    counts: NDArray[np.int64]
    unused_levels: int
    magnitude_bits: float
    effective_bits: float


def code_usage(table: MagnitudeTable, scale: float, bits: int = 8, rounding: Rounding = "half-even") -> CodeUsage:
    """How the codes of one scale are used."""
    (s,), limit = checked_scales(scale), q_max(bits)
    with np.errstate(over="ignore"):
        ratio = table.middle / s
    codes = np.minimum(round_codes(ratio, rounding), np.float32(limit)).astype(np.int64)
    counts = np.zeros(limit + 1, np.int64)
    np.add.at(counts, codes, table.counts)
    p = counts[counts > 0] / max(table.n_finite, 1)
    entropy = float(-(p * np.log2(p)).sum()) + 0.0
    nonzero = 1.0 - counts[0] / table.n_finite if table.n_finite else 0.0
    return CodeUsage(counts, int((counts == 0).sum()), entropy, entropy + float(nonzero))
