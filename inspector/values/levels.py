"""The levels that dequantized values stand on: whole multiples of a step, where codes are integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats import Format, Quantity, QuantizedWeight
from qinspect.inspector.formats.element import ElementKind

_OFF = 0.3
"""Of a step: a value further from a level stands on none. Arithmetic in bfloat16 moves level 127 by a quarter."""


@dataclass(frozen=True, slots=True)
class Levels:
    """step: from level to level, the same for all values; zero is one of them."""

    step: float

    def hold(self, values: NDArray[Any]) -> bool:
        """Whether values stand on these levels."""
        at = values.astype(np.float64) / self.step
        return bool(np.all(np.abs(at - np.rint(at)) <= _OFF))


def levels_of(fmt: Format, weight: QuantizedWeight) -> Levels | None:
    """Of a weight's dequantized values; None where codes are no integers, where there is more than one step, or
    something else than a scale and whole zero points makes values of codes: a rotation too. Raises CannotRead."""
    if weight.element.kind is not ElementKind.INTEGER or weight.rotation is not None:
        return None
    records = [r for r in fmt.scales() if r.role in weight.scale_roles]
    scales = [r for r in records if r.quantity.is_step]
    if len(scales) != 1 or any(r.quantity is Quantity.MINIMUM for r in records):
        return None
    offset = fmt.element_of(weight).offset
    if offset is not None and offset != int(offset):
        return None
    steps = np.abs(np.asarray(fmt.values(scales[0]), np.float64)).reshape(-1)
    steps = steps[np.isfinite(steps) & (steps > 0)]
    return Levels(float(steps[0])) if steps.size and bool((steps == steps[0]).all()) else None
