"""The figures of each predicted token: of the reference's and of the model's distribution over the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.kernels.logits import LogitFigures, logit_figures

Floats = NDArray[np.float64]
TOP = 5
"""Of the next tokens, how many likely ones are held against each other."""


@dataclass(frozen=True, eq=False)
class TokenFigures:
    """One entry a predicted token. window, position: where it stands: of which sample, how far from its start.

    nll_reference, nll: -ln of the probability of the right token. kl: of the reference from the model, sum p ln(p/q);
    kl_back: sum q ln(q/p). right_reference, right: whether the likeliest token is the right one. same_top: whether it
    is the same in both; shared_top: of the reference's TOP likeliest, the share among the model's. shift: probability
    of the right token, the model's less the reference's. confidence: the reference's largest probability. Where a logit
    of either is not finite, all of them are NaN.
    """

    window: NDArray[np.int64]
    position: NDArray[np.int64]
    nll_reference: Floats
    nll: Floats
    kl: Floats
    kl_back: Floats
    right_reference: Floats
    right: Floats
    same_top: Floats
    shared_top: Floats
    shift: Floats
    confidence: Floats

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which of them are numbers."""
        found: NDArray[np.bool_] = np.isfinite(self.kl)
        return found


def joined(parts: list[TokenFigures]) -> TokenFigures:
    """One after the other."""
    return TokenFigures(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(TokenFigures)))


def figures_of(
    reference: Tensor,
    model: Tensor,
    head_of_reference: Callable[[Tensor], Tensor],
    head: Callable[[Tensor], Tensor],
    ids: Tensor,
    first: int,
    at_once: int = 1 << 16,
) -> TokenFigures:
    """Of windows of one length. reference, model: what goes into the heads, [windows, length, width]. ids:
    int64[windows, length]; each position predicts the next. first: number of the first window. at_once: positions whose
    logits are there at a time."""
    n_windows, n = ids.shape[0], ids.shape[1] - 1
    if n < 1:
        return _none()
    known, other = (x[:, :-1].flatten(0, 1) for x in (reference, model))
    right = ids[:, 1:].flatten()
    parts = [
        _figures(logit_figures(head_of_reference(a), head(b), of_next, TOP), of_next)
        for a, b, of_next in zip(*(x.split(at_once) for x in (known, other, right)), strict=True)
    ]
    figures = torch.cat(parts, 1).cpu().numpy()  # one transfer, for which a GPU is waited for
    window = np.repeat(np.arange(first, first + n_windows), n)
    return TokenFigures(window, np.tile(np.arange(n), n_windows), *figures)


def _figures(found: LogitFigures, right: Tensor) -> Tensor:
    """float64[figures, positions], as TokenFigures has them."""
    figures = (
        -found.ln_p, -found.ln_q, found.kl, found.kl_back,
        found.top_p == right, found.top_q == right, found.top_p == found.top_q, found.shared,
        found.ln_q.exp() - found.ln_p.exp(), found.largest,
    )  # fmt: skip
    return torch.where(found.finite, torch.stack([x.double() for x in figures]), torch.nan)


def _none() -> TokenFigures:
    nothing = np.zeros(0)
    return TokenFigures(np.zeros(0, np.int64), np.zeros(0, np.int64), *[nothing] * 10)
