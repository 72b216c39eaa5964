"""Codes of 4 bits in the order of the CPU's kernel that packed them: blocks of rows, in each its columns one after
another. How many rows a block has depends on the processor, and no entry says it: the codes do.

A group of columns is cut from its least to its largest number, so that each has a first and a last code; and weights
lie about zero, so that a group whose scale and minimum put zero low has low codes. Rows of others have so by chance.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Quantity, QuantizedWeight, ScaleRecord

Array = NDArray[Any]
_ORDERS = ((32, True), (64, True), (32, False), (16, False))
"""Rows of a block, and whether the two rows of a byte are half a block apart (else they are neighbours): AVX2, AVX-512,
no vectors, those of ARM."""
STEP = max(rows for rows, _ in _ORDERS)
_MIDDLE = np.float32(8)
_WHOLE = 0.9
"""The least share of groups with a first and a last code."""
_AHEAD, _SIGMAS = 0.2, 5
"""By how much more the codes of an order agree with where zero is than those of any other: a correlation, and how many
times what chance makes of it."""
_MOST_ROWS = 8 * STEP
"""Rows that are looked at."""


class KernelOrder(QuantizedModule):
    """(code - 8) * scale + minimum. Its first two records are scales and minima, stored beside each other, groups
    first: [groups, out, 2]."""

    def __init__(self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...]) -> None:
        super().__init__(checkpoint, weight, records)
        self._group = weight.grid.block[1]

    def codes(self, start: int, stop: int) -> CodeArray:
        return self._in_order(self._order, start, stop)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.codes(start, stop).astype(np.float32)
        values -= _MIDDLE
        scales, minima = (self._numbers(which, start, stop) for which in (0, 1))
        by_group = values.reshape(*scales.shape, self._group)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            by_group *= scales[..., None]
            by_group += minima[..., None]
        return values

    def values(self, record: ScaleRecord) -> FloatArray:
        if record in self.records[:2]:
            return self._numbers(int(record.quantity is Quantity.MINIMUM), 0, self.weight.shape[0])
        return super().values(record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return record not in self.records[:2]

    def _numbers(self, which: int, start: int, stop: int) -> Array:
        """float32[rows, groups] of the scales, or of the minima. Those of a group lie side by side for all rows."""
        tensor = self.tensor(self.records[0].key)
        n_groups, n_out, _ = tensor.shape
        if tensor.strides is not None:
            stored = tensor.read()[:, start:stop]
        else:
            width = 2 * tensor.dtype.bits // 8
            ranges = [(tensor.offset + (g * n_out + start) * width, (stop - start) * width) for g in range(n_groups)]
            raw = b"".join(tensor.file.read_ranges(ranges))
            stored = np.frombuffer(raw, tensor.dtype.to_numpy()).reshape(n_groups, stop - start, 2)
        return np.ascontiguousarray(stored[..., which].T.astype(np.float32))

    @cached_property
    def _order(self) -> tuple[int, bool]:
        """That in which codes lie about zero as scales and minima say. Raises CannotDequantize where none is sure."""
        n = min(self.weight.shape[0], _MOST_ROWS)
        found = [self._in_order(order, 0, n) for order in _ORDERS]
        fits = [self._fit(codes) for codes in found]
        best = max(range(len(fits)), key=fits.__getitem__)
        by_group = found[best].reshape(-1, self._group)
        ahead = max(_AHEAD, _SIGMAS / np.sqrt(len(by_group)))
        others = [fit for codes, fit in zip(found, fits, strict=True) if not np.array_equal(codes, found[best])]
        whole = float(((by_group == 0).any(axis=1) & (by_group == 15).any(axis=1)).mean())
        if whole < _WHOLE or fits[best] < max([0.0, *others]) + ahead:
            raise CannotDequantize(
                "lies in the order of the kernel that packed it, which its codes do not tell",
                file=self.checkpoint.path, key=self.weight.codes_key,
                expected=f"one of {', '.join(map(_said, _ORDERS))} that fits scales and minima better than the others",
                found=f"correlations of {', '.join(f'{fit:.2f}' for fit in fits)}; first and last code in {whole:.0%} "
                "of the groups",
            )  # fmt: skip
        return _ORDERS[best]

    def _fit(self, codes: CodeArray) -> float:
        """The correlation between the mean code of each group and where its scale and minimum put zero; 0 where there
        is none."""
        means = codes.reshape(len(codes), -1, self._group).mean(axis=2, dtype=np.float64).reshape(-1)
        scales, minima = (self._numbers(which, 0, len(codes)).astype(np.float64).reshape(-1) for which in (0, 1))
        with np.errstate(all="ignore"):
            zeros = -minima / scales
            good = np.isfinite(zeros)
            found = np.corrcoef(means[good], zeros[good])[0, 1] if good.sum() > 1 else 0.0
        return float(found) if np.isfinite(found) else 0.0

    def _in_order(self, order: tuple[int, bool], start: int, stop: int) -> CodeArray:
        """uint8[rows, columns] as an order has them. The rows of the last block may be fewer: then two rows of a byte
        are neighbours."""
        rows, apart = order
        columns = self.weight.shape[1]
        first, last = start // rows * rows, min(self.weight.shape[0], -(-stop // rows) * rows)
        width = columns // 2
        stored = self.tensor(self.weight.codes_key).read_range(first * width, last * width)
        found = np.empty((last - first, columns), np.uint8)
        for at in range(0, last - first, rows):
            n = min(rows, last - first - at)
            block = stored[at * width : (at + n) * width].reshape(columns, n // 2)
            both = unpack(block, 4, n)  # of each column, the two rows of each byte
            by_row = both if not apart or n < rows else np.concatenate((both[:, ::2], both[:, 1::2]), axis=1)
            found[at : at + n] = by_row.T
        return found[start - first : stop - first]


def _said(order: tuple[int, bool]) -> str:
    rows, apart = order
    return f"blocks of {rows} rows, {'halves' if apart else 'neighbours'} in a byte"
