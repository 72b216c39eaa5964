"""What must be true of an observer's scales, and the worked example whose numbers are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.finding import Finding, Numbers, Severity
from qinspect.inspector.observers import ROOM_ULPS, RULES, Ema, Rule
from qinspect.inspector.text import digits, number, some
from qinspect.inspector.verify.sweep import Row, Sweep, Yardstick, n_beyond, n_clipped, sweep

EXAMPLE = (*range(1, 100), 500)
"""The worked example: a hundred values, of which one is an outlier."""
EXAMPLE_RANKS: dict[float, tuple[float, str, str]] = {
    0.99: (103.01, "103.0109", "0.8111"),
    0.99999: (499.60301, "499.6023", "3.93388"),
    1.0: (500.0, "500", "3.93701"),
}
"""Of each alpha: the quantile with a float64 rank (numpy), which is exact; with a float32 rank (torch) and the 8-bit
scale of both, to the digits given."""
EMA_TOLERANCE = 3e-5
"""Relative: the roundings of a float32 average. Each is 2^-24 of it and loses a hundredth of its weight with each
sample, so a hundred samples' worth of them are left."""
SORT_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One alpha of the worked example: the quantile by numpy's rank and by torch's, the scale by torch's; `row` is of
    numpy's."""

    row: Row
    w_max_float64: float
    w_max_float32: float
    scale_float32: float


def _check(rule: str, passed: bool, text: str, numbers: Numbers) -> Finding:
    """What was looked at and why it is so."""
    return Finding(rule, text, Severity.FINE if passed else Severity.ERROR, numbers=numbers)


def finite(pooled: MagnitudeTable) -> Finding:
    """Every value is a finite number."""
    bad = pooled.n_nan + pooled.n_inf
    text = f"all {some(pooled.n, 'value')} are finite"
    if bad:
        text = (
            f"{pooled.n_nan:,} NaN and {pooled.n_inf:,} infinite of {some(pooled.n, 'value')}: one NaN makes every "
            "quantile NaN and an infinity those it touches, in torch too, and an average never forgets either. Ranges "
            "are not checked"
        )
    return _check("finite", not bad, text, {"values": pooled.n, "nan": pooled.n_nan, "infinite": pooled.n_inf})


