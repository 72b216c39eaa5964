"""One quantized weight of a GGUF file: its blocks, the scales and minima in them, and what may stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.families.gguf.block_types import Array, BlockType
from qinspect.inspector.formats.families.gguf.rows import stored_rows
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.formats.modular import QuantizedModule, record_of
from qinspect.inspector.formats.packed import PackedRows, levels_of, rows_of_bytes
from qinspect.inspector.formats.records import (
    OF_WEIGHTS,
    CodeArray,
    FloatArray,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Slice,
)

_READ_ELEMENTS = 1 << 22
"""Values whose scales are taken out of their blocks at a time."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Keys of what stands beside the blocks of a tensor, "" for what does not: a factor of all of it (of each expert),
    and the scale of what goes into it."""

    factor: str = ""
    input_scale: str = ""


class BlockModule(QuantizedModule):
    """A weight in blocks. n_heads: in how many heads its rows are interleaved, 0 for none. dtype: of its tensor."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, kind: BlockType, n_heads: int, beside: Beside, dtype: str
    ) -> None:
        super().__init__(checkpoint, weight, tuple(_records(checkpoint, weight, kind, beside, dtype)))
        self._kind = kind
        self._n_heads = n_heads
        self._factor = beside.factor

    def codes(self, start: int, stop: int) -> CodeArray:
        if start >= stop:
            return self.codes(0, 1)[:0]
        blocks = self._blocks(start, stop)
        codes = self._kind.codes(_flat(blocks)).reshape(len(blocks), -1)
        return codes[:, : -(-self.weight.shape[1] // self.weight.element.n_values)]

    def dequantize(self, start: int, stop: int) -> FloatArray:
        if start >= stop:
            return self.dequantize(0, 1)[:0]
        blocks = self._blocks(start, stop)
        values = self._kind.dequantize(_flat(blocks)).reshape(len(blocks), -1)[:, : self.weight.shape[1]]
        if self._factor:
            with np.errstate(all="ignore"):  # a factor that is no number is the file's
                values = values * self._number(self._factor)
        return values

    def packed(self, start: int, stop: int) -> PackedRows | None:
        kind = self._kind
        if kind.packing is None or self._factor or self.weight.shape[1] % kind.values:
            return None
        blocks = self._blocks(start, stop)
        flat, n_cells = _flat(blocks), self.weight.shape[1] // kind.group
        with np.errstate(all="ignore"):
            scales = (kind.of_levels or kind.scales)(flat).reshape(len(blocks), n_cells)
            minima = None if kind.minima is None else kind.minima(flat).reshape(len(blocks), n_cells)
        levels = levels_of(kind.element) if kind.levels is None else kind.levels
        rows = rows_of_bytes(blocks)
        return PackedRows(rows, self.weight.shape[1], kind.packing, levels, scales, kind.group, None, minima)

    def values(self, record: ScaleRecord) -> FloatArray:
        if record.key != self.weight.codes_key:
            return super().values(record)
        part = self._kind.scales if record.quantity is Quantity.SCALE else self._kind.minima
        assert part is not None
        n_rows, n_columns = self.weight.shape
        n_groups = -(-n_columns // self._kind.group)
        found = np.empty((n_rows, n_groups), np.float32)
        step = max(1, _READ_ELEMENTS // max(1, n_columns))
        for start in range(0, n_rows, step):
            blocks = self._blocks(start, min(n_rows, start + step))
            with np.errstate(all="ignore"):
                found[start : start + step] = part(_flat(blocks)).reshape(len(blocks), -1)[:, :n_groups]
        return found

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record.key != self.weight.codes_key

    def _blocks(self, start: int, stop: int) -> Array:
        """uint8 [rows, blocks, bytes], rows in the order of the original."""
        tensor = self.codes_tensor
        if not self._n_heads:
            return tensor.read_rows(start, stop)
        first, last, order = stored_rows(start, stop, self.weight.shape[0], self._n_heads)
        return tensor.read_rows(first, last)[order]

    def _number(self, key: str) -> np.float32:
        """The one number of this weight in an entry that has one for all, or one for each expert."""
        tensor = self.tensor(key)
        part = self.weight.slice
        return np.float32(tensor.read().reshape(-1)[0 if tensor.n_elements == 1 or part is None else part.index[0]])


def _flat(blocks: Array) -> Array:
    return blocks.reshape(-1, blocks.shape[-1])


def _records(
    checkpoint: Checkpoint, weight: QuantizedWeight, kind: BlockType, beside: Beside, dtype: str
) -> Iterator[ScaleRecord]:
    """The scales in the blocks and the minima, the factor of the whole, the scale of what goes in."""
    role, element, of = weight.role, weight.element, f"weight {weight.name}"
    shape = (weight.shape[0], -(-weight.shape[1] // kind.group))
    minima = kind.minima is not None
    stored = weight.codes_key, Kind.WEIGHT, of, element, weight.grid, dtype, shape
    yield ScaleRecord(
        role, *stored, signed=kind.signed, slice=weight.slice, reach=OF_WEIGHTS, may_be_zero=True, with_minimum=minima
    )
    if minima:
        yield ScaleRecord(
            f"{role}#minimum", *stored, Quantity.MINIMUM, signed=kind.signed, slice=weight.slice, reach=OF_WEIGHTS,
            may_be_zero=True,
        )  # fmt: skip
    if beside.factor:
        yield record_of(
            checkpoint, f"{role}#global", beside.factor, Kind.WEIGHT, of, element, PER_TENSOR,
            quantity=Quantity.GLOBAL_SCALE, slice=_part(checkpoint, beside.factor, weight),
        )  # fmt: skip
    if beside.input_scale:
        module = role.removesuffix(".weight")
        yield record_of(
            checkpoint, f"{module}:input", beside.input_scale, Kind.ACTIVATION, f"activation into {weight.name}",
            element, PER_TENSOR, slice=_part(checkpoint, beside.input_scale, weight),
        )  # fmt: skip


def _part(checkpoint: Checkpoint, key: str, weight: QuantizedWeight) -> Slice | None:
    """Which of the numbers of an entry is a weight's; None where it has one number alone."""
    tensor = checkpoint.tensor(key)
    return weight.slice if tensor is not None and tensor.n_elements > 1 else None
