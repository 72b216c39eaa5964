"""Rows of codes as they are stored, and what they stand for, for the bodies that make numbers of them: in C (matrix.c)
and by torch (inspector/fidelity/unpacking.py). Importing it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Codes = NDArray[np.uint8]
    Singles = NDArray[np.float32]

MOST_APART = 64
MOST_PLANES = 3
MOST_SHARING = 8


@dataclass(frozen=True, slots=True)
class Plane:
    """Some bits of every code. bits: how many: 1 to 8. apart: 1: one stream of them, the first code in the lowest bits,
    in which a code may reach over bytes. Else the bytes of a run, a multiple of 8: the lowest bits of all of them are
    those of its first codes, the next lowest those of the ones after these; of 1, 2, 4 or 8 bits. first: the byte of
    the block where they begin."""

    bits: int
    apart: int = 1
    first: int = 0


@dataclass(frozen=True, slots=True)
class Packing:
    """How the codes of a row lie in its bytes.

    bits, apart, first: as of a Plane, the lowest bits of a code. block: values of a block of `block_bytes`; 0 where a
    row is nothing but codes. above: planes of further bits, each above those before it; of blocks alone.

    shifts: where as many rows share the bytes of one: words of `word` bytes, 1 or 4, one a column, in which each of
    these rows has its code from that bit on. () where each row has its own bytes.
    """

    bits: int
    apart: int = 1
    block: int = 0
    block_bytes: int = 0
    first: int = 0
    above: tuple[Plane, ...] = ()
    shifts: tuple[int, ...] = ()
    word: int = 1

    @property
    def planes(self) -> tuple[Plane, ...]:
        """All bits of a code, the lowest first."""
        return (Plane(self.bits, self.apart, self.first), *self.above)

    @property
    def all_bits(self) -> int:
        """Of a code."""
        return self.bits + sum(p.bits for p in self.above)

    @property
    def step(self) -> int:
        """Of how many values a part of a row has to be a multiple."""
        return self.block or (self.apart * 8 // self.bits if self.apart > 1 else 8)

    def bytes_of(self, columns: int) -> int:
        """Those that a row, or the rows that share one, need at least."""
        if self.shifts:
            return columns * self.word
        if self.block:
            return -(-columns // self.block) * self.block_bytes
        return -(-columns * self.bits // (8 * self.apart)) * self.apart

    @property
    def sound(self) -> bool:
        """Whether it is one of what is described here."""
        planes = self.planes
        fits = all(
            1 <= p.bits <= 8 and 1 <= p.apart <= MOST_APART and (p.apart == 1 or (p.apart % 8 == 0 and 8 % p.bits == 0))
            for p in planes
        )  # fmt: skip
        if not fits or self.all_bits > 8 or len(planes) > MOST_PLANES:
            return False
        if self.shifts:
            inside = all(0 <= s <= 8 * self.word - self.bits for s in self.shifts) and len(self.shifts) <= MOST_SHARING
            return inside and self.word in (1, 4) and not self.block and not self.above and not self.first
        if not self.block:
            return not self.above and not self.first
        whole = all(self.block % (p.apart * 8 // p.bits if p.apart > 1 else 8) == 0 for p in planes)
        return whole and all(0 <= p.first <= self.block_bytes - self.block * p.bits // 8 for p in planes)


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """Rows of codes and what they stand for: `((level - zero) * scale + minimum) * factor`, or with `/ scale`, in
    float32, in this order, each step rounded, without the steps of what there is not.

    codes: uint8[rows, bytes], contiguous; fewer rows where some share bytes. columns: values of a row. levels:
    float32[1 << bits], what a code stands for. scales: float32[rows, cells], or what broadcasts to it, of `width`
    columns each, the last perhaps of fewer; uint8 where they are codes themselves, of what `of_scales` says,
    float32[256]. zeros, minima: float32 as scales, None where there are none. cell_of: int32[columns], the cell of each
    column, where they lie in another order. factors: float32[columns]. skipped, n_rows: of rows that share bytes, how
    many of the first ones are not meant, and how many behind these are.
    """

    codes: Codes
    columns: int
    packing: Packing
    levels: Singles
    scales: Array
    width: int
    zeros: Singles | None = None
    minima: Singles | None = None
    divided: bool = False
    of_scales: Singles | None = None
    cell_of: NDArray[np.int32] | None = None
    factors: Singles | None = None
    skipped: int = 0
    n_rows: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.codes) if self.n_rows is None else self.n_rows, self.columns

    @property
    def n_cells(self) -> int:
        """Of a row."""
        if self.cell_of is None:
            return -(-self.columns // self.width)
        return max(int(n.shape[1]) for n in (self.scales, self.zeros, self.minima) if n is not None)

    def rows(self, start: int, stop: int) -> PackedRows:
        """Some of its rows."""
        scales, zeros, minima = (
            n if n is None or len(n) == 1 else n[start:stop] for n in (self.scales, self.zeros, self.minima)
        )
        assert scales is not None
        codes, skipped, n_rows = self.codes[start:stop], 0, None
        sharing = len(self.packing.shifts)
        if sharing:
            n_rows = min(stop, self.shape[0]) - start
            first, skipped = divmod(self.skipped + start, sharing)
            codes = self.codes[first : first - (-(skipped + n_rows) // sharing)]
        return replace(
            self, codes=codes, scales=scales, zeros=zeros, minima=minima, skipped=skipped, n_rows=n_rows
        )  # fmt: skip
