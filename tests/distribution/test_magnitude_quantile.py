"""Quantiles of a table against the values themselves, by the stated formula, numpy and torch; and their inverse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from distribution_cases import DTYPES, KINDS, magnitudes, patterns, silu
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable, Rank, solve_alpha

ALPHAS = (0.0, 1e-9, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9995, 0.9999, 0.99999, 0.999996, 1.0)
SEED_EXAMPLE = np.array([*range(1, 100), 500], np.float16)


def by_the_formula(ordered: NDArray[np.float32], alpha: float) -> np.float32:
    """rank = float32(alpha) * float32(n - 1); lerp from the nearer end, in float64, rounded once."""
    rank = np.float32(alpha) * np.float32(len(ordered) - 1)
    below = math.floor(rank)
    weight = np.float32(rank - np.float32(below))
    a, b = ordered[below], ordered[min(math.ceil(rank), len(ordered) - 1)]
    difference = float(np.float32(b - a))
    if weight < 0.5:
        return np.float32(float(a) + difference * float(weight))
    return np.float32(float(b) - difference * float(np.float32(1) - weight))


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), alpha=st.floats(0, 1))
def test_a_quantile_is_that_of_the_sorted_values(dtype: str, data: st.DataObject, alpha: float) -> None:
    x = data.draw(patterns(dtype))
    ordered = magnitudes(x)
    assume(np.isfinite(ordered[-1] - ordered[0]))
    table = MagnitudeTable.of(x)
    assert table.quantile(alpha) == by_the_formula(ordered, alpha)
    assert table.quantile(alpha).dtype == np.float32
    assert table.quantile(alpha, "float64") == np.quantile(ordered.astype(np.float64), alpha)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 1000, 60_000])
def test_quantiles_of_activations_are_torchs_within_an_ulp_and_the_formulas_to_the_bit(
    kind: str, dtype: str, n: int
) -> None:
    torch = pytest.importorskip("torch")
    x = KINDS[kind](n, dtype, 0)
    ordered = magnitudes(x)
    found = MagnitudeTable.of(x).quantile(ALPHAS)
    assert found.tolist() == [by_the_formula(ordered, a) for a in ALPHAS]
    live = torch.quantile(torch.from_numpy(ordered), torch.tensor(ALPHAS, dtype=torch.float32)).numpy()
    assert (np.abs(found - live) <= np.spacing(live)).all()


def test_the_worked_example_under_both_ranks() -> None:
    table = MagnitudeTable.of(SEED_EXAMPLE)
    assert table.quantile([0.99, 0.99999], "float64").tolist() == pytest.approx([103.01, 499.60301], abs=1e-9)
    assert table.quantile([0.99, 0.99999]).tolist() == pytest.approx([103.0109, 499.6023], abs=1e-4)
    scales = [round(v / 127, d) for v, d in zip(table.quantile([0.99, 0.99999, 1.0]).tolist(), (4, 5, 5), strict=True)]
    assert scales == [0.8111, 3.93388, 3.93701]


def test_the_shape_is_that_of_alpha() -> None:
    table = MagnitudeTable.of(SEED_EXAMPLE)
    assert table.quantile(0.5).shape == ()
    assert table.quantile([[0.5, 1.0]]).tolist() == [[50.5, 500.0]]


def test_nan_makes_every_quantile_nan_and_an_infinity_those_that_touch_it_as_in_torch_and_numpy() -> None:
    torch = pytest.importorskip("torch")
    x = np.array([1, 2, -np.inf, 3], np.float16)
    alphas = [0.0, 0.5, 0.7, 0.9, 1.0]
    live = torch.quantile(torch.from_numpy(magnitudes(x)), torch.tensor(alphas)).numpy()
    assert np.array_equal(MagnitudeTable.of(x).quantile(alphas), live, equal_nan=True)
    with np.errstate(invalid="ignore"):
        in_numpy = np.quantile(magnitudes(x).astype(np.float64), alphas)
    assert np.array_equal(MagnitudeTable.of(x).quantile(alphas, "float64"), in_numpy, equal_nan=True)
    assert np.isnan(MagnitudeTable.of(np.append(x, np.float16(np.nan))).quantile([0.0, 1.0])).all()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alphas_that_are_no_shares_are_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        MagnitudeTable.of(SEED_EXAMPLE).quantile(alpha)


def test_no_values_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no values"):
        MagnitudeTable.of(np.zeros(0, np.float16)).quantile(0.5)


@pytest.mark.parametrize("rank", ["float32", "float64"])
@given(x=patterns("float16", max_size=50), alpha=st.floats(0, 1, width=32))
def test_the_alphas_of_a_quantile_hold_its_alpha(rank: Rank, x: NDArray[Any], alpha: float) -> None:
    table = MagnitudeTable.of(x)
    found = table.alpha_of(float(table.quantile(alpha, rank)), rank=rank)
    assert found is not None
    assert alpha in found
    assert found.attained


def test_the_alphas_of_a_value_are_narrow_and_say_whether_it_is_attained() -> None:
    table = MagnitudeTable.of(silu(50_000, "bfloat16"))
    found = table.alpha_of(float(table.quantile(0.9995)))
    assert found is not None
    assert 0.9995 in found
    assert found.high - found.low < 1e-5
    gap = MagnitudeTable.of(np.array([1, 1, 1, 1000], np.float16))
    between = gap.alpha_of(1.00001)  # closer to 1 than a float32 alpha can come
    assert between is not None
    assert not between.attained
    assert between.high == np.nextafter(np.float32(between.low), np.float32(1))
    assert gap.quantile(between.low) < 1.00001 < gap.quantile(between.high)


@pytest.mark.parametrize("value", [0.5, 1001.0, math.nan])
def test_values_that_no_alpha_gives(value: float) -> None:
    assert MagnitudeTable.of(np.array([1, 1, 1000], np.float16)).alpha_of(value) is None


def test_a_tolerance_widens_the_alphas() -> None:
    table = MagnitudeTable.of(silu(50_000, "float16"))
    value = float(table.quantile(0.999))
    narrow, wide = table.alpha_of(value), table.alpha_of(value * 1.005, tolerance=0.01)
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low <= narrow.high < wide.high


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_steps_are_found_wherever_they_are(low: float, high: float) -> None:
    low, high = sorted((low, high))
    found = solve_alpha(lambda a: (a >= np.float32(low)).astype(np.float32) + (a > np.float32(high)), 1.0, 1.0)
    assert found is not None
    assert (found.low, found.high, found.attained) == (low, high, True)
