"""Codes of some rows of one weight, in the form in which they are counted, and the scales over them.

Sixteen bits at a time are counted: four codes of four bits, two of eight. What a word of 32 bits is worth looking at
for, and how often each code occurs, both follow from that one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import CannotRead, QinspectError
from qinspect.inspector.formats import Format, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.formats.grouped import stored_index
from qinspect.kernels.packing import PackedRows

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

COUNTED_BITS = 8
"""Wider codes are not counted."""
MOST = 1 << 25
"""Codes of a row of tiles, which are read together."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The groups of a piece, each of some columns of one row: of a tile of more rows, a part.

    zero: bool[rows, cells], whether all its codes stand for zero. scales: float[rows or 1, cells].
    """

    zero: Bools
    scales: Array


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows of codes. data: uint8[n], patterns of the codes, `per_byte` in each byte. n: codes. cells: None where
    nothing can be said of groups."""

    data: Bytes
    per_byte: int
    n: int
    cells: Cells | None


class Reader:
    """Reads one weight in pieces. records: of its scale_roles. Scales and zero points that a family does not give with
    its rows are read once, whole."""

    def __init__(self, fmt: Format, weight: QuantizedWeight, records: list[ScaleRecord]) -> None:
        self.fmt, self.weight, self.element = fmt, weight, weight.element
        self.n_columns = int(np.prod(weight.shape[1:], dtype=np.int64)) if weight.shape else 1
        self._records = records
        self._zeros_of_codes = _patterns_of_zero(weight.element)
        self._has_minimum = any(r.quantity is Quantity.MINIMUM or r.with_minimum for r in records)
        self._stored: tuple[Array, Array | None, Array, Array | None] | None = None
        self._knows_cells = not self._has_minimum and self._tile is not None and self._tile[0] * self.n_columns <= MOST

    @property
    def per_byte(self) -> int:
        """Codes in a byte of a piece."""
        return 8 // self.element.bits if self.element.bits in (1, 2, 4, 8) else 1

    @property
    def _tile(self) -> tuple[int, int] | None:
        """Rows and columns of a cell of the finest scale; None where cells are no rectangles of the matrix."""
        grid = self.weight.grid
        if grid.cells or grid.parts or grid.n_dims is not None:
            return None
        if grid.flattened:
            size = grid.block[0]
            return (1, size) if self.n_columns % size == 0 else None
        if not grid.axes:
            return None
        if grid.axes == (0,) and len(grid.block) == 1:
            return grid.block[0], self.n_columns
        if grid.axes == (0, 1) and len(grid.block) == 2 and len(self.weight.shape) == 2:
            return grid.block[0], grid.block[1]
        return None

    @property
    def rows_of_cell(self) -> int:
        """Rows that a group reaches over."""
        return self._tile[0] if self._tile and self._knows_cells else 1

    def one_scale(self) -> float | None:
        """The scale of all codes, where there is but one. Raises as reading it does."""
        record = next((r for r in self._records if r.quantity is Quantity.SCALE), None)
        if record is None or self._has_minimum or self.weight.grid.axes or self.weight.grid.flattened:
            return None
        found = np.asarray(self.fmt.values(record)).reshape(-1)
        return float(found[0]) if found.size == 1 else None

    @cached_property
    def is_packed(self) -> bool:
        """Whether the family gives rows as they are stored, and they can be counted so. False where reading one row
        shows that nothing can be read: reading the others says why."""
        try:
            return self._packed(0, 1) is not None
        except QinspectError:
            return False

    def forget(self) -> None:
        """Let go of scales and zero points; they are read again where they are asked for."""
        self._stored = None

    def _packed(self, start: int, stop: int) -> PackedRows | None:
        rows = self.fmt.packed(self.weight, start, stop) if len(self.weight.shape) == 2 else None
        if rows is None or rows.packing.bits != self.element.bits or rows.columns * self.element.bits % 8:
            return None
        ragged = self._knows_cells and rows.columns % min(rows.width, rows.columns)
        return None if ragged else rows

    def read(self, start: int, stop: int, groups: bool = True) -> Piece:
        """Rows `start` to `stop`. groups: whether these are looked at. Raises what reading codes raises, and CannotRead
        for a code that there is not."""
        groups = groups and self._knows_cells
        rows = self._packed(start, stop) if self.is_packed else None
        return self._of_codes(start, stop, groups) if rows is None else self._of_packed(rows, groups)

    # --- as they are stored ---

    def _of_packed(self, rows: PackedRows, groups: bool) -> Piece:
        p = rows.packing
        n_rows = len(rows.codes)
        if p.block:
            blocks = rows.codes.reshape(n_rows, -1, p.block_bytes)[:, : rows.columns // p.block]
            data = blocks[:, :, p.first : p.first + p.block * p.bits // 8]
        else:
            data = rows.codes[:, : rows.columns * p.bits // 8]
        flat = np.ascontiguousarray(data).reshape(n_rows, -1)
        cells = self._cells_of_bytes(rows, flat) if groups and rows.minima is None else None
        return Piece(flat.reshape(-1), 8 // p.bits, n_rows * rows.columns, cells)

    def _cells_of_bytes(self, rows: PackedRows, flat: Bytes) -> Cells | None:
        """Where a cell is a run of whole bytes."""
        p, width = rows.packing, min(rows.width, rows.columns)
        together = p.apart == 1 or p.apart * 8 // p.bits == width
        size = width * p.bits // 8
        if not together or width * p.bits % 8 or rows.columns % width or not size:
            return None
        masks = self._masks(rows, p.bits)
        if masks is None:
            return None
        kept, wanted = masks
        zero = _all_equal(flat.reshape(len(flat), -1, size), kept, wanted)
        return Cells(zero, rows.scales)

    def _masks(self, rows: PackedRows, bits: int) -> tuple[int, Array | int] | None:
        """(bits of a byte that say whether its codes are zero, what they then are); None where no such bits are."""
        ones = sum(1 << at for at in range(0, 8, bits))
        if rows.zeros is not None:
            zeros = np.asarray(rows.zeros)
            whole = np.where(np.isfinite(zeros) & (zeros == np.round(zeros)), zeros, -1)
            inside = (whole >= 0) & (whole < 1 << bits)
            if not inside.all() or self.element.code_range[0] < 0:
                return None
            return 0xFF, (whole.astype(np.uint8) * np.uint8(ones)).astype(np.uint8)
        patterns = np.flatnonzero(rows.levels == 0).tolist()
        if len(patterns) == 1:
            return 0xFF, patterns[0] * ones
        if len(patterns) == 2 and (patterns[0] ^ patterns[1]).bit_count() == 1:
            free = patterns[0] ^ patterns[1]
            return 0xFF & ~(free * ones), (patterns[0] & ~free) * ones
        return None

    # --- one by one ---

    def _of_codes(self, start: int, stop: int, groups: bool) -> Piece:
        codes = np.asarray(self.fmt.codes(self.weight, start, stop))
        if codes.dtype.kind not in "iub":
            codes = codes.view(np.dtype(f"u{codes.dtype.itemsize}"))
        low, high = self.element.code_range
        if codes.size and not (low <= int(codes.min()) and int(codes.max()) <= high):
            raise CannotRead(
                f"has a code that {self.element} does not have", file=self.fmt.checkpoint.path,
                key=self.weight.codes_key, expected=f"{low} to {high}", found=f"{codes.min()} to {codes.max()}",
            )  # fmt: skip
        bits = self.element.bits
        patterns = codes.view(np.uint8) if codes.dtype.itemsize == 1 else codes.astype(np.uint8)
        if low < 0:
            patterns = patterns & np.uint8((1 << bits) - 1)
        patterns = np.ascontiguousarray(patterns).reshape(stop - start, -1)
        cells = self._cells_of_codes(patterns, start, stop) if groups else None
        return Piece(_together(patterns.reshape(-1), bits, self.per_byte), self.per_byte, patterns.size, cells)

    def _cells_of_codes(self, patterns: Bytes, start: int, stop: int) -> Cells | None:
        if self._stored is None:
            self._stored = self._read_scales()
        scales, zeros, starts, order = self._stored
        if not scales.size or self._tile is None or patterns.shape[1] != self.n_columns:
            return None
        rows_of_cell = self._tile[0]
        of_rows = np.arange(start, stop) // rows_of_cell
        if order is not None:
            patterns = patterns[:, order]
        if zeros is None and not self._zeros_of_codes:
            return None
        is_zero = np.isin(np.arange(256), self._zeros_of_codes)
        zero = _runs_of_zero(patterns, is_zero, None if zeros is None else zeros[of_rows], starts)
        return Cells(zero, scales[of_rows])

    def _read_scales(self) -> tuple[Array, Array | None, Array, Array | None]:
        """Scales and zero points as [rows of cells, columns of cells], where cells begin along the columns, and in
        which order to take these; no scales where they do not fit."""
        none = np.empty((0, 0)), None, np.empty(0, np.intp), None
        tile = self._tile
        step = next((r for r in self._records if _is_finest(r, self.weight)), None)
        if tile is None or step is None:
            return none
        n_rows = self.weight.shape[0]
        shape = -(-n_rows // tile[0]), -(-self.n_columns // tile[1])
        scales = np.asarray(self.fmt.values(step))
        if scales.size != shape[0] * shape[1]:
            return none
        zero = next((r for r in self._records if r.quantity is Quantity.ZERO_POINT), None)
        zeros = None
        if zero is not None:
            zeros = np.asarray(self.fmt.values(zero)).astype(np.float32)
            if zeros.size != scales.size:
                return none
            zeros = zeros.reshape(shape)
        elif self.element.kind is ElementKind.INTEGER and self.element.offset is None:
            return none
        starts, order = np.arange(0, self.n_columns, tile[1]), None
        if self.weight.grid.group_index:
            group_of = stored_index(self.fmt.checkpoint, self.weight.grid.group_index, self.n_columns, shape[1])
            order = np.argsort(group_of, kind="stable")
            starts = np.searchsorted(group_of[order], np.arange(shape[1]))
            if len(np.unique(starts)) != len(starts) or starts[-1] >= self.n_columns:
                return none  # a group without columns
        return scales.astype(np.float32).reshape(shape), zeros, starts, order


def _is_finest(record: ScaleRecord, weight: QuantizedWeight) -> bool:
    return record.quantity is Quantity.SCALE and record.grid == weight.grid


def _patterns_of_zero(element: Element) -> list[int]:
    """The patterns that stand for zero."""
    return [code & ((1 << element.bits) - 1) for code in element.zero_codes] if element.bits <= COUNTED_BITS else []


def _together(patterns: Bytes, bits: int, per_byte: int) -> Bytes:
    """As many codes a byte as fit, the first in the lowest bits; the last byte is filled with zeros."""
    if per_byte == 1:
        return patterns
    if patterns.size % per_byte:
        patterns = np.append(patterns, np.zeros(per_byte - patterns.size % per_byte, np.uint8))
    each = patterns.reshape(-1, per_byte)
    found = each[:, 0].copy()
    for at in range(1, per_byte):
        found |= each[:, at] << np.uint8(at * bits)
    return found


_WORDS: tuple[tuple[int, type], ...] = ((8, np.uint64), (4, np.uint32), (2, np.uint16), (1, np.uint8))


def _all_equal(data: Bytes, kept: int, wanted: Array | int) -> Bools:
    """bool[rows, cells]: whether all bytes of a cell are `wanted` in the bits `kept`. data: uint8[rows, cells, bytes],
    contiguous. wanted: one byte, or uint8 that broadcasts to [rows, cells].

    Few cells begin with a word of zeros: only those are looked at further.
    """
    size, word = next((size, word) for size, word in _WORDS if data.shape[2] % size == 0)
    words: Array = data.view(word)
    every = int.from_bytes(b"\x01" * size, "little")
    mask = word(kept * every)
    of_cell = np.broadcast_to(np.asarray(wanted, np.uint8), data.shape[:2]).astype(word) * word(every)
    zero: Bools = (words[:, :, 0] & mask) == of_cell
    if words.shape[2] > 1 and zero.any():
        rows, cells = np.nonzero(zero)
        zero[rows, cells] = ((words[rows, cells] & mask) == of_cell[rows, cells][:, None]).all(axis=1)
    return zero


def _runs_of_zero(patterns: Bytes, zeros: Bools, wanted: Array | None, starts: Array) -> Bools:
    """bool[rows, cells]: the same of codes one by one. zeros: bool[256], of each pattern whether it is zero; or wanted,
    of each cell the one that is. Column by column of all cells at once: few are left after the first."""

    def are_zero(rows: Array, cells: Array, at: Array) -> Bools:
        found = patterns[rows, at]
        return zeros[found] if wanted is None else found == wanted[rows, cells]

    lengths = np.diff(np.append(starts, patterns.shape[1]))
    rows, cells = (x.reshape(-1) for x in np.indices((len(patterns), len(starts))))
    found = np.zeros((len(patterns), len(starts)), bool)
    for offset in range(int(lengths.max(initial=0))):
        kept = are_zero(rows, cells, starts[cells] + offset)
        rows, cells = rows[kept], cells[kept]
        over = lengths[cells] == offset + 1
        found[rows[over], cells[over]] = True
        rows, cells = rows[~over], cells[~over]
        if not rows.size:
            break
    return found
