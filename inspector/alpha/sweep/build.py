"""The grid of a calibration: each point's tables are read once, and every rule is asked at every alpha."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from qinspect.inspector.alpha.sweep.alphas import ALPHAS
from qinspect.inspector.alpha.sweep.grid import MSE, Float32, Float64, Grid, PointInfo
from qinspect.inspector.alpha.sweep.measure import Gauges, Measured
from qinspect.inspector.alpha.sweep.rules import BITS, WITH_ALPHA, WITHOUT
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.distribution import MagnitudeTable, Rank
from qinspect.inspector.distribution.quantile import Floats
from qinspect.inspector.distribution.quantization import q_max
from qinspect.inspector.observers import NamedRule
from qinspect.inspector.progress import Steps
from qinspect.inspector.values.clipping import MAX_MAGNITUDES

T = TypeVar("T")
WORKERS = 4
"""Threads: each holds the tables of one point, some 60 MB for 512 samples. More only wait for the interpreter."""
POOLED = next(i for i, r in enumerate(WITH_ALPHA) if r.name == "pooled")


@dataclass(frozen=True, slots=True)
class _Rows:
    """What one point adds to the grid. rows: of each rule with an alpha, which of `ranges`. ranges, beyond: float32[u,
    A]. clipped, sqnr_db: float32[u, B, A]."""

    info: PointInfo
    rows: list[int]
    ranges: Float32
    beyond: Float32
    clipped: Float32
    sqnr_db: Float32


def build(calibration: Calibration, progress: Steps | None = None) -> Grid:
    """Everything that the explorer shows. Raises BrokenFile where tables are damaged."""
    alphas = np.array(ALPHAS)

    def of_point(name: str) -> tuple[_Rows, Float32]:
        pooled = calibration.pooled(name)
        gauges = _gauges(pooled)
        rows = _rows(calibration, name, pooled, gauges, alphas)
        return rows, _fixed(gauges, rows, calibration.points[name].dtype)

    found = _each(of_point, list(calibration.points), progress)
    fixed = np.stack([f for _, f in found], axis=-1)
    return _joined([rows for rows, _ in found], alphas, fixed)


def at_alpha(calibration: Calibration, grid: Grid, alpha: float, progress: Steps | None = None) -> Grid:
    """The points of `grid` at one alpha that it does not have: exact, and measured against the same optimum."""
    alphas = np.array([alpha])

    def of_point(name: str) -> _Rows:
        pooled = calibration.pooled(name)
        return _rows(calibration, name, pooled, _gauges(pooled), alphas)

    return _joined(_each(of_point, grid.names, progress), alphas, grid.fixed)


def _each(of_point: Callable[[str], T], names: Sequence[str], progress: Steps | None) -> list[T]:
    """Of each name, on several threads: much of the time goes into inflating tables, which needs no interpreter."""
    made: list[T] = []
    with ThreadPoolExecutor(WORKERS, "alphas") as pool:
        try:
            for found in pool.map(of_point, names):
                made.append(found)
                if progress:
                    progress(len(made), len(names))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return made


def _gauges(pooled: MagnitudeTable) -> Gauges:
    return Gauges(pooled if pooled.magnitudes.size <= MAX_MAGNITUDES else pooled.coarse())


def _rows(calibration: Calibration, name: str, pooled: MagnitudeTable, gauges: Gauges, alphas: Float64) -> _Rows:
    samples = calibration.tables(name) if calibration.keeps_samples(name) else []
    instead = _why_pooled(pooled, samples)
    rules = [WITH_ALPHA[POOLED]] if instead else list(WITH_ALPHA)
    ranges = _ranges(rules, pooled, samples, alphas)
    found = [[_measured(gauges, r, w_max, bits) for bits in BITS] for r, w_max in zip(rules, ranges, strict=True)]
    exact = pooled.exact and all(t.exact for t in samples)
    point = calibration.points[name]
    reached = calibration.applied(name, 1.0).alpha is not None
    info = PointInfo(name, point.dtype, pooled.n, len(samples), point.rotated, exact, reached, instead)
    return _Rows(
        info, [rules.index(r) if r in rules else 0 for r in WITH_ALPHA], ranges,
        np.array([of_bits[0].beyond for of_bits in found], np.float32),
        np.array([[m.clipped for m in of_bits] for of_bits in found], np.float32),
        np.array([[m.sqnr_db for m in of_bits] for of_bits in found], np.float32),
    )  # fmt: skip


def _why_pooled(pooled: MagnitudeTable, samples: Sequence[MagnitudeTable]) -> str:
    """Why rules over samples have no answer; empty where they have one."""
    if not samples:
        return "only the sum of all samples was kept" if pooled.n else "the run saw no value there"
    if not all(t.n for t in samples):
        return "a sample has no value there"
    if not all(c.can_use(samples, True) for c in WITH_ALPHA if c.per_sample):
        return "a sample has more values than torch.quantile takes"
    return ""


def _ranges(
    rules: Sequence[NamedRule], pooled: MagnitudeTable, samples: Sequence[MagnitudeTable], alphas: Float64
) -> Float32:
    """float32[u, A]: where a table is not exact the largest that the range can be."""
    ranges = np.full((len(rules), alphas.size), np.nan, np.float32)
    if not pooled.n:
        return ranges
    of_samples: dict[Rank, list[Floats]] = {}
    for i, named in enumerate(rules):
        if not named.per_sample:
            ranges[i] = named.at().w_max_at([pooled.upper], alphas)
            continue
        if named.rank not in of_samples:  # the rules differ in what they make of the same quantiles
            of_samples[named.rank] = [t.upper.quantile(alphas, named.rank) for t in samples]
        ranges[i] = named.at().w_max_of(of_samples[named.rank])
    return ranges


def _measured(gauges: Gauges, named: NamedRule, w_max: Float32, bits: int) -> Measured:
    return gauges.at(w_max, named.scales(w_max, bits), bits)


def _fixed(gauges: Gauges, rows: _Rows, dtype: str) -> Float32:
    """float32[5, F, B]: range, scale, and what they do, of the rules without an alpha."""
    fixed = np.full((5, len(WITHOUT), len(BITS)), np.nan, np.float32)
    if not gauges.table.n:
        return fixed
    for b, bits in enumerate(BITS):
        for f, named in enumerate(WITHOUT):
            rule = named.at(bits=bits, dtype=dtype)
            w_max = rule.w_max([gauges.table])
            scale = rule.scale_of_range(w_max)
            fixed[:, f, b] = _numbers(gauges, w_max, scale, bits)
        best = _best_row(rows, b, bits)
        if best is not None and best[1] > fixed[4, MSE, b]:
            fixed[:, MSE, b] = _numbers(gauges, best[0] * q_max(bits), best[0], bits)
    return fixed


def _numbers(gauges: Gauges, w_max: float, scale: float, bits: int) -> tuple[float, ...]:
    if not (np.isfinite(scale) and scale > 0):
        return w_max, np.nan, np.nan, np.nan, np.nan
    m = gauges.at(np.array([w_max]), np.array([scale], np.float32), bits)
    return w_max, scale, float(m.beyond[0]), float(m.clipped[0]), float(m.sqnr_db[0])


def _best_row(rows: _Rows, b: int, bits: int) -> tuple[float, float] | None:
    """The scale of least error that some alpha gives, and its SQNR."""
    sqnr = rows.sqnr_db[:, b]
    if np.isnan(sqnr).all():
        return None
    at = np.unravel_index(int(np.nanargmax(sqnr)), sqnr.shape)
    return float(WITH_ALPHA[0].scales(rows.ranges[at], bits)), float(sqnr[at])


def _joined(made: Sequence[_Rows], alphas: Float64, fixed: Float32) -> Grid:
    starts = np.cumsum([0, *(len(m.ranges) for m in made)])
    rows = np.array([[m.rows[r] for m in made] for r in range(len(WITH_ALPHA))], np.int32).reshape(len(WITH_ALPHA), -1)
    ranges, beyond, clipped, sqnr_db = (
        np.concatenate([getattr(m, part) for m in made]) for part in ("ranges", "beyond", "clipped", "sqnr_db")
    )
    points = tuple(m.info for m in made)
    return Grid(points, alphas, rows + starts[:-1].astype(np.int32), ranges, beyond, clipped, sqnr_db, fixed)
