"""How the numbers of two scale tensors differ, B relative to A."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from qinspect.inspector.compare.results import Difference
from qinspect.inspector.formats.records import FloatArray

SAMPLE_ELEMENTS = 1 << 20
"""Above this the median is of an even sample: everything else is exact at any size."""

_BLOCK_ELEMENTS = 1 << 13
"""Calculated with at once. Larger temporaries leave the cache, and malloc gives them back to the system each time: that
costs ten times the calculation."""


def difference_of(
    chunks: Iterable[tuple[FloatArray, FloatArray]], shape: tuple[int, ...], sorted_cells: bool
) -> Difference:
    """The difference of two tensors of one shape, which come as consecutive chunks of equal size, of any real dtype."""
    tally = _Tally(max(1, math.prod(shape) // SAMPLE_ELEMENTS))
    for a, b in chunks:
        tally.add(a.reshape(-1), b.reshape(-1))
    return tally.result(shape, sorted_cells)


def differences_of_rows(a: FloatArray, b: FloatArray, shape: tuple[int, ...]) -> list[Difference]:
    """`difference_of` of many pairs of tensors of `shape`, each a row of `a` and `b`: floating-point numbers of one
    dtype, with a bit in each pair that differs."""
    bits = f"u{a.dtype.itemsize}"
    n = a.shape[1]
    rows, places = np.nonzero(a.view(bits) != b.view(bits))
    starts = np.searchsorted(rows, np.arange(len(a)))
    x, y = a[rows, places].astype(np.float64), b[rows, places].astype(np.float64)
    with np.errstate(all="ignore"):
        relative = (y - x) / np.abs(x)
        magnitude = np.abs(relative)
        sound = np.logical_and.reduceat((x > 0) & (y > 0) & (x != y) & np.isfinite(relative), starts).tolist()
    ends = [*starts[1:].tolist(), rows.size]
    parts = [slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)]
    n_up = np.add.reduceat((relative > 0).astype(np.int64), starts).tolist()
    peaks = [part.start + int(magnitude[part].argmax()) for part in parts]
    at_peaks = (v[peaks].tolist() for v in (relative, places, x, y))
    found = []
    for row, (part, largest, at, of_a, of_b) in enumerate(zip(parts, *at_peaks, strict=True)):
        apart = part.stop - part.start
        if not sound[row] or apart > _BLOCK_ELEMENTS or n > SAMPLE_ELEMENTS:
            found.append(difference_of([(a[row], b[row])], shape, False))
            continue
        tally = _Tally(1)
        tally.n = tally.n_sampled = n
        tally.n_changed, tally.n_up, tally.n_down = apart, n_up[row], apart - n_up[row]
        tally.total, tally.largest, tally.at, tally.pair = float(magnitude[part].sum()), largest, at, (of_a, of_b)
        tally.sample = [magnitude[part]]
        found.append(tally.result(shape, False))
    return found


class _Tally:
    """Running counts over flat arrays. step: every how-manieth element is in the median's sample."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.n = self.n_changed = self.n_up = self.n_down = self.n_undefined = self.n_sampled = 0
        self.n_bad_a = self.n_bad_b = 0
        self.total = self.largest = 0.0
        self.at = 0
        self.pair = (math.nan, math.nan)
        self.first_changed: tuple[int, float, float] | None = None
        self.sample: list[FloatArray] = []

    def add(self, a: FloatArray, b: FloatArray) -> None:
        if a.size and not self.n:
            self.pair = (float(a[0]), float(b[0]))  # what is shown where nothing differs
        places = _apart(a, b)
        for start in range(0, places.size, _BLOCK_ELEMENTS):
            self._add_at(places[start : start + _BLOCK_ELEMENTS], a, b)
        self.n_sampled += -(-a.size // self.step)
        self.n += a.size

    def _add_at(self, places: FloatArray, a: FloatArray, b: FloatArray) -> None:
        x, y = a[places].astype(np.float64), b[places].astype(np.float64)
        with np.errstate(all="ignore"):
            changed = (x != y) & ~(np.isnan(x) & np.isnan(y))
            if a.dtype.kind in "iu" and b.dtype.kind in "iu":  # beyond 2^53, float64 makes neighbours equal
                changed = a[places] != b[places]
            relative = (y - x) / np.abs(x)
            integers = a.dtype.kind in "iu" or b.dtype.kind in "iu"
            if not integers and changed.all() and x.min() > 0 and y.min() > 0 and np.isfinite(relative).all():
                self._add_sound(places, x, y, relative)
                return
            self.n_up += int(np.count_nonzero(changed & (y > x)))
            self.n_down += int(np.count_nonzero(changed & (y < x)))
            self.n_bad_a += int(np.count_nonzero(changed & ~(np.isfinite(x) & (x > 0))))
            self.n_bad_b += int(np.count_nonzero(changed & ~(np.isfinite(y) & (y > 0))))
        finite = np.isfinite(relative)
        self.n_changed += int(np.count_nonzero(changed))
        self.n_undefined += int(np.count_nonzero(changed & ~finite))
        relative[~finite] = 0.0
        self._measure(places, x, y, relative)
        if self.first_changed is None and changed.any():
            i = int(changed.argmax())
            self.first_changed = (self.n + int(places[i]), float(x[i]), float(y[i]))

    def _add_sound(self, places: FloatArray, x: FloatArray, y: FloatArray, relative: FloatArray) -> None:
        """Elements that all differ, and are positive and finite."""
        n_up = int(np.count_nonzero(relative > 0))
        self.n_up += n_up
        self.n_down += x.size - n_up
        self.n_changed += x.size
        self._measure(places, x, y, relative)

    def _measure(self, places: FloatArray, x: FloatArray, y: FloatArray, relative: FloatArray) -> None:
        magnitude = np.abs(relative)
        self.total += float(magnitude.sum())
        i = int(magnitude.argmax())
        if magnitude[i] > abs(self.largest):
            self.largest, self.at = float(relative[i]), self.n + int(places[i])
            self.pair = (float(x[i]), float(y[i]))
        self.sample.append(magnitude if self.step == 1 else magnitude[places % self.step == 0])

    def result(self, shape: tuple[int, ...], sorted_cells: bool) -> Difference:
        at, (a, b) = self.at, self.pair
        if self.largest == 0.0 and self.first_changed:  # all that changed has no percentage: show one of them
            at, a, b = self.first_changed
        largest = math.nan if self.n_undefined == self.n_changed > 0 else self.largest
        where = _index_of(at, shape) if shape and self.n else ()
        ratio = math.log2(b / a) if a and b and math.isfinite(a) and math.isfinite(b) and b / a > 0 else math.nan
        return Difference(
            self.n, self.n_changed, self.n_up, self.n_down, 100 * largest, where, a, b, 100 * self._median(),
            100 * self.total / max(1, self.n), ratio, sorted_cells, self.n_undefined, self.step > 1,
            self.n_bad_a, self.n_bad_b,
        )  # fmt: skip

    def _median(self) -> float:
        """Of the sample, in which elements that are equal are zeros. np.median would import numpy.ma, 8 ms."""
        n, n_apart = self.n_sampled, sum(s.size for s in self.sample)
        if 2 * n_apart < n or n == 0:
            return 0.0
        half = n // 2
        ordered = np.partition(np.concatenate([np.zeros(n - n_apart), *self.sample]), half)
        upper = float(ordered[half])
        return upper if n % 2 else (float(ordered[:half].max()) + upper) / 2


def _index_of(at: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of the flat index `at`: np.unravel_index takes longer than this for a number alone."""
    found = []
    for n in reversed(shape):
        at, i = divmod(at, n)
        found.append(i)
    return tuple(reversed(found))


def _apart(a: FloatArray, b: FloatArray) -> FloatArray:
    """Indices of the elements that may differ: those with other bits, all where the dtypes are not the same."""
    width = a.dtype.itemsize
    if a.dtype != b.dtype or width not in (1, 2, 4, 8):
        return np.arange(a.size)
    return np.flatnonzero(a.view(f"u{width}") != b.view(f"u{width}"))
