"""Which elements share one number: of a scale, a zero point, a minimum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Grid:
    """How the numbers of a record lie over the tensor that they belong to, in its logical form.

    axes: along which the number changes; () for one number. block: how many elements share it along each of these axes
    (1: every position has its own); () where the cells are not of one size. flattened: blocks are counted over the
    whole tensor in C order, across rows; `block` is then one size, and there are no axes. group_index: key of the
    entry that says to which group each position along the last of the axes belongs; "" where groups are consecutive.
    parts: names of the ranges of positions that have a number each, along the one axis: z, x, B, C, dt. cells: what a
    position along each axis of the record itself is called where it is no position of the tensor: head group, state.
    n_dims: of a grid of which nothing else is known, how many axes the record has. any_axis: the library lets the axis
    be chosen, so it is said.
    """

    axes: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    flattened: bool = False
    group_index: str = ""
    parts: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    n_dims: int | None = None
    any_axis: bool = False

    @property
    def group_size(self) -> int | None:
        """Elements of a group along the last axis, or of a block of the flattened tensor; None where there are none."""
        if self.flattened:
            return self.block[0]
        return self.block[-1] if self._grouped else None

    @property
    def axis(self) -> int | None:
        """The one axis that groups lie along, or along which the number changes."""
        return self.axes[-1] if self._grouped or len(self.axes) == 1 else None

    @property
    def _grouped(self) -> bool:
        return len(self.block) > 1 and all(n == 1 for n in self.block[:-1])


PER_TENSOR = Grid()


@lru_cache(256)  # few occur in 60,000 records
def channels(axis: int = 0, any_axis: bool = False) -> Grid:
    """A number for every position along one axis."""
    return Grid((axis,), (1,), any_axis=any_axis)


@lru_cache(256)  # few occur in 60,000 records
def groups(size: int, group_index: str = "") -> Grid:
    """A number for every row and every `size` columns of it."""
    return Grid((0, 1), (1, size), group_index=group_index)


@lru_cache(256)  # few occur in 60,000 records
def tiles(rows: int, columns: int) -> Grid:
    """A number for every tile of a matrix."""
    return Grid((0, 1), (rows, columns))


def flat_blocks(size: int) -> Grid:
    """A number for every `size` elements of the tensor in C order, across its rows."""
    return Grid((), (size,), flattened=True)


def segments_of(*names: str) -> Grid:
    """A number for each named range of rows; of one name, the one number of that range."""
    return Grid((0,) if len(names) > 1 else (), parts=names)


def cells(*names: str) -> Grid:
    """A number for each combination of what `names` are."""
    return Grid(cells=names)


_SSD_CELLS = {0: PER_TENSOR, 1: cells("SSD group"), 3: cells("head group", "channel group")}
_FINEST_SSD_CELLS = cells("head group", "channel group", "state")


def ssd_cells(n_dims: int) -> Grid:
    """A scale of the SSD's inputs, by how many axes it has: one number, one of each SSD group, or one of each group of
    channels of each group of heads (and of each state), as Quamba2 groups them."""
    return _SSD_CELLS.get(n_dims, _FINEST_SSD_CELLS)


def dimensions(n: int) -> Grid:
    """Something of `n` dimensions of which nothing else is known."""
    return Grid(n_dims=n)
