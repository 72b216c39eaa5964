"""Weights of Quark: rows of codes with one scale, one a row, or one a group; or words packed along the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.output_words import PER_WORD, outputs_of, packing_of, words_of
from qinspect.inspector.formats.packed import BYTES, NIBBLES, PackedRows, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import signed, unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.stripes import Stripes

Array = NDArray[Any]


class QuarkWeight(QuantizedModule):
    """A weight [out, in]. Its first record is the scale, the second may be the zero point."""

    def _read(self, record: ScaleRecord, start: int, stop: int) -> Array:
        """float32[rows, groups] of one of the two, or [1, 1]."""
        stored = self.tensor(record.key)
        if not record.grid.axes:
            found = stored.read().reshape(1, 1)
        else:
            found = stored.read_rows(start, stop).reshape(stop - start, -1)
        if found.dtype == np.uint8 and record.quantity is Quantity.SCALE:
            import ml_dtypes

            found = np.ascontiguousarray(found).view(ml_dtypes.float8_e8m0fnu)
        return singles(np.ascontiguousarray(found))

    def dequantize(self, start: int, stop: int) -> FloatArray:
        codes = self.codes(start, stop)
        whole = self.weight.element.kind is ElementKind.INTEGER
        values = codes.astype(np.float32) if whole else self.weight.element.values(codes)
        assert values is not None
        scales = self._read(self.records[0], start, stop)
        by_group = values.reshape(len(values), scales.shape[1], -1)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            if (zeros := self._zeros(start, stop)) is not None:
                by_group -= zeros[..., None]
            by_group *= scales[..., None]
        return values

    def values(self, record: ScaleRecord) -> FloatArray:
        if self.gives_as_stored(record):
            return super().values(record)
        return self._read(record, 0, self.weight.shape[0])

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return not record.packed

    def _zeros(self, start: int, stop: int) -> Array | None:
        record = self.records[1] if len(self.records) > 1 else None
        if record is None or record.quantity is not Quantity.ZERO_POINT or record.role not in self.weight.scale_roles:
            return None
        return self._read(record, start, stop)


class Rows(QuarkWeight):
    """Codes of 8 bits, of 4 two a byte, of 6 four in three bytes: a stream of bits a row."""

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = np.ascontiguousarray(self.tensor(self.weight.codes_key).read_rows(start, stop))
        if self.weight.bits < 8:
            return unpack(stored, self.weight.bits, self.weight.shape[1])
        return stored if self.weight.element.kind is ElementKind.INTEGER else stored.view(np.uint8)

    def packed(self, start: int, stop: int) -> PackedRows | None:
        bits, columns = self.weight.bits, self.weight.shape[1]
        if bits not in (4, 8):
            return None
        scales = self._read(self.records[0], start, stop)
        return PackedRows(
            rows_of_bytes(self.tensor(self.weight.codes_key).read_rows(start, stop)), columns,
            NIBBLES if bits == 4 else BYTES, levels_of(self.weight.element), scales, columns // scales.shape[1],
            self._zeros(start, stop),
        )  # fmt: skip


class Words(QuarkWeight):
    """Codes of 4 bits, eight outputs a word, inputs first; so are zero points, groups first, and scales."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...],
        order: tuple[int, ...], stripes: Stripes,
    ) -> None:  # fmt: skip
        """order: of the outputs in a word. stripes: those of the checkpoint."""
        super().__init__(checkpoint, weight, records)
        self._order, self._stripes = order, stripes

    def codes(self, start: int, stop: int) -> CodeArray:
        found = self._outputs(self.weight.codes_key, start, stop)
        return signed(found, 4) if self.weight.element.code_range[0] < 0 else found

    def packed(self, start: int, stop: int) -> PackedRows | None:
        words = words_of(self._stripes, self.tensor(self.weight.codes_key), start, stop)
        scales, columns = self._read(self.records[0], start, stop), self.weight.shape[1]
        return PackedRows(
            rows_of_bytes(words.astype("<u4", copy=False)), columns, packing_of(self._order),
            levels_of(self.weight.element), scales, columns // scales.shape[1], self._zeros(start, stop),
            skipped=start % PER_WORD, n_rows=stop - start,
        )  # fmt: skip

    def _outputs(self, key: str, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8 of the outputs `start` to `stop`, [outputs, inputs or groups]."""
        return outputs_of(words_of(self._stripes, self.tensor(key), start, stop), start, stop, self._order)

    def _read(self, record: ScaleRecord, start: int, stop: int) -> Array:
        if record.quantity is Quantity.ZERO_POINT:
            found = self._outputs(record.key, start, stop)
            return (signed(found, 4) if self.weight.element.code_range[0] < 0 else found).astype(np.float32)
        stored = self.tensor(record.key)
        if len(stored.shape) == 1:
            return stored.read_rows(start, stop).astype(np.float32)[:, None]
        return self._stripes.rows(stored, start, stop).astype(np.float32)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record.role not in self.weight.scale_roles
