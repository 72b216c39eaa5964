"""The GPU bodies against float64 and the CPU bodies. They need a CUDA device and triton; test_logits.py and
test_rounding_bodies.py need none."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor

from qinspect.kernels import reference, rounding
from qinspect.kernels.logits import LogitFigures, logit_figures
from qinspect.kernels.rounding import E2M1, E4M3, E5M2, CodeRange


def _why_not() -> str:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return "" if torch.cuda.is_available() else "there is no CUDA device"


WHY_NOT = _why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "there is one")

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CODES = {"int8": CodeRange(-128, 127), "uint8": CodeRange(-28, 227), "e4m3": E4M3, "e5m2": E5M2, "e2m1": E2M1}


def check(p: Tensor, q: Tensor, top: int = 5, far: bool = True) -> LogitFigures:
    """Within what `logit_figures` promises. far: whether some p and q are far apart."""
    right = torch.randint(0, p.shape[1], (p.shape[0],), device=p.device)
    found = logit_figures(p, q, right, top)
    for name, expected in reference.logit_figures(p, q, right, top).items():
        value = getattr(found, name).double()
        if name in ("top_p", "top_q", "shared"):
            assert torch.equal(value, expected), name
        elif name in ("kl", "kl_back"):
            worst = ((value - expected).abs() / (1e-5 * expected.abs() + (4e-6 if far else 1e-12))).max()
            assert worst <= 1, (name, float(worst))
        else:
            worst = (value - expected).abs().max()
            assert worst <= 4e-6, (name, float(worst))
    assert found.finite.all()
    return found


@pytest.mark.parametrize("n", [1, 7, 256, 2048, 32_001, 128_256])
@pytest.mark.parametrize("dtype", DTYPES)
def test_figures_are_those_of_float64(n: int, dtype: torch.dtype) -> None:
    torch.manual_seed(n)
    p = 3 * torch.randn(64, n, device="cuda")
    for noise in (1e-3, 0.1, 1.0, 10.0):
        q = p + noise * torch.randn(64, n, device="cuda")
        check(p.to(dtype), q.to(dtype), min(5, n), far=noise > 0.1)


def test_maxima_that_come_late_and_models_far_apart() -> None:
    torch.manual_seed(0)
    rising = torch.linspace(-40, 40, 20_000, device="cuda").repeat(8, 1) + torch.randn(8, 20_000, device="cuda")
    check(rising, rising + 0.01 * torch.randn(8, 20_000, device="cuda") - 3)
    check(rising, rising.flip(1))
    check(rising.flip(1), rising)
    flat = torch.randn(8, 128_256, device="cuda")
    peaked = flat.clone()
    peaked[:, 777] += 50
    check(flat, peaked)
    check(peaked, flat)
    check(peaked, (1.001 * peaked).roll(1, 1))


@pytest.mark.parametrize("top", [1, 5, 8])
def test_of_equal_logits_the_first_is_taken(top: int) -> None:
    torch.manual_seed(0)
    few = torch.randint(0, 4, (2, 64, 9_000), device="cuda").bfloat16()
    check(few[0], few[1], top)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_rows_differ_by_exactly_nothing(dtype: torch.dtype) -> None:
    p = (5 * torch.randn(300, 50_000, device="cuda")).to(dtype)
    found = logit_figures(p, p.clone(), torch.zeros(300, dtype=torch.int64, device="cuda"))
    assert not found.kl.any()
    assert not found.kl_back.any()
    assert torch.equal(found.ln_p, found.ln_q)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_rows_with_a_logit_that_is_no_number_are_known(bad: float) -> None:
    p = torch.randn(6, 5_000, device="cuda")
    q = p.clone()
    q[1, 0], q[2, 3000], q[4, 4999] = bad, bad, bad
    right = torch.zeros(6, dtype=torch.int64, device="cuda")
    for a, b in ((p, q), (q, p), (q, q.clone())):
        found = logit_figures(a, b, right)
        assert found.finite.tolist() == [True, False, False, True, False, True]
        assert found.kl.isnan().tolist() == [False, True, True, False, True, False]


def inputs(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    wide = torch.randn(7, 96) * torch.logspace(-44, 30, 96)
    ties = torch.tensor([0.25, 0.5, 0.75, 1, 1.25, 1.75, 2.5, 3.5, 5, 6, 7, 0, -0.25, -2.5, -5, 1e-9]).repeat(4, 2)
    broken = torch.randn(5, 64)
    broken[0, 3], broken[1, 5], broken[2] = float("nan"), float("inf"), 0
    sizes = [torch.randn(3, 17, 64) * s for s in (1e-3, 1, 30, 1e5)]
    return [x.to(dtype) for x in (*sizes, torch.randn(2, 9, 14_336), wide, ties, broken)]


def same(found: Tensor, expected: Tensor) -> bool:
    """Number for number; of a zero, whatever its sign."""
    there = found.cpu()
    equal = (there == expected) | (there.isnan() & expected.isnan())
    return there.dtype == expected.dtype and bool(equal.all())


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_that_of_the_cpu(codes: str, dtype: torch.dtype) -> None:
    to = CODES[codes]
    largest = 127.0 if codes == "uint8" else to.high
    for x in inputs(dtype):
        there = x.cuda()
        for number in (1.0, 0.0371, 1e-4):
            scale = torch.tensor(number)
            for a, b in ((there, x), (there.mT, x.mT), (there[..., ::2], x[..., ::2])):
                assert same(rounding.by_one_scale(a, to, scale.cuda()), rounding.by_one_scale(b, to, scale))
        assert same(rounding.by_token(there, to, largest), rounding.by_token(x, to, largest))
        for size in (16, 32, 128, 24):  # the last two are not of whole blocks, or of no power of two
            found, expected = (rounding.by_block(y, to, largest, size) for y in (there, x))
            assert same(found, expected)
            outer = torch.tensor(0.003)
            assert same(
                rounding.by_block(there, to, largest, size, outer.cuda()),
                rounding.by_block(x, to, largest, size, outer),
            )
            found, expected = (rounding.by_power_of_two(y, to, largest, size) for y in (there, x))
            assert same(found, expected)
