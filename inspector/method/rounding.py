"""Which codes are the nearest ones: whether the original lies where it would have been rounded to the stored code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.element import Element, ElementKind

Numbers = NDArray[np.float64]
Array = NDArray[Any]

ARITHMETIC = 2.0**-8
"""Quantizers divide in bfloat16, by a scale that is rounded after the division: a value is known to this much."""
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of each code (its position in `Element.code_range`): the level that it stands for at a scale of one, and between
    which levels what is rounded to it lies. Infinite for the outermost, NaN for codes that are no number."""

    first: int
    level: Numbers
    low: Numbers
    high: Numbers

    def of(self, codes: Array) -> tuple[Numbers, Numbers, Numbers]:
        """(levels, low, high) of codes of any shape."""
        at = codes.astype(np.int64) - self.first
        return self.level[at], self.low[at], self.high[at]


def bounds_of(element: Element) -> Bounds | None:
    """None where a code alone is no number. Of an integer with stored zero points the level is the code itself."""
    first, last = element.code_range
    codes = np.arange(first, last + 1)
    if element.kind is ElementKind.INTEGER:
        level = codes.astype(np.float64) - (element.offset or 0)
    elif element.kind in (ElementKind.FLOAT, ElementKind.TABLE):
        level = np.asarray(element.values(codes), np.float64)
    else:
        return None
    level[~np.isfinite(level)] = np.nan
    distinct = np.unique(level[~np.isnan(level)])
    middle = (distinct[1:] + distinct[:-1]) / 2
    at = np.searchsorted(distinct, level)
    at[np.isnan(level)] = 0
    low, high = np.concatenate(([-np.inf], middle))[at], np.concatenate((middle, [np.inf]))[at]
    low[np.isnan(level)] = high[np.isnan(level)] = np.nan
    return Bounds(first, level, low, high)


def beyond(x: Numbers, low: Numbers, high: Numbers) -> Numbers:
    """How far each original, in steps, lies outside of what is rounded to its code: 0 where the code is the nearest."""
    return np.maximum(np.maximum(low - x, x - high), 0.0)


def allowed(x: Numbers, level: Numbers) -> Numbers:
    """How far that may be by the arithmetic of a quantizer alone."""
    return _LEAST + ARITHMETIC * np.maximum(np.abs(x), np.abs(level))
