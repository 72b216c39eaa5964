"""Mamba and Mamba2 language models, written out: every place that Quamba observes has its name here.

A forward of its own, because the usual ones keep what happens inside a mixer to themselves (a convolution whose weight
is used directly never calls a hook). Keys are those of state-spaces checkpoints, which Hugging Face's differ from in
the embedding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from qinspect.inspector.models.mamba_config import MambaConfig
from qinspect.inspector.models.numerics import Numerics
from qinspect.inspector.models.rotation import rotate
from qinspect.inspector.models.scan import chunked_scan, selective_scan

Probe = Callable[[str, Tensor], Tensor | None]
"""Told of each observation point: its name, and the tensor as it is stored, [batch, positions, ...]. What it returns
goes on in the tensor's place, of the same shape and dtype; None where it only looks."""


def through(observe: Probe, name: str, x: Tensor) -> Tensor:
    """What goes on behind a point."""
    found = observe(name, x)
    return x if found is None else found


class RMSNorm(nn.Module):
    """x / rms(x) * weight in float32, of each of `n_groups` blocks of the last axis by itself."""

    def __init__(self, width: int, eps: float, n_groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps, self.n_groups = eps, n_groups

    def forward(self, x: Tensor) -> Tensor:
        """float32, of x's shape."""
        blocks = x.float().unflatten(-1, (self.n_groups, -1))
        normed = blocks * torch.rsqrt(blocks.square().mean(-1, keepdim=True) + self.eps)
        return normed.flatten(-2) * self.weight.float()


class Mixer(nn.Module):
    """What Mamba and Mamba2 share. Parameters have the names of state-spaces checkpoints."""

    def __init__(self, config: MambaConfig, numerics: Numerics, d_projected: int, d_convolved: int) -> None:
        super().__init__()
        self.config, self.numerics = config, numerics
        self.in_proj = nn.Linear(config.d_model, d_projected, bias=config.bias)
        self.conv1d = nn.Conv1d(d_convolved, d_convolved, config.d_conv, groups=d_convolved, bias=config.conv_bias)
        self.out_proj = nn.Linear(config.d_inner, config.d_model, bias=config.bias)

    def convolved(self, x: Tensor) -> Tensor:
        """Causal depthwise convolution and SiLU, [B, L, D] -> [B, L, D], stored once, as a fused kernel does."""
        padded = functional.pad(x.mT.to(self.conv1d.weight.dtype), (self.config.d_conv - 1, 0))
        return self.numerics.stored(functional.silu(self.conv1d(padded).float()).mT)

    def projected(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """linear(x), stored."""
        return self.numerics.stored(linear(self.numerics.computed(x)))

    def mixed(self, y: Tensor, observe: Probe) -> Tensor:
        """out_proj of what the mixer made, in Hadamard space where the weights are."""
        y = self.numerics.stored(rotate(y) if self.config.rotated else y)
        y = through(observe, "out_proj:input", y)
        return through(observe, "out_proj:output", self.projected(self.out_proj, y))


class Mamba2Mixer(Mixer):
    """in_proj -> z, x, B, C, dt; convolution and SiLU of x, B, C; scan over heads; gated norm; out_proj."""

    def __init__(self, config: MambaConfig, numerics: Numerics) -> None:
        d_convolved = config.d_inner + 2 * config.d_bc
        super().__init__(config, numerics, config.d_inner + d_convolved + config.n_heads, d_convolved)
        self.dt_bias = nn.Parameter(torch.zeros(config.n_heads))
        self.A_log = nn.Parameter(torch.zeros(config.n_heads))
        self.D = nn.Parameter(torch.ones(config.n_heads))
        self.norm = RMSNorm(config.d_inner, config.eps, config.n_norm_groups)

    def forward(self, u: Tensor, observe: Probe) -> Tensor:
        """u: stored[B, L, d_model] -> stored[B, L, d_model]."""
        c, stored = self.config, self.numerics.stored
        u = through(observe, "in_proj:input", u)
        parts = (c.d_inner, c.d_bc, c.d_bc)
        projected = self.projected(self.in_proj, u)
        if observe is not unobserved:
            projected = self._shown(through(observe, "in_proj:output", projected), observe, parts)
        z, convolved, dt = projected.split((c.d_inner, c.d_inner + 2 * c.d_bc, c.n_heads), -1)
        named = zip(("x_conv_out", "B_conv_out", "C_conv_out"), self.convolved(convolved).split(parts, -1), strict=True)
        x, b, c_ = (through(observe, f"{name}:input", part) for name, part in named)
        step = functional.softplus(dt.float() + self.dt_bias.float()).clamp(*c.dt_limit)
        heads = x.float().unflatten(-1, (c.n_heads, c.head_dim))
        b, c_ = (t.float().unflatten(-1, (c.n_groups, c.d_state)) for t in (b, c_))
        y, state = chunked_scan(heads, step, -torch.exp(self.A_log.float()), b, c_, c.chunk)
        y = stored((y + heads * self.D.float()[:, None]).flatten(-2))
        observe("ssm_state_act:input", stored(state))
        y = through(observe, "ssd_out_act:input", y)
        gated = self.norm(y.float() * functional.silu(z.float()))
        return self.mixed(stored(gated), observe)

    def _shown(self, projected: Tensor, observe: Probe, parts: tuple[int, int, int]) -> Tensor:
        """What in_proj gave, its five parts shown, with what goes on in the place of any."""
        # channels first, so that each part is one piece of memory: a copy for all instead of one for each
        part_of = projected.mT.contiguous().split((self.config.d_inner, *parts, self.config.n_heads), -2)
        names = ("z_act", "x_conv_in", "B_conv_in", "C_conv_in", "dt_act")
        found = [observe(f"{name}:input", part.mT) for name, part in zip(names, part_of, strict=True)]
        if all(other is None for other in found):
            return projected
        return torch.cat([p.mT if other is None else other for p, other in zip(part_of, found, strict=True)], -1)


class MambaMixer(Mixer):
    """in_proj -> x, z; convolution and SiLU of x; x_proj -> dt, B, C; dt_proj; scan over channels; gate; out_proj."""

    def __init__(self, config: MambaConfig, numerics: Numerics) -> None:
        super().__init__(config, numerics, 2 * config.d_inner, config.d_inner)
        self.x_proj = nn.Linear(config.d_inner, config.dt_rank + 2 * config.d_state, bias=False)
        self.dt_proj = nn.Linear(config.dt_rank, config.d_inner)
        self.A_log = nn.Parameter(torch.zeros(config.d_inner, config.d_state))
        self.D = nn.Parameter(torch.ones(config.d_inner))

    def forward(self, u: Tensor, observe: Probe) -> Tensor:
        """u: stored[B, L, d_model] -> stored[B, L, d_model]."""
        c, stored, computed = self.config, self.numerics.stored, self.numerics.computed
        u = through(observe, "in_proj:input", u)
        x, z = through(observe, "in_proj:output", self.projected(self.in_proj, u)).chunk(2, -1)
        x = through(observe, "x_proj:input", self.convolved(x))
        selected = through(observe, "x_proj:output", self.projected(self.x_proj, x))
        dt, b, c_ = selected.split((c.dt_rank, c.d_state, c.d_state), -1)
        dt = through(observe, "dt_proj:input", dt)
        dt = stored(functional.linear(computed(dt), self.dt_proj.weight))  # its bias is added in float32, by the scan
        dt = through(observe, "dt_proj:output", dt)
        step = functional.softplus(dt.float() + self.dt_proj.bias.float())
        y, state = selective_scan(x.float(), step, -torch.exp(self.A_log.float()), b.float(), c_.float())
        observe("ssm_state_act:input", stored(state))
        y = (y + x.float() * self.D.float()) * functional.silu(z.float())
        return self.mixed(stored(y), observe)


def unobserved(_name: str, _x: Tensor) -> None:
    """The probe that sees nothing."""


class Block(nn.Module):
    """A norm and a mixer; the residual stream goes by."""

    def __init__(self, config: MambaConfig, numerics: Numerics) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.eps)
        self.mixer: Mixer = (Mamba2Mixer if config.version == 2 else MambaMixer)(config, numerics)


class Backbone(nn.Module):
    """The embedding, blocks and the last norm."""

    def __init__(self, config: MambaConfig, numerics: Numerics) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(Block(config, numerics) for _ in range(config.n_layers))
        self.norm_f = RMSNorm(config.d_model, config.eps)

    @property
    def blocks(self) -> list[Block]:
        """The layers, in order."""
        return cast("list[Block]", list(self.layers))


class MambaLM(nn.Module):
    """Token ids to logits, with observation points `layers.3.mixer.x_conv_out:input` and so on."""

    def __init__(self, config: MambaConfig, numerics: Numerics) -> None:
        super().__init__()
        self.config, self.numerics = config, numerics
        self.backbone = Backbone(config, numerics)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self._other_head: tuple[Tensor, Tensor] | None = None

    def forward(self, ids: Tensor, observe: Probe = unobserved) -> Tensor:
        """ids: int64[B, L] -> logits, stored[B, L, vocabulary]."""
        return through(observe, "lm_head:output", self.head(self.hidden(ids, observe)))

    def hidden(self, ids: Tensor, observe: Probe = unobserved) -> Tensor:
        """ids: int64[B, L] -> what goes into the head, stored[B, L, d_model]."""
        stored = self.numerics.stored
        hidden = stored(self.backbone.embedding(ids))
        kept = torch.float32 if self.config.residual_in_fp32 else self.numerics.store
        residual = torch.zeros_like(hidden, dtype=kept)
        for i, block in enumerate(self.backbone.blocks):
            residual = (residual + hidden).to(kept)
            hidden = block.mixer(stored(block.norm(residual)), _within(observe, f"layers.{i}.mixer."))
        residual = (residual + hidden).to(kept)
        return through(observe, "lm_head:input", stored(self.backbone.norm_f(residual)))

    def head(self, hidden: Tensor, weight: Tensor | None = None) -> Tensor:
        """What goes into the head, stored[..., d_model] -> logits, stored[..., vocabulary]. weight: in the place of the
        head's own."""
        used = self.lm_head.weight if weight is None else self._converted(weight)
        return self.numerics.stored(functional.linear(self.numerics.computed(hidden), used))

    def _converted(self, weight: Tensor) -> Tensor:
        """As the head has its own. The last one is kept: an evaluation gives the same for every window."""
        own = self.lm_head.weight
        if self._other_head is None or self._other_head[0] is not weight:
            self._other_head = (weight, weight.to(own.device, own.dtype))
        return self._other_head[1]


def _within(observe: Probe, prefix: str) -> Probe:
    if observe is unobserved:
        return observe
    return lambda name, x: observe(prefix + name, x)
