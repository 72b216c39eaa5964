"""Weights of quanto: a code in each byte, or codes of 2 and 4 bits in runs of rows with a shift for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.element import Element, ElementKind, unsigned
from qinspect.inspector.formats.grid import PER_TENSOR, channels
from qinspect.inspector.formats.grid import groups as groups_of
from qinspect.inspector.formats.modular import QuantizedModule, record_of
from qinspect.inspector.formats.packed import BYTES, PackedRows, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.row_runs import read_row_runs

Singles = NDArray[np.float32]


class QuantoBytes(QuantizedModule):
    """A weight [out, ...] with a code a byte: int8 or float8. Of each row one scale, or of all."""

    def __init__(
        self, checkpoint: Checkpoint, name: str, role: str, codes: Tensor, element: Element,
        points: tuple[ScaleRecord, ...],
    ) -> None:  # fmt: skip
        scale = f"{name}._scale"
        form = checkpoint.entries.form(scale)
        grid = channels(0) if form is not None and form[1] not in ((), (1,)) else PER_TENSOR
        record = record_of(checkpoint, role, scale, Kind.WEIGHT, f"weight {name}", element, grid)
        weight = QuantizedWeight(name, role, codes.name, codes.shape, element, (role,), grid)
        super().__init__(checkpoint, weight, (record, *points))
        self._codes = codes

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = self._codes.read_rows(start, stop)
        return stored if self.weight.element.kind is ElementKind.INTEGER else stored.view(np.uint8)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        scales = self._scales(start, stop)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            values: NDArray[Any] = singles(self._codes.read_rows(start, stop))
            return values * scales.reshape(-1, *(1,) * (values.ndim - 1))

    def packed(self, start: int, stop: int) -> PackedRows | None:
        shape = self.weight.shape
        if len(shape) != 2:
            return None
        codes = rows_of_bytes(self._codes.read_rows(start, stop))
        scales = self._scales(start, stop).reshape(-1, 1)
        return PackedRows(codes, shape[1], BYTES, levels_of(self.weight.element), scales, shape[1])

    def _scales(self, start: int, stop: int) -> Singles:
        tensor = self.tensor(self.records[0].key)
        return singles(tensor.read_rows(start, stop) if self.weight.grid.axes else tensor.read()).reshape(-1)


class QuantoBits(QuantizedModule):
    """A weight [out, in] whose rows are stored one after another, each perhaps as several of one group, with a scale
    and a shift for each: code * scale - shift, or (code - shift) * scale where shifts are integers."""

    def __init__(
        self, checkpoint: Checkpoint, name: str, role: str, codes: Tensor, element: Element, shape: tuple[int, ...],
        columns: int, points: tuple[ScaleRecord, ...],
    ) -> None:  # fmt: skip
        """shape: of the weight. columns: of a stored row."""
        self._codes, self._columns = codes, columns
        self._per_row = int(np.prod(shape[1:])) // columns
        grid = channels(0) if self._per_row == 1 else groups_of(columns)
        shift = f"{name}._shift"
        form = checkpoint.entries.form(shift)
        assert form is not None  # it was looked at
        self._is_zero_point = not form[0].name.startswith(("float", "bfloat"))
        role_of_shift = f"{role}#{'zero_point' if self._is_zero_point else 'minimum'}"
        records = (
            record_of(
                checkpoint, role, f"{name}._scale", Kind.WEIGHT, f"weight {name}", element, grid,
                with_minimum=not self._is_zero_point,
            ),
            record_of(
                checkpoint, role_of_shift, shift, Kind.WEIGHT, f"weight {name}", element, grid,
                quantity=Quantity.ZERO_POINT if self._is_zero_point else Quantity.MINIMUM,
                packed="" if self._is_zero_point else "what is subtracted",
            ),
        )  # fmt: skip
        weight = QuantizedWeight(name, role, codes.name, shape, element, (role, role_of_shift), grid)
        super().__init__(checkpoint, weight, (*records, *points))

    def codes(self, start: int, stop: int) -> CodeArray:
        n = self._per_row
        found = read_row_runs(self._codes, self.weight.bits, start * n, stop * n)
        return found.reshape(stop - start, *self.weight.shape[1:])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        codes = self.codes(start, stop).astype(np.float32)
        scales, shifts = (
            self._of_rows(r, start, stop).repeat(self._columns).reshape(codes.shape) for r in self.records[:2]
        )
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            found: NDArray[Any] = (codes - shifts) * scales if self._is_zero_point else codes * scales - shifts
        return found

    def packed(self, start: int, stop: int) -> PackedRows | None:
        shape = self.weight.shape
        if len(shape) != 2:
            return None
        scales, shifts = (self._of_rows(r, start, stop).reshape(stop - start, self._per_row) for r in self.records[:2])
        zeros, minima = (shifts, None) if self._is_zero_point else (None, -shifts)
        return PackedRows(
            np.ascontiguousarray(self.codes(start, stop)), shape[1], BYTES, levels_of(unsigned(8, 0)), scales,
            self._columns, zeros, minima,
        )  # fmt: skip

    def values(self, record: ScaleRecord) -> FloatArray:
        """With a minimum as it is added, and groups in their rows."""
        found = super().values(record)
        if record not in self.records[:2]:
            return found
        found = found.reshape(-1, self._per_row)
        return -found if record.quantity is Quantity.MINIMUM else found

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record not in self.records[:2]

    def _of_rows(self, record: ScaleRecord, start: int, stop: int) -> Singles:
        tensor = self.tensor(record.key)
        return singles(tensor.read_rows(start * self._per_row, stop * self._per_row)).reshape(-1)
