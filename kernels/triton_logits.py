"""The GPU body of `logit_figures`: one program a row, one pass over it in tiles, float32 sums.

A divergence of two nearly equal rows is a small difference of large sums: of lse's of 20, float32 keeps 1e-6, and
rounding noise has a KL of that size. So with u = (p - q) - c, for any number c, the sums are of terms that are small
where u is (weights a = exp(p - m_p) and b = exp(q - m_q), which is a exp(-u)):

    H = sum b - a,   F = sum b - a + a u,   G = sum a - b - b u,   x = H / sum a
    KL(P, Q) = F / sum a + ln(1 + x) - x,   KL(Q, P) = G / sum b + x / (1 + x) - ln(1 + x)

For small u each term is a polynomial in u times a: no difference of large numbers is left. The maxima m_p and m_q, and
c = m_p - m_q, are those so far; with another c the sums are made anew of themselves (`_moved`), without a second pass.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE, WARPS = 2048, 4
N_SUMS, N_FOUND = 6, 4


@triton.jit
def _terms(a, b, u):
    """b - a, b - a + a u and a - b - b u, of b = a exp(-u)."""
    v = -u
    f = 1 / 5040 + v * (1 / 40320)
    f = 1 / 720 + v * f
    f = 1 / 120 + v * f
    f = 1 / 24 + v * f
    f = 1 / 6 + v * f
    f = v * v * (0.5 + v * f)  # exp(v) - 1 - v
    small = tl.abs(u) < 0.5
    return (
        tl.where(small, a * (f + v), b - a),
        tl.where(small, a * f, b - a + a * u),
        tl.where(small, a * (u * u - f * (1 + u)), a - b - b * u),
    )


@triton.jit
def _moved(sum_a, h, f, g, by_a, by_b, by):
    """The sums with weights times by_a and by_b, and u + by. by = ln by_a - ln by_b."""
    t_h, t_f, t_g = _terms(by_a, by_b, by)
    return (
        by_a * sum_a,
        by_a * h + t_h * (sum_a + h),
        by_a * f + t_h * h + t_f * sum_a,
        by_b * g + t_h * h + t_g * (sum_a + h),
    )


@triton.jit
def _kept(values, places, x, offsets, largest):
    """The likeliest so far, with those of a tile that are larger than the least of them. Of equal ones the first stays:
    tiles come in order, and within one the first of the largest is taken first."""
    least = tl.min(values)
    while largest > least:
        at = tl.min(tl.where(x == largest, offsets, 2147483647))
        out = tl.max(tl.where(values == least, places, -2147483647))
        leaves = (values == least) & (places == out)
        values = tl.where(leaves, largest, values)
        places = tl.where(leaves, at, places)
        x = tl.where(offsets == at, float("-inf"), x)
        largest = tl.max(x)
        least = tl.min(values)
    return values, places


@triton.jit
def _first(values, places, TOP: tl.constexpr):
    """The place of the largest."""
    known = tl.where(tl.arange(0, 8) < TOP, values, float("-inf"))
    return tl.min(tl.where(known == tl.max(known), places, 2147483647))


@triton.jit
def _rows(p_at, q_at, sums_at, found_at, n, stride_p, stride_q, TOP: tl.constexpr, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    p_at += row * stride_p
    q_at += row * stride_q
    lanes = tl.arange(0, TILE)
    kept = tl.arange(0, 8)
    nothing = float("-inf")
    values_p = tl.where(kept < TOP, nothing, float("inf"))
    values_q = tl.where(kept < TOP, nothing, float("inf"))
    places_p, places_q = -1 - kept, -1 - kept
    m_p, m_q = tl.load(p_at).to(tl.float32), tl.load(q_at).to(tl.float32)
    c = m_p - m_q
    zero = tl.zeros((TILE,), tl.float32)
    sum_a, h, f, g = zero, zero, zero, zero
    bad = tl.zeros((TILE,), tl.int32)
    for start in range(0, n, TILE):
        offsets = start + lanes
        here = offsets < n
        p = tl.load(p_at + offsets, mask=here, other=nothing).to(tl.float32)
        q = tl.load(q_at + offsets, mask=here, other=nothing).to(tl.float32)
        finite = (tl.abs(p) < float("inf")) & (tl.abs(q) < float("inf"))
        bad = bad | (here & (finite == 0)).to(tl.int32)
        largest_p, largest_q = tl.max(p), tl.max(q)
        if (largest_p > m_p) | (largest_q > m_q):
            new_p, new_q = tl.maximum(m_p, largest_p), tl.maximum(m_q, largest_q)
            moved = c - (new_p - new_q)
            sum_a, h, f, g = _moved(sum_a, h, f, g, tl.exp(m_p - new_p), tl.exp(m_q - new_q), moved)
            m_p, m_q, c = new_p, new_q, new_p - new_q
        values_p, places_p = _kept(values_p, places_p, p, offsets, largest_p)
        values_q, places_q = _kept(values_q, places_q, q, offsets, largest_q)
        u = tl.where(finite, (p - q) - c, 0.0)
        a, b = tl.exp(p - m_p), tl.exp(q - m_q)
        t_h, t_f, t_g = _terms(a, b, u)
        sum_a += a
        h += t_h
        f += t_f
        g += t_g
    sums_at += row * 6
    tl.store(sums_at, m_p)
    tl.store(sums_at + 1, c)
    tl.store(sums_at + 2, tl.sum(sum_a))
    tl.store(sums_at + 3, tl.sum(h))
    tl.store(sums_at + 4, tl.sum(f))
    tl.store(sums_at + 5, tl.sum(g))
    same = (places_p[:, None] == places_q[None, :]) & (kept < TOP)[:, None] & (kept < TOP)[None, :]
    found_at += row * 4
    tl.store(found_at, _first(values_p, places_p, TOP))
    tl.store(found_at + 1, _first(values_q, places_q, TOP))
    tl.store(found_at + 2, tl.sum(tl.sum(same.to(tl.int32), 1), 0))
    tl.store(found_at + 3, tl.max(bad))


def sums_of_rows(p: Tensor, q: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Of float[rows, vocabulary], at least one row, top at most the vocabulary: float32[rows, 6], m_p, c, sum a, H, F
    and G; int32[rows, 4], the likeliest of p and of q, how many of the `top` likeliest they share, and 1 where a logit
    of either is not finite."""
    p, q = (x if x.stride(1) == 1 else x.contiguous() for x in (p, q))
    n_rows, n = p.shape
    sums = torch.empty(n_rows, N_SUMS, dtype=torch.float32, device=p.device)
    found = torch.empty(n_rows, N_FOUND, dtype=torch.int32, device=p.device)
    tile = min(TILE, triton.next_power_of_2(n))
    _rows[(n_rows,)](p, q, sums, found, n, p.stride(0), q.stride(0), TOP=top, TILE=tile, num_warps=WARPS)
    return sums, found
