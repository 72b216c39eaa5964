"""The recurrences of Mamba and Mamba2 over a whole sequence, in float32 and plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def chunked_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Mamba2: h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t^T, y_t = h_t c_t, of every head.

    x: float32[B, L, H, P]. dt: float32[B, L, H]. a: float32[H], negative. b, c: float32[B, L, G, N], heads share a
    group in blocks of H/G. chunk: positions within which the recurrence is a matrix product. Returns y, float32[B, L,
    H, P], and the last state, float32[B, H, P, N]. Source: Dao and Gu, "Transformers are SSMs" (2024), listing 1.
    """
    n_batch, length, n_heads, head_dim = x.shape
    n_groups = b.shape[2]
    per_group = n_heads // n_groups
    # a step of length 0 neither decays the state nor adds to it
    x, dt, b, c = (functional.pad(t, (0, 0) * (t.ndim - 2) + (0, -length % chunk)) for t in (x, dt, b, c))
    n_chunks = x.shape[1] // chunk
    x = (x * dt[..., None]).view(n_batch, n_chunks, chunk, n_groups, per_group, head_dim)
    decay = (dt * a).view(n_batch, n_chunks, chunk, n_groups, per_group).permute(0, 1, 3, 4, 2)
    b = b.view(n_batch, n_chunks, chunk, n_groups, -1).transpose(2, 3)
    c = c.view(n_batch, n_chunks, chunk, n_groups, -1).transpose(2, 3)
    x = x.permute(0, 1, 3, 4, 2, 5)  # [B, chunks, G, heads of the group, chunk, P]
    since = decay.cumsum(-1)

    later = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    between = (since[..., :, None] - since[..., None, :]).masked_fill(later, -torch.inf).exp()
    within = ((c @ b.mT)[:, :, :, None] * between) @ x

    to_end = (since[..., -1:] - since).exp()
    added = (x * to_end[..., None]).mT @ b[:, :, :, None]  # [B, chunks, G, heads, P, N]
    kept = since[..., -1].exp()[..., None, None]
    state = torch.zeros_like(added[:, 0])
    before = []
    for i in range(n_chunks):
        before.append(state)
        state = kept[:, i] * state + added[:, i]
    carried = (c[:, :, :, None] @ torch.stack(before, 1).mT) * since.exp()[..., None]
    y = (within + carried).permute(0, 1, 4, 2, 3, 5).reshape(n_batch, -1, n_heads, head_dim)
    return y[:, :length], state.flatten(1, 2)


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Mamba: h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t, y_t = h_t c_t, of every channel.

    x, dt: float32[B, L, D]. a: float32[D, N], negative. b, c: float32[B, L, N]. Returns y, float32[B, L, D], and the
    last state, float32[B, D, N]. log2(L) passes over [B, L, D, N] (Hillis and Steele, 1986): L steps would be launches.
    """
    decay = (dt[..., None] * a).exp()
    state = (dt * x)[..., None] * b[:, :, None]
    step = 1
    while step < x.shape[1]:
        state[:, step:] = state[:, step:] + decay[:, step:] * state[:, :-step]
        decay[:, step:] = decay[:, step:] * decay[:, :-step]
        step *= 2
    return (state @ c[..., None])[..., 0], state[:, -1]
