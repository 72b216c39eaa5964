"""The best that a search found: what each block of a weight would have lost with the best of some scales around that of
the largest magnitude, its codes rounded again, on the grid of the stored codes.

It is a bound on nothing: other scales, and codes that are not the nearest, may lose less, and a method that looks at
activations gives up error of weights for that of outputs. Blocks are those of rows that are drawn, always the same ones
of a weight, until they are enough, or all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.cores import n_cores
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity import blocks
from qinspect.inspector.fidelity.blocks import Unit
from qinspect.inspector.fidelity.measuring import MOST_WORKERS
from qinspect.inspector.fidelity.nearest import (
    NearestGrid,
    Rule,
    ends_of_cells,
    errors_of_cells,
    outer_of,
    steps_of,
)
from qinspect.inspector.fidelity.pairs import pairs_of
from qinspect.inspector.fidelity.piece import largest_of
from qinspect.inspector.fidelity.results import SEED, Best, Fidelity, WeightFidelity
from qinspect.inspector.fidelity.sums import values_of
from qinspect.inspector.fidelity.work import Work, works_of
from qinspect.inspector.formats.element import small_float
from qinspect.inspector.progress import Progress, unseen

Array = NDArray[Any]

ENOUGH_BLOCKS = 4096
LEAST_ROWS = 16
"""Rows of blocks, of which the standard error is taken: the blocks of one row are not independent."""
SHRINKS = tuple(1 - i / 64 for i in range(33))
"""What the largest magnitudes are multiplied by, where a scale can be any number."""
BYTES_AROUND = 8
"""Where a scale is a small float or a power of two: so many of these above and below."""


def with_best(found: Fidelity, everything: bool, progress: Progress = unseen) -> Fidelity:
    """The same with the best found of each quantized weight whose grid is known, of some blocks, or of `everything`.

    progress: in weights, from this thread; it may raise to cancel. What cannot be read any more has the reason instead.
    """
    has_nearest = [(i, w) for i, w in enumerate(found.weights) if w.nearest is not None]
    wanted = {(w.role, w.a, w.b): i for i, w in has_nearest if not w.undone}
    pairs = [p for p in pairs_of(found.a, found.b, lambda _: None)[0] if (p.role, p.a.name, p.b.name) in wanted]
    works = works_of(found.a, found.b, pairs, progress, None)
    weights = list(found.weights)
    for i, w in has_nearest:
        if w.undone:
            weights[i] = replace(w, best=Best(None, None, None, 0, 0, "nothing is searched where something was undone"))
    stop = threading.Event()
    with ThreadPoolExecutor(min(MOST_WORKERS, n_cores()), thread_name_prefix="best-found") as pool:
        try:
            futures = [pool.submit(_of, work, everything, stop) for work in works]
            for i, (work, future) in enumerate(zip(works, futures, strict=True)):
                progress("searching for better scales", i, len(works))
                at = wanted[work.pair.role, work.pair.a.name, work.pair.b.name]
                weights[at] = replace(weights[at], best=_in_db(weights[at], future.result()))
        finally:
            stop.set()
    return replace(found, weights=tuple(weights))


@dataclass(frozen=True, slots=True, eq=False)
class _Errors:
    """stored, best: the squared errors of each of the rows of blocks that were drawn, of `n_rows`. n_blocks: how many
    blocks these are, of `n_all`. said: what was tried."""

    stored: Array
    best: Array
    n_blocks: int
    n_all: int
    n_rows: int
    said: str


def _in_db(w: WeightFidelity, found: _Errors | str) -> Best:
    if isinstance(found, str):
        return Best(None, None, None, 0, 0, found)
    stored, best = float(found.stored.sum()), float(found.best.sum())
    loss = error = None
    if stored > 0 and best > 0 and math.isfinite(w.sums.sqnr) and not w.factors:
        loss = 10 * math.log10(stored / best)
        error = _standard_error(found) if found.n_blocks < found.n_all else None
    sqnr = w.sums.sqnr + loss if loss is not None else math.inf if best == 0 else None
    return Best(sqnr, loss, error, found.n_blocks, found.n_all, found.said)


def _standard_error(found: _Errors) -> float:
    """Of the loss in dB, a ratio of two sums over rows that were drawn without putting back."""
    n = len(found.stored)
    apart = found.stored / found.stored.mean() - found.best / found.best.mean()
    left = 1 - n / found.n_rows
    return 10 / math.log(10) * math.sqrt(left * float(apart.var(ddof=1)) / n)


def _of(work: Work, everything: bool, stop: threading.Event) -> _Errors | str:
    if isinstance(work.grid, str):
        return work.grid
    try:
        return _searched(work, work.grid, everything, stop)
    except QinspectError as e:
        return str(e)


def _searched(work: Work, grid: NearestGrid, everything: bool, stop: threading.Event) -> _Errors:
    if grid.of_whole:
        for unit in blocks.units_of(work.pair, work.together):
            if stop.is_set():
                break
            work.largest = max(work.largest, largest_of(work, unit))
    n_rows, n_columns = work.pair.shape
    whole = grid.of_whole and grid.rule is not Rule.TWO_LEVELS
    height = 1 if whole else min(grid.cells.rows, n_rows)
    width = min(grid.cells.columns, n_columns)
    across, down = -(-n_columns // width), -(-n_rows // height)
    drawn = _drawn(down, down if everything else max(LEAST_ROWS, -(-ENOUGH_BLOCKS // across)))
    stored, best = [], []
    for first, n in _runs(drawn, max(1, blocks.UNIT_ELEMENTS // (height * n_columns))):
        if stop.is_set():
            break
        rows = min(n * height, n_rows - first * height)
        unit = Unit(first * height * n_columns, rows, n_columns, first * height, True)
        a, d = map(grid.rotated, _values(work, unit))
        squared = np.einsum("ij,ij->i", d, d)
        stored.append(np.add.reduceat(squared, np.arange(0, rows, height)))
        best.append(_of_rows(a, grid, height, width, work.largest, whole))
    # one scale of all: the one that is best for all of them together, else that of each block
    every = np.concatenate(best, axis=1)
    of_rows = every[every.sum(axis=1).argmin()] if whole else every[0]
    return _Errors(np.concatenate(stored), of_rows, len(drawn) * across, down * across, down, search_said(grid))


def _drawn(n: int, wanted: int) -> Array:
    """Rows of blocks, in order, without putting back."""
    if wanted >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(SEED).choice(n, wanted, replace=False))


def _runs(drawn: Array, most: int) -> Iterator[tuple[int, int]]:
    """(first, how many) of those that follow one another, at most so many."""
    ends = np.flatnonzero(np.diff(drawn) != 1) + 1
    for run in np.split(drawn, ends):
        for start in range(0, len(run), most):
            yield int(run[start]), len(run[start : start + most])


def _values(work: Work, unit: Unit) -> tuple[Array, Array]:
    """float32 of A, and float64 of B - A, zero where one of them is not finite."""
    a, b = map(values_of, blocks.stored_of(work.pair, unit))
    with np.errstate(all="ignore"):
        x = a.astype(np.float32)
        d = b.astype(np.float64) - a.astype(np.float64)
    bad = ~np.isfinite(d)
    if bad.any():
        x[bad] = d[bad] = 0
    return x, d


def _of_rows(x: Array, grid: NearestGrid, height: int, width: int, largest: float, whole: bool) -> Array:
    """float64[1, rows of blocks]: the least error of each block, added up; of one scale for all, [candidates, rows]."""
    with np.errstate(all="ignore"):
        low, high = ends_of_cells(x, height, width)
        errors = (
            errors_of_cells(x, height, width, steps, grid) for steps in candidates(low, high, grid, np.float32(largest))
        )
        if whole:
            return np.stack([e.sum(axis=1) for e in errors])
        least = next(errors)
        for e in errors:
            np.minimum(least, e, out=least)
    found: Array = least.sum(axis=1)[None]
    return found


def candidates(low: Array, high: Array, grid: NearestGrid, largest: np.float32) -> Iterator[tuple[Array, Array, Array]]:
    """The steps, and the least and the largest that codes stand for, that are tried: as `steps_of`, whose own come
    first."""
    step, least, most = steps_of(low, high, grid, largest)
    if grid.rule is Rule.POWER:
        for k in _around():
            yield _usable(np.ldexp(step, k).astype(np.float32), step), least, most
    elif grid.rule is Rule.TWO_LEVELS:
        outer = outer_of(grid, largest)
        numbers = _positive(grid.scale)
        at = np.searchsorted((numbers[1:] + numbers[:-1]) / 2, step / outer)
        yield step, least, most
        for k in _around()[1:]:
            yield _usable(numbers[np.clip(at + k, 0, len(numbers) - 1)] * outer, step), least, most
    else:
        for shrink in SHRINKS:
            f = np.float32(shrink)
            yield steps_of(low * f, high * f, grid, largest * f)


def _around() -> list[int]:
    return sorted(range(-BYTES_AROUND, BYTES_AROUND + 1), key=abs)


def _usable(step: Array, other: Array) -> Array:
    return np.where((step > 0) & np.isfinite(step), step, other)


def _positive(dtype: str) -> Array:
    """float32: the positive numbers of a small float, in order."""
    worth = small_float(dtype).values(np.arange(256))
    assert worth is not None
    return np.sort(worth[np.isfinite(worth) & (worth > 0)])


def search_said(grid: NearestGrid) -> str:
    """Which scales are tried, for people."""
    if grid.rule in (Rule.POWER, Rule.TWO_LEVELS):
        return f"{BYTES_AROUND} scales above and {BYTES_AROUND} below that of the largest magnitude"
    return f"{len(SHRINKS)} scales from that of the largest magnitude down to {SHRINKS[-1]:g} of it"
