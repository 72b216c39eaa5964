"""What codes, values and originals show of how the codes were made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.element import Element
from qinspect.inspector.method.factors import ENOUGH, Factors, factors_of
from qinspect.inspector.method.layout import Layout
from qinspect.inspector.method.rounding import Bounds, allowed, beyond, bounds_of
from qinspect.inspector.method.rules import Extremes, rounding_of, rules_for, tolerance_of
from qinspect.inspector.method.share import Share
from qinspect.inspector.method.steps import Steps, steps_of
from qinspect.inspector.method.twice import Formats, first_in_blocks, first_quantizations

Numbers = NDArray[np.float64]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a weight that are looked at.

    original: float64[rows, columns] of the base model. codes, values: of the same shape, as stored and dequantized.
    element, layout: of the codes. scale_dtype: that the scales are stored in. zero_dtype: that zero points are stored
    in where they are no integers, else "". rows_of: how many the weight has.
    effective: gives what stands for the original with all that its family adds, a second product too; None where that
    is `values`.
    through_zero: whether a level of zero stands for zero: no zero point is stored, and no minimum. extremes: of all of
    it, where its cells reach through all rows. aligned: whether the rows are whole blocks of 128.
    largest: gives the largest magnitude of the whole original, which is asked for only where it matters. places: which
    rows of the weight they are.
    """

    original: Numbers
    codes: Array
    values: Numbers
    element: Element
    layout: Layout
    scale_dtype: str
    rows_of: int
    effective: Callable[[], Numbers | None] | None = None
    through_zero: bool = True
    extremes: Extremes | None = None
    aligned: bool = False
    largest: Callable[[], float] = lambda: math.nan
    places: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    zero_dtype: str = ""


@dataclass(frozen=True, slots=True)
class Scales:
    """How the steps go with the extremes of their cells.

    rule: the convention that most cells have. at_rule: the share that has it. ratio: first percentile, median and 99th
    of step / rule. at_four: the share of cells of a 4-bit float whose largest value stands at 4 rather than 6.
    anchored: of codes with a zero point, the share of cells where it is where their extremes put it, or whole and next
    to that.
    """

    rule: str
    at_rule: Share
    ratio: tuple[float, float, float]
    at_four: Share
    anchored: Share


