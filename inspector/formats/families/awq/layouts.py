"""The layouts in which AWQ's tools keep codes, scales and zero points, by the kernel that reads them.

Each gives rows of [out, in], whichever way it is stored. O: outputs, I: inputs, G: groups, P: groups with padding.

| | qweight | scales | zero points |
|---|---|---|---|
| GEMM | int32 [I, O/8], nibbles in the order 0 2 4 6 1 3 5 7 | [G, O] | qzeros int32 [G, O/8], the same order |
| GEMV | int32 [O, I/8], in order | [O, P] | qzeros int32 [O, P/8], in order |
| GEMV_FAST, llm-awq | int16 [O/4, I], four rows interleaved | [P, O] | qzeros or scaled_zeros [P, O]: -scale * zero |
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.grouped import consecutive, dequantized
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.output_words import KERNEL_ORDER, PER_WORD, outputs_of, packing_of, words_of
from qinspect.inspector.formats.packed import NIBBLES, PackedRows, Packing, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import bytes_of, unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.stripes import Stripes

Array = NDArray[Any]
_IN_WORDS = packing_of(KERNEL_ORDER)
ROWS = 4
"""Interleaved in a word of GEMV_FAST."""
STEP = 64
"""Inputs that a row of GEMV_FAST has in a run."""
_RUN = 32


class AwqWeight(QuantizedModule):
    """A weight of 4 bits, [out, in]."""

    layout: ClassVar[str]

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...], n_groups: int,
        stripes: Stripes,
    ) -> None:  # fmt: skip
        """records: the scale, then what is taken off or added. n_groups: without padding. stripes: those of the
        checkpoint."""
        super().__init__(checkpoint, weight, records)
        self._n_groups = n_groups
        self._stripes = stripes

    @abstractmethod
    def _rows_of(self, record: ScaleRecord, start: int, stop: int) -> Array:
        """[rows, groups] of a record."""

    def values(self, record: ScaleRecord) -> FloatArray:
        return self._rows_of(record, 0, self.weight.shape[0])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        scales, others = (self._rows_of(r, start, stop) for r in self.records)
        group_of = consecutive(self.weight.shape[1], self.weight.grid.block[-1])
        if self.records[1].quantity is Quantity.ZERO_POINT:
            return dequantized(self.codes(start, stop), scales, others, group_of)
        values = dequantized(self.codes(start, stop), scales, 0, group_of)
        with np.errstate(all="ignore"):
            values += others.astype(np.float32)[:, group_of]
        return values

    def _packed(self, codes: Array, packing: Packing, start: int, stop: int, skipped: int = 0) -> PackedRows:
        scales, zeros = (singles(self._rows_of(r, start, stop)) for r in self.records)
        return PackedRows(
            rows_of_bytes(codes), self.weight.shape[1], packing, levels_of(self.weight.element), scales,
            self.weight.grid.block[-1], zeros, skipped=skipped, n_rows=stop - start,
        )  # fmt: skip


class Gemm(AwqWeight):
    """Codes packed along the outputs."""

    layout = "GEMM"

    def codes(self, start: int, stop: int) -> CodeArray:
        return self._outputs(self.weight.codes_key, start, stop)

    def _rows_of(self, record: ScaleRecord, start: int, stop: int) -> Array:
        if record.quantity is Quantity.ZERO_POINT:
            return self._outputs(record.key, start, stop)
        return self._stripes.rows(self.tensor(record.key), start, stop)

    def packed(self, start: int, stop: int) -> PackedRows | None:
        words = self._words(self.weight.codes_key, start, stop)
        return self._packed(words.astype("<u4", copy=False), _IN_WORDS, start, stop, start % PER_WORD)

    def _words(self, key: str, start: int, stop: int) -> NDArray[np.uint32]:
        return words_of(self._stripes, self.tensor(key), start, stop)

    def _outputs(self, key: str, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8[outputs, ...] of words [..., outputs / 8]."""
        return outputs_of(self._words(key, start, stop), start, stop, KERNEL_ORDER)


class Gemv(AwqWeight):
    """Codes packed along the inputs, in order; groups are padded."""

    layout = "GEMV"

    def codes(self, start: int, stop: int) -> CodeArray:
        return self._nibbles(self.weight.codes_key, start, stop, self.weight.shape[1])

    def _rows_of(self, record: ScaleRecord, start: int, stop: int) -> Array:
        if record.quantity is Quantity.ZERO_POINT:
            return self._nibbles(record.key, start, stop, self._n_groups)
        return self.tensor(record.key).read_rows(start, stop)[:, : self._n_groups]

    def packed(self, start: int, stop: int) -> PackedRows | None:
        words = bytes_of(self.tensor(self.weight.codes_key).read_rows(start, stop))
        return self._packed(words, NIBBLES, start, stop)

    def _nibbles(self, key: str, start: int, stop: int, n: int) -> NDArray[np.uint8]:
        return unpack(bytes_of(self.tensor(key).read_rows(start, stop)), 4, n)


class GemvFast(AwqWeight):
    """Four rows interleaved in words of 16 bits; the zero point is stored times -scale, in floats."""

    layout = "GEMV_FAST"

    def codes(self, start: int, stop: int) -> CodeArray:
        first, last = start // ROWS, -(-stop // ROWS)
        words = self.tensor(self.weight.codes_key).read_rows(first, last)
        nibbles = unpack(bytes_of(words), 4, ROWS * words.shape[1])
        runs = nibbles.reshape(len(words), -1, ROWS, STEP).transpose(0, 2, 1, 3)
        stored = runs.reshape(len(words) * ROWS, -1, 4, 2, 4)  # of 32 codes, number 8x + 2y + z lies at 8y + 4z + x
        codes = stored.transpose(0, 1, 4, 2, 3).reshape(len(words) * ROWS, -1)
        skipped = start - first * ROWS
        return codes[skipped : skipped + stop - start]

    def _rows_of(self, record: ScaleRecord, start: int, stop: int) -> Array:
        return self._stripes.rows(self.tensor(record.key), start, stop)[:, : self._n_groups]


def padded_groups(n_in: int, size: int) -> int:
    """Groups that GEMV and GEMV_FAST have room for: of small groups, a multiple of 16 or 32."""
    multiple = 1 if size >= 128 else 2 if size >= 64 else 4
    words = -(-(n_in // size) // PER_WORD)
    return -(-words // multiple) * multiple * PER_WORD
