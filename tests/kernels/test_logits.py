"""Figures of logits against their definitions in float64, and what is said of rows that are equal, tied or broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qinspect.kernels import logits, reference
from qinspect.kernels.logits import LogitFigures, logit_figures

FEW = st.sampled_from([-4.0, -1.5, 0.0, -0.0, 0.25, 3.0, 30.0])
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def check(p: torch.Tensor, q: torch.Tensor, right: torch.Tensor, top: int, found: LogitFigures) -> None:
    for name, value in reference.logit_figures(p, q, right, top).items():
        assert getattr(found, name).double().numpy() == pytest.approx(value.numpy(), rel=1e-9, abs=1e-12), name
    assert found.finite.all()


@given(
    st.integers(1, 4).flatmap(
        lambda rows: st.integers(1, 12).flatmap(
            lambda n: st.tuples(*[arrays(np.float32, (rows, n), elements=FEW | st.floats(-60, 60, width=32))] * 2)
        )
    ),
    st.integers(1, 8),
    st.sampled_from(DTYPES),
)
def test_figures_are_what_their_definitions_say(pair: Any, top: int, dtype: torch.dtype) -> None:
    p, q = (torch.from_numpy(x).to(dtype) for x in pair)
    right = torch.arange(p.shape[0]) % p.shape[1]
    check(p, q, right, top, logit_figures(p, q, right, top))


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_tiles_give_what_one_does(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    p = (3 * torch.randn(50, 700)).to(dtype)
    q = (p.float() + 0.1 * torch.randn(50, 700)).to(dtype)
    right = torch.randint(0, 700, (50,))
    monkeypatch.setattr(logits, "CPU_TILE", 2000)
    check(p, q, right, 5, logit_figures(p, q, right))
    turned = p.T.contiguous().T
    assert torch.equal(logit_figures(turned, q, right).kl, logit_figures(p, q, right).kl)


def test_of_equal_logits_the_first_is_taken() -> None:
    p = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0, 2.0], [0.0, -0.0, 0.0, -1.0, 0.0, 0.0]])
    q = torch.tensor([[0.0, 0.0, 0.0, 0.0, 5.0, 9.0], [0.0, 0.0, 0.0, 0.0, 0.0, 7.0]])
    found = logit_figures(p, q, torch.tensor([0, 0]), 2)
    assert found.top_p.tolist() == [1, 0]  # whatever the sign of a zero is
    assert found.top_q.tolist() == [5, 5]
    assert found.shared.tolist() == [0, 0.5]


@given(arrays(np.float32, (3, 9), elements=st.floats(-60, 60, width=32)))
def test_equal_rows_differ_by_exactly_nothing(x: Any) -> None:
    p = torch.from_numpy(x)
    found = logit_figures(p, p.clone(), torch.tensor([0, 4, 8]))
    assert not found.kl.any()
    assert not found.kl_back.any()
    assert torch.equal(found.ln_p, found.ln_q)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("of_both", [False, True])
def test_rows_with_a_logit_that_is_no_number_are_known(bad: float, of_both: bool) -> None:
    p = torch.randn(4, 30)
    q = p.clone()
    q[2, 7] = bad
    for a, b in ((p, q), (q, p), (q, q.clone())) if of_both else ((p, q), (q, p)):
        found = logit_figures(a, b, torch.tensor([1, 2, 3, 4]))
        assert found.finite.tolist() == [True, True, False, True]
        assert [f.isnan().tolist() for f in (found.kl, found.ln_p)] == [[False, False, True, False]] * 2


def test_no_rows_are_no_figures() -> None:
    empty = torch.zeros(0, 5)
    assert logit_figures(empty, empty, torch.zeros(0, dtype=torch.int64)).kl.shape == (0,)


@pytest.mark.parametrize(
    ("p", "q", "right", "top", "error"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), 2, 1, ValueError),
        (torch.zeros(2, 3), torch.zeros(2, 3), 3, 1, ValueError),
        (torch.zeros(3), torch.zeros(3), 3, 1, ValueError), (torch.zeros(2, 3), torch.zeros(2, 3), 2, 0, ValueError),
        (torch.zeros(2, 3), torch.zeros(2, 3), 2, 9, ValueError),
        (torch.zeros(2, 3).double(), torch.zeros(2, 3), 2, 1, TypeError),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error(p: Any, q: Any, right: int, top: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="logits"):
        logit_figures(p, q, torch.zeros(right, dtype=torch.int64), top)


@pytest.mark.parametrize("peaked", [0, 1, 2])
def test_what_the_gpu_sums_becomes_the_same_figures(peaked: int) -> None:
    """The sums of the GPU body, made here in float64 by their definition; c is near the best number, or is not. peaked:
    neither, the model, the reference."""
    torch.manual_seed(1)
    p = 3 * torch.randn(6, 2000).double()
    q = p + torch.tensor([0, 1e-4, 0.1, 1, 10, 30])[:, None] * torch.randn(6, 2000)
    if peaked:
        (q, p)[peaked - 1][:, 7] += 60
    right = torch.randint(0, 200, (6,))
    m, c = p.amax(1), p.amax(1) - q.amax(1) + torch.tensor([0, 0.1, -0.1, 0, 0, 0])
    a, b, u = (p - m[:, None]).exp(), (q - (m - c)[:, None]).exp(), p - q - c[:, None]
    near = u.abs() < 0.5
    sums = (
        a * near, (b - a) * near, a * ~near, b * ~near,
        torch.where(near, b - a + a * u, a * u), torch.where(near, a - b - b * u, -b * u),
    )  # fmt: skip
    given = torch.stack([m, c, *(x.sum(1) for x in sums)], 1)
    expected = reference.logit_figures(p, q, right, 5)
    found = logits._of_sums(p, q, right, 5, given, torch.zeros(6, 4, dtype=torch.int32))
    for name in ("ln_p", "ln_q", "kl", "kl_back", "largest"):
        assert getattr(found, name).numpy() == pytest.approx(expected[name].numpy(), rel=1e-9, abs=1e-11), name
