"""Rows of a few numbers that say what a module is: all that is read of tensors when a model is opened."""

from __future__ import annotations

from collections.abc import Iterable

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import QinspectError

MAX_BYTES = 1 << 12
"""Of one entry: a few numbers, or JSON of a few words."""


def small_entries(checkpoint: Checkpoint, keys: Iterable[str], dtypes: Iterable[str]) -> dict[str, bytes]:
    """The bytes of rows of a few numbers, read together, by key: what is none, or cannot be read, is left out."""
    places: dict[int, tuple[Source, list[tuple[str, int, int]]]] = {}
    dtypes = set(dtypes)
    for key in keys:
        tensor = checkpoint.tensor(key)
        if tensor is None or tensor.dtype.name not in dtypes or len(tensor.shape) != 1 or tensor.strides is not None:
            continue
        if 0 < tensor.nbytes <= MAX_BYTES:
            source, inside = places.setdefault(id(tensor.file), (tensor.file, []))
            inside.append((key, tensor.offset, tensor.nbytes))
    found: dict[str, bytes] = {}
    for source, inside in places.values():
        try:
            parts = source.read_ranges([(offset, n) for _, offset, n in inside])
        except QinspectError:
            continue
        found.update(zip((key for key, _, _ in inside), parts, strict=True))
    return found
