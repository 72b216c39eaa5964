"""What the kernels must equal: the plainest form of each, slow and without a branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def magnitude_counts(patterns: NDArray[Any]) -> NDArray[np.int64]:
    """int64[32768]: occurrences of each 15-bit magnitude pattern in an array of 16-bit elements of any kind."""
    return np.bincount(_codes(patterns) & 0x7FFF, minlength=1 << 15)


def signed_counts(patterns: NDArray[Any]) -> NDArray[np.int64]:
    """int64[65536]: occurrences of each 16-bit pattern."""
    return np.bincount(_codes(patterns), minlength=1 << 16)


def _codes(patterns: NDArray[Any]) -> NDArray[np.int64]:
    return np.array(patterns).view(np.uint16).reshape(-1).astype(np.int64)


def logit_figures(p: Tensor, q: Tensor, right: Tensor, top: int) -> dict[str, Tensor]:
    """float64[rows] each, by its name in `LogitFigures`: by the definitions, of finite logits [rows, vocabulary]."""
    ln_p, ln_q = p.double().log_softmax(-1), q.double().log_softmax(-1)
    of_p, of_q = (x.double().sort(stable=True, dim=-1, descending=True).indices[:, :top] for x in (p, q))
    at = right[:, None]
    return {
        "ln_p": ln_p.gather(-1, at)[:, 0], "ln_q": ln_q.gather(-1, at)[:, 0],
        "kl": (ln_p.exp() * (ln_p - ln_q)).sum(-1), "kl_back": (ln_q.exp() * (ln_q - ln_p)).sum(-1),
        "largest": ln_p.exp().amax(-1), "top_p": of_p[:, 0].double(), "top_q": of_q[:, 0].double(),
        "shared": (of_p[:, :, None] == of_q[:, None, :]).any(-1).double().mean(-1),
    }  # fmt: skip
