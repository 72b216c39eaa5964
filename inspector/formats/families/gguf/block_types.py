"""What is in a block of each of ggml's types, and what comes out of it.

All types have one form: codes, a scale for every few of them, of some a minimum too. A value is `scale * what the code
stands for + minimum`, in float32 and in this order, as ggml computes it. Blocks are uint8[n, bytes of a block].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.element import Element, integer, small_float, table, unsigned
from qinspect.inspector.formats.packing import unpack
from qinspect.kernels.packing import Packing, Plane

Array = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BlockType:
    """element: of a code. values: of a block. group: how many of them share a scale. codes: integers [n, values], or
    fewer of a codebook. scales: float32 [n, values / group]. minima: of the same shape, to be added; None where there
    are none. worth: float32 [n, values], what the codes stand for at a scale of one; None where the element says so.
    whole: the values themselves, where a float32 cannot hold what the scale is. signed: a scale may be negative: it
    takes its sign from the largest value. packing: how codes lie, where bodies unpack them on the way. levels: what
    each of these stands for; None where the element says so. of_levels: the scales that go with these, where they are
    others.
    """

    element: Element
    values: int
    group: int
    codes: Callable[[Array], Array]
    scales: Callable[[Array], Floats]
    minima: Callable[[Array], Floats] | None = None
    worth: Callable[[Array], Floats] | None = None
    whole: Callable[[Array], Floats] | None = None
    signed: bool = False
    packing: Packing | None = None
    levels: Floats | None = None
    of_levels: Callable[[Array], Floats] | None = None

    def dequantize(self, blocks: Array) -> Floats:
        """float32 [n, values]."""
        if self.whole is not None:
            return self.whole(blocks)
        worth = self.element.values(self.codes(blocks)) if self.worth is None else self.worth(blocks)
        assert worth is not None
        found = worth.reshape(len(blocks), -1, self.group)
        with np.errstate(all="ignore"):  # scales that are no numbers are the file's
            found = self.scales(blocks)[..., None] * found
            if self.minima is not None:
                found += self.minima(blocks)[..., None]
        values: Floats = found.reshape(len(blocks), self.values)
        return values


def half(blocks: Array, at: int) -> Floats:
    """float32 [n, 1] of the float16 at byte `at`."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def fields(packed: Array, bits: int, width: int) -> Array:
    """Codes of `bits` bits out of runs of `width` bytes, of which first the lowest bits of all are taken, then the
    next."""
    runs = packed.reshape(len(packed), -1, 1, width) >> np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return (runs & ((1 << bits) - 1)).reshape(len(packed), -1)


def _bytes_as_int8(blocks: Array, at: int, n: int) -> Array:
    return np.ascontiguousarray(blocks[:, at : at + n]).view(np.int8)


def _q5(blocks: Array, at: int) -> Array:
    """32 codes whose fifth bits stand together before the others."""
    codes: Array = fields(blocks[:, at + 4 :], 4, 16) | unpack(blocks[:, at : at + 4], 1, 32) << 4
    return codes


def _six_bits(packed: Array, at: int) -> Floats:
    """Eight numbers of six bits out of twelve bytes: scales at 0, minima at 4. Of the last four of each, the lower four
    bits are in the last bytes, the upper two above the first four."""
    by_place = np.ascontiguousarray(packed.T)  # numpy takes long for many rows of four
    first, rest = by_place[at : at + 4], by_place[8:12]
    found: Floats = np.concatenate((first & 63, rest >> at & 15 | first >> 6 << 4)).T.astype(np.float32)
    return found


def _scales_of_k(blocks: Array) -> Floats:
    return half(blocks, 0) * _six_bits(blocks[:, 4:16], 0)


def _minima_of_k(blocks: Array) -> Floats:
    return -(half(blocks, 2) * _six_bits(blocks[:, 4:16], 4))


def _scales_of_q3_k(blocks: Array) -> Floats:
    packed = blocks[:, 96:108]
    scales = fields(packed[:, :8], 4, 8) | fields(packed[:, 8:], 2, 4) << 4
    found: Floats = half(blocks, 108) * (scales.astype(np.float32) - 32)
    return found


