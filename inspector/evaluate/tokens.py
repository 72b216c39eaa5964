"""The figures of each predicted token: of the reference's and of the model's distribution over the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
TOKENS_AT_ONCE = 1024
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
    window: int,
) -> TokenFigures:
    """Of one window. reference, model: what goes into the heads, [length, width]. ids: int64[length]; each position
    predicts the next."""
    n = ids.numel() - 1
    parts = []
    for start in range(0, n, TOKENS_AT_ONCE):
        stop = min(start + TOKENS_AT_ONCE, n)
        p, q = head_of_reference(reference[start:stop]), head(model[start:stop])
        parts.append(_of_logits(p, q, ids[start + 1 : stop + 1], window, start))
    return joined(parts) if parts else _none()


def _of_logits(p: Tensor, q: Tensor, right: Tensor, window: int, start: int) -> TokenFigures:
    """In float64: a difference of two logarithms of nearly equal probabilities has few digits left."""
    lp, lq = (x.double().log_softmax(-1) for x in (p, q))
    bad = ~(torch.isfinite(p).all(-1) & torch.isfinite(q).all(-1))
    a, b = lp.exp(), lq.exp()
    of_right = right[:, None]
    k = min(TOP, p.shape[-1])
    top_p, top_q = p.topk(k, -1).indices, q.topk(k, -1).indices
    shared = (top_p[:, :, None] == top_q[:, None, :]).any(-1).double().mean(-1)
    likeliest_p, likeliest_q = top_p[:, 0], top_q[:, 0]
    found = (
        -lp.gather(-1, of_right)[:, 0], -lq.gather(-1, of_right)[:, 0],
        (a * (lp - lq)).sum(-1), (b * (lq - lp)).sum(-1),
        (likeliest_p == right).double(), (likeliest_q == right).double(), (likeliest_p == likeliest_q).double(),
        shared, (b - a).gather(-1, of_right)[:, 0], a.amax(-1),
    )  # fmt: skip
    figures = [torch.where(bad, torch.nan, x).cpu().numpy() for x in found]
    n = right.numel()
    return TokenFigures(np.full(n, window), start + np.arange(n), *figures)


def _none() -> TokenFigures:
    nothing = np.zeros(0)
    return TokenFigures(np.zeros(0, np.int64), np.zeros(0, np.int64), *[nothing] * 10)
