"""The levels that dequantized values stand on: whole multiples of a step, where codes are integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats import Format, Quantity, QuantizedWeight
from qinspect.inspector.formats.element import ElementKind

WIDE_SHARE = 0.95
"""Of many steps the one that is wider than this share of them: levels of a few wider groups stand apart."""
_OFF = 0.3
"""Of a step: a value further from a level stands on none. Arithmetic in bfloat16 moves level 127 by a quarter."""


@dataclass(frozen=True, slots=True)
class Levels:
    """step: from level to level; zero is one of them. exact: one step holds for all values; else it is that of most."""

    step: float
    exact: bool

    def hold(self, values: NDArray[Any]) -> bool:
        """Whether values stand on these levels."""
        at = values.astype(np.float64) / self.step
        return bool(np.all(np.abs(at - np.rint(at)) <= _OFF))


def levels_of(fmt: Format, weight: QuantizedWeight) -> Levels | None:
    """Of a weight's dequantized values; None where codes are no integers, or something else than a scale and whole zero
    points makes values of them. Raises CannotRead."""
    if weight.element.kind is not ElementKind.INTEGER:
        return None
    records = [r for r in fmt.scales() if r.role in weight.scale_roles]
    scales = [r for r in records if r.quantity.is_step]
    if not scales or any(r.quantity is Quantity.MINIMUM for r in records):
        return None
    offset = fmt.element_of(weight).offset
    if offset is not None and offset != int(offset):
        return None
    step, exact = 1.0, len(scales) == 1
    for record in scales:  # several are multiplied
        steps = np.abs(np.asarray(fmt.values(record), np.float64)).reshape(-1)
        steps = steps[np.isfinite(steps) & (steps > 0)]
        if not steps.size:
            return None
        step *= float(np.quantile(steps, WIDE_SHARE, method="higher"))
        exact = exact and bool((steps == steps[0]).all())
    return Levels(step, exact)
