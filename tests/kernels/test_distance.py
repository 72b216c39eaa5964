"""The compiled sums and roundings against numpy in longer floats; what they do not take, they say."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.kernels.cpu import BODY_VARIABLE
from qinspect.kernels.distance import Rounding, cell_extremes, distance_sums, largest_magnitude, rounding_error
from qinspect.kernels.matrix import CHUNK

Array = NDArray[Any]
DTYPES = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
compiled = pytest.mark.skipif(
    distance_sums(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)) is None, reason="no C compiler"
)


def matrix(shape: tuple[int, int], dtype: Any, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@compiled
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 1100)), st.sampled_from(DTYPES), st.sampled_from(DTYPES),
    st.sampled_from([0, 4, 16, 20, 32, 96, 128, CHUNK, 1024]), st.integers(0, 99),
)  # fmt: skip
def test_sums_of_two_matrices(shape: tuple[int, int], of_a: Any, of_b: Any, width: int, seed: int) -> None:
    a, b = matrix(shape, of_a, seed), matrix(shape, of_b, seed + 1)
    found = distance_sums(a, b, width)
    assert found is not None
    x, y = a.astype(np.longdouble), b.astype(np.longdouble)
    d = y - x
    for i, product in enumerate((x * x, x * y, y * y, d * d)):
        room = 1e-13 * float(np.abs(product).sum())
        assert np.allclose(found.rows[i], product.sum(1).astype(float), rtol=1e-13, atol=room)
        assert i == 3 or np.allclose(found.columns[i], product.sum(0).astype(float), rtol=1e-13, atol=room)
    assert found.d == pytest.approx(float(d.sum()), abs=1e-13 * float(np.abs(d).sum()))
    assert found.largest == float(np.abs(d).max())
    assert found.at == int(np.abs(d).argmax())
    if width:
        assert found.cells is not None
        by_cell = np.add.reduceat(d * d, np.arange(0, shape[1], width), axis=1)
        assert np.allclose(found.cells, by_cell.astype(float), rtol=1e-13)
    else:
        assert found.cells is None


@compiled
def test_equal_matrices_differ_nowhere() -> None:
    a = matrix((5, 7), np.float32, 0)
    found = distance_sums(a, a.copy())
    assert found is not None
    assert (found.at, found.largest, found.d) == (-1, 0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("in_a", [True, False])
def test_values_that_are_not_finite_are_left_to_the_caller(bad: float, in_a: bool) -> None:
    a, b = matrix((5, 700), np.float32, 0), matrix((5, 700), np.float32, 1)
    (a if in_a else b)[3, 600] = bad
    assert distance_sums(a, b, 16) is None


def test_what_the_compiled_body_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    a = matrix((4, 8), np.float32, 0)
    assert distance_sums(a.astype(np.float64), a) is None
    assert distance_sums(a, a.astype(">f4")) is None
    assert distance_sums(a.T, a.T) is None
    assert distance_sums(a, a, 3) is None
    assert distance_sums(a[:0], a[:0]) is None
    with pytest.raises(ValueError, match="two matrices of one shape"):
        distance_sums(a, a[:2])
    monkeypatch.setenv(BODY_VARIABLE, "numpy")
    assert distance_sums(a, a) is None
    assert cell_extremes(a, 1, 8) is None
    assert rounding_error(a, Rounding(4, 8, np.ones((1, 1), np.float32), -8, 7)) is None


@compiled
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 1100)), st.sampled_from(DTYPES), st.integers(1, 10),
    st.sampled_from([1, 7, 16, 128, 600, 2000]), st.integers(0, 99),
)  # fmt: skip
def test_extremes_of_cells(shape: tuple[int, int], dtype: Any, height: int, width: int, seed: int) -> None:
    x = matrix(shape, dtype, seed) + np.array(seed % 3 - 1, dtype)
    found = cell_extremes(x, height, width)
    assert found is not None
    for (i, j), low in np.ndenumerate(found[0]):
        inside = x[i * height : (i + 1) * height, j * width : (j + 1) * width].astype(np.float32)
        assert (low, found[1][i, j]) == (min(inside.min(), 0), max(inside.max(), 0))


@compiled
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 1100)), st.sampled_from(DTYPES), st.integers(0, 99),
    st.sampled_from([0.0, np.inf, -np.inf, np.nan]),
)  # fmt: skip
def test_the_largest_magnitude(shape: tuple[int, int], dtype: Any, seed: int, bad: float) -> None:
    x = matrix(shape, dtype, seed)
    x[seed % shape[0], seed % shape[1]] = bad
    found = largest_magnitude(x)
    assert found is not None
    if np.isfinite(bad):
        assert found == np.abs(x.astype(np.float32)).max()
    else:
        assert not np.isfinite(found)


@compiled
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 1100)), st.sampled_from(DTYPES), st.integers(1, 10),
    st.sampled_from([1, 7, 16, 128, 2000]), st.sampled_from([None, (1, 1.0), (3, 2.0**-6), (2, 2.0**-14)]),
    st.integers(0, 99),
)  # fmt: skip
def test_errors_of_rounding(
    shape: tuple[int, int], dtype: Any, height: int, width: int, small_float: Any, seed: int
) -> None:
    x = matrix(shape, dtype, seed)
    across = (-(-shape[0] // height), -(-shape[1] // width))
    rng = np.random.default_rng(seed)
    step = (rng.random(across) * 0.1 + 0.01).astype(np.float32)
    low, high = (np.full(across, end, np.float32) for end in (-8, 7))
    rounding = Rounding(height, width, step, low, high, small_float)
    found = rounding_error(x, rounding)
    of_rows, of_columns = np.arange(shape[0]) // height, np.arange(shape[1]) // width
    steps = step[of_rows][:, of_columns]
    codes = np.clip(x.astype(np.float32) / steps, np.float32(-8), np.float32(7))
    if small_float is None:
        rounded = np.rint(codes)
    else:
        exponent = np.floor(np.log2(np.maximum(np.abs(codes), np.float32(small_float[1])), dtype=np.float64))
        unit = 2.0 ** (exponent - small_float[0])
        rounded = (np.rint(codes / unit) * unit).astype(np.float32)
    d = (rounded * steps).astype(np.float64) - x.astype(np.float64)
    assert found == pytest.approx(float((d * d).sum()), rel=1e-6)  # middles between two codes go either way
    together = distance_sums(x, x, 0, rounding)
    assert together is not None
    assert together.rounding == pytest.approx(found, rel=1e-12)
