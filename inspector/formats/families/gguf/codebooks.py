"""The types whose codes are vectors: an index into a table of eight or four magnitudes, with a sign for each value.

The tables were found by search and follow from nothing, so they are taken from the package gguf, which is the home of
the format; it is imported when the first such tensor is read. Signs, indices and scales are read here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import vector
from qinspect.inspector.formats.families.gguf.block_types import Array, BlockType, Floats, half
from qinspect.inspector.formats.packing import unpack

_DELTA = np.float32(0.125)
"""What is added to the table of the one-bit types, or taken off."""


@cache
def _table(name: str) -> Floats:
    """float32 [entries, values]. Raises CannotDequantize where the package is missing or has no such table."""
    try:
        from gguf import GGMLQuantizationType, quants

        kind: Any = quants._type_traits[GGMLQuantizationType[name.upper()]]
        kind.init_grid()
        found = np.array(kind.grid, np.float32).reshape(kind.grid_shape)
    except (ImportError, AttributeError, KeyError, ValueError, TypeError) as e:
        raise CannotDequantize(
            f"the table of {name.upper()} is in the Python package gguf, which is not installed or of another version",
            found=f"{type(e).__name__}: {e}", cure="Install it: pip install 'gguf>=0.17'",
        ) from e  # fmt: skip
    found.setflags(write=False)
    return found


@cache
def _even_signs() -> Array:
    """uint8[128]: seven signs, and the eighth that makes their number even."""
    seven = np.arange(128, dtype=np.uint8)
    parity = np.unpackbits(seven[:, None], axis=1).sum(axis=1, dtype=np.uint8) & 1
    signs: Array = seven | parity << 7
    return signs


def _sign_bits(packed: Array) -> Floats:
    """float32 [n, 8 * bytes]: 1 where a bit is 0, and -1 where it is 1."""
    return np.float32(1) - 2 * unpack(packed, 1, 8 * packed.shape[1]).astype(np.float32)


def _words(blocks: Array, at: int, stop: int, dtype: str) -> Array:
    return np.ascontiguousarray(blocks[:, at:stop]).view(dtype)


def _high_bits(packed: Array, bits: int, mask: int) -> Array:
    """uint16 [n, 8 / bits * bytes]: fields of a byte, the lowest first, of which the bits in `mask` count, as bits 8
    and up of an index."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((packed[..., None] >> shifts & mask).astype(np.uint16) << 8).reshape(len(packed), -1)


def _nibble_scales(blocks: Array, at: int) -> Floats:
    return unpack(blocks[:, at:], 4, 2 * (blocks.shape[1] - at)).astype(np.float32)


def _signs_of_words(words: Array) -> Floats:
    """Signs of 32 values out of each uint32: four times seven bits."""
    sevens = words[..., None] >> np.arange(0, 28, 7, dtype=np.uint32) & 127
    return _sign_bits(_even_signs()[sevens].reshape(len(words), -1))


def _of_table(name: str, indices: Callable[[Array], Array], signs: Callable[[Array], Floats]) -> Any:
    def worth(blocks: Array) -> Floats:
        found: Floats = _table(name)[indices(blocks)].reshape(len(blocks), -1) * signs(blocks)
        return found

    return worth


def _iq2_xxs_words(b: Array) -> Array:
    return _words(b, 2, 66, "<u4").reshape(len(b), 8, 2)


def _iq2_xxs_indices(b: Array) -> Array:
    return np.ascontiguousarray(_iq2_xxs_words(b)[..., 0]).view(np.uint8).reshape(len(b), -1)


def _iq2_xxs_scales(b: Array) -> Floats:
    return half(b, 0) * (np.float32(0.5) + (_iq2_xxs_words(b)[..., 1] >> 28).astype(np.float32)) * np.float32(0.25)


def _iq2_xs_indices(b: Array) -> Array:
    return _words(b, 2, 66, "<u2") & 511


def _iq2_s_indices(b: Array) -> Array:
    return b[:, 2:34] | _high_bits(b[:, 66:74], 2, 3)


def _quarter(b: Array, at: int) -> Floats:
    return half(b, 0) * (np.float32(0.5) + _nibble_scales(b, at)) * np.float32(0.25)


