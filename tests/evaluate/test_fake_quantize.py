"""Rounding of activations against ml_dtypes and numpy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.evaluate import fake_quantize
from qinspect.inspector.formats.element import integer, small_float
from qinspect.kernels.rounding import nearest

NUMBERS = st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=64)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
@given(NUMBERS)
def test_small_floats_are_those_of_ml_dtypes(name: str, numbers: list[float]) -> None:
    element = small_float(name)
    x = np.clip(np.array(numbers, np.float32), element.q_min, element.q_max)
    codes = fake_quantize.code_range(element)
    assert codes is not None
    found = nearest(torch.from_numpy(x.copy()), codes)
    expected = x.astype(getattr(ml_dtypes, name)).astype(np.float32)
    np.testing.assert_array_equal(found.numpy(), expected)


@given(NUMBERS, st.floats(2**-10, 8, width=32))
def test_integers_round_to_even_and_saturate(numbers: list[float], scale: float) -> None:
    quantize = fake_quantize.static(integer(8), torch.tensor(scale))
    assert quantize is not None
    x = np.array(numbers, np.float32)
    expected = np.clip(np.rint(x / np.float32(scale)), -128, 127) * np.float32(scale)
    np.testing.assert_array_equal(quantize(torch.from_numpy(x)).numpy(), expected)


def test_a_scale_of_each_token_gives_its_largest_the_largest_code() -> None:
    x = torch.tensor([[1.0, -4.0, 2.0], [0.0, 0.0, 0.0], [100.0, 1.0, 50.0]])
    quantize = fake_quantize.of_each_token(integer(8))
    assert quantize is not None
    found = quantize(x)
    assert found[1].tolist() == [0, 0, 0]
    assert torch.allclose(found[:, 0], x[:, 0], atol=100 / 127 / 2)
    assert found[2, 0] == pytest.approx(100.0, rel=1e-6)


def test_microscaled_blocks_have_powers_of_two() -> None:
    """MXFP4 by the formula of the specification: the largest of 6 has the exponent 2."""
    x = np.array([[0.1, -3.0, 5.9] + [0.0] * 29, [0.0] * 32, [1e-3] * 32], np.float32)
    quantize = fake_quantize.microscaled(small_float("float4_e2m1fn"), 32)
    assert quantize is not None
    for row, found in zip(x, quantize(torch.from_numpy(x)).numpy(), strict=True):
        largest = np.abs(row).max()
        scale = 2.0 ** (np.floor(np.log2(largest)) - 2) if largest else 1.0
        expected = (row / scale).clip(-6, 6).astype(ml_dtypes.float4_e2m1fn).astype(np.float32) * scale
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_a_zero_point_moves_the_codes() -> None:
    quantize = fake_quantize.static(integer(8), torch.tensor(0.5), -100.0)
    assert quantize is not None
    x = torch.tensor([-20.0, -14.0, 0.0, 0.3, 100.0, 120.0])
    codes = np.clip(np.rint(x.numpy() / 0.5) - 100, -128, 127)
    np.testing.assert_array_equal(quantize(x).numpy(), (codes + 100) * 0.5)


def test_blocks_have_scales_in_e4m3_times_the_stored_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 32)).astype(np.float32)
    outer = np.float32(np.abs(x).max() / (448 * 6))
    quantize = fake_quantize.of_blocks(small_float("float4_e2m1fn"), 16, torch.tensor(float(outer)))
    assert quantize is not None
    blocks = x.reshape(5, 2, 16)
    scale = (np.abs(blocks).max(-1, keepdims=True) / np.float32(6) / outer).astype(ml_dtypes.float8_e4m3fn)
    scale = scale.astype(np.float32) * outer
    codes = np.clip(blocks / scale, -6, 6).astype(ml_dtypes.float4_e2m1fn).astype(np.float32)
    np.testing.assert_array_equal(quantize(torch.from_numpy(x)).numpy(), (codes * scale).reshape(5, 32))
