"""The error of a quantized weight in steps of its grid: what rounding to nearest leaves lies between -1/2 and 1/2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.pairs import Pair
from qinspect.inspector.formats import ScaleRecord
from qinspect.inspector.method.rounding import bounds_of
from qinspect.inspector.method.sampling import sample_of
from qinspect.inspector.method.steps import steps_of

Numbers = NDArray[np.float64]
Array = NDArray[Any]
HALF = 0.5
_LEAST, _SINGLE = 1e-3, 2.0**-18
"""Steps that a value may lie beyond half of one by the arithmetic of float32: what a quantizer does in bfloat16 is an
error like any other."""


@dataclass(frozen=True, eq=False)
class ErrorInSteps:
    """errors: float64, flat, (original - value) / step of each code, where that is known; the step of a level that has
    two is the one on the side of the error. n_outside: beyond half a step by more than float32 calculates wrong.
    n_clipped: of them, at the lowest or the highest level, beyond which there is none. n_unknown: codes whose step
    nothing shows. rows, rows_of: looked at, and all. sizes, steps: float64, |original| and the step at it, of each of
    the errors.
    """

    errors: Numbers
    n_outside: int
    n_clipped: int
    n_unknown: int
    rows: int
    rows_of: int
    sizes: Numbers
    steps: Numbers


def error_in_steps(pair: Pair, records: dict[str, ScaleRecord]) -> ErrorInSteps | str:
    """Of B's codes against A's values, or why that cannot be said. records: of B's scales, by role. Of a large weight
    rows that lie evenly over it."""
    if pair.b.weight is None:
        return "B is not quantized: it has no steps"
    if pair.a.weight is not None:
        return "A is quantized itself: the original is not known"
    try:
        sample = sample_of(pair, records)
    except QinspectError as e:
        return str(e)
    bounds = bounds_of(sample.element) if sample is not None else None
    if sample is None or bounds is None:
        return "which values share a scale is not known, or a code alone is no number"
    level, low, high = bounds.of(sample.codes)
    steps = steps_of(sample.layout.cut(level), sample.layout.cut(sample.values), sample.through_zero)
    step = sample.layout.spread(steps.step, level.shape)
    with np.errstate(all="ignore"):
        x = (sample.original - sample.layout.spread(steps.offset, level.shape)) / step
        error = x - level
        # From the level to where what is rounded to it ends: half a step; of an outermost level that of its inner side
        up, down = high - level, level - low
        half = np.where(error > 0, np.where(np.isinf(up), down, up), np.where(np.isinf(down), up, down))
        relative = HALF * error / half
        outside = np.abs(error) - half > _LEAST + _SINGLE * np.maximum(np.abs(x), np.abs(level))
    known = np.isfinite(relative)
    outermost = np.isinf(np.where(error > 0, up, down))
    n_outside = int(np.count_nonzero(outside & known))
    n_clipped = int(np.count_nonzero(outside & known & outermost))
    relative = np.where(~outside & known, np.clip(relative, -HALF, HALF), relative) * np.sign(step)
    n_unknown = relative.size - int(np.count_nonzero(known))
    sizes, of_values = np.abs(sample.original[known]), np.abs(2 * half * step)[known]
    return ErrorInSteps(relative[known], n_outside, n_clipped, n_unknown, len(level), sample.rows_of, sizes, of_values)
