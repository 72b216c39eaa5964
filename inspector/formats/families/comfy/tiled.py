"""NVFP4 and MXFP8: small floats whose scales of groups lie in tiles, rows and columns filled up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.families.comfy.scaled import stored_rows, tensor_of
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.packed import BYTES, NIBBLES, PackedRows, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import swap_nibbles, unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Quantity, ScaleRecord
from qinspect.inspector.formats.scale_tiles import ROWS, untiled

Array = NDArray[Any]


class Tiled(QuantizedModule):
    """A weight of FP8, or of two FP4 a byte, the first in the high half. Its first record is the scale of groups."""

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = stored_rows(self.checkpoint, self.weight.codes_key, start, stop).view(np.uint8)
        return unpack(swap_nibbles(stored), 4, self.weight.shape[1]) if self.weight.bits == 4 else stored

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.weight.element.values(self.codes(start, stop))
        assert values is not None
        steps = self._steps(start, stop)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            by_group = values.reshape(*steps.shape, self._group)
            by_group *= steps[..., None]
        return values

    def packed(self, start: int, stop: int) -> PackedRows | None:
        stored = rows_of_bytes(stored_rows(self.checkpoint, self.weight.codes_key, start, stop))
        four = self.weight.bits == 4
        return PackedRows(
            swap_nibbles(stored) if four else stored, self.weight.shape[1], NIBBLES if four else BYTES,
            levels_of(self.weight.element), self._steps(start, stop), self._group,
        )  # fmt: skip

    @property
    def is_effective(self) -> bool:
        return self._of_quantity(Quantity.FACTOR) is None

    def effective(self, start: int, stop: int) -> FloatArray:
        values, factor = self.dequantize(start, stop), self._of_quantity(Quantity.FACTOR)
        if factor is not None:
            with np.errstate(all="ignore"):
                n = min(factor.shape[0], values.shape[1])
                values[:, :n] *= self.values(factor).astype(np.float32)[:n]
        return values

    def values(self, record: ScaleRecord) -> FloatArray:
        return self._scales(0, self.weight.shape[0]) if record is self.records[0] else super().values(record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record is not self.records[0]

    @property
    def _group(self) -> int:
        return self.weight.grid.block[-1]

    def _of_quantity(self, quantity: Quantity) -> ScaleRecord | None:
        return next((r for r in self.records if r.quantity is quantity), None)

    def _scales(self, start: int, stop: int) -> Array:
        """float32[rows, groups], without the scale of all."""
        first = start // ROWS * ROWS
        stored = stored_rows(self.checkpoint, self.records[0].key, first, -(-stop // ROWS) * ROWS)
        if stored.dtype == np.uint8:
            stored = stored.view(_small_float(self.records[0]))
        rows = untiled(stored, stop - first, self.weight.shape[1] // self._group)
        return singles(rows[start - first :])

    def _steps(self, start: int, stop: int) -> Array:
        found, whole = self._scales(start, stop), self._of_quantity(Quantity.GLOBAL_SCALE)
        if whole is not None:
            with np.errstate(all="ignore"):
                found = found * tensor_of(self.checkpoint, whole.key).read().astype(np.float32).reshape(())
        return found


def _small_float(record: ScaleRecord) -> Any:
    import ml_dtypes

    return ml_dtypes.float8_e4m3fn if record.packed.startswith("E4M3") else ml_dtypes.float8_e8m0fnu
