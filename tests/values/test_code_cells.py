"""Histograms of codes of any kind make no comb: what was spread over cells is compared with what was rounded."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_files import affine, of_module, opened
from numpy.typing import NDArray

from qinspect.inspector.formats.element import Element, ElementKind, integer, small_float, table, unsigned
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, flat_blocks, groups
from qinspect.inspector.values.code_cells import Cells, cells_of, float_cells
from qinspect.inspector.values.histogram import histogram

Array = NDArray[Any]

NORMAL_FLOAT = (
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip
ELEMENTS = {
    "int4": integer(4),
    "int8": integer(8),
    "uint4": unsigned(4, 8),
    "fp4": small_float("float4_e2m1fn"),
    "e4m3": small_float("float8_e4m3fn"),
    "e5m2": small_float("float8_e5m2"),
    "nf4": table("nf4", NORMAL_FLOAT, 4),
}
WIDTHS = st.floats(0, 3).filter(lambda x: x == 0 or x > 1e-6)
ROWS, COLUMNS, GROUP = 256, 512, 32


def levels(element: Element) -> tuple[Array, Array]:
    """(codes, what they stand for), by what they stand for."""
    low, high = element.code_range
    codes = np.arange(low, high + 1)
    worth = element.values(codes)
    assert worth is not None
    known = np.isfinite(worth)
    worth, at = np.unique(worth[known].astype(np.float64), return_index=True)
    return codes[known][at], worth


def rounded(element: Element, x: Array) -> Array:
    """The codes nearest to numbers."""
    codes, worth = levels(element)
    return codes[np.searchsorted((worth[1:] + worth[:-1]) / 2, x)]


def steps_of(element: Element, how: str, rng: np.random.Generator) -> tuple[Grid, Array]:
    """Scales so that |x| <= 1 is in range. two: of a tensor, and of a group, which is rounded to 8 levels."""
    most = float(np.abs(levels(element)[1]).max())
    if how == "tensor":
        return PER_TENSOR, np.full((1, 1), 1 / most)
    if how == "channel":
        return channels(), rng.uniform(0.5, 1, (ROWS, 1)) / most
    if how == "column":
        return channels(1), rng.uniform(0.5, 1, (1, COLUMNS)) / most
    inner = rng.integers(8, 16, (ROWS, COLUMNS // GROUP)) / 16
    return groups(GROUP), np.repeat(inner, GROUP, axis=1) / most


def spread(cells: Cells, bins: int, logarithmic: bool = False) -> tuple[Array, Array]:
    h = histogram(lambda: [cells.values], None, bins, logarithmic, cells=[lambda: [cells]])
    assert h.spread
    assert h.step == 0
    return np.array(h.a), np.array(h.edges)


@pytest.mark.parametrize("bins", [73, 111, 190])
@pytest.mark.parametrize("how", ["tensor", "channel", "column", "two"])
@pytest.mark.parametrize("name", ELEMENTS)
def test_what_was_even_before_it_was_rounded_is_even(name: str, how: str, bins: int) -> None:
    """The histogram of the numbers before rounding is known: as many in each bin."""
    rng, element = np.random.default_rng(5), ELEMENTS[name]
    grid, scale = steps_of(element, how, rng)
    ends = levels(element)[1]
    low, high = 0.5 * ends[0] / max(abs(ends)), 0.5 * ends[-1] / max(abs(ends))
    x = rng.uniform(low, high, (ROWS, COLUMNS))
    codes = rounded(element, x / scale)
    worth = element.values(codes)
    assert worth is not None
    found, edges = spread(cells_of(element, grid, codes, worth * scale), bins)
    assert found.sum() == x.size
    inside = (edges[:-1] > 0.8 * low) & (edges[1:] < 0.8 * high)
    even = x.size * (edges[1] - edges[0]) / (high - low)
    assert inside.sum() > bins // 3
    assert found[inside].min() > 0.85 * even
    assert found[inside].max() < 1.15 * even


@pytest.mark.parametrize("grid", [groups(GROUP), groups(48), flat_blocks(GROUP), channels()], ids=str)
@pytest.mark.parametrize("minimum", [False, True])
def test_zero_points_and_minima_make_no_comb(grid: Grid, minimum: bool) -> None:
    """Their steps are those between the ends of each group; a last, shorter group has its own."""
    rng = np.random.default_rng(6)
    size = grid.group_size or COLUMNS
    x = rng.uniform(-1, 1, (ROWS, COLUMNS))
    n = -(-COLUMNS // size)
    scale = np.repeat(rng.uniform(0.15, 0.2, (ROWS, n)), size, axis=1)[:, :COLUMNS]
    zero = np.repeat(rng.uniform(6, 9, (ROWS, n)) if minimum else rng.integers(6, 9, (ROWS, n)), size, axis=1)
    codes = np.clip(np.rint(x / scale + zero[:, :COLUMNS]), 0, 15).astype(np.int64)
    values = (codes - zero[:, :COLUMNS]) * scale
    cells = cells_of(Element(ElementKind.INTEGER, "uint4", 4, 0, 15, None), grid, codes, values)
    assert (cells.high - cells.low).reshape(x.shape) == pytest.approx(scale, rel=1e-6)
    found, edges = spread(cells, 111)
    inside = (edges[:-1] > -0.7) & (edges[1:] < 0.7)
    even = x.size * (edges[1] - edges[0]) / 2
    assert 0.9 * even < found[inside].min() <= found[inside].max() < 1.1 * even


def test_a_logarithmic_axis_has_no_comb_either() -> None:
    rng, element = np.random.default_rng(7), ELEMENTS["e4m3"]
    x = np.exp(rng.uniform(np.log(0.01), np.log(1), (ROWS, COLUMNS))) * rng.choice([-1, 1], (ROWS, COLUMNS))
    scale = np.full((1, 1), 1 / 448)
    codes = rounded(element, x / scale)
    worth = element.values(codes)
    assert worth is not None
    found, edges = spread(cells_of(element, PER_TENSOR, codes, worth * scale), 120, logarithmic=True)
    inside = (edges[:-1] > -1.9) & (edges[1:] < -0.1)
    even = x.size * (edges[1] - edges[0]) / 2
    assert 0.8 * even < found[inside].min() <= found[inside].max() < 1.2 * even


def test_zeros_have_the_step_of_their_neighbours_and_a_row_of_zeros_has_none() -> None:
    codes = np.array([[0, 0, 3, 0, -2], [0, 0, 0, 0, 0]])
    scale = np.array([[0.5], [7.0]])
    cells = cells_of(integer(4), channels(), codes, codes * scale)
    assert (cells.high - cells.low).tolist() == [0.5] * 5 + [0.0] * 5
    assert cells.low[0] == -0.25


def test_values_that_are_more_than_a_scale_times_their_level_have_no_cells() -> None:
    """Of a rotated weight: each value has parts of many codes."""
    rng = np.random.default_rng(8)
    codes = rng.integers(-8, 8, (64, 64))
    turned = codes @ np.linalg.qr(rng.normal(size=(64, 64)))[0]
    cells = cells_of(integer(4), PER_TENSOR, codes, turned)
    assert (cells.low == cells.values).all()
    assert (cells.high == cells.values).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_have_no_place(bad: float) -> None:
    codes = np.full((4, 64), 3)
    scale = np.array([[0.5], [bad], [0.25], [-1.0]])
    cells = cells_of(integer(4), channels(), codes, codes * scale)
    found, edges = spread(cells, 50)
    assert found.sum() == 3 * 64
    assert np.isfinite(edges).all()


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-5, 5), WIDTHS, WIDTHS), min_size=1, max_size=40),
    st.integers(1, 60),
)
def test_counts_are_the_parts_of_the_cells_between_the_edges(of: list[tuple[float, float, float]], bins: int) -> None:
    x, below, above = (np.array(v) for v in zip(*of, strict=True))
    cells = Cells(x, x - below, x + above)
    h = histogram(lambda: [x], None, bins, False, cells=[lambda: [cells]])
    assert sum(h.a) == x.size
    wide = cells.high > cells.low

    def up_to(edge: float) -> float:
        share = (edge - cells.low[wide]) / (cells.high - cells.low)[wide]
        return float(np.clip(share, 0, 1).sum()) + float((x[~wide] < edge).sum())

    for (low, high), n in zip(pairwise(h.edges), h.a, strict=True):
        touching = (x[~wide] == high).sum() + (x[~wide] == low).sum()
        assert abs(up_to(high) - up_to(low) - n) <= 1 + touching + 1e-6


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_the_cells_of_coarse_floats_touch(dtype: str) -> None:
    """Every normal number ends where the next begins, half-way between both."""
    of = np.dtype(getattr(ml_dtypes, dtype))
    with np.errstate(invalid="ignore"):  # NaN among the patterns
        patterns = np.arange(1 << (8 * of.itemsize - 1), dtype=f"u{of.itemsize}").view(of).astype(np.float64)
    least = float(ml_dtypes.finfo(of).smallest_normal)  # type: ignore[no-untyped-call]
    x = np.sort(patterns[np.isfinite(patterns) & (patterns >= least)])
    found = float_cells(dtype, lambda: [x, -x])
    assert found is not None
    for cells, sign in zip(found(), (1, -1), strict=True):
        ends = (cells.low, cells.high) if sign > 0 else (-cells.high, -cells.low)
        assert ends[1][:-1].tolist() == ends[0][1:].tolist() == ((x[1:] + x[:-1]) / 2).tolist()


def test_fine_floats_have_no_cells() -> None:
    assert float_cells("float32", list) is None
    assert float_cells("float16", list) is None


def test_cells_beside_a_minimum_are_as_wide_as_the_scale_of_either_sign(tmp_path: Path) -> None:
    made = affine(4, (6, 128), 64)
    assert (made.tensors["scales"] < 0).any()
    fmt = opened(tmp_path, of_module(made), {"bits": 4, "group_size": 64})
    (w,) = fmt.weights()
    found = cells_of(fmt.element_of(w), w.grid, fmt.codes(w), fmt.dequantize(w))
    step = np.abs(made.tensors["scales"].astype(np.float64)).repeat(64, -1).reshape(-1)
    np.testing.assert_allclose(found.high - found.low, step, rtol=1e-3)
    np.testing.assert_allclose((found.high + found.low) / 2, made.values.reshape(-1), rtol=1e-3, atol=1e-5)
