"""Whether stored entries of two models are equal to the bit, which for most of them is the whole comparison."""

from __future__ import annotations

from collections.abc import Callable

from qinspect.inspector.checkpoint import Tensor, Value
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.records import part_of

CHUNK_BYTES = 1 << 20
"""Read at once from each model: two of them stay in a core's cache."""


Seen = Callable[[bytearray], None]


def _nothing(_: int) -> None:
    pass


class Equality:
    """Compares bytes of models `a` and `b`.

    Reads into two buffers that are kept, since fresh memory for each tensor costs five times what the copying does.
    For one thread.
    """

    def __init__(self, a: Format, b: Format) -> None:
        self._a = a.checkpoint
        self._b = b.checkpoint
        self._buffer_a = bytearray()
        self._buffer_b = bytearray()
        self._moved: dict[tuple[tuple[str, ...], tuple[str, ...]], bool] = {}

    def scales(self, a: ScaleRecord, b: ScaleRecord, seen: Seen | None = None) -> bool:
        """Whether the stored entries, and all else that the numbers are made of, are equal. `seen`: as in
        `tensors`, of the scale's own entry."""
        if (a.dtype, a.shape, a.inverted, a.packed) != (b.dtype, b.shape, b.inverted, b.packed):
            return False
        if [s.use for s in a.sources] != [s.use for s in b.sources]:
            return False
        if a.slice is not None or b.slice is not None:
            return self._parts(a, b)
        return self._entries(a.key, b.key, seen) and all(
            self._entries(x.key, y.key) for x, y in zip(a.sources, b.sources, strict=True)
        )

    def _parts(self, a: ScaleRecord, b: ScaleRecord) -> bool:
        """Of records that are parts of their entries, and made of nothing else."""
        parts = []
        for checkpoint, record in ((self._a, a), (self._b, b)):
            tensor = checkpoint.tensor(record.key)
            if tensor is None or record.sources:
                return False
            parts.append(part_of(tensor, record.slice) if record.slice else tensor)
        return self.tensors(parts[0], parts[1])

    def reordered(self, a: ScaleRecord, b: ScaleRecord) -> bool:
        """Whether equal indices are not the same cell: cells are cut differently, or were moved."""
        cut = False
        if (a.order and b.order) or a.grid.group_index or b.grid.group_index:  # the other's groups lie in a row
            cut = len(a.order) != len(b.order) or not all(map(self._entries, a.order, b.order))
        return cut or self.moved(a.witnesses, b.witnesses)

    def moved(self, witnesses_a: tuple[str, ...], witnesses_b: tuple[str, ...]) -> bool:
        """Whether one of these tensors holds the same values in another order. One whose values are others tells
        nothing about the order."""
        keys = (witnesses_a, witnesses_b)
        if keys not in self._moved:  # the scales of a layer share them
            self._moved[keys] = len(witnesses_a) == len(witnesses_b) and any(
                map(self._permuted, witnesses_a, witnesses_b)
            )
        return self._moved[keys]

    def _permuted(self, key_a: str, key_b: str) -> bool:
        a, b = self._a[key_a], self._b[key_b]
        if not isinstance(a, Tensor) or not isinstance(b, Tensor) or self._entries(key_a, key_b):
            return False
        return a.dtype is b.dtype and a.shape == b.shape and sorted(a.read().tolist()) == sorted(b.read().tolist())

    def _entries(self, key_a: str, key_b: str, seen: Seen | None = None) -> bool:
        """Raises UnknownKey, and what reading raises."""
        a, b = self._a[key_a], self._b[key_b]
        if isinstance(a, Value) and isinstance(b, Value):
            return a.kind == b.kind and repr(a.value) == repr(b.value)
        if isinstance(a, Value) or isinstance(b, Value):
            return False
        return self.tensors(a, b, seen=seen)

    def tensors(self, a: Tensor, b: Tensor, tick: Callable[[int], None] = _nothing, seen: Seen | None = None) -> bool:
        """Whether two tensors are stored alike, with the same bytes from the first element to the last.

        `tick(n)` is called with bytes compared; it may raise to cancel. `seen` gets each piece that is the same in
        both, in a buffer that the next one overwrites. Raises CannotRead and BrokenFile.
        """
        if a.shape != b.shape or a.strides != b.strides or (a.dtype is not b.dtype and a.dtype != b.dtype):
            return False
        n = a.span_bytes()
        start_a, start_b = a.offset, b.offset
        for done in range(0, n, CHUNK_BYTES):
            size = min(CHUNK_BYTES, n - done)
            if len(self._buffer_a) != size:
                self._buffer_a, self._buffer_b = bytearray(size), bytearray(size)
            a.file.read_into(start_a + done, self._buffer_a)
            b.file.read_into(start_b + done, self._buffer_b)
            if self._buffer_a != self._buffer_b:
                return False
            if seen is not None:
                seen(self._buffer_a)
            tick(2 * size)
        return True