def counted_as_sorted(first: NDArray[np.float32], counted: MagnitudeTable, alphas: Sequence[float]) -> Finding:
    """Quantiles from counts are those of the values themselves, sorted by numpy. counted: the table of `first`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        by_sorting = np.quantile(np.abs(first).astype(np.float64), alphas)
        from_counts = counted.quantile(alphas, "float64").astype(np.float64)
        apart = np.where(by_sorting == from_counts, 0.0, np.abs(from_counts - by_sorting) / by_sorting)
    apart = np.where(np.isnan(by_sorting) & np.isnan(from_counts), 0.0, apart)
    worst = float(apart.max(initial=0.0))
    same = worst <= SORT_TOLERANCE  # NaN is no pass
    text = (
        f"the first {some(first.size, 'value')}, sorted by numpy, and their counts give the same quantile at "
        f"{'every' if same else 'not every'} alpha (largest relative difference {worst:.1e})"
    )
    return _check("counted-as-sorted", same, text, {"values": first.size, "largest_difference": worst})


def monotone(s: Sweep) -> Finding:
    """No scale descends with alpha, but for the last bits of an average."""
    scales = np.array([[row.scale.low, row.scale.high] for row in s.rows], np.float32)
    room = ROOM_ULPS * np.spacing(np.abs(scales[1:]))
    step = np.diff(scales, axis=0)
    passed = bool((step >= -room).all() and np.isfinite(scales).all())
    low, high = float(scales[0, 0]), float(scales[-1, 1])
    text = f"{s.name}: the scale goes from {number(low)} at alpha {s.rows[0].alpha!r} to {number(high)} at alpha "
    text += f"{s.rows[-1].alpha!r}"
    if passed:
        text += " and never down: a quantile cannot fall as alpha rises, nor an average of them"
    else:
        where = int(np.argmax(~(step >= -room).all(axis=1))) if len(step) else 0
        at = s.rows[min(where + 1, len(s.rows) - 1)].alpha
        text += f", and at alpha {at!r} it falls or is not a number: a quantile cannot do that"
    return _check(
        f"monotone-{s.name}", passed, text,
        {"scale_at_lowest": _finite(low), "scale_at_highest": _finite(high), "alphas": len(s.rows)},
    )  # fmt: skip


def whole_range(pooled: MagnitudeTable, rule: Rule) -> Finding:
    """At alpha = 1 on all samples together w_max is the largest |x|: nothing is beyond it and no code saturates."""
    one = np.ones(1)
    w_max, scale = float(rule.w_max_at([pooled.upper], one)[0]), float(rule.scales_at([pooled.upper], one)[0])
    n = over = clipped = pooled.n - pooled.n_nan
    if math.isfinite(w_max):
        over, clipped = n_beyond(pooled, w_max), n_clipped(pooled, scale, rule.bits)
    passed = w_max == pooled.absmax and over == clipped == 0
    text = (
        f"all samples together at alpha = 1: w_max {digits(w_max)}, largest |x| {digits(pooled.absmax)}; "
        f"{over:,} of {n:,} values beyond it, {clipped:,} clipped: the last rank is the largest value"
    )
    numbers = {"w_max": _finite(w_max), "largest": _finite(pooled.absmax), "beyond": over, "clipped": clipped}
    return _check("alpha-1-pooled", passed, text, numbers)


def average_clips(samples: Sequence[MagnitudeTable], pooled: MagnitudeTable, rule: Rule) -> Finding:
    """At alpha = 1 over samples w_max is a weighted mean of their maxima: below the largest one, unless all are equal.

    Held against the mean with its weights written out, in float64.
    """
    reducer = rule.reducer
    assert isinstance(reducer, Ema)
    sigma, n = reducer.sigma, len(samples)
    maxima = np.array([t.absmax for t in samples])
    weights = np.append((1 - sigma) ** (n - 1), sigma * (1 - sigma) ** np.arange(n - 2, -1, -1))[:n]
    w_max = float(rule.w_max_at([t.upper for t in samples], np.ones(1))[0])
    with np.errstate(invalid="ignore"):
        expected = float(weights @ maxima)
    largest = float(pooled.absmax)
    passed = bool(abs(w_max - expected) <= EMA_TOLERANCE * expected)  # NaN is no pass
    over = n_beyond(pooled, w_max) if math.isfinite(w_max) else pooled.n - pooled.n_nan
    numbers = {
        "w_max": _finite(w_max), "expected": _finite(expected), "largest": _finite(largest), "beyond": over,
        "first_weight": float(weights[0]), "samples": n,
    }  # fmt: skip
    text = f"average over samples at alpha = 1: w_max {number(w_max)}, the weighted mean of the samples' maxima "
    text += number(expected)
    if not passed:
        return _check("alpha-1-ema", False, f"{text}: they must be equal", numbers)
    if n == 1:
        text += ". One sample has no average: nothing is beyond it"
        return _check("alpha-1-ema", over == 0, text, numbers)
    top = int(np.argmax(maxima))
    text += (
        f". The first of {n:,} samples weighs {1 - sigma:g}^{n - 1} = {100 * weights[0]:.3g} %, a later one at most "
        f"{100 * sigma:g} %; the largest |x|, {number(largest)} in sample {top + 1:,}, weighs "
        f"{100 * weights[top]:.2g} %. {some(over, 'value')} beyond w_max: "
    )
    below = w_max < largest  # not where all maxima are equal, or as good as
    text += (
        "alpha = 1 is not a maximum here, it clips" if below else "the maxima are equal, so their mean is one of them"
    )
    return _check("alpha-1-ema", (over > 0) == below, text, numbers)


def worked_example() -> tuple[tuple[ExampleRow, ...], Finding]:
    """[1 ... 99, 500] at 8 bits by both ranks, against the numbers that are known of it."""
    table = MagnitudeTable.of(np.array(EXAMPLE, np.float32))
    found = sweep("pooled", RULES["pooled"].at(), [table], list(EXAMPLE_RANKS), Yardstick(table, 0.99))
    rows, wrong = [], []
    for row in found.rows:
        w32 = np.float32(table.quantile(row.alpha, "float32"))
        s32 = float(w32 / np.float32(127))
        w64 = float(table.quantile(row.alpha, "float64"))
        rows.append(ExampleRow(row, w64, float(w32), s32))
        known, w32_text, scale_text = EXAMPLE_RANKS[row.alpha]
        shown = (
            math.isclose(w64, known, rel_tol=SORT_TOLERANCE)
            and _as(float(w32), w32_text) == w32_text
            and all(_as(s, scale_text) == scale_text for s in (float(row.scale.low), s32))
        )
        wrong += [] if shown else [f"{row.alpha!r}: {w64:.9g}, {digits(float(w32))}, {digits(s32)}"]
    text = "[1 ... 99, 500] gives the known quantiles and scales under both ranks: " + "; ".join(
        f"{a!r} -> {w64:.6g} / {w32}, scale {s}" for a, (w64, w32, s) in EXAMPLE_RANKS.items()
    )
    if wrong:
        text += f". Found instead at alpha {'; '.join(wrong)}"
    return tuple(rows), _check("worked-example", not wrong, text, {"wrong": len(wrong)})


def _as(value: float, like: str) -> str:
    """`value` with as many significant digits as `like`."""
    return f"{value:.{max(3, len(like.replace('.', '').lstrip('0')))}g}"


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
