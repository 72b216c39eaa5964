"""W4A16: codes of 4 bits with a scale and a minimum for each group, both stored with the groups first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.families.comfy.scaled import stored_rows, tensor_of
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, ScaleRecord

Array = NDArray[Any]


class Affine(QuantizedModule):
    """(code - 8) * scale + minimum; its first two records."""

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = stored_rows(self.checkpoint, self.weight.codes_key, start, stop).view(np.uint8)
        return unpack(stored, 4, self.weight.shape[1])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.weight.element.values(self.codes(start, stop))
        assert values is not None
        scales, minima = (self._of_groups(r, start, stop) for r in self.records[:2])
        by_group = values.reshape(*scales.shape, -1)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            by_group *= scales[..., None]
            by_group += minima[..., None]
        return values

    def values(self, record: ScaleRecord) -> FloatArray:
        if record in self.records[:2]:
            return self._of_groups(record, 0, self.weight.shape[0])
        return super().values(record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record not in self.records[:2]

    def _of_groups(self, record: ScaleRecord, start: int, stop: int) -> Array:
        """float32[rows, groups]."""
        stored = tensor_of(self.checkpoint, record.key).transposed().read_rows(start, stop)
        return np.ascontiguousarray(stored.astype(np.float32))
