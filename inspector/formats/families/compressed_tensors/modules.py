"""The three layouts of a weight, read by rows: integers in 32-bit words, a code an element, two FP4 codes a byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.families.compressed_tensors.steps import (
    E8M0,
    Spread,
    as_floats,
    group_of_columns,
    numbers,
)
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.numbers import numbers_of
from qinspect.inspector.formats.packed import (
    BYTES,
    NIBBLES,
    PackedRows,
    Packing,
    in_order,
    is_coded,
    levels_of,
    numbers_of_bytes,
    rows_of_bytes,
    singles,
)
from qinspect.inspector.formats.packing import bytes_of, unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, Quantity, QuantizedWeight, ScaleRecord

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Words:
    """How codes of fewer than 32 bits lie in 32-bit words. dense: one stream of bits, where a code may reach into the
    next word; else as many whole codes a word as fit, and the rest of it empty, as releases before 0.17 wrote it."""

    bits: int
    dense: bool = True

    def of(self, n: int) -> int:
        """Words that `n` codes take."""
        return -(-n * self.bits // 32) if self.dense else -(-n // (32 // self.bits))

    @property
    def alike(self) -> bool:
        """Whether both ways are the same."""
        return 32 % self.bits == 0

    def unpack(self, words: Array, n: int) -> NDArray[np.uint8]:
        """uint8[..., n] of int32[..., words]."""
        if self.dense or self.alike:
            return unpack(bytes_of(words), self.bits, n)
        each = 32 // self.bits
        shifts = np.arange(each, dtype=np.uint32) * np.uint32(self.bits)
        fields = (np.ascontiguousarray(words).view(np.uint32)[..., None] >> shifts) & np.uint32((1 << self.bits) - 1)
        flat: NDArray[np.uint8] = fields.astype(np.uint8).reshape(*words.shape[:-1], words.shape[-1] * each)[..., :n]
        return flat

    def unpack_rows(self, tensor: Tensor, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8[stop - start, ...] of int32[words, ...] whose codes are packed along the first axis, reading the words
        that rows `start` to `stop` are in."""
        each = 32 if self.dense else 32 // self.bits
        base = start // each * each
        words = tensor.read_rows(self.of(base), self.of(stop))
        codes = self.unpack(np.ascontiguousarray(words.T), stop - base)
        return codes.T[start - base :]


