"""How far two tensors lie apart: against numpy over the whole arrays, and against torch's casts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, Status, WeightPair, compare, payload
from qinspect.inspector.compare.deviation import cast_of, deviation_of
from qinspect.inspector.compare.report import comparison_text, scale_table
from qinspect.inspector.formats import Format, format_of

Array = NDArray[Any]


def pieces(a: Array, b: Array, n: int) -> list[tuple[Array, Array]]:
    """Both flat, `n` elements at once."""
    a, b = a.reshape(-1), b.reshape(-1)
    return [(a[i : i + n], b[i : i + n]) for i in range(0, a.size, n)]


@st.composite
def pair(draw: st.DrawFn) -> tuple[Array, Array]:
    """Two arrays of one shape, in which many elements agree."""
    shape = draw(st.sampled_from([(1,), (7,), (3, 5), (2, 3, 4)]))
    floats = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 1.0])
    a = draw(arrays(np.float32, shape, elements=floats))
    b = np.where(draw(arrays(np.bool_, shape)), a, draw(arrays(np.float32, shape, elements=floats)))
    return a, b.astype(np.float32)


@given(pair(), st.integers(1, 9))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_numbers_are_those_of_numpy_over_the_whole(ab: tuple[Array, Array], n: int) -> None:
    a, b = ab
    n_changed, d = deviation_of(pieces(a, b, n), a.shape)
    assert n_changed == np.count_nonzero(a.view(np.uint32) != b.view(np.uint32))
    x, y = a.astype(np.float64), b.astype(np.float64)
    if np.array_equal(x, y):
        assert d is None
        return
    assert d is not None
    norm = float(np.linalg.norm(x))
    if norm:
        assert d.relative == pytest.approx(float(np.linalg.norm(y - x)) / norm, rel=1e-12)
    else:
        assert math.isnan(d.relative)
    assert d.largest == np.abs(y - x).max()
    assert abs(float(y[d.where]) - float(x[d.where])) == d.largest
    assert (d.a, d.b) == (float(x[d.where]), float(y[d.where]))
    assert d.n_zeroed == np.count_nonzero((y == 0) & (x != 0))


@given(pair(), st.integers(0, 24), st.integers(1, 9))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_tail_of_zeros_begins_where_b_has_its_last_number(ab: tuple[Array, Array], at: int, n: int) -> None:
    a = ab[0].reshape(-1)
    b = a.copy()
    b[at:] = 0
    _, d = deviation_of(pieces(a, b, n), a.shape)
    if d is None:
        assert not a[at:].any()
    else:
        assert d.zero_from == (int(np.flatnonzero(b)[-1]) + 1 if b.any() else 0)


def test_zeros_that_a_has_too_are_no_tail() -> None:
    a = np.array([1.0, 2.0, 0.0, 0.0])
    _, d = deviation_of([(a, np.array([1.0, 3.0, 0.0, 0.0]))], (4,))
    assert d is not None
    assert (d.n_zeroed, d.zero_from) == (0, None)


@given(
    arrays(np.int64, 5, elements=st.integers(-(2**63), 2**63 - 1)),
    arrays(np.int64, 5, elements=st.integers(-(2**63), 2**63 - 1)),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_integers_are_subtracted_exactly(a: Array, b: Array) -> None:
    n_changed, d = deviation_of([(a, b)], (5,))
    exact = [abs(int(y) - int(x)) for x, y in zip(a, b, strict=True)]
    assert n_changed == sum(e > 0 for e in exact)
    assert (d.largest if d else 0.0) == float(max(exact))


@pytest.mark.parametrize("swapped", [False, True])
def test_complex_numbers_beside_real_ones_are_measured(swapped: bool) -> None:
    z, r = np.array([3 + 4j, 1 + 0j, 2 + 0j], np.complex64), np.array([0, 1, np.nan], np.float32)
    a, b = (r, z) if swapped else (z, r)
    n_changed, d = deviation_of([(a, b)], (3,))
    assert n_changed == 2
    assert d is not None
    assert (d.largest, d.where) == (5.0, (0,))
    assert (d.n_bad_a, d.n_bad_b) == ((1, 0) if swapped else (0, 1))


def test_neighbours_beyond_2_to_the_53_differ() -> None:
    n_changed, d = deviation_of([(np.array([2**60 + 1]), np.array([2**60]))], (1,))
    assert d is not None
    assert (n_changed, d.largest) == (1, 1.0)


def test_nan_and_inf_are_counted_and_left_out() -> None:
    a = np.array([1.0, math.nan, 2.0, math.inf])
    b = np.array([1.0, 5.0, math.nan, math.inf])
    n_changed, d = deviation_of([(a, b)], (4,))
    assert d is not None
    assert (n_changed, d.n_bad_a, d.n_bad_b, d.relative) == (2, 2, 2, 0.0)
    assert math.isnan(d.a)  # the first that differs is shown
    assert d.b == 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_a_cast_is_recognised_as_torch_makes_it(dtype: torch.dtype) -> None:
    x = torch.randn(500, generator=torch.Generator().manual_seed(0))
    cast = x.to(dtype)
    kinds = {torch.bfloat16: ml_dtypes.bfloat16, torch.float8_e4m3fn: ml_dtypes.float8_e4m3fn}
    b = (
        cast.view(torch.int16 if cast.itemsize == 2 else torch.int8).numpy().view(kinds[dtype])
        if (dtype in kinds)
        else cast.numpy()
    )
    assert cast_of(x.numpy(), b).startswith("B is A rounded to ")
    assert cast_of(b, x.numpy()).startswith("A is B rounded to ") or dtype is torch.float64
    spoiled = b.copy()
    spoiled[3] = -spoiled[3]
    assert not cast_of(x.numpy(), spoiled)


# --- through files ---


def opened(path: Path) -> Format:
    return format_of(open_checkpoint(path))


def compared(tmp: Path, a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], **more: Any) -> Comparison:
    for name, tensors in (("a", a), ("b", b)):
        save_file(tensors, tmp / f"{name}.safetensors")
    return compare(opened(tmp / "a.safetensors"), opened(tmp / "b.safetensors"), **more)


def only(c: Comparison) -> WeightPair:
    (w,) = c.weights
    return w


def said(c: Comparison) -> str:
    return " ".join(r.text for r in (c.headline, *c.reasons))


X = torch.randn(24, 16, generator=torch.Generator().manual_seed(1))


def test_noise_another_model_and_lost_data_look_different(tmp_path: Path) -> None:
    noise = compared(tmp_path, {"w": X}, {"w": X + 1e-6 * torch.randn(24, 16)})
    other = compared(tmp_path, {"w": X}, {"w": torch.randn(24, 16)})
    lost = X.clone()
    lost[12:] = 0
    tail = compared(tmp_path, {"w": X}, {"w": lost})
    sizes = [w.deviation.relative for c in (noise, other, tail) if (w := only(c)).deviation]
    assert sizes[0] < 1e-5
    assert sizes[1] > 1
    assert 0.1 < sizes[2] < 1
    assert "zero from element 192 to its end" in said(tail)
    assert "zero" not in said(noise)
    assert "zero" not in said(other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_a_lossless_cast_holds_the_same_values(tmp_path: Path, dtype: torch.dtype) -> None:
    x = X.to(torch.bfloat16)
    c = compared(tmp_path, {"w": x, "w_scale": x[0].abs()}, {"w": x.to(dtype), "w_scale": x[0].abs().to(dtype)})
    assert c.headline.rule == "same-values"
    assert c.same


def test_a_lossy_cast_is_named_and_measured(tmp_path: Path) -> None:
    c = compared(tmp_path, {"w": X}, {"w": X.half()})
    assert c.headline.rule == "rounded"
    assert "B is A rounded to float16" in c.headline.text
    d = only(c).deviation
    assert d is not None
    assert d.largest == float((X.double() - X.half().double()).abs().max())
    assert not c.same


def test_unread_dtypes_are_not_called_another_structure(tmp_path: Path) -> None:
    c = compared(tmp_path, {"w": X}, {"w": X.half()}, codes=False)
    assert c.headline.rule == "other-dtype"
    assert "not read" in c.headline.text


def test_a_layout_of_memory_is_no_difference(tmp_path: Path) -> None:
    torch.save({"w": X.t().contiguous().t()}, tmp_path / "b.pt")
    save_file({"w": X}, tmp_path / "a.safetensors")
    c = compare(opened(tmp_path / "a.safetensors"), opened(tmp_path / "b.pt"))
    assert only(c).status is Status.EQUAL
    assert c.headline.rule == "same-values"


def test_the_relative_error_of_large_integers_is_not_rounded_away(tmp_path: Path) -> None:
    a = torch.tensor([2**62 + 1, 3])
    b = torch.tensor([2**62, 3])
    d = only(compared(tmp_path, {"w": a}, {"w": b})).deviation
    assert d is not None
    assert d.relative == pytest.approx(2.0**-62)


def test_nan_against_inf_has_no_relative_error_of_zero(tmp_path: Path) -> None:
    a, b = torch.tensor([math.nan, 1.0, 2.0]), torch.tensor([math.inf, 1.0, 2.0])
    text = said(compared(tmp_path, {"w": a}, {"w": b}))
    assert "1 element of A is NaN or Inf and left out" in text
    assert "relative error" not in text


def test_signs_of_zero_are_named_among_the_forms(tmp_path: Path) -> None:
    c = compared(tmp_path, {"w": torch.zeros(20)}, {"w": -torch.zeros(20)})
    assert c.headline.rule == "same-values"
    assert "signs of zero" in c.headline.text


def test_where_only_nan_differs_there_is_no_size(tmp_path: Path) -> None:
    lost = X.clone()
    lost[3, 5] = math.nan
    c = compared(tmp_path, {"w": X}, {"w": lost})
    assert "0 %" not in comparison_text(c, scale_table(c.scales)).replace("100 %", "")
    found = payload.weight_pair(only(c))["deviation"]
    assert (found["relative_error"], found["largest_absolute"]) == (None, None)
    assert (found["where"], found["not_finite_b"]) == ([3, 5], 1)


def test_a_zero_at_the_end_is_no_tail(tmp_path: Path) -> None:
    """One code in 254 is 0: that some of many tensors end in one says nothing. A longer end of zeros does."""
    a = torch.full((8, 16), 3, dtype=torch.int8)
    by_chance, cut = a + 1, a + 1
    by_chance[-1, -1] = 0
    cut[-1] = 0
    c = compared(tmp_path, {"v": a, "w": a.clone()}, {"v": by_chance, "w": cut})
    said = " ".join([c.headline.text, *(r.text for r in c.reasons)])
    assert "1 tensor of B ends in zeros that A does not have, first w" in said
