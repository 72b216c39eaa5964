"""Statistics over chunks are those of numpy over the whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qinspect.inspector.formats.element import integer
from qinspect.inspector.values import statistics
from qinspect.inspector.values.statistics import PERCENTILES, count_codes, describe

FLOATS = arrays(np.float64, st.integers(0, 60), elements=st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1e-12, -5e-324]))
WITH_ODD_ONES = arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32))
CUTS = st.lists(st.integers(0, 60), max_size=5)


def chunks(x: NDArray[Any], cuts: list[int]) -> list[NDArray[Any]]:
    return np.split(x, sorted(min(c, x.size) for c in cuts))


@given(FLOATS, CUTS)
@example(np.array([1e6 + 1e-3, 1e6 + 2e-3]), [1])
def test_moments_and_percentiles_are_numpys(x: NDArray[np.float64], cuts: list[int]) -> None:
    found = describe(chunks(x, cuts), x.size)
    assert (found.n, found.n_zero, found.n_negative) == (x.size, int(np.sum(x == 0)), int(np.sum(x < 0)))
    if not x.size:
        assert math.isnan(found.mean)
        assert found.percentiles == ()
        return
    scale = float(np.abs(x).max())
    assert (found.minimum, found.maximum, found.absmax) == (x.min(), x.max(), scale)
    assert found.mean == pytest.approx(x.mean(), rel=1e-9, abs=1e-12 * scale)
    assert found.std == pytest.approx(x.std(), rel=1e-7, abs=1e-9 * scale)
    assert not found.sampled
    assert [p for p, _ in found.percentiles] == list(PERCENTILES)
    assert [v for _, v in found.percentiles] == pytest.approx(np.percentile(x, PERCENTILES).tolist(), rel=1e-12)


@given(WITH_ODD_ONES, CUTS)
@example(np.array([np.nan, np.inf, -np.inf, -0.0], np.float32), [2])
def test_what_is_not_finite_is_counted_and_left_out(x: NDArray[np.float32], cuts: list[int]) -> None:
    found = describe(chunks(x, cuts), x.size)
    finite = x[np.isfinite(x)].astype(np.float64)
    assert (found.n, found.n_nan, found.n_inf) == (x.size, np.isnan(x).sum(), np.isinf(x).sum())
    if finite.size:
        assert (found.minimum, found.maximum) == (finite.min(), finite.max())
        assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-12 * float(np.abs(finite).max()))
    else:
        assert math.isnan(found.minimum)
        assert math.isnan(found.std)


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(allow_nan=False, allow_infinity=False)), CUTS)
@example(np.array([1.7e308, 1.7e308, -1.7e308]), [1])
def test_the_whole_range_of_float64_raises_no_warning(x: NDArray[np.float64], cuts: list[int]) -> None:
    found = describe(chunks(x, cuts), x.size)
    assert (found.minimum, found.maximum) == (x.min(), x.max())


def test_percentiles_of_a_large_tensor_are_of_an_even_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SAMPLE_ELEMENTS", 1000)
    x = np.linspace(0.0, 1.0, 100_001)
    found = describe(np.split(x, [37, 40_000]), x.size)
    assert found.sampled
    assert found.n == x.size
    assert found.mean == pytest.approx(0.5)
    assert dict(found.percentiles)[50.0] == pytest.approx(0.5, abs=0.01)


@given(arrays(np.int8, st.integers(0, 60)), CUTS)
def test_codes_are_counted_as_numpy_counts_them(codes: NDArray[np.int8], cuts: list[int]) -> None:
    found = count_codes(chunks(codes, cuts), integer(8))
    assert list(found) == list(range(-128, 128))
    levels, counts = np.unique(codes, return_counts=True)
    assert {level: n for level, n in found.items() if n} == dict(zip(levels.tolist(), counts.tolist(), strict=True))


@given(arrays(np.int8, (5, 4), elements=st.integers(-8, 7)))
def test_codes_of_four_bits_have_sixteen_levels(codes: NDArray[np.int8]) -> None:
    found = count_codes([codes], integer(4))
    assert list(found) == list(range(-8, 8))
    assert sum(found.values()) == codes.size
