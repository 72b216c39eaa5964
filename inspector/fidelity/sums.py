"""What is added up of two tensors' values, in float64: enough for every number that is said of their distance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Numbers = NDArray[np.float64]


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
    """The sums of some rows of a pair. first_row: of them. noise, signal: float64[rows], sums of d*d and a*a of each
    row; empty where the tensor has no rows. cell: (noise, signal, row, column) of the cell with the most noise."""

    sums: Sums
    first_row: int = 0
    noise: Numbers = field(default_factory=lambda: np.zeros(0))
    signal: Numbers = field(default_factory=lambda: np.zeros(0))
    cell: tuple[float, float, int, int] | None = None
    nearest: float = 0.0
    """Sum of the squared errors of rounding to nearest."""


def sums_of(a: Numbers, b: Numbers, start: int, cells: Cells | None = None) -> Piece:
    """Of float64[rows, columns] of both, which may be changed. start: the position of the first value in its tensor.
    cells: None where groups do not matter; otherwise the rows begin at a cell."""
    sums = Sums()
    with np.errstate(all="ignore"):
        d = b - a
        if not math.isfinite(float(d.sum())):
            _without_bad(a, b, d, sums)
        noise, most = _noise(a, d, cells)
        signal = np.einsum("ij,ij->i", a, a)
        sums.n = a.size - sums.n_excluded
        sums.aa, sums.dd, sums.d = float(signal.sum()), float(noise.sum()), float(d.sum())
        sums.bb = float(np.einsum("ij,ij->", b, b))
        sums.ab = float(np.einsum("ij,ij->", a, b))
        _find_largest(a, b, d, start, sums)
    return Piece(sums, 0, noise, signal, most)


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
    at = high if flat[high] >= -flat[low] else low
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
    noise: Numbers = of_cells.sum(axis=1)
    if cells.rows > 1:
        of_cells = np.add.reduceat(of_cells, np.arange(0, n_rows, cells.rows), axis=0)
    i, j = divmod(int(of_cells.argmax()), of_cells.shape[1])
    row, column = i * cells.rows, j * width
    inside = a[row : row + cells.rows, column : column + width]
    return noise, (float(of_cells[i, j]), float(np.einsum("ij,ij->", inside, inside)), row, column)
