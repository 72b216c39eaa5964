"""Coverage, errors and codes from counts against the values quantized one by one."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
from distribution_cases import DTYPES, KINDS, magnitudes, patterns, silu
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.inspector.distribution import (
    MagnitudeTable,
    Rounding,
    best_dual_scale,
    beyond,
    code_usage,
    coverage,
    dual_scale,
    log_histogram,
    mse,
    mse_bounds,
    sqnr_db,
)

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)


def codes(x: NDArray[np.float32], scale: float, rounding: Rounding) -> NDArray[np.float64]:
    """round(x / scale) for x >= 0, the division in float32."""
    with np.errstate(over="ignore"):
        ratio = (x / np.float32(scale)).astype(np.float64)
    if rounding == "half-even":
        return np.rint(ratio)
    return np.floor(ratio + 0.5) if rounding == "half-away" else np.floor(ratio)


def error(x: NDArray[np.float32], code: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    return (x.astype(np.float64) - code.astype(np.float32) * np.float32(scale)) ** 2


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), bits=st.integers(2, 8), scale=st.floats(2.0**-20, 2.0**20, width=32))
def test_coverage_and_error_are_those_of_the_values(
    rounding: Rounding, dtype: str, data: st.DataObject, bits: int, scale: float
) -> None:
    x = data.draw(patterns(dtype))
    values, limit = magnitudes(x), 2 ** (bits - 1) - 1
    table = MagnitudeTable.of(x)
    code = codes(values, scale, rounding)
    assert coverage(table, scale, bits, rounding) == (code <= limit).mean()
    assert beyond(table, scale * limit) == (values > scale * limit).mean()
    expected = error(values, np.minimum(code, limit), scale).mean()
    assert mse(table, scale, bits, rounding) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_many_scales_at_once_on_activations(kind: str, rounding: Rounding) -> None:
    x = KINDS[kind](20_000, "float16", 0)
    values, table = magnitudes(x), MagnitudeTable.of(x)
    scales = (table.absmax / 127 * np.geomspace(1e-3, 1.1, 40)).astype(np.float32).reshape(8, 5)
    limited = [codes(values, s, rounding) for s in scales.flatten().tolist()]
    assert coverage(table, scales, 8, rounding).flatten().tolist() == [(c <= 127).mean() for c in limited]
    direct = [
        error(values, np.minimum(c, 127), s).mean() for c, s in zip(limited, scales.flatten().tolist(), strict=True)
    ]
    found = mse(table, scales, 8, rounding)
    assert found.shape == (8, 5)
    assert found.flatten() == pytest.approx(direct, rel=1e-12)
    signal = (values.astype(np.float64) ** 2).mean()
    assert sqnr_db(table, scales, 8, rounding).flatten() == pytest.approx(10 * np.log10(signal / np.array(direct)))


def test_halves_are_rounded_as_the_format_does() -> None:
    table = MagnitudeTable.of(np.array([0.5, 1.5, 2.5, 6.5, 7.5], np.float16))
    assert code_usage(table, 1.0, 4, "half-even").counts.tolist() == [1, 0, 2, 0, 0, 0, 1, 1]
    assert code_usage(table, 1.0, 4, "half-away").counts.tolist() == [0, 1, 1, 1, 0, 0, 0, 2]
    assert code_usage(table, 1.0, 4, "truncate").counts.tolist() == [1, 1, 1, 0, 0, 0, 1, 1]
    just_under = MagnitudeTable.of(np.array([np.nextafter(np.float32(0.5), np.float32(0))]))
    assert code_usage(just_under, 1.0, 4, "half-away").counts[0] == 1


def test_clipped_and_beyond_w_max_are_two_numbers() -> None:
    """Half a step over w_max is not clipped; a scale that float16 rounded up lets values over w_max through."""
    table = MagnitudeTable.of(np.array([1.0, 127.25, 128.0, 500.0], np.float32))
    assert coverage(table, 1.0) == 0.5
    assert beyond(table, 127.0) == 0.75


def test_infinities_saturate_and_nan_is_left_out() -> None:
    table = MagnitudeTable.of(np.array([1, 2, np.inf, np.nan], np.float16))
    assert coverage(table, 1.0) == pytest.approx(2 / 3)
    assert beyond(table, 1.5) == pytest.approx(2 / 3)
    assert mse(table, 1.0) == 0.0
    assert sqnr_db(table, 1.0) == np.inf


def test_no_values_have_no_share_and_no_error() -> None:
    empty = MagnitudeTable.of(np.zeros(0, np.float16))
    assert np.isnan([coverage(empty, 1.0), beyond(empty, 1.0), mse(empty, 1.0)]).all()
    assert log_histogram(empty, 5) is None
    assert best_dual_scale(empty) is None


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e-50])
def test_what_is_no_scale_is_refused(scale: float) -> None:
    table = MagnitudeTable.of(np.ones(1, np.float16))
    for ask in (mse, coverage, sqnr_db):
        with pytest.raises(ValueError, match="positive, finite"):
            ask(table, scale)
    with pytest.raises(ValueError, match="2 to 16 bits"):
        mse(table, 1.0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_many_float32_values_lies_in_its_bounds(kind: str) -> None:
    x = KINDS[kind](80_000, "float32", 0) + np.float32(1e-6)
    table, values = MagnitudeTable.of(x), magnitudes(x)
    assert not table.exact
    for scale in table.largest / 127 * np.geomspace(1e-2, 1, 9):
        low, high = mse_bounds(table, scale)
        direct = error(values, np.minimum(codes(values, scale, "half-even"), 127), scale).mean()
        assert low <= direct <= high
    with pytest.raises(ValueError, match="truncation"):
        mse_bounds(table, 1.0, rounding="truncate")


def test_code_usage_counts_levels_and_their_entropy() -> None:
    x = silu(10_000, "bfloat16")
    values = magnitudes(x)
    usage = code_usage(MagnitudeTable.of(x), 0.02)
    direct = np.bincount(np.minimum(codes(values, 0.02, "half-even"), 127).astype(int), minlength=128)
    assert np.array_equal(usage.counts, direct)
    assert usage.unused_levels == (direct == 0).sum()
    p = direct[direct > 0] / direct.sum()
    assert usage.magnitude_bits == pytest.approx(-(p * np.log2(p)).sum())
    assert usage.effective_bits == pytest.approx(usage.magnitude_bits + 1 - direct[0] / direct.sum())
    uniform = code_usage(MagnitudeTable.of(np.arange(8, dtype=np.float16)), 1.0, 4)
    assert (uniform.unused_levels, uniform.magnitude_bits) == (0, 3.0)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@given(
    x=patterns("float16", max_size=60),
    scale=st.floats(2.0**-8, 2.0**4, width=32),
    multiplier=st.floats(1, 40, width=32),
)
def test_a_dual_scale_is_what_it_does_to_the_values(
    rounding: Rounding, x: NDArray[Any], scale: float, multiplier: float
) -> None:
    values, wide = magnitudes(x), np.float32(scale * multiplier)
    narrow_code, wide_code = codes(values, scale, rounding), codes(values, float(wide), rounding)
    flag = narrow_code > 7
    total = np.where(flag, error(values, np.minimum(wide_code, 7), float(wide)), error(values, narrow_code, scale))
    found = dual_scale(MagnitudeTable.of(x), scale, multiplier, 4, rounding)
    assert found.flagged == flag.mean()
    assert found.dead == (flag & (wide_code == 0)).mean()
    assert found.saturated == (flag & (wide_code > 7)).mean()
    assert found.mse == pytest.approx(total.mean(), rel=1e-12)


def test_the_dead_zone_begins_where_the_multiplier_is_twice_the_largest_code() -> None:
    table = MagnitudeTable.of(np.arange(1, 200, dtype=np.float16))
    assert dual_scale(table, 1.0, 14).dead == 0
    assert dual_scale(table, 1.0, 20).dead > 0
    with pytest.raises(ValueError, match="at least 1"):
        dual_scale(table, 1.0, 0.5)


def test_the_best_dual_scale_beats_one_scale() -> None:
    table = MagnitudeTable.of(silu(50_000, "float16"))
    best = best_dual_scale(table)
    assert best is not None
    assert best.mse < mse(table, table.absmax / 7 * np.geomspace(1e-3, 1, 300), 4).min()
    near = [dual_scale(table, best.scale, m).mse for m in (2.0, 4.0, 8.0, 15.0)]
    assert best.mse <= min(near)
    assert dual_scale(table, best.scale, best.multiplier) == best


@pytest.mark.parametrize("width", [1, 7, 80, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_histogram_of_any_width_has_every_value(kind: str, width: int) -> None:
    x = KINDS[kind](5000, "float16", 0)
    table, values = MagnitudeTable.of(x), magnitudes(x).astype(np.float64)
    found = log_histogram(table, width)
    assert found is not None
    assert np.array_equal(found.counts, np.histogram(values[values > 0], found.edges)[0])
    assert found.counts.sum() + found.n_zero == x.size
    middle = log_histogram(table, width, 0.1, 1.0)
    assert middle is not None
    assert np.array_equal(middle.counts, np.histogram(values, middle.edges)[0])
    assert (middle.n_zero, middle.n_above) == ((values == 0).sum(), (values > 1).sum())
    assert middle.n_below == ((values > 0) & (values < 0.1)).sum()


def test_one_magnitude_is_drawn_and_an_axis_from_zero_is_not() -> None:
    table = MagnitudeTable.of(np.full(9, -2, np.float16))
    found = log_histogram(table, 3)
    assert found is not None
    assert found.counts.tolist() == [0, 9, 0]
    with pytest.raises(ValueError, match="positive"):
        log_histogram(table, 3, 0.0, 1.0)
