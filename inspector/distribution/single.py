"""float32 values as a table: exact where they are upcast 16-bit floats or few, bounded where they are many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT_ELEMENTS = 1 << 16
"""Up to this many float32 values of one sample are kept as an exact list of (pattern, count)."""
DROPPED_BITS = 12
"""Low bits of a float32 pattern that a bounded table forgets: 11 of 23 mantissa bits stay, so that a value is known to
2^-11 of itself (below 2^-126, to 2^-137)."""
MAGNITUDE_MASK = 0x7FFFFFFF
INFINITY = 0x7F800000
"""Pattern of float32 infinity; larger magnitudes are NaN."""
_CHUNK = 1 << 20

Patterns = NDArray[np.uint32]


def narrow(x: NDArray[np.float32]) -> NDArray[Any] | None:
    """`x` as bfloat16 or float16 where that loses nothing (hooks often upcast), else None. NaN may lose its payload."""
    import ml_dtypes

    for dtype in (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)):
        with np.errstate(all="ignore"):  # overflow to infinity is one way of not fitting
            start = x[:_CHUNK].astype(dtype)
            if _same(start, x[:_CHUNK]) and _same(whole := x.astype(dtype), x):
                return whole
    return None


def _same(narrowed: NDArray[Any], x: NDArray[np.float32]) -> bool:
    return bool(np.array_equal(narrowed.astype(np.float32), x, equal_nan=True))


def exact_counts(x: NDArray[np.float32]) -> tuple[Patterns, NDArray[np.int64]]:
    """Ascending magnitude patterns that occur, NaN's too, and how often."""
    patterns, counts = np.unique(x.view(np.uint32) & np.uint32(MAGNITUDE_MASK), return_counts=True)
    return patterns, counts.astype(np.int64)


def bounded_counts(x: NDArray[np.float32]) -> tuple[Patterns, NDArray[np.int64]]:
    """The same with the low `DROPPED_BITS` of each finite pattern cleared; all NaNs become one over infinity."""
    counts = np.zeros((INFINITY >> DROPPED_BITS) + 2, np.int64)
    for start in range(0, x.size, _CHUNK):
        piece = x[start : start + _CHUNK].view(np.uint32) & np.uint32(MAGNITUDE_MASK)
        # 0x7F800001 would fall to infinity's place: NaN goes one place up
        place = np.where(piece > INFINITY, counts.size - 1, piece >> np.uint32(DROPPED_BITS))
        counts += np.bincount(place, minlength=counts.size)
    occupied = np.flatnonzero(counts)
    return (occupied << DROPPED_BITS).astype(np.uint32), counts[occupied]