def _scales_of_iq4_xs(blocks: Array) -> Floats:
    high = np.ascontiguousarray(blocks[:, 2:4]).view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    scales = unpack(blocks[:, 4:8], 4, 8) | high.astype(np.uint8) << 4
    return half(blocks, 0) * (scales.astype(np.float32) - 32)


def _ternary(packed: Array, n: int, width: int) -> Array:
    """`n` digits of base three a byte, the first in the highest place; a byte is 256/243 of what they make."""
    powers = np.array([1, 3, 9, 27, 81][:n], np.uint8)[:, None]
    digits = packed.reshape(len(packed), -1, 1, width) * powers
    return (digits.astype(np.uint16) * 3 >> 8).astype(np.uint8).reshape(len(packed), -1)


def _codes_of_tq1_0(blocks: Array) -> Array:
    runs = (_ternary(blocks[:, :32], 5, 32), _ternary(blocks[:, 32:48], 5, 16), _ternary(blocks[:, 48:52], 4, 4))
    return np.concatenate(runs, axis=1)


_IQ4 = tuple(map(float, (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)))
_FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""ggml has no negative zero."""


def _powers(blocks: Array, bias: int = 127) -> Floats:
    """float32 [n, 1]: the exponent of an MXFP4 block as a number; 255, which stands for 2**128, is infinite."""
    with np.errstate(over="ignore"):
        return np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - bias).astype(np.float32)


def _mxfp4(blocks: Array) -> Floats:
    """With half the scale and twice the number, as ggml does, so that 255 is an exponent like the others."""
    with np.errstate(over="ignore"):
        found: Floats = _powers(blocks, 128) * (2 * _FP4[fields(blocks[:, 1:], 4, 16)])
    return found


def _small_scales(blocks: Array) -> Floats:
    """The four float8_e4m3fn of an NVFP4 block. They have no sign, and the pattern of NaN stands for 0."""
    packed = blocks[:, :4]
    exponent, mantissa = (packed >> 3 & 15).astype(np.int32), (packed & 7).astype(np.float32)
    found = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7))
    return np.where(packed == 127, 0, found).astype(np.float32)


BLOCK_TYPES: dict[str, BlockType] = {
    "q4_0": BlockType(
        unsigned(4, 8), 32, 32, lambda b: fields(b[:, 2:], 4, 16), lambda b: half(b, 0), signed=True,
        packing=Packing(4, 16, 32, 18, 2),
    ),
    "q4_1": BlockType(
        unsigned(4, 0), 32, 32, lambda b: fields(b[:, 4:], 4, 16), lambda b: half(b, 0), lambda b: half(b, 2),
        packing=Packing(4, 16, 32, 20, 4),
    ),
    "q5_0": BlockType(
        unsigned(5, 16), 32, 32, lambda b: _q5(b, 2), lambda b: half(b, 0), signed=True,
        packing=Packing(4, 16, 32, 22, 6, (Plane(1, 1, 2),)),
    ),
    "q5_1": BlockType(
        unsigned(5, 0), 32, 32, lambda b: _q5(b, 4), lambda b: half(b, 0), lambda b: half(b, 2),
        packing=Packing(4, 16, 32, 24, 8, (Plane(1, 1, 4),)),
    ),
    "q8_0": BlockType(
        integer(8), 32, 32, lambda b: _bytes_as_int8(b, 2, 32), lambda b: half(b, 0), packing=Packing(8, 1, 32, 34, 2)
    ),
    "q8_1": BlockType(
        integer(8), 32, 32, lambda b: _bytes_as_int8(b, 4, 32), lambda b: half(b, 0), packing=Packing(8, 1, 32, 36, 4)
    ),
    "q2_k": BlockType(
        unsigned(2, 0), 256, 16, lambda b: fields(b[:, 16:80], 2, 32),
        lambda b: half(b, 80) * (b[:, :16] & 15).astype(np.float32),
        lambda b: -(half(b, 82) * (b[:, :16] >> 4).astype(np.float32)), packing=Packing(2, 32, 256, 84, 16),
    ),
    "q3_k": BlockType(
        unsigned(3, 4), 256, 16, lambda b: fields(b[:, 32:96], 2, 32) | fields(b[:, :32], 1, 32) << 2, _scales_of_q3_k,
        signed=True, packing=Packing(2, 32, 256, 110, 32, (Plane(1, 32, 0),)),
    ),
    "q4_k": BlockType(
        unsigned(4, 0), 256, 32, lambda b: fields(b[:, 16:], 4, 32), _scales_of_k, _minima_of_k,
        packing=Packing(4, 32, 256, 144, 16),
    ),
    "q5_k": BlockType(
        unsigned(5, 0), 256, 32, lambda b: fields(b[:, 48:], 4, 32) | fields(b[:, 16:48], 1, 32) << 4, _scales_of_k,
        _minima_of_k, packing=Packing(4, 32, 256, 176, 48, (Plane(1, 32, 16),)),
    ),
    "q6_k": BlockType(
        unsigned(6, 32), 256, 16, lambda b: fields(b[:, :128], 4, 64) | fields(b[:, 128:192], 2, 32) << 4,
        lambda b: half(b, 208) * _bytes_as_int8(b, 192, 16).astype(np.float32), signed=True,
        packing=Packing(4, 64, 256, 210, 0, (Plane(2, 32, 128),)),
    ),
    "q8_k": BlockType(
        integer(8), 256, 256, lambda b: _bytes_as_int8(b, 4, 256),
        lambda b: np.ascontiguousarray(b[:, :4]).view("<f4").astype(np.float32), signed=True,
        packing=Packing(8, 1, 256, 292, 4),
    ),
    "iq4_nl": BlockType(
        table("iq4_nl", _IQ4, 4), 32, 32, lambda b: fields(b[:, 2:], 4, 16), lambda b: half(b, 0), signed=True,
        packing=Packing(4, 16, 32, 18, 2),
    ),
    "iq4_xs": BlockType(
        table("iq4_nl", _IQ4, 4), 256, 32, lambda b: fields(b[:, 8:], 4, 16), _scales_of_iq4_xs, signed=True,
        packing=Packing(4, 16, 256, 136, 8),
    ),
    "tq1_0": BlockType(unsigned(2, 1), 256, 256, _codes_of_tq1_0, lambda b: half(b, 52)),
    "tq2_0": BlockType(
        unsigned(2, 1), 256, 256, lambda b: fields(b[:, :64], 2, 32), lambda b: half(b, 64),
        packing=Packing(2, 32, 256, 66),
    ),
    "mxfp4": BlockType(
        small_float("float4_e2m1fn"), 32, 32, lambda b: fields(b[:, 1:], 4, 16), _powers,
        whole=_mxfp4, packing=Packing(4, 16, 32, 17, 1), levels=2 * _FP4, of_levels=lambda b: _powers(b, 128),
    ),
    "nvfp4": BlockType(
        small_float("float4_e2m1fn"), 64, 16, lambda b: fields(b[:, 4:], 4, 8), _small_scales,
        worth=lambda b: _FP4[fields(b[:, 4:], 4, 8)], packing=Packing(4, 8, 64, 36, 4), levels=_FP4,
    ),
    "q1_0": BlockType(
        table("sign", (-1.0, 1.0), 1), 128, 128, lambda b: unpack(b[:, 2:], 1, 128), lambda b: half(b, 0),
        packing=Packing(1, 1, 128, 18, 2),
    ),
    "q2_0": BlockType(
        unsigned(2, 1), 64, 64, lambda b: unpack(b[:, 2:], 2, 64), lambda b: half(b, 0),
        packing=Packing(2, 1, 64, 18, 2),
    ),
}  # fmt: skip
"""Types whose codes are numbers, by their names in the reader; codebooks.py has those of vectors."""
