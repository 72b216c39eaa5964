"""W4A8: indices that stand for numbers, which a scale of their group makes int8 of, and a scale of their row values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.families.comfy.scaled import stored_rows, tensor_of
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.numbers import elements_of
from qinspect.inspector.formats.packed import singles
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Quantity, ScaleRecord

Array = NDArray[Any]
_MOST = np.float32(127)


class TwoLevel(QuantizedModule):
    """Its first two records are the scales of groups and of rows, the third, if there is one, what is added.

    Of 4 bits two codes lie in a byte, the first in the low half; of 6 the low four bits of a row lie so, and behind
    them the high two of four codes in a byte.
    """

    def codes(self, start: int, stop: int) -> CodeArray:
        columns = self.weight.shape[1]
        stored = stored_rows(self.checkpoint, self.weight.codes_key, start, stop).view(np.uint8)
        low = unpack(stored[:, : columns // 2], 4, columns)
        if self.weight.bits == 4:
            return low
        return np.asarray(low | unpack(stored[:, columns // 2 :], 2, columns) << 4)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        worth = self.weight.element.values(self.codes(start, stop))
        assert worth is not None
        of_groups = self._of_groups(start, stop)
        of_rows = self._rows(self.records[1], start, stop)[:, None]
        by_group = worth.reshape(*of_groups.shape, -1)
        rotation = self.weight.rotation
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            by_group *= of_groups[..., None]
            if self.records[0].through is not None:
                levels = np.rint(np.clip(worth, -_MOST, _MOST))
                return (levels if rotation is None else rotation.of(levels)) * of_rows
            values = worth * of_rows
            added = self._added(start, stop)
            if added is not None:
                values.reshape(by_group.shape)[...] += added[..., None]
            return values if rotation is None else rotation.of(values.astype(np.float64)).astype(np.float32)

    def values(self, record: ScaleRecord) -> FloatArray:
        n = self.weight.shape[0]
        if record.quantity is Quantity.MINIMUM:
            added = self._added(0, n)
            assert added is not None
            return added
        return self._of_groups(0, n) if record is self.records[0] else super().values(record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record is not self.records[0] and record.quantity is not Quantity.MINIMUM

    def _of_groups(self, start: int, stop: int) -> Array:
        """float32[rows, groups]."""
        stored = stored_rows(self.checkpoint, self.records[0].key, start, stop)
        if stored.dtype == np.uint8:
            import ml_dtypes

            stored = stored.view(ml_dtypes.float8_e4m3fn)
        return singles(stored)

    def _rows(self, record: ScaleRecord, start: int, stop: int) -> Array:
        return elements_of(tensor_of(self.checkpoint, record.key), start, stop).astype(np.float32)

    def _added(self, start: int, stop: int) -> Array | None:
        """float32[rows, groups]; stored the other way round."""
        record = next((r for r in self.records if r.quantity is Quantity.MINIMUM), None)
        if record is None:
            return None
        stored = tensor_of(self.checkpoint, record.key).transposed().read_rows(start, stop)
        return np.ascontiguousarray(stored.astype(np.float32))
