"""Tensors rounded to codes and back: what a quantized engine sees of an activation.

Three ways to have a scale: one for all, one a token, one a block of a token. Tensors on a CUDA device go to the GPU
body, one kernel for each call, where triton is installed (it comes with torch on Linux); others to the bodies of torch
here. Both give the same numbers; of a zero, not always the same sign. A NaN stays one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from qinspect.kernels.logits import has_triton

_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The magnitudes of float4_e2m1fn."""


@dataclass(frozen=True, slots=True)
class CodeRange:
    """What codes stand for at a scale of one. low, high: the outermost; of integers, within 2^22 of zero. small_float:
    bits of the mantissa and the smallest normal number, of floats; None for integers, less an offset perhaps."""

    low: float
    high: float
    small_float: tuple[int, float] | None = None

    @property
    def numbers(self) -> tuple[float, float, float, int]:
        """low, high, the smallest normal number and the bits of the mantissa, -1 of integers."""
        mantissa, smallest = self.small_float or (-1, 1.0)
        return float(self.low), float(self.high), float(smallest), mantissa


E4M3 = CodeRange(-448.0, 448.0, (3, 2.0**-6))
E5M2 = CodeRange(-57344.0, 57344.0, (2, 2.0**-14))
E2M1 = CodeRange(-6.0, 6.0, (1, 1.0))
_DTYPES = {E4M3: torch.float8_e4m3fn, E5M2: torch.float8_e5m2}


def nearest(x: Tensor, codes: CodeRange) -> Tensor:
    """float32 -> the nearest number that a code stands for, ties to even, out of range the outermost."""
    if codes.small_float is None:
        return x.round().clamp_(codes.low, codes.high)
    if codes in _DTYPES:
        return x.clamp(codes.low, codes.high).to(_DTYPES[codes]).to(torch.float32)
    if codes == E2M1:
        return _to_fp4(x)
    raise ValueError(f"no rule for {codes}")


def _to_fp4(x: Tensor) -> Tensor:
    """Ties to the even code, as hardware rounds."""
    levels = torch.tensor(_FP4, device=x.device)
    size = x.abs().clamp(max=6.0).contiguous()
    upper = torch.bucketize(size, levels).clamp(1, 7)
    low, high = levels[upper - 1], levels[upper]
    middle = (low + high) / 2
    up = (size > middle) | ((size == middle) & (upper % 2 == 0))
    return torch.where(x.isnan(), x, torch.where(up, high, low).copysign(x))


def by_one_scale(x: Tensor, codes: CodeRange, scale: Tensor) -> Tensor:
    """scale * nearest(x / scale). scale: float32, one number, on x's device. float32 inside; x's shape and dtype."""
    if _on_gpu(x):
        from qinspect.kernels import triton_rounding

        return triton_rounding.by_one_scale(x, codes.numbers, scale)
    wide = x.to(torch.float32, copy=True).div_(scale)
    rounded = wide.round_().clamp_(codes.low, codes.high) if codes.small_float is None else nearest(wide, codes)
    return rounded.mul_(scale).to(x.dtype)


def by_token(x: Tensor, codes: CodeRange, largest_code: float) -> Tensor:
    """The same with a scale for each token (the last axis): its largest |x| over `largest_code`."""
    if _on_gpu(x):
        from qinspect.kernels import triton_rounding

        return triton_rounding.by_token(x, codes.numbers, largest_code)
    wide = x.to(torch.float32, copy=True)
    scale = _over(wide.abs().amax(-1, keepdim=True), largest_code)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)  # a NaN stays one
    return nearest(wide.div_(scale), codes).mul_(scale).to(x.dtype)


def by_block(x: Tensor, codes: CodeRange, largest_code: float, size: int, outer: Tensor | None = None) -> Tensor:
    """The same with a scale for each `size` of the last axis, the last block of which may be smaller. outer: float32,
    one number, the scale of these scales, which are float8_e4m3fn then; None where they are float32."""
    if _on_gpu(x) and _whole_blocks(x, size):
        from qinspect.kernels import triton_rounding

        return triton_rounding.by_block(x, codes.numbers, largest_code, size, outer)
    blocks = _in_blocks(x, size)
    scale = _over(blocks.abs().amax(-1, keepdim=True), largest_code)
    if outer is not None:
        scale = nearest(scale / outer, E4M3) * outer
    safe = torch.where(scale == 0, torch.ones_like(scale), scale)
    return _as_before(torch.where(scale == 0, 0.0, nearest(blocks / safe, codes) * scale), x)


def by_power_of_two(x: Tensor, codes: CodeRange, largest_code: float, size: int) -> Tensor:
    """The same with a power of two for each `size` of the last axis: 2 ** (floor(log2(largest |x|)) - exponent of the
    largest code), as OCP Microscaling 1.0, section 6.3, has it."""
    of_largest = math.floor(math.log2(largest_code))
    if _on_gpu(x) and _whole_blocks(x, size):
        from qinspect.kernels import triton_rounding

        return triton_rounding.by_power_of_two(x, codes.numbers, of_largest, size)
    blocks = _in_blocks(x, size)
    largest = blocks.abs().amax(-1, keepdim=True)
    _, exponent = torch.frexp(largest)  # of 0.5 to 1
    exponent = torch.where(largest.isinf(), 129, exponent)
    scale = torch.exp2((exponent - 1 - of_largest).clamp(-127, 127).float())
    scale = torch.where(largest.isnan(), largest, scale)
    return _as_before(torch.where(largest == 0, 0.0, nearest(blocks / scale, codes) * scale), x)


def _over(x: Tensor, number: float) -> Tensor:
    """x / number, rounded once; by a number of Python's, torch multiplies on a GPU with the reciprocal."""
    return x / torch.full_like(x, number)


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda and x.numel() > 0 and has_triton()


def _whole_blocks(x: Tensor, size: int) -> bool:
    """Whether the GPU body takes them."""
    return x.shape[-1] % size == 0 and size.bit_count() == 1


def _in_blocks(x: Tensor, size: int) -> Tensor:
    """float32[..., blocks, size]. A last block that is not full is filled with zeros, which no largest |x| sees."""
    wide = x.float()
    if wide.shape[-1] % size:
        wide = functional.pad(wide, (0, -wide.shape[-1] % size))
    return wide.reshape(*wide.shape[:-1], -1, size)


def _as_before(blocks: Tensor, x: Tensor) -> Tensor:
    return blocks.flatten(-2)[..., : x.shape[-1]].to(x.dtype)
