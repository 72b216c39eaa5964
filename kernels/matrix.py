"""Matrices as they are stored, for bodies in C: floats of 16 or 32 bits, or codes with scales, which are made numbers
chunk by chunk where they are needed and nowhere else."""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qinspect.kernels.compiled import library
from qinspect.kernels.cpu import BODY_VARIABLE
from qinspect.kernels.packing import PackedRows

Array = NDArray[Any]
Singles = NDArray[np.float32]
CHUNK = 512
"""Columns that the C bodies take at once, at most."""


Stored = Array | PackedRows
"""float[rows, columns], or codes."""


_NUMBERS = (
    "kind", "bits", "block", "block_bytes", "first", "apart", "divided",
    "mantissa", "limit", "base",  # which the body fills in
)  # fmt: skip


class _Matrix(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("bytes", "levels", "scales", "zeros", "minima")),
        *((name, ctypes.c_int64) for name in ("row_bytes", "of_row", "width")),
        *((name, ctypes.c_int32) for name in _NUMBERS),
    ]


@dataclass(frozen=True, slots=True)
class InC:
    """A matrix for a body in C. held: arrays that it points into."""

    matrix: _Matrix
    held: tuple[Array, ...]

    @property
    def pointer(self) -> Any:
        """For a call: to a structure that is valid as long as this object."""
        return ctypes.byref(self.matrix)


def stored(x: Stored) -> InC | None:
    """None for what the bodies do not take: other dtypes, a layout that is not contiguous, no elements."""
    if isinstance(x, PackedRows):
        return _of_codes(x)
    kind = ("float32", "bfloat16", "float16").index(x.dtype.name) if x.dtype.name in _FLOATS else -1
    if kind < 0 or x.ndim != 2 or not x.size or not (x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative):
        return None
    return InC(_Matrix(bytes=x.ctypes.data, row_bytes=x.shape[1] * x.itemsize, kind=kind), (x,))


_FLOATS = {"float32", "bfloat16", "float16"}


def _of_codes(x: PackedRows) -> InC | None:
    p, n_rows = x.packing, len(x.codes)
    cells = -(-x.columns // x.width)
    if not n_rows or not x.columns or not x.codes.flags.c_contiguous or x.levels.size != 1 << p.bits or 8 % p.bits:
        return None
    _check_bytes(x)
    numbers = [np.ascontiguousarray(x.levels, np.float32)]
    parts = (part for part in (x.scales, x.zeros, x.minima) if part is not None)
    numbers += [np.ascontiguousarray(np.broadcast_to(part, (n_rows, cells)), np.float32) for part in parts]
    pointers = iter(n.ctypes.data for n in numbers)
    made = _Matrix(
        bytes=x.codes.ctypes.data, row_bytes=x.codes.shape[1], of_row=cells, width=x.width, kind=len(_FLOATS),
        bits=p.bits, block=p.block, block_bytes=p.block_bytes, first=p.first, apart=p.apart, divided=x.divided,
    )  # fmt: skip
    made.levels, made.scales = next(pointers), next(pointers)
    made.zeros = None if x.zeros is None else next(pointers)
    made.minima = None if x.minima is None else next(pointers)
    return InC(made, (x.codes, *numbers))


def _check_bytes(x: PackedRows) -> None:
    p = x.packing
    needed = -(-x.columns // p.block) * p.block_bytes if p.block else -(-x.columns * p.bits // 8 // p.apart) * p.apart
    inside = not p.block or p.first + p.block * p.bits // 8 <= p.block_bytes
    if x.codes.ndim != 2 or x.codes.dtype != np.uint8 or x.codes.shape[1] < needed or not inside or x.width < 1:
        raise ValueError(f"{x.codes.dtype} {x.codes.shape} are no rows of {x.columns} codes of {p}")


def chunk_of(width: int, *matrices: Stored) -> int | None:
    """Columns to take at once: whole blocks and runs of both, and whole cells of `width`, or parts that a cell is a
    whole number of. None where CHUNK has room for none."""
    step = 8
    for m in matrices:
        if isinstance(m, PackedRows):
            p = m.packing
            step = math.lcm(step, p.block or p.apart * 8 // p.bits)
    if step > CHUNK or width < 1:
        return None
    both = math.lcm(step, width)
    if both <= CHUNK:
        return CHUNK // both * both
    fitting = (n for n in range(CHUNK // step * step, 0, -step) if width % n == 0)
    return next(fitting, None)


def compiled() -> bool:
    """Whether the bodies in C are there."""
    return body_of("matrix.c") is not None


def takes(*matrices: Stored) -> bool:
    """Whether the bodies in C are there and take all of these."""
    fit = compiled() and chunk_of(1, *matrices) is not None
    return fit and all(stored(m) is not None for m in matrices)


def values_of(rows: PackedRows) -> Singles | None:
    """float32[rows, columns]. None where there is no compiler, or a chunk holds no whole number of blocks."""
    body, chunk, found = body_of("matrix.c"), chunk_of(1, rows), stored(rows)
    if body is None or chunk is None or found is None:
        return None
    values = np.empty(rows.shape, np.float32)
    body.values(found.pointer, *rows.shape, chunk, values.ctypes.data)
    return values


def body_of(*sources: str) -> Any:  # ctypes makes its function types at run time
    """The compiled files, of which matrix.c is the first; None where they are not to be had, or not wanted."""
    return None if os.environ.get(BODY_VARIABLE) == "numpy" else _body(sources)


@cache
def _body(sources: tuple[str, ...]) -> Any:
    found = library(*sources)
    if found is not None:
        found.values.argtypes = (ctypes.c_void_p, *(ctypes.c_int64,) * 3, ctypes.c_void_p)
        found.values.restype = None
    return found
