"""Activations as a quantized engine sees them: rounded to codes and back, in the place of what passes a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.formats.element import Element, ElementKind

Quantizer = Callable[[Tensor], Tensor]
"""A tensor of any shape -> the same, rounded. float32 inside; the dtype stays."""

_FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
"""The magnitudes of float4_e2m1fn."""


def rounder(element: Element) -> Quantizer | None:
    """float32 -> the nearest number that a code stands for at a scale of one, ties to even, out of range the outermost.
    None for an element that has no such rule here."""
    ends = element.ends()
    if element.kind is ElementKind.INTEGER and ends is not None:
        return lambda x: x.round().clamp(*ends)
    if element.name in ("float8_e4m3fn", "float8_e5m2"):
        dtype = getattr(torch, element.name)
        return lambda x: x.clamp(element.q_min, element.q_max).to(dtype).to(torch.float32)
    return _to_fp4 if element.name == "float4_e2m1fn" else None


def _to_fp4(x: Tensor) -> Tensor:
    """Ties to the even code, as hardware rounds."""
    levels = _FP4.to(x.device)
    size = x.abs().clamp(max=6.0)
    upper = torch.bucketize(size, levels).clamp(1, 7)
    low, high = levels[upper - 1], levels[upper]
    middle = (low + high) / 2
    up = (size > middle) | ((size == middle) & (upper % 2 == 0))
    return torch.where(up, high, low).copysign(x)


def noise(generator: torch.Generator) -> Quantizer:
    """Even noise of half a step of bfloat16 to either side: 2 ** -8 of the power of two below each value."""

    def add(x: Tensor) -> Tensor:
        wide = x.float()
        _, exponent = torch.frexp(wide)
        half = torch.exp2((exponent - 9).float())
        drawn = torch.rand(wide.shape, generator=generator, device=wide.device)
        return torch.where(wide != 0, wide + (2 * drawn - 1) * half, wide).to(x.dtype)

    return add


def static(element: Element, scale: Tensor, zero_point: float | None = None) -> Quantizer | None:
    """x -> scale * (code - zero_point), code = round(x / scale) + zero_point. scale: float32, one number. zero_point:
    None where none is stored."""
    codes = rounder(element if zero_point is None else replace(element, offset=zero_point))
    return None if codes is None else lambda x: (codes(x.float() / scale) * scale).to(x.dtype)


def of_each_head(element: Element, scales: Sequence[Tensor]) -> Quantizer | None:
    """Of [batch, heads, length, width]. scales: float32, one number for each head, or one for all. Raises CannotRead
    for another number of heads."""
    of = [static(element, scale) for scale in scales]
    known = [quantize for quantize in of if quantize is not None]
    if len(known) < len(of):
        return None

    def quantize(x: Tensor) -> Tensor:
        if len(known) == 1:
            return known[0](x)
        if x.shape[1] != len(known):
            raise CannotRead("has scales for another number of heads", expected=str(x.shape[1]), found=str(len(known)))
        return torch.stack([one(head) for one, head in zip(known, x.unbind(1), strict=True)], 1)

    return quantize


def of_each_token(element: Element) -> Quantizer | None:
    """A scale for each token: its largest |x| over the largest code."""
    codes = rounder(element)
    if codes is None:
        return None

    def quantize(x: Tensor) -> Tensor:
        wide = x.float()
        scale = wide.abs().amax(-1, keepdim=True) / element.q_max
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        return (codes(wide / scale) * scale).to(x.dtype)

    return quantize


def _in_blocks(x: Tensor, size: int) -> Tensor:
    """float32[..., blocks, size]. A last block that is not full is filled with zeros, which no largest |x| sees."""
    wide = x.float()
    if wide.shape[-1] % size:
        wide = functional.pad(wide, (0, -wide.shape[-1] % size))
    return wide.reshape(*wide.shape[:-1], -1, size)


def _as_before(blocks: Tensor, x: Tensor) -> Tensor:
    return blocks.flatten(-2)[..., : x.shape[-1]].to(x.dtype)


def microscaled(element: Element, size: int) -> Quantizer | None:
    """A power of two for each `size` of the last axis: 2 ** (floor(log2(largest |x|)) - exponent of the largest code),
    as OCP Microscaling 1.0, section 6.3, has it."""
    codes = rounder(element)
    if codes is None:
        return None
    of_largest = math.floor(math.log2(element.q_max))

    def quantize(x: Tensor) -> Tensor:
        blocks = _in_blocks(x, size)
        largest = blocks.abs().amax(-1, keepdim=True)
        _, exponent = torch.frexp(largest)  # of 0.5 to 1
        scale = torch.exp2((exponent - 1 - of_largest).clamp(-127, 127).float())
        return _as_before(torch.where(largest > 0, codes(blocks / scale) * scale, 0.0), x)

    return quantize


def of_blocks(element: Element, size: int, outer: Tensor | None = None) -> Quantizer | None:
    """A scale for each `size` of the last axis. outer: the stored scale of these scales, which are float8_e4m3fn then;
    None where they are float32."""
    codes = rounder(element)
    if codes is None:
        return None

    def quantize(x: Tensor) -> Tensor:
        blocks = _in_blocks(x, size)
        scale = blocks.abs().amax(-1, keepdim=True) / element.q_max
        if outer is not None:
            scale = (scale / outer).clamp(max=448.0).to(torch.float8_e4m3fn).float() * outer
        safe = torch.where(scale > 0, scale, torch.ones_like(scale))
        return _as_before(torch.where(scale > 0, codes(blocks / safe) * scale, 0.0), x)

    return quantize
