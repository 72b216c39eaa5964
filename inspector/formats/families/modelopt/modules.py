"""How the stored numbers of a matrix become codes and values: the library's arithmetic, in float32, in its order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.element import Element
from qinspect.inspector.formats.families.modelopt.layouts import EXPONENTS, FP4, Layout
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.packed import (
    BYTES,
    NIBBLES,
    PackedRows,
    Packing,
    levels_of,
    numbers_of_bytes,
    rows_of_bytes,
    singles,
)
from qinspect.inspector.formats.packing import signed, unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Quantity, QuantizedWeight, ScaleRecord

_PAIRS_OF_ROWS = Packing(4, shifts=(0, 4))


@dataclass(frozen=True, slots=True)
class Stored:
    """The tensors of one matrix, or the parts of them that are its. codes, steps: output channels first. second: the
    scale of all scales. together: rows and columns that share a scale. low_rank: what is added, b @ a,
    as (a [rank, I], b [O, rank]). factor: what each input channel is multiplied by before it is quantized, [I]."""

    layout: Layout
    codes: Tensor
    steps: Tensor
    second: Tensor | None = None
    together: tuple[int, int] = (1, 1)
    low_rank: tuple[Tensor, Tensor] | None = None
    factor: Tensor | None = None


class Matrix(QuantizedModule):
    """One weight, [O, I]."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...], stored: Stored
    ) -> None:
        super().__init__(checkpoint, weight, records)
        self.stored = stored

    def codes(self, start: int, stop: int) -> CodeArray:
        stored, columns = self.stored, self.weight.shape[1]
        match stored.layout:
            case Layout.INT4 | Layout.INT4_FP8:
                return _rows_of_pairs(stored.codes, start, stop)
            case Layout.NVFP4 | Layout.MXFP4:
                return unpack(np.ascontiguousarray(stored.codes.read_rows(start, stop)), 4, columns)
            case Layout.INT8:
                return stored.codes.read_rows(start, stop)
        return np.ascontiguousarray(stored.codes.read_rows(start, stop)).view(np.uint8)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        stored, columns = self.stored, self.weight.shape[1]
        levels = _levels(stored.layout.element)
        with np.errstate(all="ignore"):  # NaN and Inf among the scales are the file's
            match stored.layout:
                case Layout.NVFP4 | Layout.MXFP4:
                    packed = stored.codes.read_rows(start, stop)
                    values = _pairs_of_fp4(stored.layout)[packed].reshape(stop - start, columns)
                    return _by_groups(values, self._steps(start, stop), stored.together[1])
                case Layout.MXFP8:
                    return _by_groups(levels[self.codes(start, stop)], self._steps(start, stop), stored.together[1])
                case Layout.INT4:
                    numbers = self.codes(start, stop).astype(np.float32)
                    return _by_groups(numbers, self._steps(start, stop), stored.together[1])
                case Layout.INT4_FP8:
                    return self._through_fp8(start, stop)
                case Layout.FP8_BLOCK:
                    return self._by_tiles(levels[self.codes(start, stop)], start)
                case Layout.INT8:
                    return self.codes(start, stop).astype(np.float32) * self._by_row(start, stop)
            values = levels[self.codes(start, stop)]
            values *= self._by_row(start, stop)
        return values

    @property
    def is_effective(self) -> bool:
        return self.stored.low_rank is None and self.stored.factor is None

    def packed(self, start: int, stop: int) -> PackedRows | None:
        stored, columns = self.stored, self.weight.shape[1]
        levels, width, packing, of_steps = levels_of(stored.layout.element), stored.together[1], BYTES, None
        with np.errstate(all="ignore"):
            match stored.layout:
                case Layout.INT4:
                    return self._packed_pairs(start, stop)
                case Layout.NVFP4 | Layout.MXFP4:
                    packing, (steps, of_steps) = NIBBLES, self._steps_as_stored(start, stop)
                    if stored.layout is Layout.NVFP4:
                        levels = levels + np.float32(0)
                case Layout.MXFP8:
                    steps, of_steps = self._steps_as_stored(start, stop)
                case Layout.FP8_BLOCK:
                    steps = self._tile_rows(start, stop)
                case Layout.FP8 | Layout.FP8_CHANNEL | Layout.INT8:
                    steps, width = self._by_row(start, stop).reshape(-1, 1), columns
                case _:
                    return None
        codes = rows_of_bytes(stored.codes.read_rows(start, stop))
        return PackedRows(codes, columns, packing, levels, steps, width, of_scales=of_steps)

    def _packed_pairs(self, start: int, stop: int) -> PackedRows:
        first = start // 2
        pairs = rows_of_bytes(self.stored.codes.read_rows(first, -(-stop // 2)))
        return PackedRows(
            pairs, self.weight.shape[1], _PAIRS_OF_ROWS, levels_of(self.stored.layout.element),
            self._steps(start, stop), self.stored.together[1], skipped=start - 2 * first, n_rows=stop - start,
        )  # fmt: skip

    def packed_effective(self, start: int, stop: int) -> PackedRows | None:
        found = self.packed(start, stop) if self.stored.low_rank is None else None
        if found is None or self.stored.factor is None:
            return found
        return replace(found, factors=self.stored.factor.read().astype(np.float32).reshape(-1))

    def effective(self, start: int, stop: int) -> FloatArray:
        values = self.dequantize(start, stop)
        with np.errstate(all="ignore"):
            if self.stored.low_rank is not None:
                a, b = self.stored.low_rank
                # In float64 the product does not depend on how many rows are read at a time.
                added = b.read_rows(start, stop).astype(np.float64) @ a.read().astype(np.float64)
                values = values + added.astype(np.float32)
            if self.stored.factor is not None:
                values = values * self.stored.factor.read().astype(np.float32)
        return values

    def values(self, record: ScaleRecord) -> FloatArray:
        if record.role != self.weight.role or record.quantity is not Quantity.SCALE:
            return super().values(record)
        stored = self.stored
        numbers = stored.steps.read()
        if stored.steps.dtype.name in EXPONENTS:
            numbers = _powers(np.ascontiguousarray(numbers).view(np.uint8))
        if stored.layout is Layout.FP8_BLOCK:
            return numbers.reshape(_tiles(self.weight.shape, stored.together))
        return numbers

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        stored = self.stored
        if record.role != self.weight.role or record.quantity is not Quantity.SCALE:
            return True
        of_numbers = stored.steps.dtype.name not in EXPONENTS and stored.layout is not Layout.FP8_BLOCK
        return of_numbers and stored.steps.strides is None and stored.steps.shape == record.shape

    def _steps(self, start: int, stop: int) -> FloatArray:
        """float32[rows, groups], with the scale of all scales in it."""
        stored = self.stored
        if stored.steps.dtype.name in EXPONENTS:
            return _powers(np.ascontiguousarray(stored.steps.read_rows(start, stop)).view(np.uint8))
        steps = singles(stored.steps.read_rows(start, stop))
        if stored.second is not None and stored.layout is Layout.NVFP4:
            steps = steps * self._second
        return steps

    def _steps_as_stored(self, start: int, stop: int) -> tuple[Any, FloatArray | None]:
        """The bytes of small floats or exponents, uint8[rows, groups], and what each of them stands for, with the scale
        of all scales in it; `_steps` where they are none."""
        stored = self.stored
        if stored.steps.dtype.name in EXPONENTS:
            table = _powers_of_two()
        elif stored.steps.dtype.bits == 8:
            table = numbers_of_bytes(stored.steps.dtype.to_numpy())
        else:
            return self._steps(start, stop), None
        if stored.second is not None and stored.layout is Layout.NVFP4:
            table = table * self._second
        return np.ascontiguousarray(stored.steps.read_rows(start, stop)).view(np.uint8), table

    @property
    def _second(self) -> np.float32:
        assert self.stored.second is not None
        return np.float32(self.stored.second.read().reshape(-1)[0])

    def _by_row(self, start: int, stop: int) -> FloatArray:
        """float32, one number or one a row, [rows, 1]."""
        steps = self.stored.steps
        if steps.n_elements == 1:
            return steps.read().reshape(()).astype(np.float32)
        return steps.read_rows(start, stop).reshape(-1, 1).astype(np.float32)

    def _by_tiles(self, values: FloatArray, start: int) -> FloatArray:
        of_rows = self._tile_rows(start, start + len(values))
        return values * of_rows[:, np.arange(self.weight.shape[1]) // self.stored.together[1]]

    def _tile_rows(self, start: int, stop: int) -> FloatArray:
        """float32[rows, tiles]."""
        tiles = self.stored.steps.read().astype(np.float32).reshape(_tiles(self.weight.shape, self.stored.together))
        of_rows: FloatArray = tiles[np.arange(start, stop) // self.stored.together[0]]
        return of_rows

    def _through_fp8(self, start: int, stop: int) -> FloatArray:
        """The values are rounded to float8 for the product: to a multiple of the second scale."""
        import ml_dtypes  # takes long, and most models have none of these

        numbers = self.codes(start, stop).astype(np.float32)
        exact = _by_groups(numbers, self._steps(start, stop), self.stored.together[1])
        rounded = (exact / self._second).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
        return rounded * self._second


def _tiles(shape: tuple[int, ...], tile: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // tile[0]), -(-shape[1] // tile[1])


def _rows_of_pairs(packed: Tensor, start: int, stop: int) -> CodeArray:
    """int8[rows, I] out of bytes [O/2, I] that hold two rows each."""
    first = start // 2
    pairs = packed.read_rows(first, -(-stop // 2))
    codes = np.empty((2 * pairs.shape[0], pairs.shape[1]), np.uint8)
    codes[0::2] = pairs & 15
    codes[1::2] = pairs >> 4
    return signed(codes[start - 2 * first : stop - 2 * first], 4)


def _by_groups(values: FloatArray, steps: FloatArray, group: int) -> FloatArray:
    """Each value times the step of its row and group of columns."""
    rows, columns = values.shape
    n = steps.shape[1]
    if n * group == columns:
        return (values.reshape(rows, n, group) * steps[:, :, None]).reshape(rows, columns)
    return values * steps[:, np.arange(columns) // group]


def _powers(exponents: Any) -> FloatArray:
    """float32 of bytes that are exponents, 127 of them being 1 and 255 no number."""
    found: FloatArray = _powers_of_two()[exponents]
    return found


@lru_cache(1)
def _powers_of_two() -> FloatArray:
    return np.append(np.ldexp(np.float32(1), np.arange(255) - 127), np.nan).astype(np.float32)


@lru_cache(8)
def _levels(element: Element) -> FloatArray:
    """float32: what each pattern of a small float stands for."""
    found = element.values(np.arange(1 << element.bits))
    assert found is not None
    return found


@lru_cache(2)
def _pairs_of_fp4(layout: Layout) -> FloatArray:
    """float32[256, 2]: the two numbers in a byte, the one in the low half first. The library has no negative zero in
    its table for NVFP4."""
    levels, both = _levels(FP4), np.arange(256)
    if layout is Layout.NVFP4:
        levels = levels + np.float32(0)
    return np.stack([levels[both & 15], levels[both >> 4]], axis=-1)
