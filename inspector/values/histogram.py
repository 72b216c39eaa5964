"""Histograms of scales, weights and codes, A over B on the same bins. Streamed: one block of rows is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.progress import Steps
from qinspect.inspector.values.inspection import row_blocks
from qinspect.inspector.values.statistics import count_codes

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of finite values.

    edges: [bins + 1], of the values, or of log10(|value|) where `logarithmic`. a, b: counts per bin; b None for one
    model. absmax_a, absmax_b: largest magnitude. range_a, range_b: smallest and largest on the axis, the first larger
    than the second where there is none. n_left_out: values that have no place (not finite; on a logarithmic
    axis, zeros).
    """

    edges: tuple[float, ...]
    a: tuple[int, ...]
    b: tuple[int, ...] | None
    absmax_a: float
    absmax_b: float
    range_a: tuple[float, float]
    range_b: tuple[float, float]
    n_left_out: int
    logarithmic: bool


Chunks = Callable[[], Iterable[Array]]
REACH = 4
"""An axis grows at an end by at most its length through this."""


def histogram(
    a: Chunks,
    b: Chunks | None,
    bins: int,
    logarithmic: bool,
    zoom: tuple[float, float] | None = None,
    reach: Sequence[float] = (),
) -> Histogram:
    """Histogram of one or two streams on common bins. Each stream is read twice: for its range, then for its counts.

    zoom: (low, high) of the axis, to look into a tail; default all values. reach: places that the axis shall show too,
    where that makes it no more than a quarter longer at an end.
    """
    ranges = [_range(chunks(), logarithmic) for chunks in (a, b) if chunks]
    low = min(r[0] for r in ranges)
    high = max(r[1] for r in ranges)
    spare = (high - low) / REACH if low < high else 0.0
    low = min([low, *(at for at in reach if low - spare <= at < low)])
    high = max([high, *(at for at in reach if high < at <= high + spare)])
    if zoom:
        low, high = zoom
    if not low < high:
        middle = low if math.isfinite(low) else 0.0
        spread = abs(middle) * 0.01 or 1.0
        low, high = middle - spread, middle + spread
    edges = np.linspace(low, high, bins + 1)
    counts = [_count(chunks(), edges, logarithmic) for chunks in (a, b) if chunks]
    return Histogram(
        tuple(edges.tolist()),
        tuple(counts[0].tolist()),
        tuple(counts[1].tolist()) if len(counts) > 1 else None,
        ranges[0][2],
        ranges[1][2] if len(ranges) > 1 else math.nan,
        ranges[0][:2],
        ranges[-1][:2],
        sum(r[3] for r in ranges),
        logarithmic,
    )


def _usable(chunk: Array, logarithmic: bool) -> Array:
    x = np.asarray(chunk, np.float32).reshape(-1)
    x = x[np.isfinite(x)]
    return np.log10(np.abs(x[x != 0])) if logarithmic else x


@np.errstate(all="ignore")
def _range(chunks: Iterable[Array], logarithmic: bool) -> tuple[float, float, float, int]:
    """(low, high) on the axis, absmax of the values, how many have no place."""
    low, high, absmax, left_out = math.inf, -math.inf, 0.0, 0
    for chunk in chunks:
        x = _usable(chunk, logarithmic)
        left_out += chunk.size - x.size
        if x.size:
            low, high = min(low, float(x.min())), max(high, float(x.max()))
            largest = np.abs(np.asarray(chunk, np.float32))
            absmax = max(absmax, float(largest[np.isfinite(largest)].max(initial=0.0)))
    return low, high, absmax, left_out


@np.errstate(all="ignore")
def _count(chunks: Iterable[Array], edges: Array, logarithmic: bool) -> Array:
    counts = np.zeros(len(edges) - 1, np.int64)
    for chunk in chunks:
        counts += np.histogram(_usable(chunk, logarithmic), edges)[0]
    return counts


def weight_chunks(fmt: Format, weight: QuantizedWeight, check: Steps) -> Chunks:
    """The dequantized rows of a weight, block by block."""

    def chunks() -> Iterator[Array]:
        for start, stop in row_blocks(weight):
            check(start, weight.shape[0])
            yield fmt.dequantize(weight, start, stop)

    return chunks


def code_counts(fmt: Format, weight: QuantizedWeight, check: Steps) -> dict[int, int]:
    """Occurrences of every level of a weight's codes, unused levels with 0."""

    def blocks() -> Iterator[Array]:
        for start, stop in row_blocks(weight):
            check(start, weight.shape[0])
            yield fmt.codes(weight, start, stop)

    return count_codes(blocks(), weight.element)
