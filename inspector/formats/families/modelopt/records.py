"""Records of a module: the scales of its weight, and of what goes into it."""

from __future__ import annotations

from typing import Any

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats.element import UNKNOWN, Element
from qinspect.inspector.formats.families.modelopt.layouts import FP4, FP8, Layout
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels
from qinspect.inspector.formats.records import NOT_KNOWN, OF_WEIGHTS, Kind, Quantity, ScaleRecord

_OF_INPUTS: dict[Layout, Element] = {
    Layout.NVFP4: FP4,
    Layout.INT8: Layout.INT8.element,
    **dict.fromkeys((Layout.FP8, Layout.FP8_CHANNEL, Layout.FP8_BLOCK, Layout.MXFP8, Layout.INT4_FP8), FP8),
}


def of_weight(entry: Tensor, role: str, of: str, element: Element, grid: Grid, **more: Any) -> ScaleRecord:
    """A scale of a weight. entry: all of it, whatever part the record is."""
    more.setdefault("reach", OF_WEIGHTS)
    return ScaleRecord(role, entry.name, Kind.WEIGHT, of, element, grid, entry.dtype.name, entry.shape, **more)


def of_factor(entry: Tensor, role: str, path: str, element: Element) -> ScaleRecord:
    """What each input channel of a module is multiplied by. The data have a part in it, and a setting of their own."""
    return of_weight(
        entry, role, f"what goes into {path}", element, channels(1), quantity=Quantity.FACTOR, reach=NOT_KNOWN
    )


def of_input(entry: Tensor, role: str, path: str, element: Element = UNKNOWN) -> ScaleRecord:
    """The scale of what goes into a module. Whether a percentile made it, the file does not say."""
    grid = PER_TENSOR if entry.n_elements == 1 else Grid(n_dims=len(entry.shape))
    called = "" if element is not UNKNOWN else "input, of a type that is not said"
    return ScaleRecord(
        role, entry.name, Kind.ACTIVATION, f"input of {path}", element, grid, entry.dtype.name, entry.shape,
        called=called,
    )  # fmt: skip


def element_of_input(layout: Layout, algorithm: str) -> Element:
    """What activations become that have a stored scale. algorithm: as the configuration says, or ""."""
    if layout is Layout.MXFP4 and algorithm == "W4A8_MXFP4_FP8":
        return FP8
    return _OF_INPUTS.get(layout, UNKNOWN)
