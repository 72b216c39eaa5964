"""One weight of MLX: words of codes, the scales of their groups, and what is added or multiplied after them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.families.mlx.packing import AFFINE, Packing
from qinspect.inspector.formats.grid import PER_TENSOR, groups
from qinspect.inspector.formats.modular import QuantizedModule, record_of
from qinspect.inspector.formats.numbers import stored_form
from qinspect.inspector.formats.packed import PackedRows, levels_of, numbers_of_bytes, rows_of_bytes, singles
from qinspect.inspector.formats.packed import Packing as Words
from qinspect.inspector.formats.packing import bytes_of, unpack
from qinspect.inspector.formats.records import (
    CodeArray,
    FloatArray,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Slice,
    part_of,
)

_UNIT = np.float32(2688)
"""The largest number of NVFP4, 6 * 448: MLX keeps the largest magnitude of a tensor, which is this times its scale."""
_BYTES = {"nvfp4": "E4M3 in a byte"}


class Keys(NamedTuple):
    """The entries of a module; "" for those that it does not have."""

    weight: str
    scales: str
    biases: str = ""
    whole: str = ""


class MlxWeight(QuantizedModule):
    """Codes [out, in] in words along the rows. part: which expert of a stack it is."""

    def __init__(
        self, checkpoint: Checkpoint, keys: Keys, packing: Packing, shape: tuple[int, int], name: str, role: str,
        part: Slice | None,
    ) -> None:  # fmt: skip
        records = tuple(_records(checkpoint, keys, packing, name, role, part))
        weight = QuantizedWeight(
            name, role, keys.weight, shape, packing.element, tuple(r.role for r in records), groups(packing.group),
            slice=part,
        )  # fmt: skip
        super().__init__(checkpoint, weight, records)
        self._packing = packing
        self._keys = keys

    def codes(self, start: int, stop: int) -> CodeArray:
        words = self._rows(self._keys.weight, start, stop)
        return unpack(bytes_of(words), self._packing.bits, self.weight.shape[1])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self._packing.element.values(self.codes(start, stop))
        assert values is not None  # an offset is known of integers
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            scales = _numbers(self._rows(self._keys.scales, start, stop), self._packing)
            if self._keys.whole:
                scales = scales * self._of_whole()
            by_group = values.reshape(*scales.shape, self._packing.group)
            by_group *= scales[..., None]
            if self._keys.biases:
                by_group += self._rows(self._keys.biases, start, stop).astype(np.float32)[..., None]
        return values

    def packed(self, start: int, stop: int) -> PackedRows | None:
        words = bytes_of(self._rows(self._keys.weight, start, stop))
        scales, of_scales, minima = self._rows(self._keys.scales, start, stop), None, None
        with np.errstate(all="ignore"):
            if self._packing.mode == AFFINE:
                scales = singles(scales)
            else:
                of_scales = numbers_of_bytes(_dtype_of_scales(self._packing))
                of_scales = of_scales * self._of_whole() if self._keys.whole else of_scales
        if self._keys.biases:
            minima = singles(self._rows(self._keys.biases, start, stop))
        return PackedRows(
            rows_of_bytes(words), self.weight.shape[1], Words(self._packing.bits), levels_of(self._packing.element),
            scales, self._packing.group, minima=minima, of_scales=of_scales,
        )  # fmt: skip

    def values(self, record: ScaleRecord) -> FloatArray:
        if record.quantity is Quantity.GLOBAL_SCALE:
            return np.asarray(self._of_whole())
        stored = super().values(record)
        return _numbers(stored, self._packing) if record.packed else stored

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return not record.packed

    def _rows(self, key: str, start: int, stop: int) -> NDArray[Any]:
        tensor = self.tensor(key)
        return (part_of(tensor, self.weight.slice) if self.weight.slice else tensor).read_rows(start, stop)

    def _of_whole(self) -> np.float32:
        tensor = self.tensor(self._keys.whole)
        stored = tensor.read().astype(np.float32).reshape(-1)
        at = self.weight.slice.index[0] if self.weight.slice and stored.size > 1 else 0
        with np.errstate(all="ignore"):
            return np.float32(stored[at] / _UNIT)


def _numbers(stored: NDArray[Any], packing: Packing) -> NDArray[np.float32]:
    """float32 of stored scales: bytes are exponents, of NVFP4 small floats."""
    if packing.mode != AFFINE:
        stored = np.ascontiguousarray(stored).view(_dtype_of_scales(packing))
    return np.asarray(stored.astype(np.float32))


def _dtype_of_scales(packing: Packing) -> Any:
    """Of a mode whose scales are bytes."""
    import ml_dtypes

    return np.dtype(ml_dtypes.float8_e4m3fn if packing.mode in _BYTES else ml_dtypes.float8_e8m0fnu)


def _records(
    checkpoint: Checkpoint, keys: Keys, packing: Packing, name: str, role: str, part: Slice | None
) -> list[ScaleRecord]:
    of, element, grid, affine = f"weight {name}", packing.element, groups(packing.group), packing.mode == AFFINE
    # a group whose largest magnitude is negative has a negative scale, so that it is met exactly
    found = [
        record_of(
            checkpoint, role, keys.scales, Kind.WEIGHT, of, element, grid, slice=part, signed=affine,
            may_be_zero=packing.mode == "nvfp4", with_minimum=affine,
            packed="" if affine else _BYTES.get(packing.mode, "E8M0 in a byte"),
        )
    ]  # fmt: skip
    if keys.biases:
        found.append(
            record_of(
                checkpoint, f"{role}#minimum", keys.biases, Kind.WEIGHT, of, element, grid, slice=part, signed=True,
                quantity=Quantity.MINIMUM,
            )
        )  # fmt: skip
    if keys.whole:
        several = part is not None and math.prod(stored_form(checkpoint, keys.whole)[1]) > 1
        found.append(
            record_of(
                checkpoint, f"{role}#global", keys.whole, Kind.WEIGHT, of, element, PER_TENSOR,
                quantity=Quantity.GLOBAL_SCALE, slice=part if several else None, packed="2688 times the number",
            )
        )  # fmt: skip
    return found
