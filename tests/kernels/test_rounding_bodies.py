"""What becomes of numbers that are none, and of blocks that are not whole; the arithmetic is in
tests/evaluate/test_fake_quantize.py, against ml_dtypes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from qinspect.kernels import rounding
from qinspect.kernels.rounding import E2M1, E4M3, E5M2, CodeRange, nearest

INT8 = CodeRange(-128, 127)
CODES = {"int8": INT8, "float8_e4m3fn": E4M3, "float8_e5m2": E5M2, "float4_e2m1fn": E2M1}
ONE = torch.tensor(0.5)
WAYS: dict[str, Callable[[Tensor, CodeRange], Tensor]] = {
    "one scale": lambda x, codes: rounding.by_one_scale(x, codes, ONE),
    "by token": lambda x, codes: rounding.by_token(x, codes, codes.high),
    "by block": lambda x, codes: rounding.by_block(x, codes, codes.high, 16),
    "with an outer scale": lambda x, codes: rounding.by_block(x, codes, codes.high, 16, ONE),
    "by power of two": lambda x, codes: rounding.by_power_of_two(x, codes, codes.high, 16),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("codes", CODES)
def test_a_nan_stays_one_and_spreads_no_further_than_its_scale(codes: str, way: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 32)
    x[1, 4] = float("nan")
    found, without = (WAYS[way](y, CODES[codes]) for y in (x, x.nan_to_num(0)))
    assert found[1, 4].isnan()
    assert torch.equal(found[[0, 2]], without[[0, 2]])
    assert way == "by token" or torch.equal(found[1, 16:], without[1, 16:])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("codes", CODES)
def test_zeros_stay_zeros(codes: str, way: str) -> None:
    assert not WAYS[way](torch.zeros(2, 32), CODES[codes]).any()


@pytest.mark.parametrize("way", ["by token", "by block", "by power of two"])
def test_beside_an_infinite_number_nothing_is_left_as_if_it_were_finite(way: str) -> None:
    x = torch.ones(1, 16)
    x[0, 3] = float("inf")
    found = WAYS[way](x, INT8)
    assert not found[0, 3].isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_given_is_not_changed(dtype: torch.dtype) -> None:
    x = torch.randn(4, 40).to(dtype)
    before = x.clone()
    for way in WAYS.values():
        found = way(x, INT8)
        assert found.dtype == dtype
        assert found.shape == x.shape
        assert torch.equal(x, before)


def test_a_last_block_that_is_not_full_has_a_scale_of_its_own() -> None:
    x = torch.cat([torch.full((2, 16), 100.0), torch.full((2, 5), 1.27)], 1)
    assert rounding.by_block(x, INT8, 127, 16)[:, 16:].numpy() == pytest.approx(1.27, rel=1e-6)


def test_codes_without_a_rule_are_an_error() -> None:
    with pytest.raises(ValueError, match="no rule"):
        nearest(torch.ones(1), CodeRange(-28.0, 28.0, (2, 0.25)))
