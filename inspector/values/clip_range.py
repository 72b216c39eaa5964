"""The smallest and the largest value that the codes of a weight can stand for."""

from __future__ import annotations

import math

import numpy as np

from qinspect.inspector.formats import Format, Quantity, QuantizedWeight


def clip_of(fmt: Format, weight: QuantizedWeight) -> tuple[float, float] | None:
    """The values that the lowest and the highest code stand for; None where rows or groups have scales of their own,
    or codes alone do not say it. Raises CannotRead."""
    records = [r for r in fmt.scales() if r.role in weight.scale_roles]
    scales = [r for r in records if r.quantity is not Quantity.ZERO_POINT]
    if (
        weight.rotation is not None
        or len(scales) != 1
        or scales[0].quantity is not Quantity.SCALE
        or math.prod(scales[0].shape) != 1
    ):
        return None
    ends = fmt.element_of(weight).ends()
    if ends is None:
        return None
    scale = float(np.asarray(fmt.values(scales[0]), np.float64).reshape(()))
    return ends[0] * scale, ends[1] * scale
