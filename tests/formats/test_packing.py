"""Codes out of packed words, against packing one code at a time into one large integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.formats.packing import bytes_of, signed, swap_nibbles, unpack


def packed_by_hand(codes: list[int], bits: int, nbytes: int) -> np.ndarray:
    """One stream, the first code in the lowest bits."""
    whole = sum(code << (i * bits) for i, code in enumerate(codes))
    return np.frombuffer(whole.to_bytes(nbytes, "little"), np.uint8)


@settings(deadline=None, max_examples=200)
@given(st.data(), st.integers(1, 8), st.integers(0, 40), st.integers(0, 3))
def test_codes_of_any_width_come_back(data: st.DataObject, bits: int, n: int, spare: int) -> None:
    codes = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=n, max_size=n))
    packed = packed_by_hand(codes, bits, -(-n * bits // 8) + spare)
    rows = np.stack([packed, packed])
    assert unpack(rows, bits, n).tolist() == [codes, codes]


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_row_that_is_too_short_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="hold no"):
        unpack(np.zeros((2, 3), np.uint8), bits, 24 // bits + 1)


@pytest.mark.parametrize("bits", range(2, 9))
def test_twos_complement(bits: int) -> None:
    half = 1 << (bits - 1)
    numbers = np.arange(-half, half)
    stored = (numbers & ((1 << bits) - 1)).astype(np.uint8)
    assert signed(stored, bits).tolist() == numbers.tolist()


def test_words_are_read_as_little_endian_whatever_their_own_order() -> None:
    words = np.array([[0x03020100, 0x07060504]], np.int32)
    assert bytes_of(words).tolist() == bytes_of(words.astype(">i4")).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_nibbles_change_places() -> None:
    assert swap_nibbles(np.array([0x12, 0xF0], np.uint8)).tolist() == [0x21, 0x0F]
