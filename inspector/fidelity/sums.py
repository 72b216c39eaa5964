"""What is added up of two tensors' values, in float64: enough for every number that is said of their distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.kernels.distance import Rounding, distance_sums
from qinspect.kernels.matrix import values_of as values_in_c
from qinspect.kernels.packing import PackedRows

Array = NDArray[Any]
Numbers = NDArray[np.float64]
Stored = Array | PackedRows
"""[rows, columns]: floats, or codes as they are stored."""


@dataclass(slots=True)
class Sums:
    """Of A's values a and B's values b, d = b - a. Two of them add up.

    n: values that are finite in both; all sums are of these. n_bad_a, n_bad_b: values that are NaN or infinite in A, in
    B. n_excluded: values that are so in either. aa, bb, ab, dd, d: sums of the products, and of the differences.
    largest: the largest |d|; at: its position in C order, -1 where no value differs; a, b: the two values there.
    """

    n: int = 0
    n_bad_a: int = 0
    n_bad_b: int = 0
    n_excluded: int = 0
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0
    dd: float = 0.0
    d: float = 0.0
    largest: float = 0.0
    at: int = -1
    a: float = math.nan
    b: float = math.nan

    def add(self, other: Sums) -> None:
        """Take what another has; its position has to be counted from the same start."""
        self.n += other.n
        self.n_bad_a += other.n_bad_a
        self.n_bad_b += other.n_bad_b
        self.n_excluded += other.n_excluded
        self.aa += other.aa
        self.bb += other.bb
        self.ab += other.ab
        self.dd += other.dd
        self.d += other.d
        if other.at >= 0 and (self.at < 0 or other.largest > self.largest):
            self.largest, self.at, self.a, self.b = other.largest, other.at, other.a, other.b

    @property
    def exact(self) -> bool:
        """Whether no finite value differs, and there is one."""
        return self.n > 0 and self.at < 0

    @property
    def relative(self) -> float:
        """|B - A| / |A|, both as Frobenius norms. Infinite where only A is zero, NaN where nothing is finite."""
        if not self.n:
            return math.nan
        if not self.aa:
            return math.inf if self.dd else 0.0
        return math.sqrt(self.dd / self.aa)

    @property
    def sqnr(self) -> float:
        """10 log10(|A|^2 / |B - A|^2) in dB. Infinite where nothing differs, NaN where nothing is finite."""
        return sqnr_db(self.aa, self.dd) if self.n else math.nan

    @property
    def cosine(self) -> float:
        """Of the angle between A and B; NaN where one of them is zero."""
        size = math.sqrt(self.aa) * math.sqrt(self.bb)
        return max(-1.0, min(1.0, self.ab / size)) if size else math.nan

    @property
    def mean_shift(self) -> float:
        """The mean of B - A; NaN where nothing is finite."""
        return self.d / self.n if self.n else math.nan


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise): infinite where there is no noise, minus infinite where there is nothing else."""
    if not noise:
        return math.inf
    if not signal:
        return -math.inf
    return 10 * (math.log10(signal) - math.log10(noise))


@dataclass(frozen=True, slots=True)
class Cells:
    """Which values share a scale, for the error of each group: cells of `rows` x `columns`, counted from the first
    row and the first column; the last ones may be smaller."""

    rows: int
    columns: int


@dataclass(slots=True)
class Piece:
    """The sums of some rows of a pair. first_row: of them. noise: float64[rows], the sum of d*d of each row. rows,
    columns: float64[3, n], the sums of a*a, a*b and b*b of each. cell: (noise, signal, row, column) of the cell with
    the most noise."""

    sums: Sums
    first_row: int
    noise: Numbers
    rows: Numbers
    columns: Numbers
    cell: tuple[float, float, int, int] | None = None
    nearest: float = 0.0
    """Sum of the squared errors of rounding to nearest."""

    def at_row(self, row: int) -> None:
        """Count rows from `row` on: of a piece whose first one was row 0."""
        self.first_row += row
        if self.cell:
            noise, signal, first, column = self.cell
            self.cell = (noise, signal, first + row, column)


def sums_of(a: Numbers, b: Numbers, start: int, cells: Cells | None = None) -> Piece:
    """Of float64[rows, columns] of both, which may be changed. start: the position of the first value in its tensor.
    cells: None where groups do not matter; otherwise the rows begin at a cell."""
    sums = Sums()
    with np.errstate(all="ignore"):
        d = b - a
        if not math.isfinite(float(d.sum())):
            _without_bad(a, b, d, sums)
        noise, most = _noise(a, d, cells)
        pairs = ((a, a), (a, b), (b, b))
        rows = np.stack([np.einsum("ij,ij->i", x, y) for x, y in pairs])
        columns = np.stack([np.einsum("ij,ij->j", x, y) for x, y in pairs])
        sums.n = a.size - sums.n_excluded
        sums.aa, sums.ab, sums.bb = rows.sum(axis=1).tolist()
        sums.dd, sums.d = float(noise.sum()), float(d.sum())
        _find_largest(a, b, d, start, sums)
    return Piece(sums, 0, noise, rows, columns, most)