class Module(QuantizedModule):
    """scale: the tensor of scales. spread: how they lie. global_scale: the number that they are divided by."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        weight: QuantizedWeight,
        records: tuple[ScaleRecord, ...],
        scale: Tensor,
        spread: Spread,
        zero_point: ZeroPoints | None = None,
        global_scale: Tensor | None = None,
    ) -> None:
        super().__init__(checkpoint, weight, records)
        self._scale = scale
        self._spread = spread
        self._zero_point = zero_point
        self._global = global_scale

    def _steps(self, start: int, stop: int, of_column: Array | None) -> FloatArray:
        return self._per_row(self._spread.over_columns(self._of_rows(start, stop), of_column))

    def _of_rows(self, start: int, stop: int) -> FloatArray:
        """The numbers that rows `start` to `stop` take, as `Spread.rows` gives them."""
        return self._by_global(numbers(self._spread.rows(self._scale, start, stop)))

    def _by_global(self, steps: FloatArray) -> FloatArray:
        return steps if self._global is None else steps / numbers(self._global.read().reshape(()))

    def _per_row(self, found: Array) -> Array:
        """Numbers that are one a row in the shape that numpy spreads over a weight of any number of dimensions."""
        n = len(self.weight.shape)
        return found.reshape(-1, *(1,) * (n - 1)) if found.ndim and (n != 2 or found.ndim == 1) else found

    def _of_column(self) -> Array | None:
        key = self.weight.grid.group_index
        if not key:
            return None
        return group_of_columns(self.checkpoint, key, self._spread.n_columns, self._spread.n_groups)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        with np.errstate(all="ignore"):  # NaN and Inf scales are the file's
            found = self._numbers(start, stop)
            of_column = self._of_column()
            if self._zero_point is not None:
                zeros = self._spread.over_columns(self._zero_point.rows(start, stop), of_column)
                found -= self._per_row(zeros)
            found *= self._steps(start, stop, of_column)
        return found

    def _numbers(self, start: int, stop: int) -> FloatArray:
        """float32 of its own: the codes as numbers, zero points not taken off."""
        codes = self.codes(start, stop).astype(np.float32)
        offset = self.weight.element.offset
        if offset:
            codes -= np.float32(offset)
        return codes

    def _in_bytes(self, start: int, stop: int) -> tuple[Array, Packing] | None:
        """The rows of its codes as they are stored; None where they are in no such order."""
        return None

    def packed(self, start: int, stop: int) -> PackedRows | None:
        found = self._in_bytes(start, stop) if len(self.weight.shape) == 2 else None
        if found is None:
            return None
        zeros = of_scales = cell_of = None
        stored = as_floats(self._spread.rows(self._scale, start, stop))
        with np.errstate(all="ignore"):
            if is_coded(stored.dtype):
                stored, of_scales = stored.view(np.uint8), self._by_global(numbers_of_bytes(stored.dtype))
            else:
                stored = self._by_global(singles(stored))
        steps, width = self._spread.in_cells(stored)
        if self._zero_point is not None:
            zeros, of_zeros = self._zero_point.spread.in_cells(self._zero_point.rows(start, stop))
            if of_zeros != width:
                return None
        of_column = self._of_column()
        if of_column is not None and width < self.weight.shape[1]:
            cell_of = in_order(of_column, width)
        return PackedRows(
            rows_of_bytes(found[0]), self.weight.shape[1], found[1], levels_of(self.weight.element), steps, width,
            zeros, of_scales=of_scales, cell_of=cell_of,
        )  # fmt: skip

    def values(self, record: ScaleRecord) -> FloatArray:
        if record.kind is not Kind.WEIGHT:
            return numbers_of(self.checkpoint, record)
        if record.quantity is Quantity.ZERO_POINT and self._zero_point is not None:
            return self._zero_point.rows(0, self.weight.shape[0])
        if record.dtype in E8M0 and record.quantity is Quantity.SCALE:
            return numbers(self._scale.read())
        return numbers_of(self.checkpoint, record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        of_weight = record.kind is Kind.WEIGHT
        return not (of_weight and (record.quantity is Quantity.ZERO_POINT or record.dtype in E8M0))


@dataclass(frozen=True, slots=True)
class ZeroPoints:
    """The zero points of a weight, in the terms of its codes. words: how they are packed, along the first axis; None
    where there is one an element. offset: what is added to those, where the codes are stored with an offset and they
    are not."""

    tensor: Tensor
    spread: Spread
    words: Words | None = None
    offset: int = 0

    @property
    def packed(self) -> str:
        """How the entry holds them, where its numbers are not they."""
        if self.words is not None:
            dense = "" if self.words.dense or self.words.alike else ", padded"
            return f"{self.words.bits} bits in words{dense}"
        return f"{self.offset} less" if self.offset else ""

    def rows(self, start: int, stop: int) -> FloatArray:
        """float32, as `Spread.rows` gives them."""
        if self.words is not None:
            return self.words.unpack_rows(self.tensor, start, stop).astype(np.float32)
        found = self.spread.rows(self.tensor, start, stop).astype(np.float32)
        return found + np.float32(self.offset) if self.offset else found


class InWords(Module):
    """`weight_packed` int32 [out, words]: integers with an offset of half their range."""

    def __init__(self, words: Words, *parts: Any) -> None:
        super().__init__(*parts)
        self._words = words

    def codes(self, start: int, stop: int) -> CodeArray:
        return self._words.unpack(self.codes_tensor.read_rows(start, stop), self.weight.shape[1])

    def _in_bytes(self, start: int, stop: int) -> tuple[Array, Packing] | None:
        if self._words.bits > 8 or not (self._words.alike or self._words.dense):
            return None
        words = self.codes_tensor.read_rows(start, stop)
        return words.astype(words.dtype.newbyteorder("<"), copy=False), Packing(self._words.bits)


class Whole(Module):
    """`weight` int8 or float8 [out, in]: one code an element."""

    def codes(self, start: int, stop: int) -> CodeArray:
        found = self.codes_tensor.read_rows(start, stop)
        return found if found.dtype == np.int8 else found.view(np.uint8)

    def _numbers(self, start: int, stop: int) -> FloatArray:
        return self.codes_tensor.read_rows(start, stop).astype(np.float32)

    def _in_bytes(self, start: int, stop: int) -> tuple[Array, Packing] | None:
        return self.codes_tensor.read_rows(start, stop), BYTES


_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


class TwoAByte(Module):
    """`weight_packed` uint8 [out, in / 2]: FP4, the first of two in the low half."""

    def codes(self, start: int, stop: int) -> CodeArray:
        return unpack(self.codes_tensor.read_rows(start, stop), 4, self.weight.shape[1])

    def _numbers(self, start: int, stop: int) -> FloatArray:
        found: FloatArray = _E2M1[self.codes(start, stop)]
        return found

    def _in_bytes(self, start: int, stop: int) -> tuple[Array, Packing] | None:
        return self.codes_tensor.read_rows(start, stop), NIBBLES
