"""Floating-point values that a checkpoint holds, and their distribution: of a quantized weight what its codes stand
for, of any other tensor what is stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.distribution.single import EXACT_ELEMENTS
from qinspect.inspector.formats import Format, Quantity, QuantizedWeight
from qinspect.inspector.formats.element import Element
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import natural_key
from qinspect.inspector.values.clipping import Marker
from qinspect.inspector.values.inspection import row_blocks
from qinspect.inspector.values.statistics import as_codes
from qinspect.inspector.values.stored_blocks import stored_blocks

Array = NDArray[Any]

READ_ELEMENTS = 1 << 20
"""Values read, and counted, at a time."""
MAX_MAGNITUDES = 1 << 17
"""Different float32 magnitudes that are kept exactly: a cursor over alpha takes 10 us for each thousand."""


@dataclass(frozen=True, slots=True)
class StoredValues:
    """role: the name that is the same in both models. weight: None for a tensor that is not quantized, then `tensor` is
    it. shape: without padding."""

    role: str
    fmt: Format
    weight: QuantizedWeight | None
    tensor: Tensor | None
    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def what(self) -> str:
        """A phrase for people."""
        if self.weight is not None:
            several = self.weight.element.n_values > 1
            return f"{self.weight.scheme if several else f'{self.weight.bits}-bit'} dequantized"
        return f"{self.tensor.dtype.name}, as stored" if self.tensor is not None else ""

    def blocks(self) -> Iterator[Array]:
        """All values, in pieces of about READ_ELEMENTS. Raises CannotRead."""
        if self.weight is not None:
            for start, stop in row_blocks(self.weight, READ_ELEMENTS):
                yield self.fmt.dequantize(self.weight, start, stop)
        elif self.tensor is not None:
            yield from stored_blocks(self.tensor, READ_ELEMENTS)


def stored_values(fmt: Format) -> dict[str, StoredValues]:
    """Everything that a distribution can be counted of, by role in natural order. Nothing is read."""
    found = {w.role: StoredValues(w.role, fmt, w, None, w.shape) for w in fmt.weights()}
    for tensor in fmt.other_tensors():
        if tensor.dtype.is_float and tensor.dtype.numpy and tensor.dtype.bits <= 32:
            role = fmt.role_of(tensor.name)
            found.setdefault(role, StoredValues(role, fmt, None, tensor, tensor.shape))
    return {role: found[role] for role in sorted(found, key=natural_key)}


def count_values(values: StoredValues, check: Steps) -> MagnitudeTable:
    """The table of all values: exact up to MAX_MAGNITUDES different ones, which only float32 can exceed. Raises
    CannotRead."""
    pooled: list[MagnitudeTable] = []
    done = 0
    for block in values.blocks():
        flat = _as_counted(block)
        at = 0
        while at < flat.size:
            check(done + at, values.n)
            single = flat.dtype == np.float32 and (not pooled or pooled[0].exact)
            piece = flat[at : at + (EXACT_ELEMENTS if single else READ_ELEMENTS)]
            pooled.append(MagnitudeTable.of(piece))
            at += piece.size
            if sum(t.magnitudes.size for t in pooled) > 3 * MAX_MAGNITUDES:
                pooled = [merge(pooled, MAX_MAGNITUDES)]
        done += flat.size
    check(values.n, values.n)
    return merge(pooled, MAX_MAGNITUDES) if pooled else MagnitudeTable.of(np.zeros(0, np.float32))


def stored_scale(values: StoredValues, label: str, check: Steps) -> Marker | None:
    """The scale of a quantized weight: its one number, or the least, the median and the greatest of many. Of a weight
    with several scale tensors, the steps that they make together, value by value. None where there is none that is a
    positive number."""
    weight = values.weight
    if weight is None or not 2 <= weight.bits <= 16 or weight.rotation is not None:
        return None  # of a rotated weight: its scales are no steps of the values that are counted
    element = values.fmt.element_of(weight)
    limit = element.limit
    if not limit:
        return None  # zero points of their own, or a codebook: no scale stands for a range of |x|, nor beside a minimum
    records = [r for r in values.fmt.scales() if r.role in weight.scale_roles and r.quantity is not Quantity.ZERO_POINT]
    if any(r.quantity is Quantity.MINIMUM for r in records):
        return None
    if len(records) == 1:
        steps: Iterable[Array] = [np.asarray(values.fmt.values(records[0]), np.float32).reshape(-1)]
    else:
        steps = _steps(values.fmt, weight, element, check)
    usable = (np.abs(s[np.isfinite(s) & (s != 0)]) for s in steps)
    tables = [MagnitudeTable.of(np.ascontiguousarray(s)) for s in usable if s.size]
    if not tables:
        return None
    table = merge(tables)
    low, middle, high = (float(b) for b in table.quantile_bounds([0.0, 0.5, 1.0], "float64").low)
    return Marker(label, low, middle, high, weight.bits, limit)


def _steps(fmt: Format, weight: QuantizedWeight, element: Element, check: Steps) -> Iterator[Array]:
    """float32: value / what its code stands for, where that is a number and not 0."""
    for start, stop in row_blocks(weight, READ_ELEMENTS // 4):
        check(start, weight.shape[0])
        worth = element.values(as_codes(np.asarray(fmt.codes(weight, start, stop))))
        if worth is None:
            return
        worth = worth.reshape(-1)
        values = np.asarray(fmt.dequantize(weight, start, stop), np.float32).reshape(-1)
        usable = np.isfinite(worth) & (worth != 0)
        with np.errstate(all="ignore"):  # scales that are none
            steps = values[usable] / worth[usable]
        yield steps


def _as_counted(block: Array) -> Array:
    """Flat, of a dtype that a table takes: smaller floats are exact in float32."""
    flat = np.ascontiguousarray(block).reshape(-1)
    return flat if flat.dtype.name in ("float16", "bfloat16", "float32") else flat.astype(np.float32)
