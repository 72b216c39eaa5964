"""The GPU bodies of `rounding`: one kernel a call, float32 in registers, the numbers of the CPU body.

Divisions are rounded as IEEE 754 says (Triton's own are not), and so is what becomes a code: adding and taking away
1.5 * 2^23 leaves the nearest integer, ties to even, of what is within 2^22. Triton launches on the current device:
each function makes that of its tensor the current one.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

Numbers = tuple[float, float, float, int]
"""low, high, the smallest normal number and the bits of the mantissa, -1 of integers."""
FLAT_TILE, ROW_TILE, BLOCK_TILE = 4096, 8192, 4096


@triton.jit
def _nearest(x, low, high, smallest, MANTISSA: tl.constexpr):
    """`where` keeps a NaN, as torch's clamp does; `minimum` does not. MANTISSA: -1 of integers."""
    if MANTISSA < 0:
        y = tl.where(x > 4194304.0, 4194304.0, tl.where(x < -4194304.0, -4194304.0, x))
        y = (y + 12582912.0) - 12582912.0
        y = tl.where(y > high, high, tl.where(y < low, low, y))
    else:
        y = tl.where(x > high, high, tl.where(x < low, low, x))
        power = (y.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
        step = tl.where(power > smallest, power, smallest) * (1.0 / (1 << MANTISSA))
        inverse = (0x7F000000 - step.to(tl.int32, bitcast=True)).to(tl.float32, bitcast=True)
        y = ((y * inverse + 12582912.0) - 12582912.0) * step
    return y


@triton.jit
def _by_one_scale(x_at, out_at, n, scale_at, low, high, smallest, MANTISSA: tl.constexpr, TILE: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    here = offsets < n
    scale = tl.load(scale_at)
    x = tl.load(x_at + offsets, mask=here, other=0.0).to(tl.float32)
    y = _nearest(tl.div_rn(x, scale), low, high, smallest, MANTISSA) * scale
    tl.store(out_at + offsets, y.to(out_at.dtype.element_ty), mask=here)


@triton.jit
def _by_token(
    x_at, out_at, width, largest_code, low, high, smallest, MANTISSA: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    x_at += row * width
    out_at += row * width
    lanes = tl.arange(0, TILE)
    largest = tl.zeros((TILE,), tl.float32)
    bad = tl.zeros((TILE,), tl.int32)
    for start in range(0, width, TILE):
        x = tl.load(x_at + start + lanes, mask=start + lanes < width, other=0.0).to(tl.float32)
        largest = tl.maximum(largest, tl.abs(x))
        bad = bad | (x != x).to(tl.int32)
    scale = tl.div_rn(tl.max(largest), largest_code)
    scale = tl.where(tl.max(bad) > 0, float("nan"), tl.where(scale == 0, 1.0, scale))
    for start in range(0, width, TILE):
        here = start + lanes < width
        x = tl.load(x_at + start + lanes, mask=here, other=0.0).to(tl.float32)
        y = _nearest(tl.div_rn(x, scale), low, high, smallest, MANTISSA) * scale
        tl.store(out_at + start + lanes, y.to(out_at.dtype.element_ty), mask=here)


@triton.jit
def _by_block(
    x_at, out_at, n, largest_code, outer_at, of_largest, low, high, smallest,
    MANTISSA: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """KIND: 0 float32 scales, 1 those in float8_e4m3fn times the outer one, 2 powers of two."""
    first = tl.program_id(0).to(tl.int64) * (ROWS * SIZE)
    offsets = first + tl.arange(0, ROWS)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    here = offsets < n
    x = tl.load(x_at + offsets, mask=here, other=0.0).to(tl.float32)
    largest = tl.max(tl.abs(x), 1)
    bad = tl.max((x != x).to(tl.int32), 1) > 0
    if KIND == 2:
        exponent = (largest.to(tl.int32, bitcast=True) >> 23) - 127 - of_largest
        exponent = tl.minimum(tl.maximum(exponent, -127), 127)
        normal = ((exponent + 127) << 23).to(tl.float32, bitcast=True)
        scale = tl.where(exponent < -126, 5.877471754111438e-39, normal)
        nothing = largest == 0
    else:
        scale = tl.div_rn(largest, largest_code)
        if KIND == 1:
            outer = tl.load(outer_at)
            scale = _nearest(tl.div_rn(scale, outer), -448.0, 448.0, 0.015625, 3) * outer
        nothing = scale == 0
    scale = tl.where(bad, float("nan"), scale)
    safe = tl.where(nothing, 1.0, scale)
    y = _nearest(tl.div_rn(x, safe[:, None]), low, high, smallest, MANTISSA) * scale[:, None]
    y = tl.where((nothing & (bad == 0))[:, None], 0.0, y)
    tl.store(out_at + offsets, y.to(out_at.dtype.element_ty), mask=here)


def by_one_scale(x: Tensor, codes: Numbers, scale: Tensor) -> Tensor:
    """As `rounding` has it. The order of x in memory stays, so that a transposed view costs no copy."""
    turned = not x.is_contiguous() and x.ndim > 1 and x.mT.is_contiguous()
    dense = x.mT if turned else x.contiguous()
    out = torch.empty_like(dense)
    n = dense.numel()
    with torch.cuda.device_of(dense):
        _by_one_scale[(triton.cdiv(n, FLAT_TILE),)](dense, out, n, scale, *codes, TILE=FLAT_TILE, num_warps=8)
    return out.mT if turned else out


def by_token(x: Tensor, codes: Numbers, largest_code: float) -> Tensor:
    """As `rounding` has it."""
    dense = x.contiguous()
    out = torch.empty_like(dense)
    width = dense.shape[-1]
    tile = min(ROW_TILE, triton.next_power_of_2(width))
    with torch.cuda.device_of(dense):
        _by_token[(dense.numel() // width,)](
            dense, out, width, float(largest_code), *codes, TILE=tile, num_warps=8 if tile > 2048 else 4
        )
    return out


def by_block(x: Tensor, codes: Numbers, largest_code: float, size: int, outer: Tensor | None) -> Tensor:
    """As `rounding` has it, of whole blocks whose size is a power of two."""
    return _of_blocks(x, codes, float(largest_code), outer, 0, size, 0 if outer is None else 1)


def by_power_of_two(x: Tensor, codes: Numbers, of_largest: int, size: int) -> Tensor:
    """The same. of_largest: floor(log2(largest code))."""
    return _of_blocks(x, codes, 1.0, None, of_largest, size, 2)


def _of_blocks(
    x: Tensor, codes: Numbers, largest_code: float, outer: Tensor | None, of_largest: int, size: int, kind: int
) -> Tensor:
    dense = x.contiguous()
    out = torch.empty_like(dense)
    n = dense.numel()
    rows = max(1, BLOCK_TILE // size)
    with torch.cuda.device_of(dense):
        _by_block[(triton.cdiv(n, rows * size),)](
            dense, out, n, largest_code, dense if outer is None else outer, of_largest, *codes,
            SIZE=size, ROWS=rows, KIND=kind, num_warps=8,
        )  # fmt: skip
    return out
