"""How far two matrices are apart, and how far one is from what it can be rounded to: compiled C where it can be had.

numpy needs a dozen passes over what it has widened; the C bodies take floats of 16 and 32 bits and codes with scales as
they are. Who calls has a way without them: these functions return None where there is no compiler, or the values are of
another type.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qinspect.kernels.matrix import InC, Stored, body_of, chunk_of, stored

Numbers = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DistanceSums:
    """Of a and b, float[rows, columns], and d = b - a. rows: float64[4, rows], sums of a*a, a*b, b*b and d*d. columns:
    float64[3, columns], sums of a*a, a*b, b*b. cells: float64[rows, cells], sums of d*d of each `width` columns; None
    without a width. d: the sum. largest, at: the largest |d| and its position in C order, -1 where nothing differs.
    rounding: the sum of the squared errors of rounding a; 0 where that was not asked for."""

    rows: Numbers
    columns: Numbers
    cells: Numbers | None
    d: float
    largest: float
    at: int
    rounding: float


@dataclass(frozen=True, slots=True, eq=False)
class Rounding:
    """To numbers from `low` to `high` times `step`, ties to even; 0 is one of them. step: float32[down, across], of
    each cell of height x width; or, of bfloat16 in cells of one row, float32[65536], by the pattern of the value of
    largest magnitude in the cell. low, high: of each cell, or one number for all. small_float: bits of the mantissa and
    the smallest normal number of the floats to round to; None for integers, which must be less than 2^22."""

    height: int
    width: int
    step: Singles
    low: Singles | float
    high: Singles | float
    small_float: tuple[int, float] | None = None

    @property
    def looked_up(self) -> bool:
        """Whether `step` goes by patterns."""
        return self.step.ndim == 1


def distance_sums(a: Stored, b: Stored, width: int = 0, rounding: Rounding | None = None) -> DistanceSums | None:
    """The sums of two matrices. width: columns of a cell, 0 for none. rounding: of a, in the same pass.

    None where they cannot be had here: no compiler, other dtypes, a layout that is not contiguous, a width that is no
    multiple of 4 or does not go with blocks of codes, values that are not finite. Raises ValueError for shapes that
    differ.
    """
    if a.shape != b.shape or len(a.shape) != 2:
        raise ValueError(f"two matrices of one shape are needed, not {a.shape} and {b.shape}")
    whole_cells = rounding.width if rounding and rounding.looked_up else 1
    body, chunk = _body(), chunk_of(math.lcm(width or 1, whole_cells), a, b)
    if body is None or chunk is None or width % 4:
        return None
    in_c = stored(a), stored(b)
    if in_c[0] is None or in_c[1] is None:
        return None
    n_rows, n_columns = a.shape
    n_cells = -(-n_columns // width) if width else 0
    rows, columns, whole = np.zeros((4, n_rows)), np.zeros((3, n_columns)), np.zeros(3)
    cells = np.zeros((n_rows, n_cells)) if width else None
    found = _Found(
        rows.ctypes.data, columns.ctypes.data, None if cells is None else cells.ctypes.data, whole.ctypes.data,
        n_rows, n_columns, width, n_cells,
    )  # fmt: skip
    rounded = _rounding(a.shape, rounding) if rounding else None
    at = body.distance(
        in_c[0].pointer, in_c[1].pointer, chunk, ctypes.byref(found), ctypes.byref(rounded[0]) if rounded else None
    )
    if not np.isfinite(rows).all():
        return None
    return DistanceSums(rows, columns, cells, float(whole[0]), float(whole[1]), int(at), float(whole[2]))


def cell_extremes(x: Stored, height: int, width: int) -> tuple[Singles, Singles] | None:
    """float32[down, across]: the least and the largest value, or 0, of each cell of height x width of a matrix. None as
    for `distance_sums`. Values that are not finite are not seen to be so."""
    body, chunk, matrix = _body(), chunk_of(1, x), _in_c(x)
    if body is None or chunk is None or matrix is None:
        return None
    low, high = np.empty((2, -(-x.shape[0] // height), -(-x.shape[1] // width)), np.float32)
    body.extremes(matrix.pointer, *x.shape, chunk, height, width, low.ctypes.data, high.ctypes.data)
    return low, high


def largest_magnitude(x: Stored) -> float | None:
    """Of all values of a matrix; infinite or NaN where some value is not finite. None as for `distance_sums`."""
    body, chunk, matrix = _body(), chunk_of(1, x), _in_c(x)
    if body is None or chunk is None or matrix is None:
        return None
    return float(body.largest_magnitude(matrix.pointer, *x.shape, chunk))


def rounding_error(x: Stored, rounding: Rounding) -> float | None:
    """The sum of the squared errors of rounding a matrix. None as for `distance_sums`."""
    body, chunk, matrix = _body(), chunk_of(rounding.width if rounding.looked_up else 1, x), _in_c(x)
    if body is None or chunk is None or matrix is None:
        return None
    rounded = _rounding((x.shape[0], x.shape[1]), rounding)
    return float(body.rounding_alone(matrix.pointer, *x.shape, chunk, ctypes.byref(rounded[0])))


def rounding_by_cells(x: Stored, rounding: Rounding) -> Numbers | None:
    """float64[down, across]: the same of each cell."""
    body, chunk, matrix = _body(), chunk_of(rounding.width if rounding.looked_up else 1, x), _in_c(x)
    if body is None or chunk is None or matrix is None:
        return None
    found = np.zeros((-(-x.shape[0] // rounding.height), -(-x.shape[1] // rounding.width)))
    rounded = _rounding((x.shape[0], x.shape[1]), rounding)
    body.rounding_by_cells(matrix.pointer, *x.shape, chunk, ctypes.byref(rounded[0]), found.ctypes.data)
    return found


class _Found(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("rows", "columns", "cells", "whole")),
        *((name, ctypes.c_int64) for name in ("n_rows", "n_columns", "width", "n_cells")),
    ]


class _Rounding(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("step", "low", "high")),
        *((name, ctypes.c_int64) for name in ("height", "width", "across", "each")),
        ("mantissa", ctypes.c_int32),
        ("smallest", ctypes.c_float),
        ("looked_up", ctypes.c_int32),
    ]


def _rounding(shape: tuple[int, ...], r: Rounding) -> tuple[_Rounding, list[Singles]]:
    """With the arrays that it points into."""
    cells = (-(-shape[0] // r.height), -(-shape[1] // r.width))
    step = np.ascontiguousarray(r.step if r.looked_up else np.broadcast_to(r.step, cells), np.float32)
    each = np.size(r.low) > 1 or np.size(r.high) > 1
    ends = [np.ascontiguousarray(np.broadcast_to(e, cells if each else (1, 1)), np.float32) for e in (r.low, r.high)]
    mantissa, smallest = r.small_float or (-1, 1.0)
    held = [step, *ends]
    shape = (r.height, r.width, cells[1], each)
    made = _Rounding(*(n.ctypes.data for n in held), *shape, mantissa, smallest, r.looked_up)
    return made, held


def _in_c(x: Stored) -> InC | None:
    return stored(x) if len(x.shape) == 2 else None


def _body() -> Any:  # ctypes makes its function types at run time
    found = body_of("matrix.c", "distance.c")
    return None if found is None else _typed(found)


@cache
def _typed(found: Any) -> Any:
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    found.distance.argtypes = (pointer, pointer, size, pointer, pointer)
    found.distance.restype = size
    found.extremes.argtypes = (pointer, *(size,) * 5, pointer, pointer)
    found.extremes.restype = None
    found.largest_magnitude.argtypes = (pointer, *(size,) * 3)
    found.largest_magnitude.restype = ctypes.c_float
    found.rounding_alone.argtypes = (pointer, *(size,) * 3, pointer)
    found.rounding_alone.restype = ctypes.c_double
    found.rounding_by_cells.argtypes = (pointer, *(size,) * 3, pointer, pointer)
    found.rounding_by_cells.restype = None
    return found
