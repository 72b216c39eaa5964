"""Scales read ahead, many at a time: one by one, reading 20,000 small tensors takes longer than all else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import MAX_DIMS
from qinspect.inspector.compare.difference import SAMPLE_ELEMENTS
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.contract import FloatArray
from qinspect.inspector.values.scale_faults import FaultScan

BATCH_BYTES = 1 << 21
"""Read ahead of each model."""

BATCH_SCALES = 128

Matched = Sequence[tuple[str, tuple[ScaleRecord | None, ...]]]
Place = tuple[Source, int, Form]
"""Source, offset, dtype and shape of a tensor."""


@dataclass(slots=True)
class Ahead:
    """What was read of the scales before number `stop`. same: numbers of those that are equal to the bit. apart: the
    values of A and of B of those that are not.

    A scale in neither is of a kind that is compared one by one (if it differs, one of a torch file, whose checksum is
    looked at then), or in a batch that cannot be read.
    """

    stop: int
    same: set[int] = field(default_factory=set)
    apart: dict[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict)


def read_ahead(matched: Matched, start: int, format_a: Format, format_b: Format, faults: FaultScan) -> Ahead:
    """Scales from `start` on, as many as are read at once. The bytes of equal ones go through `faults`, under
    (number, "A"); the others are for who compares them."""
    numbers: list[int] = []
    of_a: list[Place] = []
    of_b: list[Place] = []
    n_bytes = 0
    stop = start
    while stop < min(start + BATCH_SCALES, len(matched)) and n_bytes < BATCH_BYTES:
        _, (a, b) = matched[stop]
        if a is not None and b is not None and (a is b or _comparable(a, b)):
            place_a, place_b = _place(format_a, a), _place(format_b, b)
            if place_a and place_b and place_a[2] == place_b[2]:
                numbers.append(stop)
                of_a.append(place_a)
                of_b.append(place_b)
                n_bytes += _nbytes(place_a[2])
        stop += 1
    ahead = Ahead(stop)
    _read(ahead, numbers, of_a, of_b, faults)
    if not (format_a.checkpoint.entries.columnar and format_b.checkpoint.entries.columnar):
        ahead.apart.clear()
    return ahead


def _comparable(a: ScaleRecord, b: ScaleRecord) -> bool:
    """Whether two scales are cut and made alike, so that bytes alone can say that they are equal."""
    return a.convention == b.convention and a.dtype == b.dtype and a.shape == b.shape and _in_place(b)


def _in_place(record: ScaleRecord) -> bool:
    """Whether its bytes are its numbers, and cells of one index are the same in every model."""
    return record.plain_steps and not (record.order or record.witnesses)


def _place(fmt: Format, record: ScaleRecord) -> Place | None:
    """Where the scale is, if its bytes are its numbers, and not too many."""
    if not _in_place(record) or not fmt.gives_as_stored(record):
        return None
    checkpoint = fmt.checkpoint
    place = checkpoint.entries.place(record.key)
    if place is None:
        tensor = checkpoint.tensor(record.key)
        if tensor is None or tensor.strides is not None:
            return None
        try:
            place = tensor.file, tensor.offset, (tensor.dtype, tensor.shape)
        except QinspectError:  # a damaged archive
            return None
    return place if _are_numbers(*place[2]) else None


@lru_cache(1024)
def _are_numbers(dtype: DType, shape: tuple[int, ...]) -> bool:
    plain = dtype.is_float and bool(dtype.numpy) and not dtype.packed and len(shape) <= MAX_DIMS
    n = math.prod(shape)
    return plain and 0 < n <= SAMPLE_ELEMENTS and dtype.nbytes(n) <= BATCH_BYTES


def _nbytes(form: Form) -> int:
    dtype, shape = form
    return dtype.nbytes(math.prod(shape))


def _read(ahead: Ahead, numbers: list[int], of_a: list[Place], of_b: list[Place], faults: FaultScan) -> None:
    try:
        bytes_a, bytes_b = _bytes_of(of_a), _bytes_of(of_b)
    except QinspectError:  # which of them it is, and why, is found one by one
        return
    for order, (_, _, (dtype, shape)), a, b in zip(numbers, of_a, bytes_a, bytes_b, strict=True):
        if a == b:
            faults.add_bytes((order, "A"), dtype.name, dtype.to_numpy, a)
            ahead.same.add(order)
        else:
            element = dtype.to_numpy()
            ahead.apart[order] = np.frombuffer(a, element).reshape(shape), np.frombuffer(b, element).reshape(shape)


def _bytes_of(places: list[Place]) -> list[bytes]:
    """The bytes at each. Raises what reading raises."""
    by_file: dict[int, list[int]] = {}
    for i, (file, _, _) in enumerate(places):
        by_file.setdefault(id(file), []).append(i)
    found = [b""] * len(places)
    for numbers in by_file.values():
        ranges = [(places[i][1], _nbytes(places[i][2])) for i in numbers]
        for i, raw in zip(numbers, places[numbers[0]][0].read_ranges(ranges), strict=True):
            found[i] = raw
    return found
