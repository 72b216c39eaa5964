"""Weights of ONNX Runtime's own operations MatMulNBits and GatherBlockQuantized: each row is one stream of codes of a
few bits, in blocks with a scale each, and perhaps a zero point.

value = (code - zero point) * scale in float32 (onnxruntime/docs/ContribOperators.md). Streams of 3, 5, 6 and 7 bits are
read as the documentation has them: no kernel of the library runs on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.grouped import consecutive, dequantized, stored_index
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.packed import PackedRows, Packing, in_order, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Quantity, QuantizedWeight, ScaleRecord


@dataclass(frozen=True, slots=True)
class Blocks:
    """Entries of one weight. zero: "" where the middle of the codes stands for zero. zero_bits: of a packed zero point;
    0 where they are numbers of their own. index: which group a column is in; "" where they follow each other."""

    scale: str
    zero: str
    zero_bits: int
    index: str
    block: int


class BlockWeight(QuantizedModule):
    """One weight [out, in]."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...], blocks: Blocks,
        rows: Tensor,
    ) -> None:  # fmt: skip
        """rows: its codes as uint8[out, bytes]."""
        super().__init__(checkpoint, weight, records)
        self._blocks = blocks
        self._stored = rows
        self._n_groups = -(-weight.shape[1] // blocks.block)

    def codes(self, start: int, stop: int) -> CodeArray:
        return unpack(self._bytes(start, stop), self.weight.bits, self.weight.shape[1])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        scales, zeros = self._per_group(self._blocks.scale, start, stop), self._zeros(start, stop)
        middle = 1 << (self.weight.bits - 1)
        return dequantized(self.codes(start, stop), scales, middle if zeros is None else zeros, self._group_of())

    def packed(self, start: int, stop: int) -> PackedRows | None:
        zeros, width = self._zeros(start, stop), self._blocks.block
        scales = singles(self._per_group(self._blocks.scale, start, stop))
        zeros = None if zeros is None else np.ascontiguousarray(zeros, np.float32)
        return PackedRows(
            self._bytes(start, stop), self.weight.shape[1], Packing(self.weight.bits), levels_of(self.weight.element),
            np.ascontiguousarray(scales), width, zeros, cell_of=in_order(self._group_of(), width),
        )  # fmt: skip

    def values(self, record: ScaleRecord) -> FloatArray:
        """[out, groups]."""
        if record.quantity is Quantity.ZERO_POINT:
            found = self._zeros(0, self.weight.shape[0])
            assert found is not None
            return found
        return self._per_group(record.key, 0, self.weight.shape[0])

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record.shape == (self.weight.shape[0], self._n_groups)

    def _bytes(self, start: int, stop: int) -> CodeArray:
        return rows_of_bytes(self._stored.read_rows(start, stop))

    def _rows(self, key: str, width: int, start: int, stop: int) -> FloatArray:
        """Rows of an entry that may be stored flat."""
        tensor = self.tensor(key)
        rows = Tensor(key, tensor.dtype, (self.weight.shape[0], width), None, tensor.file, tensor.offset)
        return rows.read_rows(start, stop)

    def _per_group(self, key: str, start: int, stop: int) -> FloatArray:
        return self._rows(key, self._n_groups, start, stop)

    def _zeros(self, start: int, stop: int) -> FloatArray | None:
        bits = self._blocks.zero_bits
        if not self._blocks.zero:
            return None
        if not bits:
            return self._per_group(self._blocks.zero, start, stop)
        packed = self._rows(self._blocks.zero, -(-self._n_groups * bits // 8), start, stop)
        return unpack(packed, bits, self._n_groups)

    def _group_of(self) -> CodeArray:
        n_in = self.weight.shape[1]
        if self._blocks.index:
            return stored_index(self.checkpoint, self._blocks.index, n_in, self._n_groups)
        return consecutive(n_in, self._blocks.block)
