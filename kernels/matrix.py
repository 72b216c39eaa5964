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
from qinspect.kernels.packing import MOST_PLANES, PackedRows

Array = NDArray[Any]
Singles = NDArray[np.float32]
CHUNK = 512
"""Columns that the C bodies take at once, at most."""


Stored = Array | PackedRows
"""float[rows, columns], or codes."""


_POINTERS = (
    "bytes", "levels", "scales", "zeros", "minima", "factors", "of_scales", "scale_codes", "cell_of", "shifts",
)  # fmt: skip
_NUMBERS = ("kind", "block", "block_bytes", "sharing", "word", "divided", "n_planes")
_FILLED_IN_THERE = ("made", "mantissa", "limit", "base", "flip")


class _Plane(ctypes.Structure):
    _fields_: ClassVar = [(name, ctypes.c_int32) for name in ("bits", "apart", "first")]


class _Matrix(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in ("row_bytes", "of_row", "width", "skipped")),
        *((name, ctypes.c_int32) for name in _NUMBERS),
        ("planes", _Plane * MOST_PLANES),
        *((name, ctypes.c_int32) for name in _FILLED_IN_THERE),
        ("few", ctypes.c_float * 16),
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
    p, shape = x.packing, x.shape
    if not all(shape) or not x.codes.flags.c_contiguous or x.levels.size != 1 << p.all_bits:
        return None
    _check(x)
    made = _Matrix(
        bytes=x.codes.ctypes.data, row_bytes=x.codes.shape[1], of_row=x.n_cells, width=x.width, skipped=x.skipped,
        kind=len(_FLOATS), block=p.block, block_bytes=p.block_bytes, sharing=len(p.shifts), word=p.word,
        divided=x.divided, n_planes=len(p.planes),
    )  # fmt: skip
    for into, plane in zip(made.planes, p.planes, strict=False):
        into.bits, into.apart, into.first = plane.bits, plane.apart, plane.first
    held = [x.codes]
    for name, numbers, size, dtype in _arrays(x):
        if numbers is not None:
            held.append(np.ascontiguousarray(np.broadcast_to(numbers, size), dtype))
            setattr(made, name, held[-1].ctypes.data)
    return InC(made, tuple(held))


def _arrays(x: PackedRows) -> list[tuple[str, Array | None, tuple[int, ...], type[np.generic]]]:
    """What the structure points to: its name there, and the shape and dtype that it has there."""
    cells, columns, coded = (x.shape[0], x.n_cells), (x.columns,), x.of_scales is not None
    return [
        ("levels", x.levels, x.levels.shape, np.float32),
        ("scale_codes" if coded else "scales", x.scales, cells, np.uint8 if coded else np.float32),
        ("of_scales", x.of_scales, (256,), np.float32), ("zeros", x.zeros, cells, np.float32),
        ("minima", x.minima, cells, np.float32), ("factors", x.factors, columns, np.float32),
        ("cell_of", x.cell_of, columns, np.int32),
        ("shifts", np.array(x.packing.shifts) if x.packing.shifts else None, (len(x.packing.shifts),), np.int32),
    ]  # fmt: skip


def _check(x: PackedRows) -> None:
    """Raises ValueError for what would be read beyond its end, or is not described in packing.py."""
    p, codes = x.packing, x.codes
    n_rows = x.skipped + x.shape[0] if p.shifts else x.shape[0]
    rows = -(-n_rows // len(p.shifts)) if p.shifts else n_rows
    fits = (
        codes.ndim == 2 and codes.dtype == np.uint8 and len(codes) >= rows and codes.shape[1] >= p.bytes_of(x.columns)
    )
    if not (fits and p.sound and x.width >= 1 and x.skipped >= 0):
        raise ValueError(f"{codes.dtype} {codes.shape} are no rows of {x.columns} codes of {p}")
    if x.cell_of is not None and not (x.cell_of.size and 0 <= x.cell_of.min() <= x.cell_of.max() < x.n_cells):
        raise ValueError(f"cells from {x.cell_of.min()} to {x.cell_of.max()} are not all among {x.n_cells}")


def chunk_of(width: int, *matrices: Stored) -> int | None:
    """Columns to take at once: whole blocks and runs of both, and whole cells of `width`, or parts that a cell is a
    whole number of. None where CHUNK has room for none."""
    step = 8
    for m in matrices:
        if isinstance(m, PackedRows):
            step = math.lcm(step, m.packing.step)
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
