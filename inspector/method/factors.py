"""A factor of each input channel that the original was multiplied by before it was quantized (AWQ, SmoothQuant)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.method.share import Share

Numbers = NDArray[np.float64]
Array = NDArray[Any]

_LEAST, _MOST = 1 / 64, 64.0
"""Factors outside are not looked for."""
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Factors:
    """columns: float64[columns], of each input channel; rows: float64[rows], of each output channel, None where those
    of columns are enough. NaN where a channel shows none. nearest: the share of all codes that are the nearest ones of
    the original times its factors.
    """

    columns: Numbers
    rows: Numbers | None
    nearest: Share

    @property
    def spread(self) -> float:
        """Of the factors of columns, as the standard deviation of their logarithms."""
        known = self.columns[np.isfinite(self.columns)]
        return float(np.log(known).std()) if known.size else 0.0

    def of(self, original: Numbers) -> Numbers:
        """The original times its factors."""
        scaled = original * np.nan_to_num(self.columns, nan=1.0)
        return scaled if self.rows is None else scaled * np.nan_to_num(self.rows, nan=1.0)[:, None]


ENOUGH = 0.98
"""With this share of nearest codes nothing else is looked for."""


def factors_of(original: Numbers, least: Numbers, most: Numbers) -> Factors:
    """The factors by which most codes are the nearest ones.

    original: float64[rows, columns]. least, most: of the same shape, the values between which what was rounded to the
    stored code lies. Each value bounds the factor of its column; where the most of these intervals overlap is the
    factor: the number that overlap is exact, the factor is the middle of where they do. Where that is not enough the
    output channels are asked too, in turns: what smooths the input of the next layer scales the outputs of this one.
    """
    columns, held = _by_column(original, least, most)
    best = Factors(columns, None, Share(held, original.size))
    if best.nearest.value >= ENOUGH:
        return best
    with np.errstate(all="ignore"):
        middle = np.where(np.isfinite(least) & np.isfinite(most), (least + most) / 2, 0.0)
        rows = np.sqrt((middle * middle).sum(axis=1) / (original * original).sum(axis=1))
    for _ in range(_TURNS):
        columns, _ = _by_column(original * np.nan_to_num(rows, nan=1.0)[:, None], least, most)
        scaled = original * np.nan_to_num(columns, nan=1.0)
        rows, held = _by_column(scaled.T, least.T, most.T)
        gained = held - best.nearest.part
        if gained > 0:
            best = Factors(columns, rows, Share(held, original.size))
        if best.nearest.value >= ENOUGH or gained < _LEAST_GAIN * original.size:
            break
    return best


_TURNS = 4
_LEAST_GAIN = 0.02
"""Of a turn, as a share of all codes: with less the next ones lead nowhere either."""


def _by_column(original: Numbers, least: Numbers, most: Numbers) -> tuple[Numbers, int]:
    n_rows, n_columns = original.shape
    factor, held = np.full(n_columns, np.nan), 0
    step = max(1, _BLOCK_ELEMENTS // max(1, 2 * n_rows))
    for at in range(0, n_columns, step):
        part = slice(at, at + step)
        factor[part], n = _of_columns(original[:, part], least[:, part], most[:, part])
        held += n
    return factor, held


def _of_columns(original: Numbers, least: Numbers, most: Numbers) -> tuple[Numbers, int]:
    with np.errstate(all="ignore"):
        first, second = least / original, most / original
    low, high = np.fmin(first, second), np.fmax(first, second)
    zero = original == 0
    inside = zero & (least <= 0) & (most >= 0)
    low, high = np.where(inside, 0, low), np.where(inside, np.inf, high)
    low, high = np.clip(low, _LEAST, _MOST), np.clip(high, _LEAST, _MOST)
    none = ~(low < high) | (zero & ~inside)
    ends = np.concatenate((np.where(none, np.inf, low), np.where(none, np.inf, high)))
    order = np.argsort(ends, axis=0, kind="stable")
    ends = np.take_along_axis(ends, order, axis=0)
    signs = np.where(order < len(low), 1, -1)
    signs[~np.isfinite(ends)] = 0
    depth = signs.cumsum(axis=0)
    best = depth.argmax(axis=0)
    columns = np.arange(ends.shape[1])
    start, stop = ends[best, columns], ends[np.minimum(best + 1, len(ends) - 1), columns]
    found = np.sqrt(start * stop)
    found[~np.isfinite(found)] = np.nan
    return found, int(depth[best, columns].sum())
