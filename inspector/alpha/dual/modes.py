"""Rules with several steps, by the names of Quamba's research modes: which numbers they can be, and how many bits that
takes.

A rule is of magnitudes: the sign is a bit of its own. Its bits are those of all numbers that it can give, zero once:
2 n - 1 for n magnitudes. How many are named is by the rule, not by what occurs in a table. Rounding is to nearest, ties
to even, in float32, as torch does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.distribution.quantization import signal

Singles = NDArray[np.float32]
CODE_MAX = 127
"""Of 8 bits: q = round(y / s), of which the modes ask first."""
LADDER = 256
"""Powers of two that mode 5-6 names."""


@dataclass(frozen=True, slots=True)
class Mode:
    """name: of Quamba's research. says: the rule for people, s being the step of the point. magnitudes: numbers that it
    can give, without their sign. top: the largest of them, in steps; infinite where it is the largest magnitude. of:
    float32 magnitudes, s and the largest magnitude to what they become."""

    name: str
    says: str
    magnitudes: int
    top: float
    of: Callable[[Singles, np.float32, np.float32], Singles]

    @property
    def bits(self) -> int:
        """Bits that a value takes."""
        return math.ceil(math.log2(2 * self.magnitudes - 1))


@dataclass(frozen=True, slots=True)
class ModeResult:
    """What a mode does to a table. beyond: share of finite values beyond its largest number. to_zero: share of finite
    values that are not zero and become it."""

    mode: Mode
    sqnr_db: float
    beyond: float
    to_zero: float


def measured(table: MagnitudeTable, mode: Mode, scale: float) -> ModeResult:
    """What a mode makes of a table at a step, float32. Of a table that is not exact, as if each value stood in the
    middle of where it can be."""
    m, counts = table.middle, table.counts.astype(np.float64)
    if not table.n_finite:
        return ModeResult(mode, math.nan, math.nan, math.nan)
    with np.errstate(over="ignore"):
        made = mode.of(m, np.float32(scale), np.float32(table.largest))
    error = m.astype(np.float64) - made
    noise = float((error * error * counts).sum()) / table.n_finite
    ratio = signal(table) / noise if noise else math.inf
    n = table.n_finite
    return ModeResult(
        mode,
        10.0 * math.log10(ratio) if 0 < ratio < math.inf else ratio,
        float(counts[m > mode.top * scale].sum()) / n,
        float(counts[(made == 0) & (m > 0)].sum()) / n,
    )


def _rounded(m: Singles, step: np.float32, limit: float = math.inf) -> Singles:
    """`m` to multiples of a step, `limit` of them at most."""
    found: Singles = np.minimum(np.rint(m / step), np.float32(limit)) * step
    return found


def _two_steps(finer: int, below: int) -> Callable[[Singles, np.float32, np.float32], Singles]:
    def of(m: Singles, s: np.float32, _: np.float32) -> Singles:
        coarse = np.minimum(np.rint(m / s), np.float32(CODE_MAX))
        fine = np.rint(m / (s / np.float32(finer))) * (s / np.float32(finer))
        found: Singles = np.where(coarse < below, fine, coarse * s)
        return found

    return of


def _outliers_by_largest(m: Singles, s: np.float32, largest: np.float32) -> Singles:
    codes = np.rint(m / s)
    wide = max(largest / np.float32(CODE_MAX), s)
    found: Singles = np.where(codes > CODE_MAX, _rounded(m, wide, CODE_MAX), codes * s)
    return found


def _ladder(m: Singles, s: np.float32, _: np.float32) -> Singles:
    fine, start = s / np.float32(4), np.float32(8) * s
    above = np.maximum((m - start) / fine, np.float32(1))
    powers = np.exp2(np.minimum(np.floor(np.log2(above)), np.float32(LADDER - 1)))
    return np.where(m <= start, _rounded(m, fine), start + powers * fine).astype(np.float32)


def _three_steps(m: Singles, s: np.float32, _: np.float32) -> Singles:
    """Multiples of s/4 to 15.75 s, of s to 143 s, and 63 of 4 s more: to 395 s."""
    fine, middle = _rounded(m, s / np.float32(4), 63), _rounded(m, s, 143)
    coarse = np.float32(143) * s + _rounded(np.maximum(m - np.float32(143) * s, np.float32(0)), np.float32(4) * s, 63)
    found: Singles = np.where(m <= np.float32(15.875) * s, fine, np.where(m <= np.float32(145) * s, middle, coarse))
    return found


MODES = (
    Mode("5-3", "|q| > 127: the step is the largest |y| / 127", 2 * CODE_MAX + 1, math.inf, _outliers_by_largest),
    Mode("5-4", "|q| < 32: the step is s/4", 127 + 96, CODE_MAX, _two_steps(4, 32)),
    Mode("5-6", "to 8 s the step is s/4, then 8 s + 2^k s/4, k from 0 to 255", 33 + LADDER, math.inf, _ladder),
    Mode("5-7", "to 15.75 s the step is s/4, to 143 s it is s, then 63 times 4 s", 64 + 128 + 63, 395, _three_steps),
    Mode("6-3", "|q| < 64: the step is s/2", 128 + 64, CODE_MAX, _two_steps(2, 64)),
)
"""6-4 is 5-3 with the largest |y| of the calibration instead of that of each forward pass: of a table they are one. 5-5
is not known."""