def _iq3_xxs_scales(b: Array) -> Floats:
    words = _words(b, 66, 98, "<u4")
    return half(b, 0) * (np.float32(0.5) + (words >> 28).astype(np.float32)) * np.float32(0.5)


def _iq3_s_indices(b: Array) -> Array:
    indices: Array = b[:, 2:66] | unpack(b[:, 66:74], 1, 64).astype(np.uint16) << 8
    return indices


def _iq1_s_indices(b: Array) -> Array:
    high = _words(b, 34, 50, "<u2")[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7
    indices: Array = b[:, 2:34] | high.reshape(len(b), -1) << 8
    return indices


def _iq1_s_scales(b: Array) -> Floats:
    return half(b, 0) * (2 * (_words(b, 34, 50, "<u2") >> 12 & 7) + 1).astype(np.float32)


def _iq1_s_worth(b: Array) -> Floats:
    below = _words(b, 34, 50, "<u2") >> 15
    delta = np.where(below, -_DELTA, _DELTA).astype(np.float32)
    return (_table("iq1_s")[_iq1_s_indices(b)].reshape(len(b), 8, 32) + delta[..., None]).reshape(len(b), -1)


def _iq1_m_indices(b: Array) -> Array:
    return b[:, :32] | _high_bits(b[:, 32:48], 4, 7)


def _iq1_m_scales(b: Array) -> Floats:
    """The float16 of the block stands in the upper four bits of four words, whose others are twelve bits of scales."""
    words = _words(b, 48, 56, "<u2")
    parts = (words & 0xF000) >> np.array([12, 8, 4, 0], np.uint16)
    whole = np.bitwise_or.reduce(parts, axis=1, keepdims=True).astype("<u2").view("<f2").astype(np.float32)
    scales = words[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7
    return whole * (2 * scales.reshape(len(b), -1) + 1).astype(np.float32)


def _iq1_m_worth(b: Array) -> Floats:
    below = unpack(b[:, 32:48], 4, 32) >> 3
    delta = np.where(below, -_DELTA, _DELTA).astype(np.float32)
    return (_table("iq1_m")[_iq1_m_indices(b)] + delta[..., None]).reshape(len(b), -1)


CODEBOOKS: dict[str, BlockType] = {
    "iq2_xxs": BlockType(
        vector("iq2_xxs", 8, 8), 256, 32, _iq2_xxs_indices, _iq2_xxs_scales,
        worth=_of_table("iq2_xxs", _iq2_xxs_indices, lambda b: _signs_of_words(_iq2_xxs_words(b)[..., 1])),
    ),
    "iq2_xs": BlockType(
        vector("iq2_xs", 9, 8), 256, 16, _iq2_xs_indices, lambda b: _quarter(b, 66),
        worth=_of_table("iq2_xs", _iq2_xs_indices, lambda b: _sign_bits(_even_signs()[_words(b, 2, 66, "<u2") >> 9])),
    ),
    "iq2_s": BlockType(
        vector("iq2_s", 10, 8), 256, 16, _iq2_s_indices, lambda b: _quarter(b, 74),
        worth=_of_table("iq2_s", _iq2_s_indices, lambda b: _sign_bits(b[:, 34:66])),
    ),
    "iq3_xxs": BlockType(
        vector("iq3_xxs", 8, 4), 256, 32, lambda b: b[:, 2:66], _iq3_xxs_scales,
        worth=_of_table("iq3_xxs", lambda b: b[:, 2:66], lambda b: _signs_of_words(_words(b, 66, 98, "<u4"))),
    ),
    "iq3_s": BlockType(
        vector("iq3_s", 9, 4), 256, 32, _iq3_s_indices, lambda b: half(b, 0) * (1 + 2 * _nibble_scales(b, 106)),
        worth=_of_table("iq3_s", _iq3_s_indices, lambda b: _sign_bits(b[:, 74:106])),
    ),
    "iq1_s": BlockType(vector("iq1_s", 11, 8), 256, 32, _iq1_s_indices, _iq1_s_scales, worth=_iq1_s_worth),
    "iq1_m": BlockType(vector("iq1_m", 11, 8), 256, 16, _iq1_m_indices, _iq1_m_scales, worth=_iq1_m_worth),
}  # fmt: skip
