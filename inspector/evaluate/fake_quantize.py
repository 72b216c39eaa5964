"""Activations as a quantized engine sees them: rounded to codes and back, in the place of what passes a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.kernels import rounding
from qinspect.kernels.rounding import CodeRange

Quantizer = Callable[[Tensor], Tensor]
"""A tensor of any shape -> the same, rounded. float32 inside; the dtype stays."""

_SMALL_FLOATS = {"float8_e4m3fn": rounding.E4M3, "float8_e5m2": rounding.E5M2, "float4_e2m1fn": rounding.E2M1}


def code_range(element: Element) -> CodeRange | None:
    """What its codes stand for at a scale of one; None for an element that has no rule of rounding here."""
    ends = element.ends()
    if element.kind is ElementKind.INTEGER and ends is not None:
        return CodeRange(*ends)
    return _SMALL_FLOATS.get(element.name)


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
    codes = code_range(element if zero_point is None else replace(element, offset=zero_point))
    return None if codes is None else lambda x: rounding.by_one_scale(x, codes, scale)


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
    codes = code_range(element)
    return None if codes is None else lambda x: rounding.by_token(x, codes, element.q_max)


def microscaled(element: Element, size: int) -> Quantizer | None:
    """A power of two for each `size` of the last axis, as OCP Microscaling 1.0 has it."""
    codes = code_range(element)
    return None if codes is None else lambda x: rounding.by_power_of_two(x, codes, element.q_max, size)


def of_blocks(element: Element, size: int, outer: Tensor | None = None) -> Quantizer | None:
    """A scale for each `size` of the last axis. outer: the stored scale of these scales, which are float8_e4m3fn then;
    None where they are float32."""
    codes = code_range(element)
    return None if codes is None else lambda x: rounding.by_block(x, codes, element.q_max, size, outer)
