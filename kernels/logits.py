"""What two rows of logits say of one token: both log-probabilities, divergence both ways, the likeliest tokens.

Tile by tile, so that logits are never widened all at once. Those on a CUDA device go to the GPU body where triton is
installed (it comes with torch on Linux), others to the body of torch here, which is float64 everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

MOST_TOP = 8
"""Likely tokens that can be held against each other."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
CPU_TILE = 1 << 19
"""Logits of each model that the body of torch widens at once, on a CPU: 4 MiB."""
GPU_TILE = 1 << 24


@dataclass(frozen=True, eq=False)
class LogitFigures:
    """One entry a row, on the device of the logits.

    ln_p, ln_q: float64, ln of the probability of the right token. kl: float64, sum p ln(p/q); kl_back: sum q ln(q/p).
    largest: float64, the largest probability of p. These are NaN where a logit of either is not finite. top_p, top_q:
    int64, the likeliest token, the first of equal ones. shared: float64, of p's `top` likeliest the share that is among
    q's; of equal ones, the first are taken. finite: bool, whether every logit of both is a number.
    """

    ln_p: Tensor
    ln_q: Tensor
    kl: Tensor
    kl_back: Tensor
    largest: Tensor
    top_p: Tensor
    top_q: Tensor
    shared: Tensor
    finite: Tensor


def logit_figures(p: Tensor, q: Tensor, right: Tensor, top: int = 5) -> LogitFigures:
    """Of the reference's logits and a model's, [rows, vocabulary] of float16, bfloat16 or float32, on one device.

    right: int64[rows], the token that came. top: from 1 to MOST_TOP; of a smaller vocabulary, all of it. Equal rows
    give divergences of exactly 0. The body of torch is float64 throughout. That of the GPU sums float32: of logits up
    to 60, ln_p, ln_q and largest are within 4e-6; kl and kl_back within 1e-5 of their own size, however small
    (`triton_logits` says why), and 4e-6 more where logits of the two lie more than 1/2 from their mean distance.
    Raises TypeError for other dtypes, ValueError for shapes that do not fit.
    """
    if p.dtype not in DTYPES or q.dtype not in DTYPES:
        raise TypeError(f"logits are of 16-bit floats or float32, not of {p.dtype} and {q.dtype}")
    if p.shape != q.shape or p.ndim != 2 or right.shape != p.shape[:1] or not 1 <= top <= MOST_TOP:
        shapes = f"{list(p.shape)}, {list(q.shape)} and {list(right.shape)}"
        raise ValueError(f"logits [rows, vocabulary] of two models and [rows] tokens are needed, not {shapes}")
    top = min(top, p.shape[1])
    if not p.shape[0]:
        return _joined([_by_torch(p, q, right, top)])
    if p.is_cuda and has_triton():
        from qinspect.kernels.triton_logits import sums_of_rows

        return _of_sums(p, q, right, top, *sums_of_rows(p, q, top))
    rows = max(1, (GPU_TILE if p.is_cuda else CPU_TILE) // p.shape[1])
    parts = zip(*(torch.split(x, rows) for x in (p, q, right)), strict=True)
    return _joined([_by_torch(some_p, some_q, next_, top) for some_p, some_q, next_ in parts])


@cache
def has_triton() -> bool:
    """Whether kernels in Triton can be compiled here."""
    return find_spec("triton") is not None


def _joined(parts: list[LogitFigures]) -> LogitFigures:
    names = [f.name for f in fields(LogitFigures)]
    return LogitFigures(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _by_torch(p: Tensor, q: Tensor, right: Tensor, top: int) -> LogitFigures:
    """With two exponentials a pair of logits: KL(p, q) = E_p[p - q] - (lse p - lse q), of logits p and q."""
    at = right[:, None]
    top_p, top_q = _likeliest(p, top), _likeliest(q, top)
    wide_p, wide_q = (x.double().contiguous() for x in (p, q))  # one order of adding up
    ln_p, ln_q = wide_p.gather(1, at)[:, 0], wide_q.gather(1, at)[:, 0]
    apart = wide_p - wide_q
    lse, mean = [], []
    for wide in (wide_p, wide_q):
        largest = wide.amax(1, keepdim=True)
        weights = wide.sub_(largest).exp_()
        total = weights.sum(1)
        lse.append(largest[:, 0] + total.log())
        mean.append(weights.mul_(apart).sum(1) / total)
        if wide is wide_p:
            likeliest = 1 / total
    of_p, of_q = lse
    # of a logit that is not finite, one of these is not either
    finite = torch.isfinite(apart.abs().amax(1)) & torch.isfinite(of_p) & torch.isfinite(of_q)
    shared = (top_p[:, :, None] == top_q[:, None, :]).sum((1, 2)).double() / top
    return LogitFigures(
        *_known(finite, ln_p - of_p, ln_q - of_q, mean[0] - (of_p - of_q), (of_p - of_q) - mean[1], likeliest),
        top_p[:, 0], top_q[:, 0], shared, finite,
    )  # fmt: skip


def _known(finite: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """NaN where a row has a logit that is not finite."""
    a, b, c, d, e = (torch.where(finite, x, torch.nan) for x in numbers)
    return a, b, c, d, e


def _of_sums(p: Tensor, q: Tensor, right: Tensor, top: int, sums: Tensor, found: Tensor) -> LogitFigures:
    """Of what `triton_logits.sums_of_rows` gives, in float64."""
    m, c, near_a, near_h, far_a, far_b, by_p, by_q = sums.double().unbind(1)
    top_p, top_q, shared, bad = found.long().unbind(1)
    sum_a, sum_b = near_a + far_a, (near_a + near_h) + far_b
    x = (near_h + (far_b - far_a)) / sum_a
    ratio = torch.where(x.abs() < 0.5, x.log1p(), (sum_b / sum_a).log())
    of_p = m + sum_a.log()
    of_q = of_p - c + ratio
    at = right[:, None]
    ln_p, ln_q = p.gather(1, at)[:, 0].double() - of_p, q.gather(1, at)[:, 0].double() - of_q
    kl = (by_p - near_h) / sum_a + ratio
    back = (by_q + near_h) / sum_b - ratio
    finite = bad == 0
    return LogitFigures(
        *_known(finite, ln_p, ln_q, kl, back, 1 / sum_a), top_p, top_q, shared.double() / top, finite
    )  # fmt: skip


def _likeliest(x: Tensor, top: int) -> Tensor:
    """int64[rows, top], the likeliest first; of equal ones, which 16 bits have many of, the first. topk alone does not
    say which it takes."""
    bits = (x.float() + 0.0).view(torch.int32)  # one zero, not two
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    n = x.shape[1]
    keys = (ordered << 32) | torch.arange(n - 1, -1, -1, device=x.device)
    return n - 1 - (keys.topk(top, 1).values & 0xFFFFFFFF)
