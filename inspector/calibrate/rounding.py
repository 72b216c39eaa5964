"""Weights to codes and scales: symmetric absmax, round to nearest.

All arithmetic is IEEE float32, one correctly rounded operation after another, so the same weight gives the same bits on
every machine:

    w     = float32(weight)
    s     = max |w| / q_max         over a channel's inputs (8 bits) or a group of them (4 bits)
    s     = 1                       where that is 0
    code  = clip(rint(w / s), -q_max, q_max)        rint rounds half to even

with q_max 127 or 7. The value of a code is code * s. -128 and -8 are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.own_layout import groups_of

FloatRows = NDArray[np.float32]
CodeRows = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class WeightScheme:
    """How weights are quantized. bits: 8, with a scale for each output channel, or 4, with one for each `group_size`
    inputs of a channel; the last group may be shorter."""

    bits: Literal[4, 8] = 8
    group_size: int = 128

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or self.group_size < 1:
            raise ValueError(f"weights have 8 bits, or 4 in groups of 1 or more; not {self}")

    @property
    def q_max(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1

    def n_groups(self, n_in: int) -> int:
        """Scales of one output channel."""
        return groups_of(n_in, self.bits, self.group_size)


SCHEMES = {"w8a8": WeightScheme(8), "w4a8": WeightScheme(4, 128)}
"""By the name that a checkpoint and `--weights` have for it."""


def quantize_rows(rows: NDArray[Any], scheme: WeightScheme) -> tuple[CodeRows, FloatRows]:
    """(codes [rows, in], scales [rows, groups]) of some output channels. Raises ValueError for values that are not
    finite."""
    with np.errstate(over="ignore", under="ignore"):  # beyond float32 is not finite, and said below
        w = np.ascontiguousarray(rows, np.float32)
        if not np.isfinite(w).all():
            raise ValueError("not all of the values are finite numbers")
        n_in = w.shape[1]
        starts = np.arange(scheme.n_groups(n_in)) * (scheme.group_size if scheme.bits == 4 else 0)
        w_max = (
            np.maximum.reduceat(np.abs(w), starts, axis=1) if w.size else np.zeros((len(w), starts.size), np.float32)
        )
        scales: FloatRows = np.divide(w_max, scheme.q_max, dtype=np.float32)
        scales[scales == 0] = 1
        steps = scales if scheme.bits == 8 else scales[:, np.arange(n_in) // scheme.group_size]
        codes = np.rint(w / steps).clip(-scheme.q_max, scheme.q_max)
    return codes.astype(np.int8), scales


def pack_nibbles(codes: CodeRows) -> NDArray[np.uint8]:
    """uint8[rows, ceil(n / 2)] out of codes -8..7: the low nibble first, two's complement, an odd end padded with 0."""
    nibbles = np.zeros((codes.shape[0], codes.shape[1] + codes.shape[1] % 2), np.uint8)
    nibbles[:, : codes.shape[1]] = codes.view(np.uint8) & 15
    packed: NDArray[np.uint8] = nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)
    return packed
