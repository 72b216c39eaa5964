"""How far two matrices are apart, and how far one is from what it can be rounded to: compiled C where it can be had.

numpy needs a dozen passes over what it has widened; the C bodies take float32 and bfloat16 as they are. Who calls has a
way without them: these functions return None where there is no compiler, or the values are of another type.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.kernels.compiled import library
from qinspect.kernels.cpu import BODY_VARIABLE

Numbers = NDArray[np.float64]
Singles = NDArray[np.float32]
CHUNK = 512
"""Columns that the C body takes at once: cells have to divide it."""


@dataclass(frozen=True, slots=True)
class DistanceSums:
    """Of a and b, float[rows, columns], and d = b - a. rows: float64[4, rows], sums of a*a, a*b, b*b and d*d. columns:
    float64[3, columns], sums of a*a, a*b, b*b. cells: float64[rows, cells], sums of d*d of each `width` columns; None
    without a width. d: the sum. largest, at: the largest |d| and its position in C order, -1 where nothing differs."""

    rows: Numbers
    columns: Numbers
    cells: Numbers | None
    d: float
    largest: float
    at: int


def distance_sums(a: NDArray[Any], b: NDArray[Any], width: int = 0) -> DistanceSums | None:
    """The sums of two matrices of float32 or bfloat16. width: columns of a cell, 0 for none.

    None where they cannot be had here: no compiler, other dtypes, a layout that is not contiguous, a width that does
    not divide CHUNK, values that are not finite. Raises ValueError for shapes that differ.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"two matrices of one shape are needed, not {a.shape} and {b.shape}")
    body = _library(os.environ.get(BODY_VARIABLE, ""))
    kinds = [_is_bf16(x) for x in (a, b)]
    if body is None or None in kinds or (width and CHUNK % width) or not a.size:
        return None
    n_rows, n_columns = a.shape
    rows, columns, whole = np.zeros((4, n_rows)), np.zeros((3, n_columns)), np.zeros(2)
    cells = np.zeros((n_rows, -(-n_columns // width))) if width else None
    at = body.distance(
        a.ctypes.data, int(bool(kinds[0])), b.ctypes.data, int(bool(kinds[1])), n_rows, n_columns, width,
        rows.ctypes.data, columns.ctypes.data, cells.ctypes.data if cells is not None else None, whole.ctypes.data,
    )  # fmt: skip
    if not np.isfinite(rows).all():
        return None
    return DistanceSums(rows, columns, cells, float(whole[0]), float(whole[1]), int(at))


def cell_extremes(x: NDArray[Any], height: int, width: int) -> tuple[Singles, Singles] | None:
    """float32[down, across]: the least and the largest value, or 0, of each cell of height x width of a matrix. None as
    for `distance_sums`. Values that are not finite are not seen to be so."""
    body, kind = _library(os.environ.get(BODY_VARIABLE, "")), _is_bf16(x)
    if body is None or kind is None or x.ndim != 2 or not x.size:
        return None
    shape = (-(-x.shape[0] // height), -(-x.shape[1] // width))
    low, high = np.empty(shape, np.float32), np.empty(shape, np.float32)
    body.extremes(x.ctypes.data, int(kind), *x.shape, height, width, low.ctypes.data, high.ctypes.data)
    return low, high


def rounding_error(
    x: NDArray[Any],
    height: int,
    width: int,
    step: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    small_float: tuple[int, float] | None = None,
) -> float | None:
    """The sum of the squared errors of rounding a matrix to numbers from `low` to `high` times `step`, ties to even.

    step, low, high: float32[down, across], of each cell of height x width. small_float: bits of the mantissa and the
    smallest normal number of the floats to round to; None for integers, which must be less than 2^22. None as for
    `distance_sums`.
    """
    body, kind = _library(os.environ.get(BODY_VARIABLE, "")), _is_bf16(x)
    if body is None or kind is None or x.ndim != 2 or not x.size:
        return None
    shape = (-(-x.shape[0] // height), -(-x.shape[1] // width))
    cells = [np.ascontiguousarray(np.broadcast_to(c, shape), np.float32) for c in (step, low, high)]
    words = (x.ctypes.data, int(kind), *x.shape, height, width, *(c.ctypes.data for c in cells))
    if small_float is None:
        return float(body.rounding_to_integers(*words))
    return float(body.rounding_to_floats(*words, *small_float))


def _is_bf16(x: NDArray[Any]) -> bool | None:
    """None for what the C body does not take."""
    if not (x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative):
        return None
    if x.dtype == np.float32:
        return False
    return True if x.dtype.name == "bfloat16" else None


@cache
def _library(wanted: str) -> Any:  # ctypes makes its function types at run time
    found = None if wanted == "numpy" else library("distance.c")
    if found is None:
        return None
    pointer, size, kind = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    found.distance.argtypes = (pointer, kind, pointer, kind, *(size,) * 3, *(pointer,) * 4)
    found.distance.restype = size
    found.extremes.argtypes = (pointer, kind, *(size,) * 4, pointer, pointer)
    found.extremes.restype = None
    cells = (pointer, kind, *(size,) * 4, *(pointer,) * 3)
    found.rounding_to_integers.argtypes = cells
    found.rounding_to_floats.argtypes = (*cells, kind, ctypes.c_float)
    found.rounding_to_integers.restype = found.rounding_to_floats.restype = ctypes.c_double
    return found
