"""The GPU body of `logit_figures`: one program a row, which reads it in tiles, float32 sums.

Twice: for the likeliest tokens, then for sums of weights a = exp(p - m) and b = exp(q - m + c), where m is the largest
p, and c about the mean of p - q.

A divergence of two nearly equal rows is a small difference of large sums: of lse's of 20, float32 keeps 1e-6, and
rounding noise has a KL of that size. So with u = (p - q) - c, which makes b = a exp(-u), what is summed is small where
u is, a polynomial in u times a:

    H = sum b - a,   F = sum b - a + a u,   G = sum a - b - b u,   x = H / sum a
    KL(P, Q) = F / sum a - x + ln(1 + x),   KL(Q, P) = (G + H) / sum b - ln(1 + x)

Where |u| is 1/2 or more, nothing has to cancel, and one b may be more than all a: there a, b, a u and -b u are summed
as they are. `logits._of_sums` puts both kinds together, in float64.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

SEEN_TILE, SUMMED_TILE, WARPS = 1024, 512, 2
N_SUMS, N_FOUND = 8, 4


@triton.jit
def _tile(at, offsets, n):
    """What is beyond the end is below every logit, and finite."""
    here = offsets < n
    return tl.where(here, tl.load(at + offsets, mask=here, other=0.0).to(tl.float32), -3.0e38)


@triton.jit
def _kept(values, places, x, offsets, largest, least):
    """The likeliest so far, with those of a tile that are larger than the least of them. Of equal ones the first stays:
    tiles come in order, and within one the first of the largest is taken first."""
    while largest > least:
        at = tl.min(tl.where(x == largest, offsets, 2147483647))
        out = tl.max(tl.where(values == least, places, -2147483647))
        leaves = (values == least) & (places == out)
        values = tl.where(leaves, largest, values)
        places = tl.where(leaves, at, places)
        x = tl.where(offsets == at, float("-inf"), x)
        largest = tl.max(x)
        least = tl.min(values)
    return values, places, least


@triton.jit
def _largest(values, places, TOP: tl.constexpr):
    """The largest and its place."""
    known = tl.where(tl.arange(0, 8) < TOP, values, float("-inf"))
    largest = tl.max(known)
    return largest, tl.min(tl.where(known == largest, places, 2147483647))


@triton.jit
def _likeliest(p_at, q_at, n, TOP: tl.constexpr, TILE: tl.constexpr):
    """The `TOP` likeliest of both, values and places, and whether a logit of either is not finite."""
    kept = tl.arange(0, 8)
    values_p = tl.where(kept < TOP, float("-inf"), float("inf"))
    values_q = tl.where(kept < TOP, float("-inf"), float("inf"))
    places_p, places_q = -1 - kept, -1 - kept
    least_p, least_q = tl.min(values_p), tl.min(values_q)
    odd = tl.zeros((TILE,), tl.float32)
    for start in range(0, n, TILE):
        offsets = start + tl.arange(0, TILE)
        p, q = _tile(p_at, offsets, n), _tile(q_at, offsets, n)
        odd += (p - p) + (q - q)  # NaN from the first one on that is not finite
        largest_p, largest_q = tl.max(p), tl.max(q)
        if largest_p > least_p:
            values_p, places_p, least_p = _kept(values_p, places_p, p, offsets, largest_p, least_p)
        if largest_q > least_q:
            values_q, places_q, least_q = _kept(values_q, places_q, q, offsets, largest_q, least_q)
    return values_p, places_p, values_q, places_q, tl.max((odd != odd).to(tl.int32))


@triton.jit
def _between(p_at, q_at, n, m, of_q, values_p, places_p, TOP: tl.constexpr, TILE: tl.constexpr):
    """A number near the mean of p - q, of the likeliest tokens and the first tile, which stands for all others: the
    nearer it is, the less the sums have to cancel. Of models far apart, the difference of the largest logits: no b may
    overflow."""
    offsets = tl.arange(0, TILE)
    p, q = _tile(p_at, offsets, n), _tile(q_at, offsets, n)
    a = tl.exp(p - m) * (n / TILE)
    known = tl.arange(0, 8) < TOP
    weight = tl.where(known, tl.exp(tl.where(known, values_p, m) - m), 0.0)
    beside = tl.load(q_at + tl.minimum(tl.maximum(places_p, 0), n - 1)).to(tl.float32)
    of_top = tl.where(known, weight * (values_p - beside), 0.0)
    c = (tl.sum(a * (p - q)) + tl.sum(of_top)) / (tl.sum(a) + tl.sum(weight))
    c = tl.where(tl.abs(m - c - of_q) < 4.0, c, m - of_q)
    # a multiple of 1/1024, so that m - c, which b has in its exponent, is not rounded
    return tl.where(tl.abs(c) < 4096.0, ((c * 1024 + 12582912.0) - 12582912.0) / 1024, c)


@triton.jit
def _summed(p_at, q_at, n, m, c, TILE: tl.constexpr):
    """The six sums."""
    m_q = m - c
    zero = tl.zeros((TILE,), tl.float32)
    near_a, near_h, far_a, far_b, by_p, by_q = zero, zero, zero, zero, zero, zero
    for start in range(0, n, TILE):
        offsets = start + tl.arange(0, TILE)
        p, q = _tile(p_at, offsets, n), _tile(q_at, offsets, n)
        a, b, v = tl.exp(p - m), tl.exp(q - m_q), c - (p - q)
        f = 1 / 5040 + v * (1 / 40320)
        f = 1 / 720 + v * f
        f = 1 / 120 + v * f
        f = 1 / 24 + v * f
        f = 1 / 6 + v * f
        f = v * v * (0.5 + v * f)  # exp(v) - 1 - v
        near = tl.abs(v) < 0.5
        near_a += tl.where(near, a, 0.0)
        near_h += tl.where(near, a * (f + v), 0.0)
        far_a += tl.where(near, 0.0, a)
        far_b += tl.where(near, 0.0, b)
        by_p += a * tl.where(near, f, -v)
        by_q += tl.where(near, a * (v * v - f * (1 - v)), b * v)
    return tl.sum(near_a), tl.sum(near_h), tl.sum(far_a), tl.sum(far_b), tl.sum(by_p), tl.sum(by_q)


@triton.jit
def _rows(
    p_at, q_at, sums_at, found_at, n, stride_p, stride_q,
    TOP: tl.constexpr, SEEN: tl.constexpr, SUMMED: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    p_at += row * stride_p
    q_at += row * stride_q
    values_p, places_p, values_q, places_q, bad = _likeliest(p_at, q_at, n, TOP, SEEN)
    m, top_p = _largest(values_p, places_p, TOP)
    of_q, top_q = _largest(values_q, places_q, TOP)
    c = _between(p_at, q_at, n, m, of_q, values_p, places_p, TOP, SUMMED)
    near_a, near_h, far_a, far_b, by_p, by_q = _summed(p_at, q_at, n, m, c, SUMMED)
    sums_at += row * 8
    tl.store(sums_at, m)
    tl.store(sums_at + 1, c)
    tl.store(sums_at + 2, near_a)
    tl.store(sums_at + 3, near_h)
    tl.store(sums_at + 4, far_a)
    tl.store(sums_at + 5, far_b)
    tl.store(sums_at + 6, by_p)
    tl.store(sums_at + 7, by_q)
    kept = tl.arange(0, 8)
    same = (places_p[:, None] == places_q[None, :]) & (kept < TOP)[:, None] & (kept < TOP)[None, :]
    found_at += row * 4
    tl.store(found_at, top_p)
    tl.store(found_at + 1, top_q)
    tl.store(found_at + 2, tl.sum(tl.sum(same.to(tl.int32), 1), 0))
    tl.store(found_at + 3, bad)


def sums_of_rows(p: Tensor, q: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Of float[rows, vocabulary], at least one row, top at most the vocabulary: float32[rows, 8], m, c, the sums of a
    and H where |u| is under 1/2, of a and b where it is not, of F or a u, of G or -b u; int32[rows, 4], the likeliest
    of p and of q, how many of the `top` likeliest they share, and 1 where a logit of either is not finite."""
    p, q = (x if x.stride(1) == 1 else x.contiguous() for x in (p, q))
    n_rows, n = p.shape
    sums = torch.empty(n_rows, N_SUMS, dtype=torch.float32, device=p.device)
    found = torch.empty(n_rows, N_FOUND, dtype=torch.int32, device=p.device)
    seen, summed = (min(tile, triton.next_power_of_2(n)) for tile in (SEEN_TILE, SUMMED_TILE))
    with torch.cuda.device_of(p):  # Triton launches on the current device
        _rows[(n_rows,)](
            p, q, sums, found, n, p.stride(0), q.stride(0), TOP=top, SEEN=seen, SUMMED=summed, num_warps=WARPS
        )  # fmt: skip
    return sums, found
