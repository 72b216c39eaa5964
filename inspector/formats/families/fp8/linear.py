"""One weight of small floats with its scale: a layer's own, or an expert's part of a stack."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import FLOAT8, Element, small_float
from qinspect.inspector.formats.families.fp8.blocks import grid_of, in_cells, spread
from qinspect.inspector.formats.families.fp8.settings import Settings
from qinspect.inspector.formats.grid import Grid
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.packed import BYTES, NIBBLES, PackedRows, levels_of, rows_of_bytes
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import (
    OF_WEIGHTS,
    CodeArray,
    FloatArray,
    Kind,
    QuantizedWeight,
    ScaleRecord,
    Slice,
    part_of,
)

PAIRS = ("int8", "uint8")
"""What two FP4 numbers lie in."""
SCALES = ("float32", "bfloat16", "float16", "float8_e8m0fnu", "uint8")
_E8M0 = "E8M0 in a byte"
FP4 = small_float("float4_e2m1fn")


class Fp8Weight(QuantizedModule):
    """A weight [out, in] of FP8 bytes, or of two FP4 numbers a byte."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...], settled: bool
    ) -> None:
        """settled: whether something says which way the scale is to be applied."""
        super().__init__(checkpoint, weight, records)
        self._settled = settled

    @property
    def scale(self) -> ScaleRecord:
        """The record of its scale."""
        return self.records[0]

    def codes(self, start: int, stop: int) -> CodeArray:
        tensor = self.codes_tensor
        stored = np.ascontiguousarray(tensor.read_rows(start, stop)).view(np.uint8)
        return unpack(stored, 4, self.weight.shape[1]) if self.weight.element is FP4 else stored

    def dequantize(self, start: int, stop: int) -> FloatArray:
        self._check_direction()
        values = self.weight.element.values(self.codes(start, stop))
        assert values is not None
        scales = spread(*self._scales_of(start, stop), self.weight.shape[1])
        with np.errstate(all="ignore"):  # NaN, 0 and infinite scales in the file are the file's
            found: FloatArray = values / scales if self.scale.inverted else values * scales
        return found

    def packed(self, start: int, stop: int) -> PackedRows | None:
        self._check_direction()
        tensor = self.codes_tensor
        scales, width = in_cells(*self._scales_of(start, stop), self.weight.shape[1])
        packing = NIBBLES if self.weight.element is FP4 else BYTES
        return PackedRows(
            rows_of_bytes(tensor.read_rows(start, stop)), self.weight.shape[1], packing, levels_of(self.weight.element),
            scales, width, divided=self.scale.inverted,
        )  # fmt: skip

    def values(self, record: ScaleRecord) -> FloatArray:
        if record is not self.scale or not record.packed:
            return super().values(record)
        with np.errstate(all="ignore"):  # the byte of a NaN is the file's
            return np.float32(1) / self._stored_scales if record.inverted else self._stored_scales

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record is not self.scale or not record.packed

    @property
    def _stored_scales(self) -> NDArray[Any]:
        stored = self._scale_tensor.read()
        return exponents(stored) if self.scale.packed else stored

    @property
    def _scale_tensor(self) -> Tensor:
        tensor = self.tensor(self.scale.key)
        return part_of(tensor, self.scale.slice) if self.scale.slice else tensor

    def _scales_of(self, start: int, stop: int) -> tuple[NDArray[Any], Grid, range]:
        """The stored scales that these rows need, their grid, and where the rows are in what these cover."""
        grid = self.scale.grid
        if not grid.axes:
            return self._stored_scales, grid, range(start, stop)
        height = grid.block[0]
        first = start // height
        stored = self._scale_tensor.read_rows(first, -(-stop // height))
        rows = range(start - first * height, stop - first * height)
        return (exponents(stored) if self.scale.packed else stored), grid, rows

    def _check_direction(self) -> None:
        if not self._settled and self._larger_than_one:
            raise CannotDequantize(
                "may be the reciprocals of scales: most are above 1, where scales of weights are far below, and no "
                "setting says so", file=self.checkpoint.path, key=self.scale.key,
                expected="quantization_config in config.json", found="none",
                cure="Put the config.json that was saved with these weights beside them.",
            )  # fmt: skip

    @cached_property
    def _larger_than_one(self) -> bool:
        stored = self._stored_scales.astype(np.float32)
        return bool((stored > 1).mean() > 0.5) if stored.size else False


def exponents(stored: NDArray[Any]) -> NDArray[np.float32]:
    """float32 of the same shape: 2 ** (byte - 127) of each byte, NaN of 255."""
    import ml_dtypes

    found: NDArray[np.float32] = (
        np.ascontiguousarray(stored, np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    )
    return found


def element_of(tensor: Tensor) -> Element | None:
    """What the codes of a tensor are; None where they are none of this family's."""
    if tensor.dtype.name in FLOAT8:
        return small_float(tensor.dtype.name)
    return FP4 if tensor.dtype.name in PAIRS else None


def weight_of(
    checkpoint: Checkpoint, key: str, scale_key: str, settings: Settings, name: str, role: str,
    part: Slice | None = None, scale_part: Slice | None = None,
) -> Fp8Weight:  # fmt: skip
    """The weight that `key` holds, or a part of it, with the scale of `scale_key`, or the same part. name, role: of the
    weight. Raises CannotDequantize where they do not fit."""
    tensor = checkpoint.tensor(key)
    assert tensor is not None
    stored = part_of(tensor, part) if part else tensor
    element, shape = element_of(tensor), stored.shape
    scale = checkpoint.tensor(scale_key)
    if element is None or len(shape) != 2:
        raise CannotDequantize(
            f"cannot be the codes that {scale_key} scales", file=checkpoint.path, key=key,
            expected="a matrix of float8, or of int8 with two FP4 numbers a byte",
            found=f"{tensor.dtype.name} {list(tensor.shape)}",
        )  # fmt: skip
    if scale is None or scale.dtype.name not in SCALES:
        raise CannotDequantize(
            "is missing: the scale of codes" if scale is None else "cannot be the scale of codes", file=checkpoint.path,
            key=scale_key, expected=" or ".join(SCALES),
            found="nothing" if scale is None else f"{scale.dtype.name} {list(scale.shape)}",
        )  # fmt: skip
    n_out, n_in = shape[0], shape[1] * (2 if element is FP4 else 1)
    of_scale = (part_of(scale, scale_part) if scale_part else scale).shape
    grid = _grid(element is FP4, (n_out, n_in), of_scale, settings.block)
    if grid is None:
        raise CannotDequantize(
            f"is not cut as {key}, {element} [{n_out}, {n_in}]", file=checkpoint.path, key=scale_key,
            expected=f"a scale of blocks of {settings.block[0]}x{settings.block[1]}" if settings.block
            else "one number, one a row, or one a block", found=f"{list(of_scale)}",
        )  # fmt: skip
    record = ScaleRecord(
        role, scale_key, Kind.WEIGHT, f"the weight {role}", element, grid, scale.dtype.name, scale.shape,
        inverted=settings.inverted, slice=scale_part, packed=_E8M0 if scale.dtype.name == "uint8" else "",
        reach=OF_WEIGHTS,
    )  # fmt: skip
    weight = QuantizedWeight(name, role, key, (n_out, n_in), element, (role,), grid, slice=part)
    return Fp8Weight(checkpoint, weight, (record,), settings.settled)


@lru_cache(1024)  # 30,000 weights have few shapes
def _grid(fp4: bool, shape: tuple[int, int], scale: tuple[int, ...], block: tuple[int, int] | None) -> Grid | None:
    if not fp4:
        return grid_of(shape, scale, block)
    # experts of FP4 have their scales along the row, whatever the blocks of the other layers
    along_rows = len(scale) == 2 and scale[0] == shape[0] and scale[1] and shape[1] % scale[1] == 0
    return grid_of(shape, scale, (1, shape[1] // scale[1])) if along_rows else None
