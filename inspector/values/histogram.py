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
from qinspect.inspector.values.code_cells import CellChunks, Cells
from qinspect.inspector.values.inspection import row_blocks
from qinspect.inspector.values.levels import Levels
from qinspect.inspector.values.statistics import count_codes

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of finite values.

    edges: [bins + 1], of the values, or of log10(|value|) where `logarithmic`. a, b: counts per bin; b None for one
    model. absmax_a, absmax_b: largest magnitude. range_a, range_b: smallest and largest on the axis, the first larger
    than the second where there is none. n_left_out: values that have no place (not finite; on a logarithmic axis,
    zeros). step: from level to level, where the bins follow levels that the values stand on, else 0. levels_a_bin: how
    many of them a bin holds. spread: whether the values of a model, that have other levels or scales of their own, are
    spread over their own steps.
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
    step: float = 0.0
    levels_a_bin: int = 0
    spread: bool = False


Chunks = Callable[[], Iterable[Array]]
REACH = 4
"""An axis grows at an end by at most its length through this."""
MOST_LEVELS = 1 << 17
"""Levels between two ends that are counted one by one: more are no levels of codes of up to 16 bits."""
_NARROW = 1e-9
"""Of an axis: a cell that is no wider is a place."""
_CHECKED = 1 << 16
"""Values that are looked at to see whether they stand on their levels."""


def histogram(
    a: Chunks,
    b: Chunks | None,
    bins: int,
    logarithmic: bool,
    zoom: tuple[float, float] | None = None,
    reach: Sequence[float] = (),
    levels: Sequence[Levels | None] = (),
    cells: Sequence[CellChunks | None] = (),
) -> Histogram:
    """Histogram of one or two streams on common bins, at most `bins`. Each stream is read twice: for its range, then
    for its counts.

    zoom: (low, high) of the axis, to look into a tail; default all values. reach: places that the axis shall show too,
    where that makes it no more than a quarter longer at an end. levels: on which the values of each stream stand. A bin
    then holds a whole number of levels, the same in all: else some would hold one more, and the picture a comb. Of two
    streams with other steps that is so of the wider; what stands on the other's levels is spread over its steps. cells:
    of each stream the same values with the cell of each, over which a value without such levels is spread.
    """
    streams = [chunks for chunks in (a, b) if chunks]
    ranges = [_range(chunks(), logarithmic) for chunks in streams]
    known = [
        _seen(chunks, lv, found[2]) for chunks, lv, found in zip(streams, [*levels, None, None], ranges, strict=False)
    ]
    spread = [None if lv else of for lv, of in zip(known, [*cells, None, None], strict=False)]
    reached = [_cells_range(of(), logarithmic) if of else r[:2] for of, r in zip(spread, ranges, strict=True)]
    low = min(r[0] for r in reached)
    high = max(r[1] for r in reached)
    spare = (high - low) / REACH if low < high else 0.0
    low = min([low, *(at for at in reach if low - spare <= at < low)])
    high = max([high, *(at for at in reach if high < at <= high + spare)])
    if logarithmic and not zoom and low <= high:  # a level's step reaches half of it further
        halves = [lv.step / 2 for lv in known if lv]
        low = min([low, *(math.log10(10**low - half) for half in halves if half < 10**low)])
        high = max([high, *(math.log10(10**high + half) for half in halves)])
    if zoom:
        low, high = zoom
    widest = max((lv for lv in known if lv), key=lambda lv: lv.step, default=None)
    if widest and not logarithmic and low <= high:
        edges, levels_a_bin = _edges_between_levels(low, high, bins, widest)
    else:
        if not low < high:
            middle = low if math.isfinite(low) else 0.0
            apart = abs(middle) * 0.01 or 1.0
            low, high = middle - apart, middle + apart
        edges, levels_a_bin = np.linspace(low, high, bins + 1), 0
    counts = [
        _count_levels(chunks(), edges, logarithmic, lv)
        if lv
        else _count_cells(of(), edges, logarithmic)
        if of
        else _count(chunks(), edges, logarithmic)
        for chunks, lv, of in zip(streams, known, spread, strict=True)
    ]
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
        widest.step if widest and levels_a_bin else 0.0,
        levels_a_bin,
        any(lv and (logarithmic or lv != widest) for lv in known) or any(of is not None for of in spread),
    )


def _seen(chunks: Chunks, levels: Levels | None, largest: float) -> Levels | None:
    """Levels, if the first values do stand on them and there are not too many up to the largest magnitude."""
    if levels is None or not 1 <= largest / levels.step <= MOST_LEVELS:
        return None
    first = next(iter(chunks()), None)
    stand = first is not None and levels.hold(_usable(first.reshape(-1)[:_CHECKED], False))
    return levels if stand else None


