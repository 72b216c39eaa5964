"""What one stored code is, and what it stands for at a scale of one.

An integer stands for itself less its offset; the bits of a small float for that float; an index into a table for what
the table has there. Codes come from `Format.codes` as integers: of an integer element as they are counted, from `q_min`
to `q_max`; of any other as their bit patterns, from 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class ElementKind(StrEnum):
    """How a code becomes a number."""

    INTEGER = "integer"
    FLOAT = "float"
    TABLE = "table"
    VECTOR = "vector"
    """An index into a codebook, an entry of which stands for several values: a code alone is no number."""
    UNKNOWN = "unknown"


_LARGEST = {
    "float8_e4m3fn": 448.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2": 57344.0,
    "float8_e5m2fnuz": 57344.0,
    "float4_e2m1fn": 6.0,
    "float6_e2m3fn": 7.5,
    "float6_e3m2fn": 28.0,
}
"""The largest finite number of each small float; held here so that a record costs no import of ml_dtypes."""
FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
"""Eight bits that codes are stored in; not the exponents that only scales are."""

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""What the codes of QLoRA's NF4 stand for."""


@dataclass(frozen=True, slots=True)
class Element:
    """The type of a code.

    name: for people and for telling two apart: `int8`, `uint4`, `float8_e4m3fn`, `nf4`; of a float also its dtype.
    bits: of one code, without what a block adds. q_min, q_max: of an integer, the least and the largest code; of
    others, the least and the largest finite number that a code stands for. offset: an integer code that stands for
    zero; None where zero points are stored, which are records of their own. levels: of a table, what each code stands
    for. n_values: values that one code stands for (more than one for a codebook of vectors).
    """

    kind: ElementKind
    name: str
    bits: int
    q_min: float
    q_max: float
    offset: float | None = 0
    levels: tuple[float, ...] = ()
    n_values: int = 1

    @property
    def unsigned(self) -> bool:
        """Whether no code is negative."""
        return self.code_range[0] == 0

    @property
    def symmetric(self) -> bool:
        """Whether zero stands where nothing has to be stored for it."""
        return self.offset is not None

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the largest integer that `Format.codes` can give."""
        if self.kind is ElementKind.INTEGER:
            return int(self.q_min), int(self.q_max)
        return 0, (1 << self.bits) - 1

    @property
    def limit(self) -> float | None:
        """The largest magnitude that codes stand for, at a scale of one: 448 of float8_e4m3fn. Where the negative side
        has one code more, that of the positive side: 127 of int8. None where it depends on stored zero points, or a
        code alone is no number."""
        ends = self.ends()
        if ends is None:
            return None
        low, high = ends
        return min(-low, high) if low + high == -1 else max(-low, high)

    def ends(self) -> tuple[float, float] | None:
        """The least and the largest number that a code stands for, at a scale of one. None where they are not known."""
        if self.kind in (ElementKind.VECTOR, ElementKind.UNKNOWN):
            return None
        if self.kind is not ElementKind.INTEGER:
            return self.q_min, self.q_max
        return None if self.offset is None else (self.q_min - self.offset, self.q_max - self.offset)

    @property
    def in_order(self) -> list[int]:
        """All codes, by what they stand for; patterns that are no number come last."""
        low, high = self.code_range
        if self.kind not in (ElementKind.FLOAT, ElementKind.TABLE):
            return list(range(low, high + 1))
        worth = _table(self)
        return sorted(range(high + 1), key=lambda code: (math.isnan(worth[code]), float(worth[code]), code))

    @property
    def outermost(self) -> tuple[int, int]:
        """The codes of the least and of the largest finite number."""
        if self.kind not in (ElementKind.FLOAT, ElementKind.TABLE):
            return self.code_range
        finite = [code for code in self.in_order if math.isfinite(_table(self)[code])]
        return finite[0], finite[-1]

    @property
    def zero_codes(self) -> list[int]:
        """The codes that stand for zero: two of a float, none where zero points decide."""
        if self.kind is ElementKind.INTEGER:
            inside = (
                self.offset is not None and self.q_min <= self.offset <= self.q_max and self.offset == int(self.offset)
            )
            return [int(self.offset or 0)] if inside else []
        if self.kind in (ElementKind.FLOAT, ElementKind.TABLE):
            return [int(code) for code in (_table(self) == 0).nonzero()[0]]
        return []

    def values(self, codes: Array) -> Array | None:
        """float32 of the same shape: what each code stands for at a scale of one. None where that is not known by the
        element alone: stored zero points, codebooks."""
        import numpy as np

        if self.kind is ElementKind.INTEGER and self.offset is not None:
            return np.asarray(codes, np.float32) - np.float32(self.offset)
        if self.kind in (ElementKind.FLOAT, ElementKind.TABLE):
            return _table(self)[np.asarray(codes, np.int64)]
        return None

    def said(self, code: int) -> str:
        """A code as people read it: an integer is itself, a pattern the number that it stands for."""
        if self.kind not in (ElementKind.FLOAT, ElementKind.TABLE):
            return str(code)
        return f"{float(_table(self)[code]):.6g}"

    def __str__(self) -> str:
        return self.name


@lru_cache(64)
def _table(element: Element) -> Array:
    """float32[2**bits]: what each pattern stands for."""
    import numpy as np

    if element.kind is ElementKind.TABLE:
        found = np.full(1 << element.bits, np.nan, np.float32)
        found[: len(element.levels)] = element.levels
    else:
        import ml_dtypes

        patterns = np.arange(1 << element.bits, dtype=np.uint8)
        found = patterns.view(getattr(ml_dtypes, element.name)).astype(np.float32)
    found.setflags(write=False)
    return found


@lru_cache(64)
def integer(bits: int, name: str = "") -> Element:
    """Two's complement of `bits` bits, zero meaning zero."""
    half = 1 << (bits - 1)
    return Element(ElementKind.INTEGER, name or f"int{bits}", bits, -half, half - 1)


@lru_cache(64)
def unsigned(bits: int, offset: float | None = None, name: str = "") -> Element:
    """Codes from 0. offset: the code that stands for zero, where it is the same everywhere; None where zero points are
    stored."""
    return Element(ElementKind.INTEGER, name or f"uint{bits}", bits, 0, (1 << bits) - 1, offset)


@lru_cache(64)
def small_float(dtype: str) -> Element:
    """A float of 4, 6 or 8 bits by the name that torch and ml_dtypes have for it. Raises KeyError for others."""
    largest = _LARGEST[dtype]
    return Element(ElementKind.FLOAT, dtype, int(dtype[5]), -largest, largest)


def table(name: str, levels: tuple[float, ...], bits: int) -> Element:
    """Indices into `levels`."""
    return Element(ElementKind.TABLE, name, bits, min(levels), max(levels), levels=levels)


def vector(name: str, bits: int, n_values: int) -> Element:
    """Indices into a codebook whose entries are `n_values` values each."""
    return Element(ElementKind.VECTOR, name, bits, 0, 0, None, n_values=n_values)


UNKNOWN = Element(ElementKind.UNKNOWN, "unknown", 0, 0, 0, None)
"""Codes of which nothing is known but that they are there."""
