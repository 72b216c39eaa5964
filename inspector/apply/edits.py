"""Bytes of a file that are to be others: a file is copied with them, never changed in place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping

from qinspect.inspector.checkpoint.source import Source

BLOCK_BYTES = 1 << 18
"""Larger blocks are new memory each time, and take longer."""

Edits = Mapping[int, bytes]
"""What stands from an offset on. They do not overlap."""


def overlap(edits: Edits) -> int | None:
    """An offset whose bytes reach into the next ones; None where there is none."""
    end = -1
    for at in sorted(edits):
        if at < end:
            return at
        end = at + len(edits[at])
    return None


def edited(file: Source, start: int, stop: int, edits: Edits) -> Iterator[bytearray]:
    """The bytes from `start` to `stop` in blocks, with the edits made. Raises as Source.read does."""
    places = sorted(edits)
    for at in range(start, stop, BLOCK_BYTES):
        end = min(at + BLOCK_BYTES, stop)
        block = bytearray(end - at)
        file.read_into(at, block)
        first = max(0, bisect_right(places, at) - 1)  # one edit before may reach into the block
        for place in places[first : bisect_right(places, end - 1)]:
            new = edits[place]
            low, high = max(at, place), min(end, place + len(new))
            if low < high:
                block[low - at : high - at] = new[low - place : high - place]
        yield block
