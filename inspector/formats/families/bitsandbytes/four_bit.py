"""A weight of NF4 or FP4: codes in a row over the flattened weight, two a byte, the first in the high half, and the
largest magnitude of each block of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import Element
from qinspect.inspector.formats.families.bitsandbytes.state import State
from qinspect.inspector.formats.grid import flat_blocks, groups
from qinspect.inspector.formats.modular import QuantizedModule, record_of
from qinspect.inspector.formats.packed import NIBBLES, PackedRows, levels_of
from qinspect.inspector.formats.packing import swap_nibbles, unpack
from qinspect.inspector.formats.records import (
    CodeArray,
    FloatArray,
    Kind,
    QuantizedWeight,
    ScaleRecord,
    Slice,
    Source,
    Use,
)
from qinspect.inspector.text import dims

STORAGE = ("uint8", "int8", "bfloat16", "float16", "float32")
"""What the bytes of codes may be stored as (`bnb_4bit_quant_storage`)."""
_FLOATS = ("float32", "float16", "bfloat16")
_TABLE = 256
"""Numbers in the table of scales that are quantized themselves."""

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Entries:
    """What belongs to one tensor of codes. nested, nested_map: None where scales are stored as they are."""

    codes: Tensor
    absmax: Tensor
    nested: Tensor | None
    nested_map: Tensor | None
    state_key: str
    state: State
    element: Element


@dataclass(frozen=True, slots=True)
class Part:
    """Which elements of the flattened tensor of codes one weight is: those from `first` on, of this shape. whole:
    whether that is all of them."""

    name: str
    role: str
    first: int
    shape: tuple[int, ...]
    whole: bool


class FourBitWeight(QuantizedModule):
    """A weight of any number of dimensions."""

    def __init__(self, checkpoint: Checkpoint, entries: Entries, part: Part) -> None:
        state, n = entries.state, math.prod(part.shape)
        size = state.block
        self._in_rows = len(part.shape) == 2 and part.shape[1] % size == 0
        grid = groups(size) if self._in_rows else flat_blocks(size)
        width = entries.codes.dtype.bits // 8
        codes_at = None if part.whole else Slice(rows=(part.first // 2 // width, (part.first + n) // 2 // width))
        scales_at = None if part.whole else Slice(rows=(part.first // size, (part.first + n) // size))
        sources = [Source(t.name, Use.PART) for t in (entries.nested, entries.nested_map) if t is not None]
        if state.nested is not None:
            sources.append(Source(entries.state_key, Use.PART))  # the offset is in it
        record = record_of(
            checkpoint, part.role, entries.absmax.name, Kind.WEIGHT, f"weight {part.name}", entries.element, grid,
            sources=tuple(sources), slice=scales_at, may_be_zero=True,
        )  # fmt: skip
        weight = QuantizedWeight(
            part.name, part.role, entries.codes.name, part.shape, entries.element, (part.role,), grid, slice=codes_at
        )
        super().__init__(checkpoint, weight, (record,))
        self._entries = entries
        self._first = part.first
        self._of_row = math.prod(part.shape[1:])

    def codes(self, start: int, stop: int) -> CodeArray:
        first, last = self._span(start, stop)
        stored = self._bytes(first // 2, -(-last // 2))
        skipped = first % 2
        found = unpack(swap_nibbles(stored), 4, skipped + last - first)[skipped:]
        return found.reshape(stop - start, *self.weight.shape[1:])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.weight.element.values(self.codes(start, stop))
        assert values is not None  # a table says what each code is
        flat, size = values.reshape(-1), self._entries.state.block
        first, last = self._span(start, stop)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            flat *= _spread(self._scales(first // size, -(-last // size)), size, first, last)
        return values

    def packed(self, start: int, stop: int) -> PackedRows | None:
        if not self._in_rows or self._of_row % 2 or self._first % 2:
            return None
        first, last = self._span(start, stop)
        size = self._entries.state.block
        rows = swap_nibbles(self._bytes(first // 2, last // 2)).reshape(stop - start, self._of_row // 2)
        scales = self._scales(first // size, last // size).reshape(stop - start, -1)
        return PackedRows(rows, self._of_row, NIBBLES, levels_of(self.weight.element), scales, size)

    def values(self, record: ScaleRecord) -> FloatArray:
        first, last = self._span(0, self.weight.shape[0])
        size = self._entries.state.block
        scales = self._scales(first // size, -(-last // size))
        return scales.reshape(self.weight.shape[0], -1) if self._in_rows else scales

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return False  # one row of scales is stored

    def _span(self, start: int, stop: int) -> tuple[int, int]:
        return self._first + start * self._of_row, self._first + stop * self._of_row

    def _bytes(self, start: int, stop: int) -> NDArray[np.uint8]:
        tensor = self._entries.codes
        return np.frombuffer(tensor.file.read(tensor.offset + start, stop - start), np.uint8)

    def _scales(self, start: int, stop: int) -> Singles:
        """Of blocks `start` to `stop` of the whole tensor of codes."""
        entries, nested = self._entries, self._entries.state.nested
        stored = entries.absmax.read_range(start, stop)
        if nested is None:
            return stored.astype(np.float32)
        assert entries.nested is not None
        assert entries.nested_map is not None
        if start == stop:
            return np.empty(0, np.float32)
        block = nested.block
        outer = entries.nested.read_range(start // block, -(-stop // block)).astype(np.float32)
        levels = entries.nested_map.read_range(0, _TABLE).astype(np.float32)
        with np.errstate(all="ignore"):
            found: Singles = levels[stored] * _spread(outer, block, start, stop) + np.float32(nested.offset)
        return found


def _spread(numbers: Singles, size: int, first: int, last: int) -> Singles:
    """The number of its block for each of the elements `first` to `last`. numbers: of the blocks that these are in."""
    if not len(numbers):
        return numbers
    counts = np.full(len(numbers), min(size, last - first))
    counts[0] = min(size - first % size, last - first)
    if len(numbers) > 1:
        counts[-1] = last - first - counts[:-1].sum()
    return np.repeat(numbers, counts)


def entries_of(
    checkpoint: Checkpoint, key: str, state_key: str, state: State, element: Element, beside: Mapping[str, str]
) -> Entries:
    """The entries of the codes `key`. beside: the last parts of the names below it, and the names. Raises
    CannotDequantize where they do not fit the state."""
    what = f"{state.n} codes of {state.kind}, {dims(state.shape)}, in blocks of {state.block}"
    codes = _fitting(checkpoint, key, STORAGE, -(-state.n // 2), what, in_bytes=True)
    scales = ("uint8",) if state.nested else _FLOATS
    absmax = _fitting(checkpoint, beside.get("absmax", f"{key}.absmax"), scales, state.n_blocks, what)
    if state.nested is None:
        return Entries(codes, absmax, None, None, state_key, state, element)
    n = -(-state.n_blocks // state.nested.block)
    nested = _fitting(checkpoint, beside.get("nested_absmax", f"{key}.nested_absmax"), _FLOATS, n, what)
    levels = _fitting(checkpoint, beside.get("nested_quant_map", f"{key}.nested_quant_map"), _FLOATS, _TABLE, what)
    return Entries(codes, absmax, nested, levels, state_key, state, element)


def _fitting(
    checkpoint: Checkpoint, key: str, dtypes: tuple[str, ...], n: int, what: str, in_bytes: bool = False
) -> Tensor:
    """The tensor `key`, contiguous, of one of the dtypes and with `n` elements, or bytes. Raises CannotDequantize."""
    tensor = checkpoint.tensor(key)
    if tensor is not None and tensor.dtype.name in dtypes and (tensor.nbytes if in_bytes else tensor.n_elements) == n:
        if tensor.strides is None:
            return tensor
        raise CannotDequantize(
            "is not stored in C order", file=checkpoint.path, key=key, expected="rows one after the other",
            found=f"strides {list(tensor.strides)}",
        )  # fmt: skip
    raise CannotDequantize(
        f"{'is missing' if tensor is None else 'does not fit'}: it belongs to {what}", file=checkpoint.path, key=key,
        expected=f"{n} {'bytes' if in_bytes else 'numbers'} of {' or '.join(dtypes)}",
        found="nothing" if tensor is None else f"{tensor.dtype.name} {dims(tensor.shape)}",
    )  # fmt: skip
