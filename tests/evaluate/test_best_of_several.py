"""The best of several models on documents that did not choose it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qinspect.inspector.evaluate.best import best_of
from qinspect.inspector.evaluate.tokens import TokenFigures

N_WINDOWS, N_TOKENS = 40, 25


def _tokens(nll: np.ndarray, reference: np.ndarray) -> TokenFigures:
    """Of which only the two matter here."""
    window = np.repeat(np.arange(N_WINDOWS), N_TOKENS)
    rest = np.zeros(nll.size)
    position = np.tile(np.arange(N_TOKENS), N_WINDOWS)
    return TokenFigures(window, position, reference, nll, *[rest] * 8)


def _models(means: list[float], seed: int = 0) -> list[TokenFigures]:
    rng = np.random.default_rng(seed)
    reference = rng.normal(2, 0.5, N_WINDOWS * N_TOKENS)
    return [_tokens(reference + rng.normal(mean, 0.3, reference.size), reference) for mean in means]


def test_one_that_is_better_holds() -> None:
    tokens = _models([0.2, 0.05, 0.3])
    best = best_of(["a", "b", "c"], tokens, N_WINDOWS, 0)
    assert best is not None
    assert (best.name, best.second, best.holds) == ("b", "a", True)
    assert (best.n_chose, best.n_tested) == (20, 20)
    odd = tokens[1].window % 2 == 1
    ratio = tokens[1].nll - tokens[1].nll_reference
    assert best.tested.value == pytest.approx(ratio[odd].mean(), rel=1e-12)
    assert best.chose.value == pytest.approx(ratio[~odd].mean(), rel=1e-12)
    assert best.against_second.value == pytest.approx((tokens[1].nll - tokens[0].nll)[odd].mean(), rel=1e-12)


def test_luck_is_seldom_confirmed() -> None:
    """Of ten models that are the same, the best where it was chosen looks better than it is, and is confirmed on the
    other documents no oftener than an interval of 95 % lets it."""
    names = [str(i) for i in range(10)]
    found = [best_of(names, _models([0.1] * 10, seed), N_WINDOWS, 0) for seed in range(120)]
    chose, tested = (np.mean([getattr(b, half).value for b in found if b]) for half in ("chose", "tested"))
    assert chose < 0.095 < tested
    assert sum(b.holds for b in found if b) / len(found) <= 0.08


@pytest.mark.parametrize(("n_models", "n_windows"), [(2, N_WINDOWS), (3, 15)])
def test_of_few_models_or_documents_none_is_chosen(n_models: int, n_windows: int) -> None:
    tokens = _models([0.1] * n_models)
    assert best_of([str(i) for i in range(n_models)], tokens, n_windows, 0) is None


def test_tokens_without_a_number_in_one_are_out_for_all() -> None:
    tokens = _models([0.2, 0.05, 0.3])
    kl = np.zeros(tokens[0].nll.size)
    kl[tokens[0].window > 3] = np.nan
    broken = replace(tokens[0], kl=kl)
    best = best_of(["a", "b", "c"], [broken, *tokens[1:]], N_WINDOWS, 0)
    assert best is not None
    assert np.isnan(best.tested.low)  # of two windows no interval is given
    assert not best.holds
