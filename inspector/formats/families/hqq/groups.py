"""Which elements of a weight share a scale: the library puts a weight into rows or columns of one group each, whatever
the shape of the weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.grid import PER_TENSOR, Grid, cells, channels, flat_blocks, groups

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Of a weight of `n` elements: of axis 1 each `size` in a row are a group, of axis 0 all that are `n_groups` apart.
    sized: whether a size of groups was asked for, rather than whole channels.
    """

    axis: int
    n: int
    n_groups: int
    sized: bool = True

    @property
    def size(self) -> int:
        """Elements that share a scale."""
        return self.n // self.n_groups

    @property
    def columns(self) -> int:
        """Of the matrix that is packed."""
        return self.size if self.axis else self.n_groups

    def places(self, start: int, stop: int) -> Array:
        """intp[stop - start]: the group of each element of the flattened weight."""
        at = np.arange(start, stop)
        return at // self.size if self.axis else at % self.n_groups

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """The first and behind the last of the groups of elements `start` to `stop` of the flattened weight."""
        if self.axis:
            return start // self.size, -(-stop // self.size)
        first = start % self.n_groups
        return (first, first + stop - start) if first + stop - start <= self.n_groups else (0, self.n_groups)

    def grid(self, shape: tuple[int, int]) -> Grid:
        """The same in terms of rows and columns of the weight."""
        n_in = shape[1]
        if self.n_groups == 1:
            return PER_TENSOR
        if self.axis:
            if self.size == n_in and not self.sized:
                return channels(0)
            return groups(self.size) if n_in % self.size == 0 else flat_blocks(self.size)
        if self.n_groups == n_in:
            return channels(1, any_axis=True)
        return cells("set of rows", "column") if self.n_groups % n_in == 0 else cells("set of elements")

    def of_rows(self, numbers: Array, shape: tuple[int, int]) -> Array:
        """The numbers of all groups, as they lie over the weight: [out, groups of a row], or of axis 0 [sets of rows,
        in], where there are such."""
        n_in = shape[1]
        if self.n_groups == 1:
            return numbers.reshape(())
        if self.axis and n_in % self.size == 0 and (self.sized or self.size < n_in):
            return numbers.reshape(shape[0], -1)
        if not self.axis and self.n_groups % n_in == 0 and self.n_groups > n_in:
            return numbers.reshape(-1, n_in)
        return numbers.reshape(-1)

    def in_rows(self, shape: tuple[int, int]) -> bool:
        """Whether its cells are parts of rows of the weight."""
        if self.n_groups == 1:
            return True
        return shape[1] % self.size == 0 if self.axis else self.n_groups % shape[1] == 0

    def of_some_rows(self, numbers: Array, start: int, stop: int, shape: tuple[int, int]) -> tuple[Array, int]:
        """The numbers that rows `start` to `stop` need, as [rows, cells], and the columns of a cell. Cells are parts of
        rows, and there is more than one."""
        n_in = shape[1]
        if self.axis:
            return numbers.reshape(stop - start, -1), self.size
        sets = numbers.reshape(-1, n_in)
        return (sets if len(sets) == stop - start else sets[np.arange(start, stop) % len(sets)]), 1
