"""The best of several models, tested again. Who is best on some text is partly luck: documents that had no part in the
choice say how good it is. No torch in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.evaluate.intervals import FEWEST_WINDOWS, Estimate, draws, estimate

if TYPE_CHECKING:
    from qinspect.inspector.evaluate.tokens import TokenFigures

FEWEST_MODELS = 3
"""Two are compared with each other on all tokens as it is."""


@dataclass(frozen=True, slots=True)
class Best:
    """The model of the lowest perplexity among n_models on every second window, the first of them included; tested on
    the others.

    n_chose, n_tested: windows, of which each is a document. chose, tested: ln of the perplexity ratio to the reference,
    on either half. second: the next best where the choice was made. against_second: ln of the perplexity ratio of the
    best to it where it was tested.
    """

    name: str
    second: str
    n_models: int
    n_chose: int
    n_tested: int
    chose: Estimate
    tested: Estimate
    against_second: Estimate

    @property
    def holds(self) -> bool:
        """Whether it is better than the next best on documents that did not choose it."""
        return self.against_second.high < 0


def best_of(names: Sequence[str], tokens: Sequence[TokenFigures], n_windows: int, seed: int) -> Best | None:
    """By the tokens that are finite in all. None for fewer than FEWEST_MODELS, or where either half has fewer windows
    than an interval takes."""
    if len(names) < FEWEST_MODELS or n_windows // 2 < FEWEST_WINDOWS:
        return None
    ok = np.logical_and.reduce([t.finite for t in tokens])
    chooses = ok & (tokens[0].window % 2 == 0)
    tests = ok & (tokens[0].window % 2 == 1)
    if not chooses.any() or not tests.any():
        return None
    first, second = np.argsort([float(t.nll[chooses].mean()) for t in tokens], kind="stable")[:2].tolist()
    best, after = tokens[first], tokens[second]

    def mean(values: NDArray[np.float64], of: NDArray[np.bool_], n: int) -> Estimate:
        return estimate(values[of], best.window[of] // 2, draws(n, seed))

    n_chose, n_tested = (n_windows + 1) // 2, n_windows // 2
    ratio = best.nll - best.nll_reference
    return Best(
        names[first], names[second], len(names), n_chose, n_tested, mean(ratio, chooses, n_chose),
        mean(ratio, tests, n_tested), mean(best.nll - after.nll, tests, n_tested),
    )  # fmt: skip