def levels_together(n: int, most: int) -> int:
    """How many of `n` levels a bin holds, for at most `most` bins: where there is such a number nearby, one that leaves
    no bin with fewer."""
    least = max(1, -(-n // max(1, most)))
    return next((k for k in range(least, 2 * least + 1) if n % k == 0), least)


def _edges_between_levels(low: float, high: float, bins: int, levels: Levels) -> tuple[Array, int]:
    """Edges half-way between two levels, and the levels of a bin."""
    first, last = round(low / levels.step), round(high / levels.step)
    together = levels_together(last - first + 1, bins)
    return (first - 0.5 + np.arange(0, last - first + 1 + together, together)) * levels.step, together


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


def _count_levels(chunks: Iterable[Array], edges: Array, logarithmic: bool, levels: Levels) -> Array:
    """As `_count`, of values on levels, each spread evenly over its step: what is between two edges, to the nearest
    whole number. Where edges are between levels it is what `_count` finds."""
    found = np.zeros(2 * MOST_LEVELS + 1, np.int64)
    for chunk in chunks:
        x = _usable(chunk, False)
        at = np.rint(np.asarray(x[x != 0] if logarithmic else x, np.float64) / levels.step).astype(np.int64)
        found += np.bincount((np.abs(at) if logarithmic else at) + MOST_LEVELS, minlength=found.size)
    seen = np.flatnonzero(found)
    if not seen.size:
        return np.zeros(len(edges) - 1, np.int64)
    of_level = found[seen[0] : seen[-1] + 1]
    between = (int(seen[0]) - MOST_LEVELS - 0.5 + np.arange(of_level.size + 1)) * levels.step
    up_to = np.interp(10.0**edges if logarithmic else edges, between, np.concatenate(([0], np.cumsum(of_level))))
    counts: Array = np.diff(np.rint(up_to)).astype(np.int64)
    return counts


def _placed(cells: Cells, logarithmic: bool) -> Cells:
    """Those that have a place on the axis; of magnitudes where it is logarithmic, which are not its logarithms yet."""
    known = np.isfinite(cells.values) & ((cells.values != 0) | (not logarithmic))
    x, low, high = (v[known] for v in cells)
    if not logarithmic:
        return Cells(x, low, high)
    inner, outer = np.minimum(np.abs(low), np.abs(high)), np.maximum(np.abs(low), np.abs(high))
    x = np.abs(x)
    return Cells(x, np.where((low < 0) & (high > 0), x / 2, inner), outer)


def _cells_range(chunks: Iterable[Cells], logarithmic: bool) -> tuple[float, float]:
    """The ends of all cells on the axis."""
    low, high = math.inf, -math.inf
    for chunk in chunks:
        cells = _placed(chunk, logarithmic)
        if cells.values.size:
            low, high = min(low, float(cells.low.min())), max(high, float(cells.high.max()))
    return (math.log10(low), math.log10(high)) if logarithmic and low <= high else (low, high)


def _count_cells(chunks: Iterable[Cells], edges: Array, logarithmic: bool) -> Array:
    """Values spread evenly over their cells: what is between two edges, to the nearest whole number.

    How many lie below an edge is, of each cell that begins before it, its part up to there: a sum of straight lines,
    whose slopes and whose starts are counted by the first edge that they reach.
    """
    ends = np.asarray(10.0**edges if logarithmic else edges, np.float64)
    n, origin = ends.size, float(ends[0])
    slopes, starts, whole = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    for chunk in chunks:
        x, low, high = _placed(chunk, logarithmic)
        first, last = np.searchsorted(ends, low), np.searchsorted(ends, high)
        narrow = high - low <= _NARROW * (ends[-1] - origin)
        inside = (first == last) | narrow  # within one bin; a value without a cell on its left edge belongs to it
        at = np.where(narrow, np.searchsorted(ends, x, "right"), first)[inside]
        at[x[inside] == ends[-1]] = n - 1
        whole += np.bincount(at, minlength=n + 1)
        first, last, low, high = (v[~inside] for v in (first, last, low, high))
        density = 1 / (high - low)
        slopes += np.bincount(first, density, n + 1) - np.bincount(last, density, n + 1)
        starts += np.bincount(first, density * (low - origin), n + 1) - np.bincount(
            last, density * (high - origin), n + 1
        )
    up_to = (np.cumsum(slopes) * np.append(ends - origin, 0.0) - np.cumsum(starts) + np.cumsum(whole))[:n]
    counts: Array = np.maximum(0, np.diff(np.rint(up_to))).astype(np.int64)
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
