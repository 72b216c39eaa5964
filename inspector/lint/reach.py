"""How large the weights are that codes and scales can hold, told by scales alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats import Format, Kind, Quantity, QuantizedWeight
from qinspect.inspector.rows import column
from qinspect.inspector.values.scale_table import ScaleTable


@dataclass(frozen=True, slots=True)
class Reach:
    """Of some weights, in their order.

    weights: they. reach: float64, the largest magnitude that the largest of the scales and the outermost code stand
    for: of a weight rounded to its largest value that value, more or less. scale: what a code of one stands for there.
    outer: of two levels of scales the outer one, which is a factor in `scale`; NaN where there is one level.
    """

    weights: tuple[QuantizedWeight, ...]
    reach: NDArray[np.float64]
    scale: NDArray[np.float64]
    outer: NDArray[np.float64]


def reach_of(fmt: Format, table: ScaleTable) -> Reach:
    """Of the weights whose scales were read and say it: symmetric codes, no factor of channels, nothing to add."""
    place_of = {role: place for place, role in enumerate(column(table.records, "role"))}
    weights, scales, reach, outer = [], [], [], []
    for weight in fmt.weights():
        limit = weight.element.limit
        scale = None if limit is None else _scale(table, [place_of[r] for r in weight.scale_roles if r in place_of])
        if limit is not None and scale is not None:
            weights.append(weight)
            scales.append(scale[0])
            reach.append(scale[0] * limit)
            outer.append(scale[1])
    return Reach(tuple(weights), np.array(reach), np.array(scales), np.array(outer))


def _scale(table: ScaleTable, places: list[int]) -> tuple[float, float] | None:
    """The product of the largest numbers, and that of the outer one (NaN without one); None where it is not known, or
    not all of it."""
    found, outer = 1.0, float("nan")
    for place in places:
        record, high = table.records[place], float(table.high[place])
        step = record.quantity in (Quantity.SCALE, Quantity.GLOBAL_SCALE)
        if record.kind is not Kind.WEIGHT or not step or record.may_be_negative or not high > 0:
            return None
        found *= high
        outer = high if record.quantity is Quantity.GLOBAL_SCALE else outer
    return (found, outer) if places else None
