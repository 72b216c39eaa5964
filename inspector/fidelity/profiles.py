"""The error of a weight by the size of what was stored, and by its output channels: of all values, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.blocks import units_of, values_of, widened
from qinspect.inspector.fidelity.pairs import Pair
from qinspect.inspector.fidelity.sums import Numbers
from qinspect.inspector.progress import Steps

PER_OCTAVE = 4
"""Bins."""
_LOWEST, _HIGHEST = -150, 128
"""Powers of two that float32 reaches to; what lies beyond counts for the outermost bin."""
_BINS = PER_OCTAVE * (_HIGHEST - _LOWEST)


@dataclass(frozen=True, eq=False)
class ErrorProfiles:
    """Of values that are finite in both.

    counts, squares: float64[bins], of |A|: how many, and the sum of (B - A)^2; bin i is of |A| from `edges[i]` on.
    n_zero, zero_squares: the same where A is zero. noise, signal: float64[channels], sums of (B - A)^2 and of A^2 of
    each position along the first axis; largest_a, largest_b: the largest |A| and |B|. All of these are empty where rows
    were read in parts, or there are none. n_excluded: values that are not finite in either.
    """

    edges: Numbers
    counts: Numbers
    squares: Numbers
    n_zero: int
    zero_squares: float
    noise: Numbers
    signal: Numbers
    largest_a: Numbers
    largest_b: Numbers
    n_excluded: int

    @property
    def sqnr(self) -> Numbers:
        """Of each channel, in dB: infinite without error, minus infinite where only A is zero, NaN of nothing."""
        with np.errstate(all="ignore"):
            return 10 * (np.log10(self.signal) - np.log10(self.noise))


def error_profiles(pair: Pair, check: Steps) -> ErrorProfiles:
    """Raises what reading raises."""
    n_rows = pair.shape[0] if len(pair.shape) > 1 else 0
    counts, squares = np.zeros(_BINS), np.zeros(_BINS)
    rows = np.zeros((4, n_rows))
    n_zero = n_excluded = 0
    zero_squares = 0.0
    for unit in units_of(pair, None):
        check(unit.start, pair.n)
        a, b = np.empty((unit.rows, unit.columns)), np.empty((unit.rows, unit.columns))
        for values, out in zip(values_of(pair, unit), (a, b), strict=True):
            widened(values, out)
        pair.derive(a, b)
        bad = ~(np.isfinite(a) & np.isfinite(b))
        a[bad] = b[bad] = 0.0
        d = b - a
        at, weight = _bins_of(a), d * d
        some = (a != 0).reshape(-1)
        counts += np.bincount(at[some], minlength=_BINS)
        squares += np.bincount(at[some], weight.reshape(-1)[some], minlength=_BINS)
        n_bad = int(np.count_nonzero(bad))
        n_excluded += n_bad
        n_zero += some.size - int(np.count_nonzero(some)) - n_bad
        zero_squares += float(weight.reshape(-1)[~some].sum())
        if not unit.aligned:
            rows = np.zeros((4, 0))
        if rows.size:
            _add_rows(rows[:, unit.first_row : unit.first_row + unit.rows], a, b, weight)
    edges = bin_edges()
    return ErrorProfiles(edges, counts, squares, n_zero, zero_squares, rows[0], rows[1], rows[2], rows[3], n_excluded)


def bin_edges() -> Numbers:
    """Where each bin of |A| begins, and the last ends."""
    return np.exp2(np.arange(_BINS + 1) / PER_OCTAVE + _LOWEST)


def _bins_of(a: Numbers) -> NDArray[np.intp]:
    """The bin of each |A|, flat; the lowest of zero."""
    with np.errstate(divide="ignore"):
        at = np.floor((np.log2(np.abs(a.reshape(-1))) - _LOWEST) * PER_OCTAVE)
    return np.asarray(np.clip(at, 0, _BINS - 1), np.intp)


def mean_by_size(sizes: Numbers, values: Numbers) -> Numbers:
    """float64[bins], the root of the mean square of what belongs to each |A|; NaN where nothing does."""
    at = _bins_of(sizes)
    with np.errstate(all="ignore"):
        squares = np.bincount(at, values * values, minlength=_BINS)
        return np.asarray(np.sqrt(squares / np.bincount(at, minlength=_BINS)))


def _add_rows(rows: Numbers, a: Numbers, b: Numbers, squares: Numbers) -> None:
    rows[0] += squares.sum(axis=1)
    rows[1] += np.einsum("ij,ij->i", a, a)
    for row, values in ((2, a), (3, b)):
        np.maximum(rows[row], np.abs(values).max(axis=1, initial=0.0), out=rows[row])
