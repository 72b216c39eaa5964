"""Scales of a range of rows, spread over the elements that share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import BrokenNumbers
from qinspect.inspector.formats.grid import Grid
from qinspect.inspector.formats.packed import singles
from qinspect.inspector.formats.records import FloatArray

Array = NDArray[Any]
E8M0 = ("uint8", "float8_e8m0fnu")
"""How exponents are stored: the byte e stands for 2^(e - 127), and 255 for no number."""


def numbers(stored: Array) -> FloatArray:
    """float32 of stored scales; bytes are exponents."""
    return singles(as_floats(stored))


def as_floats(stored: Array) -> Array:
    """The same with a dtype that says what they are: bytes are exponents."""
    if stored.dtype != np.uint8:
        return stored
    import ml_dtypes

    return np.ascontiguousarray(stored).view(ml_dtypes.float8_e8m0fnu)


@dataclass(frozen=True, slots=True)
class Spread:
    """How numbers on a grid lie over the columns of a matrix. n_columns: of the matrix. n_groups: along them."""

    grid: Grid
    n_columns: int
    n_groups: int

    def rows(self, tensor: Tensor, start: int, stop: int) -> Array:
        """The stored numbers that rows `start` to `stop` take, as few of them as that is: of one number, 0-dimensional;
        else one row of them for each of these rows."""
        if not self.grid.axes:
            return tensor.read().reshape(())
        block = self.grid.block[0]
        if block == 1:
            return tensor.read_rows(start, stop)
        first = start // block
        found = tensor.read_rows(first, -(-stop // block))
        taken: Array = found[np.arange(start, stop) // block - first]
        return taken

    def in_cells(self, found: Array) -> tuple[Array, int]:
        """Rows of numbers as [rows, cells] or what broadcasts to it, and the columns of a cell, where groups are
        consecutive."""
        grouped = len(self.grid.axes) > 1 and found.ndim == 2
        return (found, self.grid.block[1]) if grouped else (found.reshape(-1, 1), max(1, self.n_columns))

    def over_columns(self, found: Array, of_column: Array | None) -> Array:
        """Rows of numbers, one for each group, as one for each column, or in a shape that numpy spreads. of_column: the
        group of each column; None where groups are consecutive."""
        if found.ndim != 2 or found.shape[1] == 1 or len(self.grid.axes) < 2:
            return found
        if of_column is not None:
            picked: Array = found[:, of_column]
            return picked
        return np.repeat(found, self.grid.block[1], axis=1)[:, : self.n_columns]


def group_of_columns(checkpoint: Checkpoint, key: str, n_columns: int, n_groups: int) -> Array | None:
    """The group of each column as `weight_g_idx` says; None where it says -1, which is what an index holds that was
    never set, and groups are consecutive. Raises CannotDequantize where it names a group that is not there."""
    tensor = checkpoint.tensor(key)
    assert tensor is not None  # seen when the checkpoint was opened
    found = tensor.read().astype(np.int64)
    if n_columns and bool((found == -1).any()):
        return None
    if n_columns and not 0 <= found.min() <= found.max() < n_groups:
        raise BrokenNumbers(
            "names a group that is not there", file=tensor.file.path, key=key, expected=f"0 to {n_groups - 1}",
            found=f"{found.min()} to {found.max()}",
        )  # fmt: skip
    return found
