"""Codes times the scale of the block that they stand in, less a zero point or with a minimum where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import BrokenNumbers
from qinspect.inspector.formats.element import ElementKind, integer
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.packed import BYTES, NIBBLES, PackedRows, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import signed, unpack
from qinspect.inspector.formats.records import (
    CodeArray,
    FloatArray,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    part_of,
)
from qinspect.inspector.formats.scale_tiles import ROWS, untiled

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the parts of a weight lie. block: rows and columns that share a scale. pairs: two codes lie in a byte, the
    first in the low half. tiled: scales lie in the tiles of tensor cores. turned: they lie with the groups first."""

    block: tuple[int, int]
    pairs: bool = False
    tiled: bool = False
    turned: bool = False


class Blocks(QuantizedModule):
    """A weight [out, in]. Its records tell by their quantities what they are: one of each."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...], layout: Layout
    ) -> None:
        super().__init__(checkpoint, weight, records)
        self._layout = layout
        self._by_quantity = {r.quantity: r for r in records if r.role in weight.scale_roles}

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = np.ascontiguousarray(self._tensor(self.weight.codes_key).read_rows(start, stop))
        element = self.weight.element
        if self._layout.pairs:
            codes = unpack(stored.view(np.uint8), 4, self.weight.shape[1])
            return signed(codes, 4) if element.kind is ElementKind.INTEGER else codes
        if element.kind is not ElementKind.INTEGER:
            return stored.view(np.uint8)
        if element.bits < 8 and stored.size and not (element.q_min <= stored.min() <= stored.max() <= element.q_max):
            raise BrokenNumbers(
                f"holds a number that no code of {element.bits} bits is", file=self.checkpoint.path,
                key=self.weight.codes_key, expected=f"{element.q_min:g} to {element.q_max:g}",
                found=f"{stored.min()} to {stored.max()}",
            )  # fmt: skip
        return stored

    def dequantize(self, start: int, stop: int) -> FloatArray:
        codes = self.codes(start, stop)
        worth = codes.astype(np.float32) if codes.dtype == np.int8 else self.weight.element.values(codes)
        assert worth is not None
        by_group = worth.reshape(stop - start, -1, self._layout.block[1])
        zeros, minima = self._of(Quantity.ZERO_POINT, start, stop), self._of(Quantity.MINIMUM, start, stop)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            if zeros is not None:
                by_group -= zeros[..., None]
            by_group *= self._steps(start, stop)[..., None]
            if minima is not None:
                by_group += minima[..., None]
        return worth

    def packed(self, start: int, stop: int) -> PackedRows | None:
        element, pairs = self.weight.element, self._layout.pairs
        stored = rows_of_bytes(self._tensor(self.weight.codes_key).read_rows(start, stop))
        if element.kind is ElementKind.INTEGER and not pairs:
            if element.bits < 8:
                return None  # each code is looked at
            element = integer(8)
        return PackedRows(
            stored, self.weight.shape[1], NIBBLES if pairs else BYTES, levels_of(element), self._steps(start, stop),
            self._layout.block[1], self._of(Quantity.ZERO_POINT, start, stop), self._of(Quantity.MINIMUM, start, stop),
        )  # fmt: skip

    @property
    def is_effective(self) -> bool:
        return Quantity.FACTOR not in self._by_quantity

    def effective(self, start: int, stop: int) -> FloatArray:
        values = self.dequantize(start, stop)
        factor = self._by_quantity.get(Quantity.FACTOR)
        if factor is not None:
            with np.errstate(all="ignore"):
                values *= super().values(factor).astype(np.float32).reshape(-1)
        return values

    def values(self, record: ScaleRecord) -> FloatArray:
        if self.gives_as_stored(record):
            return super().values(record)
        found = self._of(record.quantity, 0, self.weight.shape[0])
        assert found is not None
        return found

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        laid = record.quantity in (Quantity.SCALE, Quantity.ZERO_POINT, Quantity.MINIMUM)
        return not (laid and (self._layout.tiled or self._layout.turned) and record in self._by_quantity.values())

    def _steps(self, start: int, stop: int) -> Array:
        """float32[rows, groups]."""
        found, whole = self._of(Quantity.SCALE, start, stop), self._by_quantity.get(Quantity.GLOBAL_SCALE)
        assert found is not None
        if whole is not None:
            with np.errstate(all="ignore"):
                found = found * super().values(whole).astype(np.float32).reshape(())
        return found

    def _of(self, quantity: Quantity, start: int, stop: int) -> Array | None:
        """float32[rows, groups] of the numbers of a record; None where there is none."""
        record = self._by_quantity.get(quantity)
        if record is None:
            return None
        rows, across = self._layout.block[0], self.weight.shape[1] // self._layout.block[1]
        first, last = start // rows, -(-stop // rows)
        if self._layout.tiled:
            first = first // ROWS * ROWS
            stored = _flat(self._tensor(record.key), first, last, across)
            found = untiled(stored, last - first, across)
        else:
            found = self._plain(record, first, last, across)
        found = singles(np.ascontiguousarray(found))
        return found if rows == 1 and first == start else found[np.arange(start, stop) // rows - first]

    def _plain(self, record: ScaleRecord, first: int, last: int, across: int) -> Array:
        tensor = self._tensor(record.key, record)
        if self._layout.turned:
            return tensor.transposed().read_rows(first, last)
        if not tensor.shape or tensor.n_elements == 1:
            return tensor.read().reshape(1, 1)
        return tensor.read_rows(first, last).reshape(last - first, across)

    def _tensor(self, key: str, record: ScaleRecord | None = None) -> Tensor:
        found = self.tensor(key)
        part = self.weight.slice if record is None else record.slice
        return part_of(found, part) if part else found


def _flat(tensor: Tensor, first: int, last: int, across: int) -> Array:
    """The numbers of the tiles of rows `first` to `last`, the first of a tile."""
    per_tile_row = ROWS * 4 * -(-across // 4)
    return tensor.read_range(first // ROWS * per_tile_row, -(-last // ROWS) * per_tile_row)
