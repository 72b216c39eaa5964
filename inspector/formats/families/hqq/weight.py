"""A weight of HQQ: codes, a scale and a zero point, which is no integer, for each group; both perhaps quantized too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.element import Element
from qinspect.inspector.formats.element import unsigned as unsigned_of
from qinspect.inspector.formats.families.hqq.groups import Grouping
from qinspect.inspector.formats.families.hqq.packing import Packing, read_codes
from qinspect.inspector.formats.grid import PER_TENSOR, Grid
from qinspect.inspector.formats.modular import QuantizedModule
from qinspect.inspector.formats.numbers import elements_of, stored_form
from qinspect.inspector.formats.packed import BYTES, PackedRows, levels_of
from qinspect.inspector.formats.records import (
    OF_WEIGHTS,
    CodeArray,
    FloatArray,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Slice,
    Source,
    Use,
    part_of,
)

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Scales or zero points as they are stored. part: of an entry that holds both, which of them they are."""

    key: str
    n: int
    part: Slice | None = None

    def read(self, checkpoint: Checkpoint) -> FloatArray:
        """All of them in a row, in their own precision."""
        return self._stored(checkpoint).read().reshape(-1)

    def values(self, checkpoint: Checkpoint, start: int, stop: int) -> Singles:
        """float32 of those from `start` to `stop`."""
        singles: Singles = elements_of(self._stored(checkpoint), start, stop).astype(np.float32)
        return singles

    def _stored(self, checkpoint: Checkpoint) -> Tensor:
        tensor = checkpoint.tensor(self.key)
        assert tensor is not None  # it was there when the module was built
        return part_of(tensor, self.part) if self.part else tensor


@dataclass(frozen=True, slots=True)
class Quantized:
    """Codes with what makes numbers of them; also of scales and zero points that are quantized themselves."""

    tensor: Tensor
    packing: Packing
    grouping: Grouping
    scale: Numbers | Quantized
    zero: Numbers | Quantized

    @property
    def key(self) -> str:
        """Of the codes."""
        return self.tensor.name

    @property
    def n(self) -> int:
        """Elements."""
        return self.grouping.n

    @property
    def belonging(self) -> tuple[str, ...]:
        """The entries of their scales and zero points, and of what these are made of."""
        found = (self.scale, self.zero)
        return tuple(k for q in found for k in (q.key, *(q.belonging if isinstance(q, Quantized) else ())))

    def codes(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Of elements `start` to `stop` of the flattened whole."""
        return read_codes(self.tensor, self.packing, start, stop)

    def read(self, checkpoint: Checkpoint) -> FloatArray:
        """float32 of all elements in a row."""
        return self.values(checkpoint, 0, self.n)

    def values(self, checkpoint: Checkpoint, start: int, stop: int) -> Singles:
        """float32 of elements `start` to `stop`: (code - zero point) * scale."""
        first, last = self.grouping.needed(start, stop)
        at = self.grouping.places(start, stop) - first
        found = self.codes(start, stop).astype(np.float32)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            found -= _each(_singles(checkpoint, self.zero, first, last), at)
            found *= _each(_singles(checkpoint, self.scale, first, last), at)
        return found


class HqqWeight(QuantizedModule):
    """A weight [out, in]."""

    def __init__(
        self, checkpoint: Checkpoint, stored: Quantized, shape: tuple[int, int], bits: int, name: str, role: str
    ) -> None:
        element, grid = unsigned_of(bits), stored.grouping.grid(shape)
        called = f"uint{bits} g{stored.grouping.size} axis 0" if grid.cells else ""
        zero_role = f"{role}#zero_point"
        records = tuple(
            _record(checkpoint, of, numbers, name, element, grid, quantity, called)
            for of, numbers, quantity in (
                (role, stored.scale, Quantity.SCALE), (zero_role, stored.zero, Quantity.ZERO_POINT)
            )
        )  # fmt: skip
        weight = QuantizedWeight(name, role, stored.key, shape, element, (role, zero_role), grid, called)
        super().__init__(checkpoint, weight, records)
        self._stored = stored
        self._shape = shape

    @property
    def grouping(self) -> Grouping:
        """Which elements share a scale."""
        return self._stored.grouping

    @property
    def nested(self) -> bool:
        """Whether scales or zero points are quantized themselves."""
        return isinstance(self._stored.scale, Quantized) or isinstance(self._stored.zero, Quantized)

    def codes(self, start: int, stop: int) -> CodeArray:
        n_in = self._shape[1]
        return self._stored.codes(start * n_in, stop * n_in).reshape(stop - start, n_in)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        n_in = self._shape[1]
        return self._stored.values(self.checkpoint, start * n_in, stop * n_in).reshape(stop - start, n_in)

    def packed(self, start: int, stop: int) -> PackedRows | None:
        if not self.grouping.in_rows(self._shape):
            return None
        (scales, width), (zeros, _) = (
            self._in_rows(numbers, start, stop) for numbers in (self._stored.scale, self._stored.zero)
        )
        return PackedRows(
            self.codes(start, stop), self._shape[1], BYTES, levels_of(unsigned_of(8, 0)), scales, width, zeros
        )

    def values(self, record: ScaleRecord) -> FloatArray:
        numbers = self._stored.scale if record is self.records[0] else self._stored.zero
        found = numbers.read(self.checkpoint)
        return found.reshape(()) if found.size == 1 else self.grouping.of_rows(found, self._shape)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return False  # one column, or one row, of scales is stored

    def _in_rows(self, numbers: Numbers | Quantized, start: int, stop: int) -> tuple[Singles, int]:
        n_in = self._shape[1]
        first, last = self.grouping.needed(start * n_in, stop * n_in)
        found = _singles(self.checkpoint, numbers, first, last)
        if numbers.n == 1:  # of scales: then there is one group; of zero points: one for all groups
            return found.reshape(1, 1), n_in
        return self.grouping.of_some_rows(found, start, stop, self._shape)


def _singles(checkpoint: Checkpoint, numbers: Numbers | Quantized, first: int, last: int) -> Singles:
    """float32 of those of groups `first` to `last`, or the one of all."""
    return numbers.values(checkpoint, *((0, 1) if numbers.n == 1 else (first, last)))


def _each(numbers: Singles, at: NDArray[np.intp]) -> Singles:
    return numbers if numbers.size == 1 else numbers[at]


def _record(
    checkpoint: Checkpoint, role: str, numbers: Numbers | Quantized, name: str, element: Element, grid: Grid,
    quantity: Quantity, called: str,
) -> ScaleRecord:  # fmt: skip
    nested = numbers.belonging if isinstance(numbers, Quantized) else ()
    part = numbers.part if isinstance(numbers, Numbers) else None
    return ScaleRecord(
        role, numbers.key, Kind.WEIGHT, f"weight {name}", element, grid if numbers.n > 1 else PER_TENSOR,
        *stored_form(checkpoint, numbers.key), quantity, sources=tuple(Source(k, Use.PART) for k in nested),
        no_code=quantity is Quantity.ZERO_POINT, slice=part, reach=OF_WEIGHTS, called=called if numbers.n > 1 else "",
    )  # fmt: skip
