"""The values of a matrix, put together by the scale that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.formats.grid import Grid

Array = NDArray[Any]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """Cells of `rows` x `columns` values, counted from the first row and column; the last ones may be smaller. None for
    all of them. order: of the columns, where groups are not of consecutive ones; None where they are. flat: cells are
    counted through all rows, `columns` values each.
    """

    rows: int | None
    columns: int | None
    order: Array | None = None
    flat: bool = False

    @property
    def row_step(self) -> int:
        """Rows that have to be taken together."""
        return self.rows or 1

    @property
    def whole(self) -> bool:
        """Whether a cell can reach through all rows."""
        return self.rows is None or self.flat

    def cut(self, values: Array) -> Numbers:
        """float64[cells, values of one] of values[rows, columns]; NaN where a cell is smaller than the others."""
        if self.flat:
            n = self.columns or values.size
            padded = np.full(-(-values.size // n) * n, np.nan)
            padded[: values.size] = values.reshape(-1)
            return padded.reshape(-1, n)
        n_rows, n_columns = values.shape
        rows, columns = self.rows or n_rows, self.columns or n_columns
        down, across = -(-n_rows // rows), -(-n_columns // columns)
        padded = np.full((down * rows, across * columns), np.nan)
        padded[:n_rows, :n_columns] = values if self.order is None else values[:, self.order]
        return padded.reshape(down, rows, across, columns).transpose(0, 2, 1, 3).reshape(down * across, rows * columns)

    def spread(self, of_cells: Array, shape: tuple[int, int]) -> Array:
        """The number of its cell for every value of a matrix of this shape; the inverse of `cut` for what is one number
        a cell."""
        n_rows, n_columns = shape
        if self.flat:
            return np.repeat(of_cells, self.columns or n_rows * n_columns)[: n_rows * n_columns].reshape(shape)
        rows, columns = self.rows or n_rows, self.columns or n_columns
        grid = of_cells.reshape(-(-n_rows // rows), -(-n_columns // columns))
        found = np.repeat(np.repeat(grid, rows, axis=0)[:n_rows], columns, axis=1)[:, :n_columns]
        if self.order is None:
            return found
        back = np.empty_like(found)
        back[:, self.order] = found
        return back


def layout_of(fmt: Format, weight: QuantizedWeight) -> Layout | None:
    """How the cells of a weight lie; None of one that is no matrix, or whose cells have no common size. Raises what
    reading the order of groups raises."""
    grid = weight.grid
    if len(weight.shape) != 2 or grid.parts or grid.cells or grid.n_dims is not None:
        return None
    if grid.flattened:
        return Layout(None, grid.block[0], flat=True)
    if not grid.axes:
        return Layout(None, None)
    sizes = dict(zip(grid.axes, grid.block or (1,) * len(grid.axes), strict=True))
    if not sizes.keys() <= {0, 1}:
        return None
    return Layout(sizes.get(0), sizes.get(1), _order(fmt, grid))


def _order(fmt: Format, grid: Grid) -> Array | None:
    if not grid.group_index:
        return None
    tensor = fmt.checkpoint.tensor(grid.group_index)
    if tensor is None:
        return None
    groups = tensor.read()
    order = np.argsort(groups, kind="stable")
    return None if bool((np.diff(order) == 1).all()) else order