@dataclass(frozen=True, slots=True)
class Columns:
    """Of input channels whose originals are not all 0: how many have no code but nearest ones (by a scale that is
    rounded to the stored one), which is the first of these, -1 where there is none; and how many would have, if the
    codes that are not the nearest fell anywhere alike."""

    n_nearest: int
    first: int
    by_chance: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of one weight.

    rows, rows_of: looked at, and all. n: codes with a step that is known. cosine: of originals and values. nearest: the
    share of codes that are the nearest ones, up to the arithmetic of a quantizer; nearest_before: that
    are so by a scale that is rounded to the stored one; at_middles: that would be if the original were moved by up to
    a twentieth of a step; within_one: by up to half a step. columns: what is seen by input channel, where codes are
    not the nearest. scales: against the original's extremes. factors: of channels,
    where they were looked for; scales_by_factor: of the original times them. low_rank: the codes are those of what a
    second product leaves. twice: the format that the original was in before, "" where none explains the codes;
    nearest_twice: the share of nearest codes then.
    """

    rows: int
    rows_of: int
    n: int
    cosine: float
    nearest: Share
    nearest_before: Share
    at_middles: Share
    within_one: Share
    columns: Columns
    scales: Scales | None
    factors: Factors | None = None
    scales_by_factor: Scales | None = None
    low_rank: bool = False
    twice: str = ""
    nearest_twice: Share | None = None


def measure(sample: Sample) -> Evidence | None:
    """None where a code alone is no number, or no cell shows its step."""
    bounds = bounds_of(sample.element)
    if bounds is None or not sample.codes.size:
        return None
    level, low, high = bounds.of(sample.codes)
    steps = steps_of(sample.layout.cut(level), sample.layout.cut(sample.values), sample.through_zero)
    step = sample.layout.spread(steps.step, level.shape)
    offset = sample.layout.spread(steps.offset, level.shape)
    known = np.isfinite(step) & np.isfinite(level) & np.isfinite(sample.original)
    n = int(np.count_nonzero(known))
    if not n:
        return None
    seen = _Seen(sample, level, low, high, step, offset, known)
    off = seen.off(sample.original)
    shares = off.shares()
    scales = _scales(sample, bounds, steps, sample.original, sample.extremes)
    found = Evidence(
        len(sample.original),
        sample.rows_of,
        n,
        _cosine(sample.original, sample.values),
        *shares,
        off.columns(shares[1].value),
        scales,
    )
    if max(found.nearest.value, found.nearest_before.value) >= ENOUGH or found.cosine < UNRELATED:
        return found
    return _looked_further(found, seen, steps, bounds)


UNRELATED = 0.5
"""Below this cosine the two are not one weight."""


@dataclass(frozen=True, slots=True)
class _Seen:
    sample: Sample
    level: Numbers
    low: Numbers
    high: Numbers
    step: Numbers
    offset: Numbers
    known: Array

    def off(self, original: Numbers) -> _Off:
        """How far the codes would be from the nearest ones if the original were this."""
        with np.errstate(all="ignore"):
            x = (original - self.offset) / self.step
            out = beyond(x, self.low, self.high) - allowed(x, self.level)
            of_zeros = rounding_of(self.sample.zero_dtype) * np.abs(self.offset / self.step)
            rounded = tolerance_of(self.sample.scale_dtype) * np.abs(x) + of_zeros
            half = np.where(np.isfinite(self.high - self.low), (self.high - self.low) / 2, 0.5)
        return _Off(original, self.known, out, rounded, half)

    def first(self, rows: int, columns: int | None = None) -> _Seen:
        """The first rows of it, and columns of them."""
        s, some = self.sample, np.s_[:rows, :columns]
        part = replace(s, original=s.original[some], codes=s.codes[some], values=s.values[some])
        of_codes = (self.level, self.low, self.high, self.step, self.offset, self.known)
        return _Seen(part, *(x[some] for x in of_codes))

    def limits(self) -> tuple[Numbers, Numbers]:
        """Between which originals each stored code would be the nearest; NaN where its step is not known."""
        with np.errstate(all="ignore"):
            slack = allowed(self.level, self.level)
            first = self.offset + self.step * (self.low - slack)
            second = self.offset + self.step * (self.high + slack)
            return np.fmin(first, second), np.fmax(first, second)


@dataclass(frozen=True, slots=True)
class _Off:
    """out: how far each original lies beyond what a quantizer's arithmetic would round to its code. rounded: how far
    the rounding of scale and zero point alone could have put it there. half: half a step. All in steps."""

    original: Numbers
    known: Array
    out: Numbers
    rounded: Numbers
    half: Numbers

    def shares(self) -> tuple[Share, Share, Share, Share]:
        """(nearest, nearest before, at middles, within one) of the codes."""
        n = int(np.count_nonzero(self.known))
        most_out: tuple[Numbers | float, ...] = (0.0, self.rounded, np.maximum(self.rounded, _AT_MIDDLE), self.half)
        nearest, before, middles, within = (
            Share(int(np.count_nonzero(self.known & (self.out <= most))), n) for most in most_out
        )
        return nearest, before, middles, within

    def columns(self, nearest_before: float) -> Columns:
        """By input channel. nearest_before: the share of all codes."""
        moved = (self.known & (self.out > self.rounded)).any(axis=0)
        n_rows = np.count_nonzero(self.known & (self.original != 0), axis=0)
        seen = n_rows > 0
        steady = np.flatnonzero(seen & ~moved)
        by_chance = float((nearest_before ** n_rows[seen]).sum())
        return Columns(len(steady), int(steady[0]) if len(steady) else -1, by_chance)


def _looked_further(found: Evidence, seen: _Seen, steps: Steps, bounds: Bounds) -> Evidence:
    """With what explains codes that are not the nearest ones: a factor of each channel, what a second product leaves,
    or a first rounding. A part of large weights decides; what is found is then measured on all rows that were read."""
    sample = seen.sample
    least, most = seen.limits()
    some = np.s_[:_TRIAL_ROWS, :_TRIAL_COLUMNS]
    trial = factors_of(sample.original[some], least[some], most[some])
    if trial.nearest.value >= ENOUGH:
        factors = factors_of(sample.original, least, most)
        extremes = None if sample.layout.whole else sample.extremes
        by_factor = _scales(sample, bounds, steps, factors.of(sample.original), extremes)
        return replace(found, factors=factors, scales_by_factor=by_factor)
    found = replace(found, factors=trial)
    effective = sample.effective() if sample.effective else None
    if effective is not None:
        beside = factors_of(sample.original - effective, least - sample.values, most - sample.values)
        if beside.nearest.value >= ENOUGH:
            return replace(found, factors=beside, low_rank=True)
    return _quantized_before(found, seen)


def _quantized_before(found: Evidence, seen: _Seen) -> Evidence:
    """With the format that explains the codes, if one does: each is tried on little, and what fits there on more."""
    sample = seen.sample
    rows = max(_BLOCK, _TRIAL_ELEMENTS // sample.original.shape[1])
    aligned = sample.aligned and len(sample.original) >= _BLOCK
    trials: list[tuple[Formats, _Seen]] = [(first_quantizations, seen.first(_FEW_ROWS))]
    if aligned:
        trials.append((first_in_blocks, seen.first(_BLOCK, _FEW_COLUMNS)))
    largest = sample.largest()
    for formats, few in trials:
        for name, of in formats(largest):
            if few.off(of(few.sample.original)).shares()[0].value < _NEARLY:
                continue
            part = seen.first(rows if formats is first_quantizations else rows // _BLOCK * _BLOCK)
            nearest, *_ = part.off(of(part.sample.original)).shares()
            if nearest.value >= ENOUGH:
                return replace(found, twice=name, nearest_twice=nearest)
    return found


_AT_MIDDLE = 0.05
"""Steps around the middle of two codes in which a quantizer of another arithmetic may take the other one."""
_TRIAL_ROWS, _TRIAL_COLUMNS = 256, 512
_TRIAL_ELEMENTS = 1 << 18
_BLOCK = 128
"""Rows of a block of FP8."""
_FEW_ROWS, _FEW_COLUMNS = 8, 256
_NEARLY = 0.95
"""The share of nearest codes of a few rows below which it is not the one that is looked for of many."""


def _cosine(a: Numbers, b: Numbers) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(both, a, 0.0), np.where(both, b, 0.0)
    size = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / size if size else math.nan


def _scales(
    sample: Sample, bounds: Bounds, steps: Steps, original: Numbers, extremes: Extremes | None
) -> Scales | None:
    cells = sample.layout.cut(original)
    if extremes is None:
        if sample.layout.whole and sample.rows_of != len(original):
            return None
        with np.errstate(all="ignore"):
            extremes = np.fmin.reduce(cells, axis=1), np.fmax.reduce(cells, axis=1)
    step = np.abs(steps.step)
    with np.errstate(all="ignore"):
        known = np.isfinite(step) & (np.maximum(np.abs(extremes[0]), np.abs(extremes[1])) > 0)
        if not known.any():
            return None
        powers = bool((np.frexp(step[known])[0] == 0.5).all())
        tolerance = tolerance_of(sample.scale_dtype)
        best: tuple[int, float, str, Numbers] | None = None
        for name, of in rules_for(sample.element, sample.through_zero, powers):
            ratio = step[known] / of(extremes)[known]
            n = int(np.count_nonzero(np.abs(ratio - 1) <= tolerance))
            median = float(np.median(ratio))
            off = abs(math.log(median)) if median > 0 else math.inf
            if best is None or (n, -off) > (best[0], -best[1]):
                best = n, off, name, ratio
    assert best is not None
    n, _, name, ratio = best
    four = np.count_nonzero(np.abs(ratio / 1.5 - 1) <= tolerance) if sample.element.q_max == _LARGEST_OF_FP4 else 0
    low, median, high = (float(q) for q in np.quantile(ratio, (0.01, 0.5, 0.99)))
    n_cells = int(np.count_nonzero(known))
    anchored = n_cells if sample.through_zero else _n_anchored(sample, bounds, steps, extremes, known)
    return Scales(name, Share(n, n_cells), (low, median, high), Share(int(four), n_cells), Share(anchored, n_cells))


_LARGEST_OF_FP4 = 6


def _n_anchored(sample: Sample, bounds: Bounds, steps: Steps, extremes: Extremes, known: Array) -> int:
    """Of cells with a zero point, those where it is where the extremes put it: an outermost code stands for the extreme
    original on its side (or for 0), to the rounding of what is stored; or the zero point is the integer next to where
    it then were."""
    step, offset = steps.step[known], steps.offset[known]
    with np.errstate(all="ignore"):
        ends = [offset + step * level for level in (np.nanmin(bounds.level), np.nanmax(bounds.level))]
        low, high = np.minimum(*ends), np.maximum(*ends)
        least, most = (e[known] for e in extremes)
        below = np.minimum(np.abs(low - least), np.abs(low - np.minimum(least, 0))) / np.abs(step)
        above = np.minimum(np.abs(high - most), np.abs(high - np.maximum(most, 0))) / np.abs(step)
        zero = -offset / step
        exact = _ARITHMETIC_OF_ZEROS + rounding_of(sample.scale_dtype) * np.abs(zero)
        whole = np.abs(zero - np.rint(zero)) <= exact
    return int(np.count_nonzero((np.minimum(below, above) <= exact) | (whole & (below <= _HALF_A_STEP))))


_HALF_A_STEP = 0.55
"""With room for the rounding of the scale."""
_ARITHMETIC_OF_ZEROS = 0.05
"""Steps that a zero point may be off by the arithmetic of a quantizer."""
