"""The step and the offset that the codes of each cell were turned into values by, told from the values themselves: so a
family need not say how its scales are stored, and scales of scales, minima and zero points are all in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Steps:
    """Of each cell: value = offset + step * level. NaN where its codes do not show it: all stand for zero, or all are
    the same."""

    step: Numbers
    offset: Numbers


def steps_of(levels: Numbers, values: Numbers, through_zero: bool) -> Steps:
    """levels, values: float64[cells, n], NaN where there is none. through_zero: a level of zero has the value zero."""
    rows = np.arange(len(levels))
    with np.errstate(all="ignore"):
        if through_zero:
            far = np.abs(np.nan_to_num(levels)).argmax(axis=1)
            step = values[rows, far] / levels[rows, far]
            step[~np.isfinite(step) | (step == 0)] = np.nan
            return Steps(step, np.where(np.isnan(step), np.nan, 0.0))
        high = np.where(np.isnan(levels), -np.inf, levels).argmax(axis=1)
        low = np.where(np.isnan(levels), np.inf, levels).argmin(axis=1)
        step = (values[rows, high] - values[rows, low]) / (levels[rows, high] - levels[rows, low])
        step[~np.isfinite(step) | (step == 0)] = np.nan
        return Steps(step, values[rows, high] - step * levels[rows, high])