def compiled_sums(
    a: Stored, b: Stored, start: int, cells: Cells | None = None, rounding: Rounding | None = None
) -> Piece | None:
    """`sums_of` of [rows, columns] of any kind, which are not changed; with the error of rounding a. None where the
    compiled body cannot have them, or some value is not finite."""
    found = distance_sums(a, b, cells.columns if cells else 0, rounding)
    if found is None:
        return None
    aa, ab, bb, dd = found.rows.sum(axis=1).tolist()
    sums = Sums(n=math.prod(a.shape), aa=aa, bb=bb, ab=ab, dd=dd, d=found.d)
    if found.at >= 0:
        row, column = divmod(found.at, a.shape[1])
        here = slice(row, row + 1), slice(column, column + 1)
        x, y = (float(values_of(m, *here).item()) for m in (a, b))
        sums.largest, sums.at, sums.a, sums.b = found.largest, start + found.at, x, y
    most = None
    if cells and found.cells is not None:
        most = _most(found.cells, cells, lambda rows, columns: values_of(a, rows, columns).astype(np.float64))
    return Piece(sums, 0, found.rows[3], found.rows[:3], found.columns, most, found.rounding)


def values_of(found: Stored, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
    """float[rows, columns] of some of it, of any kind."""
    if isinstance(found, PackedRows):
        first, last, _ = rows.indices(found.shape[0])
        values = values_in_c(found.rows(first, last))
        assert values is not None  # else nobody asked for it packed
        return values[:, columns]
    return found[rows, columns]


def _most(
    of_cells: Numbers, cells: Cells, values: Callable[[slice, slice], Numbers]
) -> tuple[float, float, int, int] | None:
    """The cell with the most noise: what it and its signal are, and where it begins. of_cells: the noise of each row
    and range of columns. values: A's in a cell."""
    if cells.rows > 1:
        of_cells = np.add.reduceat(of_cells, np.arange(0, len(of_cells), cells.rows), axis=0)
    i, j = divmod(int(of_cells.argmax()), of_cells.shape[1])
    row, column = i * cells.rows, j * cells.columns
    inside = values(slice(row, row + cells.rows), slice(column, column + cells.columns))
    return float(of_cells[i, j]), float(np.einsum("ij,ij->", inside, inside)), row, column


def _without_bad(a: Numbers, b: Numbers, d: Numbers, sums: Sums) -> None:
    """Set to zero, in all three, what is not finite in one of the two."""
    bad_a, bad_b = ~np.isfinite(a), ~np.isfinite(b)
    bad = bad_a | bad_b
    sums.n_bad_a, sums.n_bad_b = int(np.count_nonzero(bad_a)), int(np.count_nonzero(bad_b))
    sums.n_excluded = int(np.count_nonzero(bad))
    a[bad] = b[bad] = d[bad] = 0.0


def _find_largest(a: Numbers, b: Numbers, d: Numbers, start: int, sums: Sums) -> None:
    if not d.size:
        return
    high, low = int(d.argmax()), int(d.argmin())
    flat = d.reshape(-1)
    up, down = float(flat[high]), -float(flat[low])
    at = min(high, low) if up == down else high if up > down else low  # the first, as the compiled body has it
    if flat[at]:
        sums.largest, sums.at = abs(float(flat[at])), start + at
        sums.a, sums.b = float(a.reshape(-1)[at]), float(b.reshape(-1)[at])


def _noise(a: Numbers, d: Numbers, cells: Cells | None) -> tuple[Numbers, tuple[float, float, int, int] | None]:
    """float64[rows]: sums of d*d; and the cell with most of them: what it and its signal are, and where it begins."""
    n_rows, n_columns = d.shape
    if cells is None or not d.size:
        return np.einsum("ij,ij->i", d, d), None
    width = min(cells.columns, n_columns)
    if n_columns % width:
        starts = np.arange(0, n_columns, width)
        of_cells = np.add.reduceat(d * d, starts, axis=1)
    else:
        parts = d.reshape(n_rows, n_columns // width, width)
        of_cells = np.einsum("ijk,ijk->ij", parts, parts)
    return of_cells.sum(axis=1), _most(of_cells, Cells(cells.rows, width), lambda rows, columns: a[rows, columns])
