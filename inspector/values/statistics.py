"""Numbers that describe one tensor: range, moments, percentiles, histogram of codes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.formats.element import Element

Array = NDArray[Any]
PERCENTILES = (0.0, 0.1, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0)
SAMPLE_ELEMENTS = 1 << 24
"""Percentiles are exact up to this many elements, and of an even sample beyond."""
BLOCK_ELEMENTS = 1 << 20
"""Elements of a chunk that are worked on at a time: each takes about 40 bytes while they are."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """n: elements. n_nan, n_inf, n_zero, n_negative: of them. minimum ... std: of the finite ones, nan where there are
    none; minimum, maximum and absmax of integers are integers, with all their digits. percentiles: (percent, value of
    the finite elements), linear interpolation. sampled: percentiles are of an even sample."""

    n: int
    n_nan: int
    n_inf: int
    n_zero: int
    n_negative: int
    minimum: float
    maximum: float
    absmax: float
    mean: float
    std: float
    percentiles: tuple[tuple[float, float], ...]
    sampled: bool


@np.errstate(all="ignore")  # a signalling NaN, or a number beyond float32, is no event; nor is a moment beyond float64
def describe(chunks: Iterable[Array], n_total: int) -> Statistics:
    """Statistics of the elements of all chunks, of one dtype, `n_total` in all. One chunk is in memory at a time, and
    the sample that percentiles are of.

    The variance is merged over chunks by Chan's pairwise formula (Chan, Golub, LeVeque 1979).
    """
    n = n_nan = n_inf = n_zero = n_negative = n_finite = 0
    low: float = math.inf
    high: float = -math.inf
    mean = m2 = 0.0
    sample = _Sample(n_total)
    for stored in _blocks(chunks):
        exact = stored.dtype.kind in "iub"
        x = np.asarray(stored, np.float64)
        kept = np.isfinite(x)
        finite = x if exact or kept.all() else x[kept]
        nan = int(np.isnan(x).sum())
        sample.add(stored, kept, n)
        n += x.size
        n_nan += nan
        n_inf += x.size - finite.size - nan
        n_zero += int((x == 0).sum())
        n_negative += int((x < 0).sum())
        if not finite.size:
            continue
        ends = (int(stored.min()), int(stored.max())) if exact else (float(finite.min()), float(finite.max()))
        low, high = min(low, ends[0]), max(high, ends[1])
        together = n_finite + finite.size
        chunk_mean = float(finite.mean())
        delta = chunk_mean - mean
        m2 += float(((finite - chunk_mean) ** 2).sum()) + delta * delta * n_finite * finite.size / together
        mean += delta * finite.size / together
        n_finite = together
    if not n_finite:
        nan_value = math.nan
        return Statistics(
            n, n_nan, n_inf, n_zero, n_negative, nan_value, nan_value, nan_value, nan_value, nan_value, (), False
        )
    return Statistics(
        n, n_nan, n_inf, n_zero, n_negative, low, high, max(abs(low), abs(high)), mean, math.sqrt(m2 / n_finite),
        sample.percentiles(), sample.step > 1,
    )  # fmt: skip


def _blocks(chunks: Iterable[Array]) -> Iterable[Array]:
    """Flat pieces of at most BLOCK_ELEMENTS of each chunk."""
    for chunk in chunks:
        flat = np.asarray(chunk).reshape(-1)
        for start in range(0, flat.size, BLOCK_ELEMENTS):
            yield flat[start : start + BLOCK_ELEMENTS]


class _Sample:
    """Every step-th element, where it is finite, in one array of its own: a view would keep its whole chunk alive."""

    def __init__(self, n_total: int) -> None:
        self.step = max(1, -(-n_total // SAMPLE_ELEMENTS))
        self._room = -(-n_total // self.step)
        self._values: Array | None = None
        self._n = 0

    def add(self, block: Array, kept: Array, before: int) -> None:
        """The elements of a block that are sampled. kept: which are finite. before: elements of earlier blocks."""
        every = slice(-before % self.step, None, self.step)
        taken = block[every][kept[every]]
        if self._values is None:
            self._values = np.empty(self._room, _sampled_as(block.dtype))
        end = self._n + taken.size
        if end > self._values.size:  # more chunks than were announced
            self._values = np.resize(self._values, 2 * end)
        self._values[self._n : end] = taken
        self._n = end

    def percentiles(self) -> tuple[tuple[float, float], ...]:
        """Linear interpolation between order statistics, as numpy's; none where no sampled element is finite."""
        if self._values is None or not self._n:
            return ()
        values = self._values[: self._n]
        at = np.asarray(PERCENTILES) / 100 * (self._n - 1)
        below = np.floor(at).astype(np.int64)
        above = np.minimum(below + 1, self._n - 1)
        values.partition(np.unique((below, above)))
        low, high = values[below].astype(np.float64), values[above].astype(np.float64)
        t = at - below
        points = np.where(t < 0.5, low + (high - low) * t, high - (high - low) * (1 - t))
        return tuple((p, float(v)) for p, v in zip(PERCENTILES, points, strict=True))


def _sampled_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The smallest of numpy's own types that holds every element."""
    if dtype.kind in "iu" or dtype.name in ("float16", "float32", "float64"):
        return dtype
    return np.dtype(np.uint8) if dtype.kind == "b" else np.dtype(np.float32)


MAX_COUNTED_BITS = 16
"""Wider codes have too many levels to be listed."""


def count_codes(chunks: Iterable[Array], element: Element) -> dict[int, int]:
    """How often each code of an element occurs, in the order of codes, all listed, unused ones with 0. Empty for more
    than MAX_COUNTED_BITS, and where nothing is known of the codes.

    Raises CannotRead where there is a code that the element does not have.
    """
    low, high = element.code_range
    if not 0 < element.bits <= MAX_COUNTED_BITS:
        return {}
    counts = np.zeros(high - low + 1, np.int64)
    for block in _blocks(chunks):
        codes = as_codes(block)
        if codes.size and not (low <= codes.min() and codes.max() <= high):
            raise CannotRead(
                f"has a code that {element} does not have", expected=f"{low} to {high}",
                found=f"{codes.min()} to {codes.max()}",
            )  # fmt: skip
        counts += np.bincount(codes - low, minlength=counts.size)
    return {level: int(c) for level, c in zip(range(low, high + 1), counts, strict=True)}


def as_codes(block: Array) -> Array:
    """int64: codes as `Element` counts them. Small floats, which a family may give as they are, by their bits."""
    if block.dtype.kind in "iub":
        return block.astype(np.int64)
    return block.view(np.dtype(f"u{block.dtype.itemsize}")).astype(np.int64)
