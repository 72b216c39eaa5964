"""A weight whose codes have a type of their own: one number each, with a scale for all, for each place along an axis,
or for blocks along one.

value = (code - zero point) * scale, as DequantizeLinear has it: the difference in whole numbers, the product in
float32, rounded to the type that comes out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.dtypes import DTYPES
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.formats.grid import PER_TENSOR, Grid
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.numbers import read_numbers
from qinspect.inspector.formats.packed import BYTES, PackedRows, Packing, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.stripes import Stripes

ROUNDED = ("float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a weight lies in its entries.

    scale, zero: keys; "" where there are no zero points. turned: the last two axes of the codes, and of scales of
    blocks, are stored the other way round. axes: of each axis of the scales, in logical order, which axis of the weight
    it is, and of how many places one number is. rounded: the type that values are rounded to, "" for float32. cells:
    what has a number each, where that is no place along an axis. outer: the key of the scale of scales; "" where there
    is none.
    """

    scale: str
    zero: str
    turned: bool
    axes: tuple[tuple[int, int], ...]
    rounded: str = ""
    cells: tuple[str, ...] = ()
    outer: str = ""

    @property
    def grid(self) -> Grid:
        """Which elements share a scale."""
        if not self.axes:
            return PER_TENSOR
        if self.cells:
            return Grid(cells=self.cells)
        return Grid(tuple(axis for axis, _ in self.axes), tuple(block for _, block in self.axes))


