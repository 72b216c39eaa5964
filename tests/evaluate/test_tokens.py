"""Figures of tokens against a plain computation in float64, and intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qinspect.inspector.evaluate.intervals import draws, estimate
from qinspect.inspector.evaluate.results import Answer, model_figures
from qinspect.inspector.evaluate.tokens import TOP, figures_of

OF_MODEL = {"name": "m", "described": "", "nbytes": 1, "bits_per_weight": 4.0, "n_points": 0, "left_out": ()}


def plain(p: np.ndarray, q: np.ndarray, right: int) -> dict[str, float]:
    """Of one token, by the definitions."""
    a, b = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (p.astype(np.float64), q.astype(np.float64)))
    top_a, top_b = np.argsort(-a)[:TOP], np.argsort(-b)[:TOP]
    return {
        "nll_reference": -np.log(a[right]), "nll": -np.log(b[right]), "kl": float((a * np.log(a / b)).sum()),
        "kl_back": float((b * np.log(b / a)).sum()), "right_reference": float(a.argmax() == right),
        "right": float(b.argmax() == right), "same_top": float(a.argmax() == b.argmax()),
        "shared_top": len(set(top_a) & set(top_b)) / TOP, "shift": b[right] - a[right], "confidence": a.max(),
    }  # fmt: skip


def test_every_figure_is_what_its_definition_says() -> None:
    torch.manual_seed(1)
    reference, model = torch.randn(40, 16), torch.randn(40, 16)
    head, other = torch.randn(16, 64), torch.randn(16, 64)
    ids = torch.randint(0, 64, (40,))
    found = figures_of(reference[None], model[None], lambda h: h @ head, lambda h: h @ other, ids[None], 3, at_once=7)
    assert found.window.tolist() == [3] * 39
    assert found.position.tolist() == list(range(39))
    p, q = (reference @ head).numpy(), (model @ other).numpy()
    for at in range(39):
        for name, value in plain(p[at], q[at], int(ids[at + 1])).items():
            assert getattr(found, name)[at] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_a_model_that_is_the_reference_has_exactly_nothing() -> None:
    hidden, head, ids = torch.randn(30, 8), torch.randn(8, 32), torch.randint(0, 32, (30,))
    found = figures_of(hidden[None], hidden[None].clone(), lambda h: h @ head, lambda h: h @ head, ids[None], 0)
    assert not found.kl.any()
    assert not found.kl_back.any()
    assert found.same_top.all()
    assert model_figures(found, 1, 0.01, 0, **OF_MODEL).answer is Answer.EQUAL


def test_tokens_without_a_number_are_counted_and_are_in_no_figure() -> None:
    hidden, head, ids = torch.randn(30, 8), torch.randn(8, 32), torch.randint(0, 32, (30,))
    broken = hidden.clone()
    broken[4] = float("nan")
    broken[9, 0] = float("inf")
    found = figures_of(hidden[None], broken[None], lambda h: h @ head, lambda h: h @ head, ids[None], 0)
    assert np.flatnonzero(~found.finite).tolist() == [4, 9]
    of = model_figures(found, 1, 0.01, 0, **OF_MODEL)
    assert (of.n, of.n_not_finite) == (29, 2)
    assert of.kl.value == 0


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.90), (0.8, 0.88)])
def test_intervals_hold_what_they_promise(correlation: float, least: float) -> None:
    """Tokens of one window have something in common; 95 % of the intervals hold the mean nevertheless, less what few
    windows cost (40 here)."""
    rng = np.random.default_rng(5)
    n_windows, n_tokens, trials = 40, 30, 300
    window = np.repeat(np.arange(n_windows), n_tokens)
    times = draws(n_windows, 0)
    held = 0
    for _ in range(trials):
        of_window = rng.normal(size=n_windows)[window]
        values = 1 + np.sqrt(correlation) * of_window + np.sqrt(1 - correlation) * rng.normal(size=window.size)
        e = estimate(values, window, times)
        held += e.low <= 1 <= e.high
    assert least <= held / trials <= 0.99


def test_of_few_windows_no_interval_is_given() -> None:
    e = estimate(np.arange(6.0), np.array([0, 0, 1, 1, 2, 2]), draws(3, 0))
    assert e.value == 2.5
    assert np.isnan(e.low)
