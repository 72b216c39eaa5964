"""What is added up of one piece of a pair: by the compiled body where it takes it, else by numpy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.blocks import Unit, stored_of, stored_original, widened
from qinspect.inspector.fidelity.nearest import nearest_error, rounding_of
from qinspect.inspector.fidelity.sums import Cells, Piece, Sums, compiled_sums, sums_of, values_of
from qinspect.inspector.fidelity.work import Work
from qinspect.kernels.distance import largest_magnitude

Array = NDArray[Any]

AT_ONCE_ELEMENTS = 1 << 16
"""Calculated with at once: three arrays of float64 stay in a core's cache."""


def largest_of(work: Work, unit: Unit) -> float:
    """The largest magnitude of A's values in a piece. Raises as reading does."""
    found = stored_original(work.pair, unit)
    if not isinstance(work.grid, str) and work.grid.rotation is not None:
        found = work.grid.rotated(np.asarray(values_of(found), np.float32))
    magnitude = largest_magnitude(found)
    if magnitude is not None and np.isfinite(magnitude):
        return magnitude
    most = 0.0
    for x in _widened_rows(values_of(found), AT_ONCE_ELEMENTS // max(1, unit.columns)):
        np.abs(x, out=x)
        top = float(x.max(initial=0.0))
        most = max(most, top if np.isfinite(top) else float(x[np.isfinite(x)].max(initial=0.0)))
    return most


def measured(work: Work, unit: Unit) -> Piece:
    """The sums of a piece. Raises as reading does."""
    pair, grid = work.pair, work.grid
    a, b = stored_of(pair, unit)
    cells = work.cells if unit.aligned else None
    if not pair.derived:
        rounding = rotated = None
        if not isinstance(grid, str) and unit.aligned:
            rotated = grid.rotation
            rounding = None if rotated else rounding_of(a, grid, work.largest)
        found = compiled_sums(a, b, unit.start, cells, rounding)
        if found is not None:
            if rotated and not isinstance(grid, str):
                found.nearest = nearest_error(np.asarray(values_of(a), np.float32), grid, work.largest)
            found.at_row(unit.first_row)
            if not unit.aligned:
                found.columns = np.zeros((3, 0))
            return found
    return _by_numpy(work, unit, values_of(a), values_of(b), cells)


def _by_numpy(work: Work, unit: Unit, a: Array, b: Array, cells: Cells | None) -> Piece:
    """Some rows at a time, of values of any dtype, finite or not."""
    pair, grid = work.pair, work.grid
    together = work.together
    step = together.rows if together else 1
    rows = max(1, AT_ONCE_ELEMENTS // max(1, unit.columns) // step) * step
    whole = Piece(Sums(), unit.first_row, np.zeros(unit.rows), np.zeros((3, unit.rows)), np.zeros((3, unit.columns)))
    first = 0
    for x, y in zip(_widened_rows(a, rows), _widened_rows(b, rows), strict=True):
        pair.derive(x, y)
        piece = sums_of(x, y, unit.start + first * unit.columns, cells)
        whole.sums.add(piece.sums)
        whole.noise[first : first + len(x)] = piece.noise
        whole.rows[:, first : first + len(x)] = piece.rows
        whole.columns += piece.columns
        if piece.cell and (whole.cell is None or piece.cell[0] > whole.cell[0]):
            noise, signal, row, column = piece.cell
            whole.cell = (noise, signal, unit.first_row + first + row, column)
        if not isinstance(grid, str) and unit.aligned:
            whole.nearest += nearest_error(x.astype(np.float32), grid, work.largest)
        first += len(x)
    return whole


def _widened_rows(values: Array, rows: int) -> Iterator[Array]:
    """float64, some rows at a time, in memory that is used again."""
    rows = max(1, min(rows, len(values)))
    buffer = np.empty((rows, values.shape[1]))
    for first in range(0, len(values), rows):
        part = values[first : first + rows]
        out = buffer[: len(part)]
        widened(part, out)
        yield out
