"""The cell of each dequantized value: all numbers that rounding makes the same code of, at the value's own scale.

A histogram whose bins are not the cells counts some bins twice and others never: a comb, which the data do not have.
Spread over their cells, values of any codes and any scales show what was rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.formats.grid import Grid
from qinspect.inspector.progress import Steps
from qinspect.inspector.values.inspection import row_blocks
from qinspect.inspector.values.statistics import as_codes

Array = NDArray[Any]

READ_ELEMENTS = 1 << 20
"""Values whose cells are in memory at a time."""
_ALIKE = 0.02
"""Neighbours of one scale have steps that differ by less: a value in bfloat16 is off by 2^-9."""


class Cells(NamedTuple):
    """Flat float64 of one size: values, and the ends of their cells; both the value where it has none."""

    values: Array
    low: Array
    high: Array


CellChunks = Callable[[], Iterable[Cells]]


def weight_cells(fmt: Format, weight: QuantizedWeight, check: Steps) -> CellChunks | None:
    """The cells of a weight's values, block by block. None where a code alone is no number, or values are more than a
    scale times what codes stand for: those of a rotated weight. Raises CannotRead."""
    element = fmt.element_of(weight)
    if element.kind in (ElementKind.VECTOR, ElementKind.UNKNOWN) or weight.rotation is not None:
        return None

    def blocks() -> Iterator[Cells]:
        for start, stop in row_blocks(weight, READ_ELEMENTS):
            check(start, weight.shape[0] if weight.shape else 1)
            codes = as_codes(np.asarray(fmt.codes(weight, start, stop)))
            values = np.asarray(fmt.dequantize(weight, start, stop)).astype(np.float64)
            yield cells_of(element, weight.grid, codes, values)

    first = next(iter(blocks()), None)
    return blocks if first is not None and (first.high > first.low).any() else None


@np.errstate(all="ignore")
def cells_of(element: Element, grid: Grid, codes: Array, values: Array) -> Cells:
    """codes, values: of one shape. grid: of the finest scale, asked for where zero points are stored."""
    points = Cells(*(values.reshape(-1),) * 3)
    if codes.shape != values.shape or not values.size:
        return points
    codes, values = (np.atleast_2d(x).reshape(-1, x.shape[-1] if x.ndim else 1) for x in (codes, values))
    worth = element.values(codes)
    if worth is None:
        step = _steps_of_groups(grid, codes, values)
        low, high = values - step / 2, values + step / 2
    else:
        found = _filled(np.where(np.isfinite(worth) & (worth != 0), values / worth.astype(np.float64), np.nan))
        if found is None:
            return points
        below, above = _between(element)
        at = codes - element.code_range[0]
        low, high = found * below[at], found * above[at]
        moved = np.where(worth == 0, values, 0.0)  # a zero code that is not worth 0 has something added
        low, high = np.where(moved == 0, low, np.nan), np.where(moved == 0, high, np.nan)
    known = np.isfinite(low) & np.isfinite(high)
    ends = (np.where(known, x, values).reshape(-1) for x in (np.minimum(low, high), np.maximum(low, high)))
    return Cells(values.reshape(-1), *ends)


@lru_cache(16)
def _between(element: Element) -> tuple[Array, Array]:
    """float64, by code from the least: half-way to the levels beside what it stands for. Integers beyond the last ones
    were rounded to them as far as half a step; a float, or a table, ends at its largest number."""
    low, high = element.code_range
    worth = element.values(np.arange(low, high + 1))
    assert worth is not None
    worth = worth.astype(np.float64)
    levels = np.unique(worth[np.isfinite(worth)])
    middles = (levels[1:] + levels[:-1]) / 2
    over = 0.5 if element.kind is ElementKind.INTEGER else 0.0
    below, above = np.append(levels[0] - over, middles), np.append(middles, levels[-1] + over)
    at = np.clip(np.searchsorted(levels, worth), 0, levels.size - 1)
    known = np.isfinite(worth)
    return np.where(known, below[at], np.nan), np.where(known, above[at], np.nan)


def _filled(steps: Array) -> Array | None:
    """Steps with those of zeros, which are not known, from their neighbours: along rows, or along columns where that is
    how scales lie. None where neighbours have nothing to do with each other."""
    for across in (False, True):
        turned = steps.T if across else steps
        a, b = turned[:, 1:], turned[:, :-1]
        both = np.isfinite(a) & np.isfinite(b)
        alike = np.abs(a - b) <= _ALIKE * np.abs(a)
        if not both.any() or np.count_nonzero(alike & both) * 2 > np.count_nonzero(both):
            filled = _forward(_forward(turned)[:, ::-1])[:, ::-1]
            return filled.T if across else filled
    return None


def _forward(steps: Array) -> Array:
    at = np.where(np.isfinite(steps), np.arange(steps.shape[1]), 0)
    return np.take_along_axis(steps, np.maximum.accumulate(at, axis=1), axis=1)


def _steps_of_groups(grid: Grid, codes: Array, values: Array) -> Array:
    """The step of each value by the two ends of its group; nan where its group has one level, or no straight line."""
    shape = values.shape
    size = grid.group_size or shape[1]
    if grid.flattened and values.size % size == 0:
        codes, values = codes.reshape(-1, size), values.reshape(-1, size)
    starts = np.arange(0, values.shape[1], size)
    lengths = np.diff(np.append(starts, values.shape[1]))

    def each(of: np.ufunc, x: Array) -> Array:
        return np.repeat(of.reduceat(x, starts, axis=1), lengths, axis=1)

    least, most = each(np.minimum, codes), each(np.maximum, codes)
    low, high = each(np.minimum, values), each(np.maximum, values)
    step = np.where(most > least, (high - low) / np.maximum(most - least, 1), np.nan)
    rising = np.abs(values - (low + step * (codes - least))) <= 0.3 * step
    falling = np.abs(values - (high - step * (codes - least))) <= 0.3 * step  # of a negative scale
    straight = each(np.logical_and, rising) | each(np.logical_and, falling)
    return np.where(straight, step, np.nan).reshape(shape)


_MANTISSA = {"bfloat16": 7, "float8_e4m3fn": 3, "float8_e4m3fnuz": 3, "float8_e5m2": 2, "float8_e5m2fnuz": 2}
"""Stored bits of the mantissa of floats that are so coarse that a histogram shows their steps."""


def float_cells(dtype: str, chunks: Callable[[], Iterable[Array]]) -> CellChunks | None:
    """The cells of numbers that are stored in a coarse float; None of any other dtype. Subnormal ones are taken as
    normal: their cells are smaller than they are."""
    bits = _MANTISSA.get(dtype)
    if bits is None:
        return None

    def blocks() -> Iterator[Cells]:
        for chunk in chunks():
            x = np.asarray(chunk, np.float64).reshape(-1)
            fraction, exponent = np.frexp(np.abs(np.where(np.isfinite(x), x, 0.0)))
            half = np.ldexp(1.0, exponent - bits - 2)
            inner = np.where(fraction == 0.5, half / 2, half)  # below a power of two the next number is nearer
            outward, inward = np.sign(x) * half, np.sign(x) * inner
            low, high = np.minimum(x - inward, x + outward), np.maximum(x - inward, x + outward)
            yield Cells(x, np.where(x == 0, x, low), np.where(x == 0, x, high))

    return blocks
