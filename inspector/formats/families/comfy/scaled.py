"""Codes times one scale, or one for each row; of some the inputs were turned before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.numbers import elements_of
from qinspect.inspector.formats.packed import BYTES, NIBBLES, PackedRows, levels_of, rows_of_bytes
from qinspect.inspector.formats.packing import signed, unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray

Array = NDArray[Any]


class Scaled(QuantizedModule):
    """A weight of FP8 or int8, or of two int4 a byte, the first in the low half. Its first record is the scale."""

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = stored_rows(self.checkpoint, self.weight.codes_key, start, stop)
        if self.weight.bits == 4:
            return signed(unpack(stored.view(np.uint8), 4, self.weight.shape[1]), 4)
        return stored if stored.dtype == np.int8 else stored.view(np.uint8)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.weight.element.values(self.codes(start, stop))
        assert values is not None
        rotation = self.weight.rotation
        if rotation is not None:
            values = rotation.of(values)  # whole numbers of a power of two: exact, so that only the scale rounds
        with np.errstate(all="ignore"):  # a scale in the file that is not finite is the file's
            found: FloatArray = values * self._scales(start, stop, values.ndim)
        return found

    def packed(self, start: int, stop: int) -> PackedRows | None:
        if self.weight.rotation is not None or len(self.weight.shape) != 2:
            return None
        rows = rows_of_bytes(stored_rows(self.checkpoint, self.weight.codes_key, start, stop))
        packing = NIBBLES if self.weight.bits == 4 else BYTES
        columns = self.weight.shape[1]
        scales = self._scales(start, stop, 2)
        return PackedRows(rows, columns, packing, levels_of(self.weight.element), scales, columns)

    def _scales(self, start: int, stop: int, n_dims: int) -> Array:
        """float32[1, 1, ...], or [rows, 1, ...]."""
        stored = tensor_of(self.checkpoint, self.records[0].key)
        found = elements_of(stored, start, stop) if self.records[0].grid.axes else stored.read()
        return found.astype(np.float32).reshape(-1, *(1,) * (n_dims - 1))


def tensor_of(checkpoint: Checkpoint, key: str) -> Tensor:
    """A tensor that was there when its module was built."""
    found = checkpoint.tensor(key)
    assert found is not None
    return found


def stored_rows(checkpoint: Checkpoint, key: str, start: int, stop: int) -> Array:
    """Rows of a tensor, contiguous."""
    return np.ascontiguousarray(tensor_of(checkpoint, key).read_rows(start, stop))
