"""How MLX packs a weight: its modes, and what the words and the scales of a module say of bits and groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from qinspect.inspector.formats.element import Element, small_float, unsigned

AFFINE = "affine"
BITS = (1, 2, 3, 4, 5, 6, 8)
_GROUPS = (32, 64, 128)
"""Of the affine mode, those that MLX's kernels have: what fits where nothing is said."""
_WORD = 32


@dataclass(frozen=True, slots=True)
class Packing:
    """mode: as settings call it. bits: of a code. group: codes along a row that share a scale."""

    mode: str
    bits: int
    group: int

    @property
    def element(self) -> Element:
        """What a code is. Of the affine mode 0 stands for the minimum of its group."""
        return unsigned(self.bits, 0) if self.mode == AFFINE else small_float(_FLOATS[self.bits])

    def __str__(self) -> str:
        return f"{self.mode}, {self.bits} bits in groups of {self.group}"


_FLOATS = {4: "float4_e2m1fn", 8: "float8_e4m3fn"}
_OF_BYTES = (Packing("mxfp4", 4, 32), Packing("mxfp8", 8, 32), Packing("nvfp4", 4, 16))
"""The modes whose scales are bytes, each of one width and one size of groups."""
MODES = (AFFINE, *(p.mode for p in _OF_BYTES))


def possible(n_words: int, n_groups: int, bytes_: bool) -> list[Packing]:
    """What rows of so many words with so many scales can be. bytes_: whether a scale is a byte."""
    return [p for p in (_OF_BYTES if bytes_ else _AFFINE) if fits(p, n_words, n_groups)]


_AFFINE = tuple(Packing(AFFINE, bits, group) for bits in BITS for group in _GROUPS)


def fits(packing: Packing, n_words: int, n_groups: int) -> bool:
    """Whether rows of so many words hold so many groups."""
    return n_groups > 0 and packing.bits * packing.group * n_groups == _WORD * n_words


def columns(packing: Packing, n_words: int) -> int:
    """Of a row of so many words."""
    return _WORD * n_words // packing.bits


@lru_cache(64)
def usual(mode: str) -> Packing:
    """What MLX takes where settings name a mode and nothing else."""
    return next((p for p in _OF_BYTES if p.mode == mode), Packing(AFFINE, 4, 64))


def listed(packings: Iterable[Packing]) -> str:
    """`4 bits in groups of 64 or 8 bits in groups of 32`."""
    return " or ".join(f"{p.bits} bits in groups of {p.group}" for p in packings)
