"""Reading the values of a pair in pieces of bounded size, whatever the tensor's: rows where it has rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.compare.items import Item
from qinspect.inspector.fidelity.pairs import Pair
from qinspect.inspector.fidelity.sums import Cells, Stored
from qinspect.kernels.matrix import compiled, takes

Array = NDArray[Any]

UNIT_ELEMENTS = 1 << 20
"""Read at once from each model: what one thread works on."""
MOST_OF_A_ROW = 1 << 22
"""A row with more elements is read in parts where both models store it plainly."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive values of a pair: `rows` x `columns` of them from position `start` on, in C order. first_row: the
    row that the first one is in. aligned: whether these are whole rows, the first of which begins a cell."""

    start: int
    rows: int
    columns: int
    first_row: int
    aligned: bool

    @property
    def n(self) -> int:
        """Values."""
        return self.rows * self.columns

    @property
    def stop(self) -> int:
        """The position behind the last value."""
        return self.start + self.n


def units_of(pair: Pair, cells: Cells | None, elements: int = UNIT_ELEMENTS) -> Iterator[Unit]:
    """The pieces of a pair, in order. cells: of which none may be cut. elements: of a piece, about."""
    if len(pair.shape) < 2:
        yield from _in_a_row(pair.n, 0, 0, plain=_flat(pair.a) and _flat(pair.b))
        return
    n_rows, columns = pair.shape[0], math.prod(pair.shape[1:])
    if columns > MOST_OF_A_ROW and _flat(pair.a) and _flat(pair.b):
        for row in range(n_rows):
            yield from _in_a_row(columns, row * columns, row, plain=True)
        return
    step = math.lcm(row_step(pair.a), row_step(pair.b), cells.rows if cells else 1)
    rows = max(1, elements // columns // step) * step
    for first in range(0, n_rows, rows):
        yield Unit(first * columns, min(rows, n_rows - first), columns, first, True)


def _in_a_row(n: int, start: int, row: int, plain: bool) -> Iterator[Unit]:
    step = max(1, UNIT_ELEMENTS // 8) if plain else max(1, n)  # sums of columns are made of them too
    for at in range(0, n, step):
        yield Unit(start + at, 1, min(step, n - at), row, False)


def _flat(item: Item) -> bool:
    """Whether any range of its elements can be read."""
    return item.weight is None and item.tensor.strides is None and not item.form[0].packed


def row_step(item: Item) -> int:
    """Rows that are read together."""
    return item.weight.row_step if item.weight else 1


def bytes_of(item: Item) -> int:
    """What reading it reads, nearly: without scales."""
    tensor = item.tensor
    n_rows = item.n_rows_of_part
    if item.weight is None or n_rows is None or not item.weight.shape[0]:
        return tensor.nbytes
    return tensor.nbytes * n_rows // item.weight.shape[0]


def stored(item: Item, unit: Unit, shape: tuple[int, ...], in_c: bool = True) -> Stored:
    """A piece as bodies in C take it, codes as they are packed, where it can be had so; else its values. shape: of the
    whole. in_c: whether a body in C is to take it; False for what takes all rows of codes. Raises as `read`."""
    one_run = item.part is None or item.part.runs is None
    wanted = compiled() or not in_c
    if item.weight is not None and len(item.weight.shape) == 2 and unit.aligned and one_run and wanted:
        first = item.first_row + unit.first_row
        if first % item.weight.row_step == 0:
            found = item.fmt.packed(item.weight, first, first + unit.rows)
            fits = found is not None and found.shape == (unit.rows, unit.columns)
            if found is not None and fits and (takes(found) or not in_c):
                return found
    return single(read(item, unit, shape))


def read(item: Item, unit: Unit, shape: tuple[int, ...]) -> Array:
    """The values of a piece as [rows, columns], of any float dtype. shape: of the whole. Raises CannotRead,
    CannotDequantize and what else reading raises."""
    if item.weight is not None:
        return _effective(item, unit).reshape(unit.rows, unit.columns)
    tensor = item.tensor
    if _flat(item):
        return tensor.read_range(unit.start, unit.stop).reshape(unit.rows, unit.columns)
    if len(shape) < 2:
        return tensor.read().reshape(-1)[unit.start : unit.stop].reshape(unit.rows, unit.columns)
    return tensor.read_rows(unit.first_row, unit.first_row + unit.rows).reshape(unit.rows, unit.columns)


def stored_of(pair: Pair, unit: Unit, in_c: bool = True) -> tuple[Stored, Stored]:
    """A's and B's values of a piece, as of `stored`, with what was done to one undone. Raises as `read`."""
    return _stored_of(pair, pair.a, unit, True, in_c), _stored_of(pair, pair.b, unit, False, in_c)


def stored_original(pair: Pair, unit: Unit) -> Stored:
    """A's values of a piece, as in `stored_of`."""
    return _stored_of(pair, pair.a, unit, True)


