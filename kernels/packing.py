"""Rows of codes as they are stored, and what they stand for, for bodies in C. Importing it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Codes = NDArray[np.uint8]
    Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Packing:
    """How the codes of a row lie in its bytes.

    bits: of a code: 1, 2, 4 or 8. apart: bytes of a run: the lowest bits of all of them are its first codes, the next
    lowest the ones after these. 1: the codes of each byte follow one another. block: values of a block, `block_bytes`
    of which the codes begin at `first`; 0 where a row is nothing but codes.
    """

    bits: int
    apart: int = 1
    block: int = 0
    block_bytes: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """Rows of codes and what they stand for: `(level - zero) * scale + minimum`, or `(level - zero) / scale`, in
    float32, in this order, each step rounded.

    codes: uint8[rows, bytes], contiguous. columns: values of a row. levels: float32[1 << bits], what a code stands for.
    scales, zeros, minima: float32[rows, cells], or what broadcasts to it, of `width` columns each, the last perhaps of
    fewer; None for zeros and minima where there are none.
    """

    codes: Codes
    columns: int
    packing: Packing
    levels: Singles
    scales: Singles
    width: int
    zeros: Singles | None = None
    minima: Singles | None = None
    divided: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.codes), self.columns

    def rows(self, start: int, stop: int) -> PackedRows:
        """Some of its rows."""
        scales, zeros, minima = (
            n if n is None or len(n) == 1 else n[start:stop] for n in (self.scales, self.zeros, self.minima)
        )
        assert scales is not None
        return replace(self, codes=self.codes[start:stop], scales=scales, zeros=zeros, minima=minima)
