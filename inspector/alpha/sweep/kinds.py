"""Values of points laid out in layers by kinds: the whole model at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.roles import place


@dataclass(frozen=True, eq=False)
class Matrix:
    """values: float64[layers, kinds], nan where there is no point; the mean where several are. points: number of the
    first point of each cell, -1 for none. layers: None for points outside of all."""

    layers: tuple[int | None, ...]
    kinds: tuple[str, ...]
    values: NDArray[np.float64]
    points: NDArray[np.int64]


def matrix(names: Sequence[str], values: NDArray[np.float64]) -> Matrix:
    """Values of points, [P], laid out. Kinds in the order in which they come."""
    places = [place(name) for name in names]
    layers = tuple(sorted({layer for layer, _ in places}, key=lambda x: (x is None, x or 0)))
    kinds = tuple(dict.fromkeys(kind for _, kind in places))
    row, column = ({x: i for i, x in enumerate(axis)} for axis in (layers, kinds))
    sums, n = np.zeros((len(layers), len(kinds))), np.zeros((len(layers), len(kinds)))
    points = np.full(sums.shape, -1, np.int64)
    for i, (layer, kind) in enumerate(places):
        at = row[layer], column[kind]
        if points[at] < 0:
            points[at] = i
        if not np.isnan(values[i]):
            sums[at] += values[i]
            n[at] += 1
    with np.errstate(invalid="ignore"):
        return Matrix(layers, kinds, np.where(n > 0, sums / np.maximum(n, 1), np.nan), points)
