"""The CPU bodies of the counts: compiled C where it can be had, numpy where not. Both give the same integers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.kernels.compiled import library

Patterns = NDArray[np.uint16]
Body = Callable[[Patterns, NDArray[np.int64]], None]
"""body(x, out) adds the counts of contiguous, aligned x to out."""

BODY_VARIABLE = "QINSPECT_CPU_KERNELS"
"""Environment variable: `numpy` or `compiled` forces a body; otherwise compiled, if possible."""
NUMPY_CHUNK = 1 << 17
"""Elements that numpy counts at once: it widens them to 8 bytes, and 1 MiB of that stays in the second cache."""
COMPILED_CHUNK = 1 << 30
"""Elements that the C body counts at once, below the 2^32 of its tables; also the bound on what a view is copied to."""
VIEW_CHUNK = 1 << 20
"""Elements that are copied at once out of a view that is not contiguous or not aligned."""


def add_counts(x: NDArray[Any], out: NDArray[np.int64]) -> None:
    """Add the counts of x's 16-bit patterns to `out`: int64[32768] without their sign, int64[65536] with it.

    x: 2-byte elements of any kind, shape, strides and alignment. A view that cannot be read in place is copied piece
    by piece, never as a whole.
    """
    patterns: Patterns = x.view(np.uint16)
    body = _bodies()[out.size]
    if patterns.flags.c_contiguous and patterns.flags.aligned:
        flat = patterns.reshape(-1)
        for start in range(0, flat.size, COMPILED_CHUNK):
            body(flat[start : start + COMPILED_CHUNK], out)
        return
    # Order "K": a count knows no order, so a transposed view is walked as it lies in memory.
    pieces = np.nditer(  # type: ignore[call-overload]  # the stubs misspell "contig"
        patterns,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly", "contig", "aligned"]],
        order="K",
        buffersize=VIEW_CHUNK,
    )
    for piece in pieces:
        body(piece, out)


def body_name() -> str:
    """Which body counts here: `compiled` or `numpy`."""
    return "compiled" if _bodies()[1 << 15] is not _numpy_magnitudes else "numpy"


def _bodies() -> dict[int, Body]:
    return _choose(os.environ.get(BODY_VARIABLE, ""))


@cache
def _choose(wanted: str) -> dict[int, Body]:
    found = None if wanted == "numpy" else library("counts.c")
    if found is None:
        if wanted == "compiled":
            raise RuntimeError(f"{BODY_VARIABLE}=compiled, but there is no C compiler that works")
        return {1 << 15: _numpy_magnitudes, 1 << 16: _numpy_patterns}
    return {1 << 15: _compiled(found.count_magnitudes), 1 << 16: _compiled(found.count_patterns)}


def _compiled(function: Any) -> Body:  # Any: ctypes makes its function types at run time
    function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    function.restype = ctypes.c_int

    def body(x: Patterns, out: NDArray[np.int64]) -> None:
        if function(x.ctypes.data, x.size, out.ctypes.data):
            raise MemoryError("no memory for the tables of a count")

    return body


def _numpy_magnitudes(x: Patterns, out: NDArray[np.int64]) -> None:
    for start in range(0, x.size, NUMPY_CHUNK):
        out += np.bincount(x[start : start + NUMPY_CHUNK] & np.uint16(0x7FFF), minlength=out.size)


def _numpy_patterns(x: Patterns, out: NDArray[np.int64]) -> None:
    for start in range(0, x.size, NUMPY_CHUNK):
        out += np.bincount(x[start : start + NUMPY_CHUNK], minlength=out.size)
