"""Tables hold what the values hold: counts, extremes, sums of tables, and bounds where float32 is too much."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from distribution_cases import DTYPES, KINDS, SIXTEEN_BIT, magnitudes, patterns, silu
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.distribution.single import DROPPED_BITS, EXACT_ELEMENTS
from qinspect.kernels import magnitude_counts


def same(a: MagnitudeTable, b: MagnitudeTable) -> bool:
    extremes = (a.signed_absmax, b.signed_absmax)
    return (
        np.array_equal(a.magnitudes, b.magnitudes)
        and np.array_equal(a.counts, b.counts)
        and (a.n_inf, a.n_nan, a.dropped_bits) == (b.n_inf, b.n_nan, b.dropped_bits)
        and (extremes[0] == extremes[1] or all(map(math.isnan, extremes)))
    )


@pytest.mark.parametrize("exact", [True, False])
def test_a_table_that_was_asked_is_freed_with_its_last_user(exact: bool) -> None:
    values = np.linspace(0.1, 3, 1000, dtype=np.float32)
    table = MagnitudeTable.of(values) if exact else MagnitudeTable.of(values).coarse()
    assert table.exact == exact
    table.upper.quantile([0.5, 0.99])
    gc.disable()  # tables of thousands of samples wait for no collector
    try:
        alive = weakref.ref(table)
        del table
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_a_table_is_its_values(dtype: str, data: st.DataObject) -> None:
    x = data.draw(patterns(dtype, finite=False, min_size=0))
    table = MagnitudeTable.of(x)
    ordered = magnitudes(x)
    finite = ordered[np.isfinite(ordered)]
    assert np.array_equal(table.values(), finite)
    assert (table.n, table.n_finite) == (x.size, finite.size)
    assert (table.n_nan, table.n_inf) == (int(np.isnan(ordered).sum()), int(np.isinf(ordered).sum()))
    assert table.n_zero == int((finite == 0).sum())
    assert (np.diff(table.magnitudes) > 0).all()
    assert table.exact
    expected = np.max(ordered, initial=-np.inf) if ordered.size else np.nan
    assert table.absmax == expected or (math.isnan(table.absmax) and np.isnan(expected))
    if finite.size:
        assert abs(table.signed_absmax) == table.largest == finite[-1]
        assert table.signed_absmax in x.astype(np.float32)


@pytest.mark.parametrize("dtype", SIXTEEN_BIT)
def test_patterns_are_those_of_the_dtype_and_counts_make_the_same_table(dtype: str) -> None:
    x = silu(5000, dtype)
    table = MagnitudeTable.of(x)
    assert table.dtype == dtype
    counts = magnitude_counts(x)
    assert np.array_equal(counts[table.patterns], table.counts)
    assert same(replace(MagnitudeTable.from_counts(counts, dtype), signed_absmax=table.signed_absmax), table)
    assert same(MagnitudeTable.of(x.view(np.uint16), dtype), table)


def test_the_extreme_has_its_sign_and_is_positive_where_both_occur() -> None:
    assert MagnitudeTable.of(np.array([1, -3, 2], np.float16)).signed_absmax == -3
    assert MagnitudeTable.of(np.array([3, -3, 2], np.float16)).signed_absmax == 3
    assert MagnitudeTable.of(np.array([1, -3.3, 2.7], np.float32)).signed_absmax == np.float32(-3.3)
    assert math.isnan(MagnitudeTable.of(np.array([np.inf], np.float16)).signed_absmax)


@pytest.mark.parametrize("dtype", SIXTEEN_BIT)
def test_upcast_values_are_found_out_and_stay_exact_at_any_size(dtype: str) -> None:
    x = np.append(silu(200_000, dtype), DTYPES[dtype](np.inf))
    table = MagnitudeTable.of(x.astype(np.float32))
    assert (table.dtype, table.exact) == (dtype, True)
    assert same(table, MagnitudeTable.of(x))


@pytest.mark.parametrize("n", [EXACT_ELEMENTS, EXACT_ELEMENTS + 1])
def test_float32_is_exact_up_to_a_size_and_bounded_beyond(n: int) -> None:
    x = np.append(KINDS["wide"](n - 3, "float32", 0), np.array([np.nan, -np.inf, -1e9], np.float32))
    table = MagnitudeTable.of(x)
    assert table.exact == (n == EXACT_ELEMENTS)
    assert (table.n, table.n_inf, table.n_nan, table.signed_absmax) == (n, 1, 1, -1e9)
    finite = magnitudes(x[np.isfinite(x)])
    assert (table.lower.values() <= finite).all()
    assert (table.upper.values() >= finite).all()
    width = table.upper.values().astype(np.float64) - table.lower.values()
    assert (width <= 2.0**-11 * finite).all()


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_the_quantiles_and_the_alphas_of_values(kind: str) -> None:
    x = KINDS[kind](100_000, "float32", 0) + np.float32(1e-7)
    table = MagnitudeTable.of(x)
    assert not table.exact
    truth = replace(
        table, magnitudes=(m := np.unique(magnitudes(x), return_counts=True))[0], counts=m[1], dropped_bits=0
    )
    alphas = np.linspace(0, 1, 101)
    low, high = table.quantile_bounds(alphas)
    expected = truth.quantile(alphas)
    assert ((low <= expected) & (expected <= high)).all()
    assert (high - low <= 2.0**-11 * high).all()
    found = table.alpha_of(float(truth.quantile(0.9)))
    assert found is not None
    assert 0.9 in found
    with pytest.raises(ValueError, match="quantile_bounds"):
        table.quantile(0.5)
    assert float(high[-1]) == truth.largest


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_a_merge_is_the_table_of_the_concatenation(dtype: str, data: st.DataObject) -> None:
    parts = data.draw(st.lists(patterns(dtype, finite=False, min_size=0, max_size=30), min_size=1, max_size=5))
    whole = MagnitudeTable.of(np.concatenate(parts))
    assert same(merge([MagnitudeTable.of(p) for p in parts]), whole)


def test_a_merge_of_two_types_is_exact() -> None:
    parts: list[NDArray[Any]] = [silu(500, "float16"), silu(500, "bfloat16"), silu(500, "float32")]
    whole = np.concatenate([p.astype(np.float32) for p in parts])
    assert same(merge([MagnitudeTable.of(p) for p in parts]), MagnitudeTable.of(whole))
    assert merge([MagnitudeTable.of(p) for p in parts]).dtype == "float32"


def test_merges_that_are_not_exact_or_too_large_are_bounded() -> None:
    many, few = KINDS["wide"](70_000, "float32", 0), KINDS["wide"](1000, "float32", 1)
    both = merge([MagnitudeTable.of(many), MagnitudeTable.of(few)])
    assert both.dropped_bits == DROPPED_BITS
    assert same(both, MagnitudeTable.of(np.concatenate([many, few])))
    capped = merge([MagnitudeTable.of(few), MagnitudeTable.of(few)], max_entries=500)
    assert capped.dropped_bits == DROPPED_BITS
    assert capped.n == 2000
    assert capped.largest == few.max()


def test_counts_beyond_2_to_53_are_added_exactly() -> None:
    counts = np.zeros(32768, np.int64)
    counts[5] = 2**53 + 1
    table = MagnitudeTable.from_counts(counts, "float16")
    assert merge([table, table]).counts.tolist() == [2**54 + 2]
    single = replace(table, dtype="float32")
    assert merge([single, single]).counts.tolist() == [2**54 + 2]


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros(3, np.int32), np.array(["a"])])
def test_other_arrays_are_refused(x: NDArray[Any]) -> None:
    with pytest.raises(TypeError, match="a table is of"):
        MagnitudeTable.of(x)


@pytest.mark.parametrize("x", [np.zeros(3, np.float32), silu(3, "bfloat16"), np.zeros(3, np.int8)])
def test_a_dtype_names_raw_patterns_and_converts_nothing(x: NDArray[Any]) -> None:
    with pytest.raises(TypeError, match="a table is of"):
        MagnitudeTable.of(x, "float16")


def test_nothing_is_no_table_and_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="no tables"):
        merge([])
    with pytest.raises(ValueError, match="expected 32768 counts"):
        MagnitudeTable.from_counts(np.zeros(5, np.int64), "float16")
    with pytest.raises(ValueError, match="expected 65536 counts"):
        MagnitudeTable.from_signed_counts(np.zeros(5, np.int64), "float16")
    with pytest.raises(ValueError, match="float16 or bfloat16"):
        MagnitudeTable.from_counts(np.zeros(32768, np.int64), "float32")
