"""Where the error of a weight is: its mean over blocks of rows and columns, for a map of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.blocks import units_of, values_of, widened
from qinspect.inspector.fidelity.pairs import Pair
from qinspect.inspector.fidelity.sums import Numbers
from qinspect.inspector.progress import Steps

Ends = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """rms: float64[rows, columns], the root of the mean of (B - A)^2 over each block; NaN where nothing in it is finite
    in both. signal: the same of A. row_ends, column_ends: the first of each block, and the end of the last. whole: the
    root of the mean over all of it. n_excluded: values that are not finite in either."""

    rms: Numbers
    signal: Numbers
    row_ends: list[int]
    column_ends: list[int]
    whole: float
    n_excluded: int


def error_map(pair: Pair, rows: int, columns: int, check: Steps) -> ErrorMap | None:
    """Of at most rows x columns blocks; None of what has no rows, or such rows that they are read in parts. Raises what
    reading raises."""
    if len(pair.shape) < 2:
        return None
    n_rows, n_columns = pair.shape[0], math.prod(pair.shape[1:])
    row_ends, column_ends = _ends(n_rows, rows), _ends(n_columns, columns)
    sums = np.zeros((3, len(row_ends) - 1, len(column_ends) - 1))
    for unit in units_of(pair, None):
        if not unit.aligned:
            return None
        check(unit.first_row, n_rows)
        a, b = np.empty((unit.rows, unit.columns)), np.empty((unit.rows, unit.columns))
        for values, out in zip(values_of(pair, unit), (a, b), strict=True):
            widened(values, out)
        pair.derive(a, b)
        _add(sums, a, b, unit.first_row, row_ends, column_ends)
    n = np.diff(row_ends)[:, None] * np.diff(column_ends)
    with np.errstate(all="ignore"):
        rms, signal = np.sqrt(sums[0] / sums[2]), np.sqrt(sums[1] / sums[2])
        whole = math.sqrt(sums[0].sum() / sums[2].sum()) if sums[2].sum() else math.nan
    return ErrorMap(rms, signal, row_ends.tolist(), column_ends.tolist(), whole, int(n.sum() - sums[2].sum()))


def _ends(n: int, most: int) -> Ends:
    parts = min(n, most)
    return np.arange(parts + 1, dtype=np.int64) * n // parts


def _add(sums: Numbers, a: Numbers, b: Numbers, first: int, row_ends: Ends, column_ends: Ends) -> None:
    """Sums of squared errors, of squares of A, and of how many, of some rows from `first` on."""
    d = b - a
    finite = np.isfinite(d)
    d[~finite] = a[~finite] = 0.0
    block = np.searchsorted(row_ends, np.arange(first, first + len(a)), side="right") - 1
    for i, values in enumerate((d * d, a * a, finite)):
        across = np.add.reduceat(values, column_ends[:-1], axis=1, dtype=np.float64)
        np.add.at(sums[i], block, across)
