"""A big-endian file as if it were little-endian.

Every number of more than a byte is the other way round, also within blocks: scales, and words of quants where ggml has
such. Bytes with two codes are as they were. So blocks and values are read by the same code as everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from qinspect.inspector.checkpoint.source import Source, View

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint.columns import Columns
    from qinspect.inspector.checkpoint.dtypes import DType

_FIELDS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "q4_0": ((0, 2, 1),),
    "q4_1": ((0, 2, 2),),
    "q5_0": ((0, 2, 1), (2, 4, 1)),
    "q5_1": ((0, 2, 2), (4, 4, 1)),
    "q8_0": ((0, 2, 1),),
    "q8_1": ((0, 2, 2),),
    "q2_k": ((80, 2, 2),),
    "q3_k": ((108, 2, 1),),
    "q4_k": ((0, 2, 2),),
    "q5_k": ((0, 2, 2),),
    "q6_k": ((208, 2, 1),),
    "q8_k": ((0, 4, 1), (260, 2, 16)),
    "iq1_s": ((0, 2, 1), (34, 2, 8)),
    "iq1_m": ((48, 2, 4),),
    "iq2_xxs": ((0, 2, 33),),
    "iq2_xs": ((0, 2, 33),),
    "iq2_s": ((0, 2, 1),),
    "iq3_xxs": ((0, 2, 1),),
    "iq3_s": ((0, 2, 1),),
    "iq4_nl": ((0, 2, 1),),
    "iq4_xs": ((0, 2, 2),),
    "tq1_0": ((52, 2, 1),),
    "tq2_0": ((64, 2, 1),),
    "mxfp4": (),
    "nvfp4": (),
    "q1_0": ((0, 2, 1),),
    "q2_0": ((0, 2, 1),),
}
"""Of each block type, the numbers of more than a byte: where the first begins, their width, how many follow."""


class Swapped(View):
    """The bytes of `parent` with the numbers of the tensors in `columns` turned round. Positions are the file's."""

    __slots__ = ("_columns", "_file", "_rows", "_starts")
    stored = True

    def __init__(self, parent: Source, columns: Columns) -> None:
        super().__init__(parent, parent.size)
        self._file = parent
        self._columns = columns
        self._rows = sorted(range(len(columns)), key=columns.starts.__getitem__)
        self._starts = [columns.base + columns.starts[row] for row in self._rows]

    def _pread(self, offset: int, n: int) -> bytes:
        stop = min(self.size, offset + n)
        found = bytearray()
        place = bisect_right(self._starts, offset) - 1
        while offset + len(found) < stop:
            at = offset + len(found)
            until = min(stop, self._starts[place + 1] if place + 1 < len(self._starts) else self.size)
            found += self._file.read(at, until - at) if place < 0 else self._of_tensor(place, at, until)
            place += 1
        return bytes(found)

    def _of_tensor(self, place: int, at: int, until: int) -> bytes:
        """Bytes `at` to `until`, from inside a tensor or behind it. What is read is whole elements or blocks."""
        start, columns = self._starts[place], self._columns
        dtype, shape = columns.forms[columns.form_of[self._rows[place]]]
        n_elements = 1
        for d in shape:
            n_elements *= d
        end = start + dtype.nbytes(n_elements)
        width = dtype.block_bytes or dtype.bits // 8
        first = start + (at - start) // width * width
        last = min(end, start + -(-(until - start) // width) * width)
        turned = _turned(self._file.read(first, last - first), dtype) if last > at else b""
        inside = turned[at - first : until - first]
        return inside + (self._file.read(at + len(inside), until - at - len(inside)) if until > end else b"")


def _turned(raw: bytes, dtype: DType) -> bytes:
    """Whole elements or blocks with their numbers turned round."""
    import numpy as np

    width = dtype.block_bytes or dtype.bits // 8
    fields = _FIELDS.get(dtype.name, ()) if dtype.block_bytes else ((0, width, 1),)
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, width).copy()
    for at, n_bytes, n in fields:
        part = blocks[:, at : at + n * n_bytes].reshape(-1, n, n_bytes)
        blocks[:, at : at + n * n_bytes] = part[:, :, ::-1].reshape(-1, n * n_bytes)
    return blocks.tobytes()
