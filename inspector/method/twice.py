"""A quantization before the last: the original is rounded as one of the usual formats would, and the stored codes are
looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.element import NF4, Element, integer, small_float, table
from qinspect.inspector.method.layout import Layout
from qinspect.inspector.method.rounding import bounds_of

Numbers = NDArray[np.float64]
Array = NDArray[Any]

_NF4 = table("nf4", NF4, 4)
"""bitsandbytes, functional.py, create_normal_map."""


Rounding = Callable[[Numbers], Numbers]
"""What is left of the values of whole rows, float64[rows, columns]."""
Formats = Callable[[float], Iterator[tuple[str, Rounding]]]
"""The names of formats and what they leave. Of the largest magnitude of the whole tensor."""


def first_quantizations(largest: float) -> Iterator[tuple[str, Rounding]]:
    """(name, what it leaves) of formats that a model is often published in, of which a few rows show what all do.
    largest: of the whole tensor's magnitudes."""
    fp8, fp4, int8, int4 = small_float("float8_e4m3fn"), small_float("float4_e2m1fn"), integer(8), integer(4)
    channel, tensor = Layout(1, None), Layout(None, None)
    yield "FP8, one scale a tensor", lambda x: _rounded(x, tensor, fp8, lambda _: np.float64(largest / 448))
    yield "FP8, one scale a channel", lambda x: _rounded(x, channel, fp8, lambda m: m / 448)
    yield "INT8, one scale a channel", lambda x: _rounded(x, channel, int8, lambda m: m / 127)
    yield "NVFP4", lambda x: _rounded(x, Layout(1, 16), fp4, lambda m: _two_level(m, largest))
    yield "MXFP4", lambda x: _rounded(x, Layout(1, 32), fp4, lambda m: np.exp2(np.floor(np.log2(m)) - 2))
    yield "NF4, group 64", lambda x: _rounded(x, Layout(1, 64), _NF4, lambda m: m)
    for size in (32, 64, 128):
        for said, divisor in (("7", 7.0), ("7.5", 7.5), ("8", 8.0)):
            yield (
                f"INT4, group {size}, amax / {said}",
                lambda x, n=size, d=divisor: _rounded(x, Layout(1, n), int4, lambda m: m / d),  # type: ignore[misc]
            )


def first_in_blocks(_: float) -> Iterator[tuple[str, Rounding]]:
    """The same of formats that whole blocks of 128 rows show."""
    fp8 = small_float("float8_e4m3fn")
    yield "FP8, 128 x 128 blocks", lambda x: _rounded(x, Layout(128, 128), fp8, lambda m: m / 448)


def _two_level(amax: Numbers, largest: float) -> Numbers:
    import ml_dtypes

    outer = largest / (448 * 6)
    return (amax / 6 / outer).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * outer


def _rounded(original: Numbers, layout: Layout, element: Element, step_of: Callable[[Numbers], Any]) -> Numbers:
    """The values after rounding to nearest, by a scale of each cell's largest magnitude."""
    bounds = bounds_of(element)
    assert bounds is not None
    levels = np.unique(bounds.level[~np.isnan(bounds.level)])
    with np.errstate(all="ignore"):
        amax = np.nanmax(np.abs(layout.cut(original)), axis=1)
        step = layout.spread(np.broadcast_to(step_of(amax), amax.shape), original.shape)
        at = np.searchsorted((levels[1:] + levels[:-1]) / 2, original / step)
        return np.where(step > 0, levels[at] * step, 0.0)