def _stored_of(pair: Pair, item: Item, unit: Unit, of_a: bool, in_c: bool = True) -> Stored:
    if pair.fit is None and (pair.undoing is None or pair.undoing.in_a == of_a):
        return stored(item, unit, pair.shape, in_c)
    return single(_values(pair, item, unit, of_a))


def values_of(pair: Pair, unit: Unit) -> tuple[Array, Array]:
    """A's and B's values of a piece, [rows, columns] of any float dtype, with what was done to one undone. Raises as
    `read`."""
    return _values(pair, pair.a, unit, True), _values(pair, pair.b, unit, False)


def original_of(pair: Pair, unit: Unit) -> Array:
    """A's values of a piece, as in `values_of`."""
    return _values(pair, pair.a, unit, True)


def _values(pair: Pair, item: Item, unit: Unit, of_a: bool) -> Array:
    undoing = pair.undoing
    if undoing is None or undoing.in_a == of_a or not (undoing.columns or undoing.rows):
        return read_fitted(pair, item, unit)
    if len(pair.shape) < 2 or not undoing.streamed:
        whole = undoing.whole(lambda: read_fitted(pair, item, whole_of(pair.shape)))
        return whole.reshape(-1)[unit.start : unit.stop].reshape(unit.rows, unit.columns)
    return undoing.of(read_fitted(pair, item, unit))


def whole_of(shape: tuple[int, ...]) -> Unit:
    """All of it in one piece; of what has no rows, one."""
    rows = shape[0] if len(shape) > 1 else 1
    n = math.prod(shape)
    return Unit(0, rows, n // max(1, rows), 0, True)


def read_fitted(pair: Pair, item: Item, unit: Unit) -> Array:
    """The values of a piece as the model stores them, without the padding that the other has not."""
    width = pair.fit.width_of(item) if pair.fit else 0
    if not width or width == unit.columns:
        return read(item, unit, pair.shape)
    wide = Unit(unit.first_row * width, unit.rows, width, unit.first_row, unit.aligned)
    return np.ascontiguousarray(read(item, wide, pair.shape)[:, : unit.columns])


def _effective(item: Item, unit: Unit) -> Array:
    """float32 of what may be a part of a weight."""
    weight = item.weight
    assert weight is not None
    if len(weight.shape) < 2:
        return item.fmt.effective(weight)[unit.start : unit.stop]
    rows = unit.first_row, unit.first_row + unit.rows
    return item.rows(*rows, lambda first, last: item.fmt.effective(weight, first, last))


def widened(values: Array, out: Array) -> None:
    """Values of any float dtype into float64 of the same shape. Casts of ml_dtypes take four times as long."""
    name = values.dtype.name
    if name == "bfloat16":
        np.copyto(out, (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32))
    elif values.dtype.itemsize == 1 and name.startswith("float"):
        table = np.arange(256, dtype=np.uint8).view(values.dtype).astype(np.float64)
        np.take(table, values.view(np.uint8), out=out)
    else:
        np.copyto(out, values)


def single(values: Array) -> Array:
    """The same values as floats of 16 or 32 bits where one of these holds them, contiguous: what compiled bodies
    take."""
    if values.dtype.name in ("bfloat16", "float16", "float32", "float64"):
        return np.ascontiguousarray(values)
    return values.astype(np.float32)
