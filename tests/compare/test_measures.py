"""One number, wherever it is seen: cell, order, colour and JSON of a pair agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, compare
from qinspect.inspector.compare.measures import CHANGED, DIFFERENCE, ERROR, NOISE, OF_SCALES, OF_TENSORS, SHARE
from qinspect.inspector.compare.payload import comparison
from qinspect.inspector.formats import format_of
from qinspect.inspector.measure import ColourScale, by_key

finite_floats = st.floats(allow_nan=False, allow_infinity=False)


def compared(a: Path, b: Path) -> Comparison:
    return compare(format_of(open_checkpoint(a)), format_of(open_checkpoint(b)), codes=True)


@pytest.fixture(scope="module")
def two_alphas(quamba: Callable[[str], Path]) -> Comparison:
    return compared(quamba("m1_w8a8_pa0.9995"), quamba("m1_w8a8_pa0.99999"))


def test_the_difference_is_that_of_the_comparison(two_alphas: Comparison) -> None:
    for p in two_alphas.scales:
        value = DIFFERENCE.value(p)
        if p.difference is None:
            assert value == (0.0 if p.status.counts_as_same else math.inf)
            assert DIFFERENCE.text(p) == ""
        else:
            assert value == p.difference.largest
            assert CHANGED.value(p) == p.difference.n_changed
    ordered = sorted(two_alphas.scales, key=DIFFERENCE.order)
    sizes = [abs(DIFFERENCE.value(p) or 0.0) for p in ordered]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0


def test_a_scale_that_is_no_number_stands_first(plain: Callable[..., Path]) -> None:
    ones = np.ones(4, np.float32)
    a = {"x.weight_scale": ones, "y.weight_scale": ones, "z.weight_scale": ones}
    b = {**a, "y.weight_scale": ones * 8, "z.weight_scale": np.array([np.nan, 1, 1, 1], np.float32)}
    c = compared(plain("a", a), plain("b", b))
    ordered = sorted(c.scales, key=DIFFERENCE.order)
    assert [p.role.split(".")[0] for p in ordered] == ["z", "y", "x"]
    assert DIFFERENCE.value(ordered[0]) == math.inf
    assert DIFFERENCE.text(ordered[0]) == "n/a"
    assert DIFFERENCE.text(ordered[1]) == "+700.00 %"
    assert [CHANGED.value(p) for p in ordered] == [1, 4, 0]


def test_where_no_band_is_known_nothing_is_said(plain: Callable[..., Path]) -> None:
    c = compared(plain("a", {"x.weight_scale": np.ones(2)}), plain("b", {"x.weight_scale": np.ones(2) * 2}))
    assert NOISE.value(c.scales[0]) is None
    assert NOISE.order(c.scales[0]) > NOISE.order(c.scales[0])[:0]


def test_tensors(plain: Callable[..., Path]) -> None:
    w = np.ones((4, 8), np.float32)
    c = compared(plain("a", {"w": w, "v": w}), plain("b", {"w": w + np.eye(4, 8, dtype=np.float32), "v": w}))
    found = {p.role: (ERROR.value(p), SHARE.value(p)) for p in c.weights}
    assert found["w"] == pytest.approx((100 * math.sqrt(4 / 32), 12.5))
    assert found["v"] == (0.0, 0.0)


def number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def test_json_has_every_measure(two_alphas: Comparison) -> None:
    made = comparison(two_alphas, list(two_alphas.scales), list(two_alphas.weights))
    for row, p in zip(made["scales"], two_alphas.scales, strict=True):
        assert row["measures"] == {k: number(m.value(p)) for k, m in OF_SCALES.items()}
    for row, w in zip(made["tensors"], two_alphas.weights, strict=True):
        assert row["measures"] == {k: number(m.value(w)) for k, m in OF_TENSORS.items()}
    assert [m["key"] for m in made["measures"]["scales"]] == list(OF_SCALES)


@given(finite_floats, finite_floats)
def test_a_colour_grows_with_its_number(x: float, y: float) -> None:
    scale = ColourScale(1e-3, 100.0)
    assert 0 <= scale.place(x) <= 1
    if abs(x) <= abs(y):
        assert scale.place(x) <= scale.place(y)
    signed = ColourScale(1e-3, 100.0, signed=True)
    assert abs(signed.place(x)) == scale.place(x)
    assert signed.place(-x) == -signed.place(x)


def test_what_is_not_known_has_no_colour() -> None:
    scale = ColourScale(1e-3, 100.0, signed=True)
    assert math.isnan(scale.place(None))
    assert math.isnan(scale.place(math.nan))
    assert scale.place(-math.inf) == -1
    assert scale.place(1e-4) == 0


def test_two_measures_of_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="key difference"):
        by_key((DIFFERENCE, DIFFERENCE))
