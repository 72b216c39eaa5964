"""The numbers of a record, as its entry holds them."""

from __future__ import annotations

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.errors import CannotRead
from qinspect.inspector.formats.records import (
    FloatArray,
    ScaleRecord,
    part_of,
)


def read_numbers(checkpoint: Checkpoint, key: str) -> FloatArray:
    """The numbers stored under `key`, a tensor or a Python number, in their stored precision.

    Raises UnknownKey and CannotRead.
    """
    entry = checkpoint[key]
    if isinstance(entry, Value):
        if isinstance(entry.value, bool) or not isinstance(entry.value, (int, float)):
            raise CannotRead("is not a number", file=entry.file.path, key=key, found=repr(entry.value)[:80])
        try:
            return np.asarray(entry.value, dtype=np.float64)
        except OverflowError as e:
            raise CannotRead("is an integer beyond the range of floats", file=entry.file.path, key=key) from e
    if entry.dtype.is_complex:
        raise CannotRead("holds complex numbers", file=entry.file.path, key=key)
    return entry.read()


def numbers_of(checkpoint: Checkpoint, record: ScaleRecord) -> FloatArray:
    """The numbers of a record that are those of its entry, or one over them. Raises as `read_numbers`."""
    entry = checkpoint[record.key]
    if record.slice is None or not isinstance(entry, Tensor):
        found = read_numbers(checkpoint, record.key)
    else:
        found = part_of(entry, record.slice).read()
    if not record.inverted:
        return found
    with np.errstate(all="ignore"):  # a 0 in the file is the file's
        return np.asarray(np.float32(1) / found.astype(np.float32))


def elements_of(tensor: Tensor, start: int, stop: int) -> FloatArray:
    """Elements `start` to `stop` in C order, flat; of a tensor with strides by reading it whole. Raises CannotRead."""
    return tensor.read_range(start, stop) if tensor.strides is None else tensor.read().reshape(-1)[start:stop]


def stored_form(checkpoint: Checkpoint, key: str) -> tuple[str, tuple[int, ...]]:
    """(dtype, shape) of an entry as stored; a Python number has shape ()."""
    if form := checkpoint.entries.form(key):
        dtype, shape = form
        return dtype.name, shape
    entry = checkpoint[key]
    return (entry.kind, ()) if isinstance(entry, Value) else (entry.dtype.name, entry.shape)
