"""Scales read ahead, many at a time: one by one, reading 20,000 small tensors takes longer than all else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form, shared_form
from qinspect.inspector.checkpoint.dtypes import DTYPES, DType
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import MAX_DIMS
from qinspect.inspector.compare.difference import SAMPLE_ELEMENTS
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.records import FloatArray
from qinspect.inspector.values.scale_faults import FaultScan, Tag

BATCH_BYTES = 1 << 22
"""Read ahead of each model."""

BATCH_SCALES = 512
_STEP = 64
"""Scales that are looked up at once."""

Matched = Sequence[tuple[str, tuple[ScaleRecord | None, ...]]]


Place = tuple[Source, int, Form, int]
"""Source, offset, dtype and shape, and bytes, of a scale whose bytes are its numbers."""


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
    end = min(start + BATCH_SCALES, len(matched))
    while stop < end and n_bytes < BATCH_BYTES:
        pairs = _comparable_ones(matched, stop, min(stop + _STEP, end), format_a, format_b)
        stop = min(stop + _STEP, end)
        places_a = _places(format_a.checkpoint, [a.key for _, a, _ in pairs])
        places_b = _places(format_b.checkpoint, [b.key for _, _, b in pairs])
        for (number, _, _), place_a, place_b in zip(pairs, places_a, places_b, strict=True):
            if place_a and place_b and (place_a[2] is place_b[2] or place_a[2] == place_b[2]):
                if n_bytes >= BATCH_BYTES:
                    stop = number
                    break
                numbers.append(number)
                of_a.append(place_a)
                of_b.append(place_b)
                n_bytes += place_a[3]
    ahead = Ahead(stop)
    _read(ahead, numbers, of_a, of_b, faults)
    if not (format_a.checkpoint.entries.columnar and format_b.checkpoint.entries.columnar):
        ahead.apart.clear()
    return ahead


def _comparable_ones(
    matched: Matched, start: int, stop: int, format_a: Format, format_b: Format
) -> list[tuple[int, ScaleRecord, ScaleRecord]]:
    """Of the scales from `start` to `stop`, those that are cut and made alike and whose bytes are their numbers: bytes
    alone can say that they are equal."""
    found = []
    for number in range(start, stop):
        a, b = matched[number][1]
        if a is None or b is None or not (in_place(a) and format_a.gives_as_stored(a)):
            continue
        if (a is b or _alike(a, b)) and format_b.gives_as_stored(b):
            found.append((number, a, b))
    return found


def _alike(a: ScaleRecord, b: ScaleRecord) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.convention == b.convention and in_place(b)


def in_place(record: ScaleRecord) -> bool:
    """Whether its bytes are its numbers, and cells of one index are the same in every model."""
    return record.plain_steps and not (record.order or record.witnesses)


def _places(checkpoint: Checkpoint, keys: list[str]) -> Iterator[Place | None]:
    """Where each scale is; None for one that is not read ahead."""
    for key, place in zip(keys, checkpoint.entries.places(keys), strict=True):
        source, offset, form = place or _place_alone(checkpoint, key)
        known = _known.get(id(form))
        if known is None or known[0] is not form:
            known = _remember(form)
        yield (source, offset, form, known[1]) if source and known[1] else None


def _place_alone(checkpoint: Checkpoint, key: str) -> tuple[Source | None, int, Form]:
    """Of a tensor that is not in plain columns; no source where it is none, or its elements are not stored in order."""
    try:
        if found := checkpoint.entries.located(key):
            return found
        tensor = checkpoint.tensor(key)
        if tensor is not None and tensor.strides is None:
            return tensor.file, tensor.offset, shared_form(tensor.dtype, tensor.shape)
    except QinspectError:  # a damaged archive
        pass
    return None, 0, _NO_FORM


_known: dict[int, tuple[Form, int]] = {}
"""By identity, since a form takes long to hash: it, which keeps it alive, and the bytes of its numbers."""
_MAX_KNOWN = 1024
_NO_FORM: Form = (DTYPES["uint8"], ())


def _remember(form: Form) -> tuple[Form, int]:
    while len(_known) >= _MAX_KNOWN:
        _known.pop(next(iter(_known)), None)
    made = _known[id(form)] = form, bytes_of_numbers(*form)
    return made


def bytes_of_numbers(dtype: DType, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor of floating-point numbers that is read ahead; 0 of another."""
    plain = dtype.is_float and bool(dtype.numpy) and not dtype.packed and len(shape) <= MAX_DIMS
    n = math.prod(shape)
    nbytes = dtype.nbytes(n)
    return nbytes if plain and 0 < n <= SAMPLE_ELEMENTS and nbytes <= BATCH_BYTES else 0


def _read(ahead: Ahead, numbers: list[int], of_a: list[Place], of_b: list[Place], faults: FaultScan) -> None:
    try:
        bytes_a, bytes_b = _bytes_of(of_a), _bytes_of(of_b)
    except QinspectError:  # which of them it is, and why, is found one by one
        return
    equal: dict[int, list[tuple[Tag, bytes]]] = {}
    dtypes: dict[int, DType] = {}
    same, apart = ahead.same, ahead.apart
    for order, place, a, b in zip(numbers, of_a, bytes_a, bytes_b, strict=True):
        dtype, shape = place[2]
        if a == b:
            equal.setdefault(id(dtype), []).append(((order, "A"), a))
            dtypes[id(dtype)] = dtype
            same.add(order)
        else:
            element = dtype.to_numpy()
            apart[order] = np.frombuffer(a, element).reshape(shape), np.frombuffer(b, element).reshape(shape)
    for key, found in equal.items():
        faults.add_whole(dtypes[key].name, dtypes[key].to_numpy, found)


def _bytes_of(places: list[Place]) -> list[bytes]:
    """The bytes at each. Raises what reading raises."""
    by_file: dict[int, list[int]] = {}
    for i, place in enumerate(places):
        by_file.setdefault(id(place[0]), []).append(i)
    found = [b""] * len(places)
    for numbers in by_file.values():
        ranges = [(places[i][1], places[i][3]) for i in numbers]
        for i, raw in zip(numbers, places[numbers[0]][0].read_ranges(ranges), strict=True):
            found[i] = raw
    return found
