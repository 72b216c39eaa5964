"""Every number of a point, against numpy on its values."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.observers import Absmax, Quantile, Rule, quamba_percentile
from qinspect.inspector.values import clipping
from qinspect.inspector.values.clipping import Gauge, Marker, NamedTables, Span

RULE = Rule(Quantile(1.0, "float64"), "pooled", clamp=0.0)
Array = np.ndarray[Any, Any]


def no_check(done: int, total: int) -> None:
    assert 0 <= done <= total


def values(n: int = 20_000, dtype: Any = np.float16) -> Array:
    x = np.random.default_rng(3).standard_normal(n).astype(np.float32)
    x[::97] *= 9
    x[::13] = 0
    return x.astype(dtype)


def gauge(x: Array, *markers: Marker, rule: Rule = RULE) -> Gauge:
    table = MagnitudeTable.of(x)
    return Gauge(NamedTables("p", [table], table, markers), rule)


def expected(x: Array, scale: float, bits: int) -> tuple[float, float, float, int, float]:
    """(coverage, mse, sqnr, unused levels, bits used) by the formulas, value by value."""
    limit = (1 << bits - 1) - 1
    wide = np.abs(x).astype(np.float32)
    codes = np.rint(wide / np.float32(scale))
    kept = np.minimum(codes, limit)
    error = wide.astype(np.float64) - (kept * np.float32(scale)).astype(np.float64)
    mse = float(np.mean(error**2))
    counts = np.bincount(kept.astype(np.int64), minlength=limit + 1)
    p = counts[counts > 0] / x.size
    entropy = float(-(p * np.log2(p)).sum() + (1 - counts[0] / x.size))
    sqnr = 10 * math.log10(float(np.mean(wide.astype(np.float64) ** 2)) / mse)
    return float(np.mean(codes <= limit)), mse, sqnr, int((counts == 0).sum()), entropy


@pytest.mark.parametrize("bits", [8, 5, 4])
@pytest.mark.parametrize("alpha", [0.1, 0.9, 0.99, 0.9995, 1.0])
def test_a_reading_is_what_numpy_says_of_the_values(alpha: float, bits: int) -> None:
    x = values()
    reading = gauge(x).at(alpha, bits)
    w_max = np.float32(np.quantile(np.abs(x).astype(np.float64), alpha))
    assert reading.w_max == Span(float(w_max), float(w_max))
    scale = float(w_max / np.float32((1 << bits - 1) - 1))
    assert reading.scale == scale
    coverage, mse, sqnr, unused, used = expected(x, scale, bits)
    assert reading.coverage == Span(coverage, coverage)
    assert reading.beyond.middle == float(np.mean(np.abs(x).astype(np.float32) > w_max))
    assert reading.mse.middle == pytest.approx(mse, rel=1e-12)
    assert reading.sqnr_db.middle == pytest.approx(sqnr, rel=1e-12)
    assert (reading.unused_levels, reading.levels) == (unused, 1 << bits - 1)
    assert reading.effective_bits == pytest.approx(used, rel=1e-12)


def test_many_values_are_known_in_between() -> None:
    x = values(300_000, np.float32)
    x += np.random.default_rng(1).standard_normal(x.size, dtype=np.float32) * np.float32(1e-3)
    g = gauge(x)
    assert not g.table.exact
    for alpha in (0.5, 0.9995, 1.0):
        reading = g.at(alpha, 8)
        truth = float(np.quantile(np.abs(x).astype(np.float64), alpha))
        assert reading.w_max.low <= truth <= reading.w_max.high
        assert reading.w_max.known is (alpha == 1.0)  # the largest is known
        coverage, mse, sqnr, _, _ = expected(x, reading.scale, 8)
        assert reading.coverage.low <= coverage <= reading.coverage.high
        assert reading.mse.low <= mse <= reading.mse.high
        assert reading.sqnr_db.low <= sqnr <= reading.sqnr_db.high
        beyond = float(np.mean(np.abs(x) > np.float32(reading.w_max.middle)))
        assert reading.beyond.low <= beyond <= reading.beyond.high


def test_a_table_that_is_too_large_for_a_frame_becomes_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipping, "MAX_MAGNITUDES", 1000)
    x = values(5000, np.float32) * np.float32(1.0001)
    table = MagnitudeTable.of(x)
    assert table.exact
    g = Gauge(NamedTables("p", [table], table), RULE)
    assert not g.table.exact
    assert g.table.n == 5000


@pytest.mark.parametrize(
    "x",
    [
        [],
        [0.0],
        [0.0] * 9,
        [2.0],
        [math.nan],
        [math.nan, 1.0, 3.0],
        [math.inf, 1.0, 2.0],
        [-math.inf],
        [1e-7],
        [65504.0],
    ],
    ids=str,
)
@pytest.mark.parametrize("bits", [8, 4])
def test_odd_tensors_have_sensible_answers(x: list[float], bits: int) -> None:
    g = gauge(np.array(x, np.float16), Marker("A", 0.01, 0.02, 0.03, 8))
    curve = g.curve(bits, no_check)
    finite = [abs(v) for v in x if math.isfinite(v)]
    assert (curve.best is not None) is bool(finite and max(finite) > 0)
    for alpha in (0.0, 0.5, 1.0):
        reading = g.at(alpha, bits)
        with np.errstate(invalid="ignore"):
            quantile = np.quantile(np.abs(np.array(x)), alpha, method="lower") if x else math.nan
        assert reading.is_scale is bool(0 < quantile < math.inf)
        assert math.isnan(curve.below_best(reading)) is (not reading.is_scale or curve.best is None)
    if any(map(math.isnan, x)):
        assert math.isnan(g.at(0.5, bits).w_max.middle)
    if curve.best is not None:
        assert curve.best.mse.middle == min(r.mse.middle for r in (curve.best, *curve.markers))
    assert len(curve.markers) == 1


@pytest.mark.parametrize("bits", [8, 4])
def test_the_curve_is_the_error_at_every_scale_and_the_best_is_the_least(bits: int) -> None:
    x = values(3000)
    curve = gauge(x).curve(bits, no_check)
    assert curve.best is not None
    for i in range(0, curve.scales.size, 37):
        _, _, sqnr, _, _ = expected(x, float(curve.scales[i]), bits)
        assert curve.sqnr_db[i] == pytest.approx(sqnr, rel=1e-9)
    assert curve.best.sqnr_db.middle >= curve.sqnr_db.max()
    assert curve.below_best(curve.best) == 0
    assert curve.best_alpha is not None
    at = gauge(x).at((curve.best_alpha.low + curve.best_alpha.high) / 2, bits)
    assert at.scale == pytest.approx(curve.best.scale, rel=1e-2)


def test_a_stored_scale_that_loses_nothing_is_the_best() -> None:
    codes = np.random.default_rng(5).integers(-127, 128, 4000).astype(np.float32)
    scale = float(np.float32(0.0371))
    g = gauge(codes * np.float32(scale), Marker("A", scale, scale, scale, 8))
    curve = g.curve(8, no_check)
    assert curve.best is not None
    assert (curve.best.scale, curve.best.mse.middle, curve.best.sqnr_db.middle) == (scale, 0.0, math.inf)
    assert curve.below_best(curve.markers[0]) == 0
    assert curve.below_best(g.at(0.9, 8)) == math.inf
    assert curve.marker_alphas[0] is not None
    assert 1.0 in curve.marker_alphas[0]
    at_four = g.curve(4, no_check).markers[0]  # the same range, in steps of four bits
    assert at_four.scale == pytest.approx(scale * 127 / 7)


def test_samples_stay_apart() -> None:
    samples = [MagnitudeTable.of(values(500) * np.float16(k)) for k in (1, 3, 2)]
    rule = quamba_percentile(0.9)
    g = Gauge(NamedTables("p", samples, merge(samples)), rule, [0.9, 0.99])
    for alpha in (0.9, 0.99, 0.995):
        assert g.at(alpha, 8).scale == quamba_percentile(alpha).scale(samples)
    assert str(g.rule_at(0.99, 4)) == "quantile(|x|, 0.99, linear) ∘ ema 0.01 ∘ map(w_max/7, clamp 1e-6)"


def test_a_rule_without_alpha_has_no_cursor() -> None:
    table = MagnitudeTable.of(values(10))
    with pytest.raises(ValueError, match="has no alpha"):
        Gauge(NamedTables("p", [table], table), Rule(Absmax(), "max"))


def test_a_curve_can_be_cancelled() -> None:
    def check(done: int, total: int) -> None:
        if done >= 32:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        gauge(values()).curve(8, check)


def test_the_cursor_moves_while_a_curve_is_computed() -> None:
    g = gauge(values(200_000, np.float32))
    before = g.at(0.999, 8)
    alone = g.curve(5, no_check)
    made = []
    thread = threading.Thread(target=lambda: made.append(g.curve(5, no_check)))
    thread.start()
    readings = [g.at(0.999, 8)]
    while thread.is_alive():
        readings.append(g.at(0.999, 8))
    thread.join()
    assert all(r == before for r in readings)
    np.testing.assert_array_equal(made[0].sqnr_db, alone.sqnr_db)