class TypedWeight(QuantizedModule):
    """One weight."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...], layout: Layout,
        stripes: Stripes,
    ) -> None:  # fmt: skip
        super().__init__(checkpoint, weight, records)
        self._layout = layout
        self._stripes = stripes

    def codes(self, start: int, stop: int) -> CodeArray:
        found = self._rows(self.codes_tensor, start, stop)
        if self.weight.element.kind is ElementKind.FLOAT:
            return found.view(np.uint8)
        return found if found.dtype.kind in "iu" else found.astype(np.int8 if self.weight.element.q_min else np.uint8)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        found = self._rows(self.codes_tensor, start, stop)
        if self.weight.element.kind is ElementKind.FLOAT:
            values = singles(found)
        else:
            whole = found.astype(np.int64)
            if self._layout.zero:
                whole = whole - self._spread(self._layout.zero, start, stop).astype(np.int64)
            values = whole.astype(np.float32)
        with np.errstate(all="ignore"):  # a scale in the file that is not finite is the file's
            values = values * self._times_outer(self._spread(self._layout.scale, start, stop))
            if self._layout.rounded:
                values = values.astype(DTYPES[self._layout.rounded].to_numpy()).astype(np.float32)
        return values

    def packed(self, start: int, stop: int) -> PackedRows | None:
        weight, axes = self.weight, self._layout.axes
        in_rows = not axes or axes[0] == (0, 1)
        if len(weight.shape) != 2 or weight.bits > 8 or not in_rows or self._layout.rounded or not weight.shape[1]:
            return None
        codes, packing, levels = self._packed_codes(start, stop)
        scales = self._times_outer(self._cells(self._layout.scale, start, stop))
        zeros = self._cells(self._layout.zero, start, stop) if self._layout.zero else None
        width = axes[1][1] if len(axes) == 2 else weight.shape[1]
        return PackedRows(codes, weight.shape[1], packing, levels, scales, width, zeros)

    def _packed_codes(self, start: int, stop: int) -> tuple[CodeArray, Packing, FloatArray]:
        """(codes of rows, how they lie in bytes, what each pattern stands for): as they are stored where rows are whole
        bytes, else a byte each."""
        tensor, levels = self.codes_tensor, levels_of(self.weight.element)
        if not tensor.dtype.packed:
            return rows_of_bytes(self._rows(tensor, start, stop)), BYTES, levels
        bits, n = tensor.dtype.bits, tensor.shape[1]
        if not self._layout.turned and n * bits % 8 == 0:
            return _in_bytes(tensor, n * bits // 8).read_rows(start, stop), Packing(bits), levels
        codes = np.ascontiguousarray(self._rows(tensor, start, stop)).view(np.uint8)
        return codes, BYTES, np.resize(levels, 256)

    def _times_outer(self, scales: FloatArray) -> FloatArray:
        """float32: scales as they multiply codes. Those that are codes themselves come out of a DequantizeLinear."""
        found = scales.astype(np.float32)
        if not self._layout.outer:
            return found
        outer = read_numbers(self.checkpoint, self._layout.outer).reshape(())
        with np.errstate(all="ignore"):
            product = found * outer.astype(np.float32)
            return product.astype(outer.dtype).astype(np.float32)

    def _cells(self, key: str, start: int, stop: int) -> FloatArray:
        """float32[rows, cells], or [1, 1] where one number is for all."""
        found = np.ascontiguousarray(self._numbers(key, start, stop), np.float32)
        return found.reshape(1, 1) if not self._layout.axes else found.reshape(stop - start, -1)

    def values(self, record: ScaleRecord) -> FloatArray:
        """In the order of the weight's axes."""
        found = read_numbers(self.checkpoint, record.key)
        return found.swapaxes(-1, -2) if self._turned(found.ndim) else found

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return not self._turned(len(record.shape))

    def _turned(self, n_dims: int) -> bool:
        """Whether numbers of so many axes are stored the other way round: those of blocks."""
        return self._layout.turned and n_dims > 1 and not self._layout.cells

    def _rows(self, tensor: Tensor, start: int, stop: int) -> FloatArray:
        """Rows of codes, or of scales of blocks, in logical order."""
        if not self._layout.turned:
            return tensor.read_rows(start, stop)
        if len(tensor.shape) != 2:
            return tensor.read_rows(start, stop).swapaxes(-1, -2)
        if not tensor.dtype.packed:
            return self._stripes.rows(tensor, start, stop)
        bits = tensor.dtype.bits
        per_byte = 8 // bits
        if 8 % bits or tensor.shape[1] % per_byte:  # rows share bytes
            return tensor.read().T[start:stop]
        first = start // per_byte
        found = self._stripes.rows(_in_bytes(tensor, tensor.shape[1] // per_byte), first, -(-stop // per_byte))
        apart = unpack(found[..., None], bits, per_byte).swapaxes(1, 2)
        codes = np.ascontiguousarray(apart).reshape(-1, tensor.shape[0])[start - first * per_byte :][: stop - start]
        return codes.view(tensor.dtype.to_numpy())

    def _numbers(self, key: str, start: int, stop: int) -> FloatArray:
        """Scales or zero points of some rows of the weight, in logical order, one for each cell."""
        axes, tensor = self._layout.axes, self.checkpoint.tensor(key)
        if not axes or tensor is None:
            return read_numbers(self.checkpoint, key).reshape(())
        if self._turned(len(tensor.shape)):
            block = axes[0][1]
            return self._rows(tensor, start // block, -(-stop // block))
        if axes[0][0]:
            return tensor.read()
        block = axes[0][1]
        return tensor.read_rows(start // block, -(-stop // block))

    def _spread(self, key: str, start: int, stop: int) -> FloatArray:
        """The same, of a shape that goes with that of the rows."""
        found, axes = self._numbers(key, start, stop), self._layout.axes
        if not axes:
            return found
        sizes = dict(zip((axis for axis, _ in axes), found.shape, strict=True))
        found = found.reshape([sizes.get(i, 1) for i in range(len(self.weight.shape))])
        for axis, block in axes:
            if block > 1:
                found = np.repeat(found, block, axis)
                skipped = start % block if axis == 0 else 0
                n = stop - start if axis == 0 else self.weight.shape[axis]
                found = found.take(range(skipped, skipped + n), axis)
        return found


def _in_bytes(tensor: Tensor, n: int) -> Tensor:
    """A handle on the bytes of a matrix whose rows have `n` of them."""
    return Tensor(tensor.name, DTYPES["uint8"], (tensor.shape[0], n), None, tensor.file, tensor.offset)
