"""Factors between two layers: what multiplies the inputs of one weight divides the outputs of the weight before it, as
AWQ and smoothing do where no norm stands between them. Fitted in both, and believed where they agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.factors import MIN_VALUES, SPREAD
from qinspect.inspector.fidelity.relation import Norm

Array = NDArray[Any]
Numbers = NDArray[np.float64]

LEAST_CORRELATION = 0.9
"""Of the logarithms of the factors of the two."""
MOST_APART = 0.1
"""The factors of one times those of the other are 1, but for this in the middle."""
_LESS = 0.89
"""Half a dB of noise less is to be won."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Factors of one axis of a weight, float64[n], B over A. norm: what its inputs were multiplied by besides."""

    index: int
    axis: str
    factor: Numbers
    norm: Norm | None


def fitted(index: int, x: Array, y: Array, norms: Sequence[Norm]) -> Iterator[Fitted]:
    """Of the inputs, and of the outputs behind each norm that may be in it, where they win something. x, y:
    float32[rows, columns]."""
    start = _noise(x, y)
    columns = _by(x, y, 0)
    if columns is not None and _noise(x * columns.astype(np.float32), y) < _LESS * start:
        yield Fitted(index, "input", columns, None)
    best: tuple[float, Fitted] | None = None
    for norm in (None, *norms):
        scaled = x if norm is None else x * norm.factor
        rows = _by(scaled, y, 1)
        if rows is None:
            continue
        noise = _noise(scaled * rows.astype(np.float32)[:, None], y)
        if noise < _LESS * (start if best is None else best[0]):
            best = noise, Fitted(index, "output", rows, norm)
    if best:
        yield best[1]


def _noise(x: Array, y: Array) -> float:
    d = y - x
    return float(np.einsum("ij,ij->", d, d, dtype=np.float64))


def _by(x: Array, y: Array, axis: int) -> Numbers | None:
    """The factor of each column (axis 0) or row by least squares; None where there is none that is one."""
    if x.shape[axis] < MIN_VALUES:
        return None
    xy, xx = ((x * v).sum(axis=axis, dtype=np.float64) for v in (y, x))
    if not ((xx > 0) & (xy > 0)).all():
        return None
    factor: Numbers = xy / xx
    return factor if factor.max() > SPREAD * factor.min() else None


def agreeing(found: Sequence[Fitted]) -> Iterator[tuple[Fitted, Fitted, Numbers]]:
    """(a weight, the one behind it, the factors of the inputs of the latter) of one layer, where those of the outputs
    of the first are one over them. Each weight is in one pair on each side."""
    before = [f for f in found if f.axis == "output"]
    for behind in (f for f in found if f.axis == "input"):
        for first in before:
            if first.index == behind.index or first.factor.size != behind.factor.size:
                continue
            a, b = np.log(first.factor), np.log(behind.factor)
            if np.corrcoef(a, b)[0, 1] < -LEAST_CORRELATION and np.median(np.abs(a + b)) < MOST_APART:
                before.remove(first)
                yield first, behind, np.exp((b - a) / 2)
                break
