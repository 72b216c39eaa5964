"""The values of a scale, read whole where that is cheap and in parts where it is not.

Scale tensors of real models hold a few million numbers at most. A file that no family claims may call a tensor of
gigabytes a scale: it is streamed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import Range

FloatArray = NDArray[Any]

CHUNK_ELEMENTS = 1 << 20


def large_tensor(fmt: Format, record: ScaleRecord, above: int = CHUNK_ELEMENTS) -> Tensor | None:
    """The stored tensor, where it has more than `above` elements, its values are those of the scale, and it can be
    read in parts."""
    tensor = fmt.checkpoint.tensor(record.key)
    if tensor is None or tensor.n_elements <= above or record.verified or not record.as_stored:
        return None
    return None if tensor.strides or tensor.dtype.packed or tensor.dtype.is_complex else tensor


def scale_blocks(fmt: Format, record: ScaleRecord, check: Steps | None = None) -> Iterator[FloatArray]:
    """All values in C order: one array of the scale's shape, or flat pieces of a large one. Raises CannotRead."""
    tensor = large_tensor(fmt, record)
    if tensor is None:
        yield fmt.values(record)
        return
    for start in range(0, tensor.n_elements, CHUNK_ELEMENTS):
        if check:
            check(start, tensor.n_elements)
        yield tensor.read_range(start, min(start + CHUNK_ELEMENTS, tensor.n_elements))


def scale_range(
    fmt: Format, record: ScaleRecord, check: Steps | None = None, seen: Callable[[FloatArray], None] | None = None
) -> Range:
    """(minimum, maximum, how many values are not finite); the ends are of the finite ones, NaN where there are none;
    those of one number are it. `empty` for a scale without elements. `seen` gets all values. Raises CannotRead."""
    low, high, n, n_bad = math.inf, -math.inf, 0, 0
    only = math.nan
    with np.errstate(all="ignore"):  # a signalling NaN in the file is no event
        for block in scale_blocks(fmt, record, check):
            if seen:
                seen(block)
            finite = block[np.isfinite(block)]
            n += block.size
            n_bad += block.size - finite.size
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            elif block.size == 1:
                only = float(block.reshape(-1)[0])
    if not n:
        return "empty"
    if n == 1 and n_bad:
        return only, only, 1
    return (low, high, n_bad) if low <= high else (math.nan, math.nan, n_bad)


def scale_sample(fmt: Format, record: ScaleRecord, n: int, check: Steps | None = None) -> tuple[FloatArray, int]:
    """(values, step): every step-th value of a large scale in C order, at most about `n`, flat; of others all, in
    their shape, and 1. float64."""
    tensor = large_tensor(fmt, record, n)
    if tensor is None:
        return np.asarray(fmt.values(record), np.float64), 1
    step = -(-tensor.n_elements // n)
    parts = []
    at = 0
    for block in scale_blocks(fmt, record, check):
        parts.append(np.array(block[-at % step :: step], np.float64))  # a view would keep its block alive
        at += block.size
    return np.concatenate(parts), step


def first_values(fmt: Format, record: ScaleRecord, n: int) -> tuple[FloatArray, tuple[int, ...]]:
    """(the first values in C order, flat, in the type that they are stored in; the shape of the whole scale). A large
    one gives `n`."""
    tensor = large_tensor(fmt, record, n)
    if tensor is not None:
        return tensor.read_range(0, n), tensor.shape
    values = np.asarray(fmt.values(record))
    return values.reshape(-1), values.shape
