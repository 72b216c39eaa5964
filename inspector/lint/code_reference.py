"""What the codes of a sound weight look like: numbers of a normal distribution, in groups that are scaled by their
largest one. docs/lint-thresholds.md holds it against weights that libraries quantized.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats import QuantizedWeight
from qinspect.inspector.formats.element import Element, ElementKind

Array = NDArray[Any]

_STEPS = 4000
_MOST_SIGMAS = 8.0
LARGE_GROUP = 4096
"""Beyond it, what one number more or less in a group does is nothing."""


def group_of(weight: QuantizedWeight) -> int | None:
    """Elements that share the finest scale; None where the grid does not say it."""
    grid, shape = weight.grid, weight.shape
    if grid.cells or grid.parts or grid.n_dims is not None:
        return None
    n = math.prod(shape)
    if grid.flattened:
        return grid.block[0]
    if not grid.axes:
        return n
    if not grid.block:
        return max(1, n // shape[grid.axes[0]])
    of_axes = dict(zip(grid.axes, grid.block, strict=True))
    return max(1, math.prod(min(of_axes.get(axis, d), d) for axis, d in enumerate(shape)))


@lru_cache(1024)
def usual_ends(element: Element, group: int, clip: float = 1.0) -> float:
    """The share of codes at the ends of the range, where scales are `clip` of what the largest of each group asks for:
    at 1, of the numbers that are rounded to it."""
    group = min(max(group, 2), LARGE_GROUP)
    x, below = _normal()
    weights = _largest_of(group)
    inside = np.interp(x * min(1.0, _first_of_end(element) * clip), x, below)
    others = np.where(below > 0, (below - inside) / np.maximum(below, 1e-300), 1.0)
    return float((weights * (1 / group + (group - 1) / group * others)).sum())


@lru_cache(1)
def _normal() -> tuple[Array, Array]:
    """Magnitudes in standard deviations, and the share of a normal distribution below each."""
    x = np.linspace(0, _MOST_SIGMAS, _STEPS)
    return x, np.array([math.erf(v / math.sqrt(2)) for v in x.tolist()])


@lru_cache(64)
def _largest_of(group: int) -> Array:
    """How likely each magnitude is the largest of a group."""
    x, below = _normal()
    with np.errstate(divide="ignore"):
        likely = group * np.exp((group - 1) * np.log(below)) * math.sqrt(2 / math.pi) * np.exp(-x * x / 2)
    return np.asarray(likely / likely.sum())


def clip_of_ends(element: Element, group: int, share: float) -> float:
    """The `clip` that makes this share of ends."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if usual_ends(element, group, middle) > share else (low, middle)
    return high


@lru_cache(64)
def _first_of_end(element: Element) -> float:
    """From which share of the largest number on one is rounded to it."""
    if element.kind is ElementKind.INTEGER:
        limit = element.limit or ((1 << element.bits) - 1) / 2
        return (limit - 0.5) / limit
    worth = element.values(np.arange(element.code_range[1] + 1))
    assert worth is not None
    levels = np.unique(np.abs(worth[np.isfinite(worth)]).astype(np.float64))
    return float((levels[-1] + levels[-2]) / 2 / levels[-1]) if levels.size > 1 else 0.0
