"""Entries of a few bytes that say how larger ones beside them are to be read: a shape, a width, a text as bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import QinspectError

MOST_BYTES = 1 << 16
"""Of one entry: what is larger is left out."""
A_FEW_NUMBERS = 1 << 12
"""The same where it is a row of a few numbers, or JSON of a few words."""


def small_entries(
    checkpoint: Checkpoint, names: Iterable[str], most: int = MOST_BYTES, rows_of: Collection[str] = ()
) -> dict[str, bytes]:
    """The bytes of tensors by their names, of all in as few reads as it takes. What is no contiguous tensor, has more
    than `most` bytes, or cannot be read, is left out. rows_of: dtypes, one of which tensors have to be of, with one
    axis; () for any."""
    places: dict[int, tuple[Source, list[tuple[str, int, int]]]] = {}
    for name in names:
        tensor = checkpoint.tensor(name)
        if tensor is None or (rows_of and (tensor.dtype.name not in rows_of or len(tensor.shape) != 1)):
            continue
        if tensor.strides is None and 0 < tensor.nbytes <= most:
            source, of_source = places.setdefault(id(tensor.file), (tensor.file, []))
            of_source.append((name, tensor.offset, tensor.nbytes))
    found: dict[str, bytes] = {}
    for source, of_source in places.values():
        try:
            parts = source.read_ranges([(offset, n) for _, offset, n in of_source])
        except QinspectError:
            continue
        found.update((name, data) for (name, _, _), data in zip(of_source, parts, strict=True))
    return found


@lru_cache(1024)  # few shapes occur in 20,000 modules
def integers(data: bytes, width: int) -> tuple[int, ...]:
    """Little-endian two's complement integers of `width` bytes each."""
    return tuple(int.from_bytes(data[i : i + width], "little", signed=True) for i in range(0, len(data), width))
