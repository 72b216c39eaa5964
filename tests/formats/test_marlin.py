"""The packed layout against a slow decoder written from its description, word by word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.inspector.formats import marlin


def decode_slowly(words: NDArray[np.int32], rows_of_lane: dict[str, Any]) -> NDArray[np.uint8]:
    """Codes [in, out]: each word's eight nibbles put where the lane that loads it wants them."""
    tile_rows, width = words.shape
    codes = np.full((tile_rows * 16, width // 2), 255, np.uint8)
    for tile_row in range(tile_rows):
        for at in range(width):
            run, inside = divmod(at, 128)
            lane, tile = divmod(inside, 4)
            rows = [rows_of_lane["step"] * (lane % 4) + r for r in rows_of_lane["rows"]]
            column = lane // 4
            places = [(r, column) for r in rows] + [(r, column + 8) for r in rows]
            word = int(words[tile_row, at]) & 0xFFFFFFFF
            for nibble, source in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
                row, col = places[source]
                codes[tile_row * 16 + row, run * 64 + tile * 16 + col] = (word >> (4 * nibble)) & 15
    return codes


KERNELS = {"W4A8": {"step": 4, "rows": (0, 1, 2, 3)}, "W4A16": {"step": 2, "rows": (0, 1, 8, 9)}}


@pytest.mark.parametrize("kernel", KERNELS)
@given(seed=st.integers(0, 2**32 - 1), tile_rows=st.integers(1, 3), blocks=st.integers(1, 3))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_unpack_is_the_slow_decoder(kernel: str, seed: int, tile_rows: int, blocks: int) -> None:
    words = np.random.default_rng(seed).integers(-(2**31), 2**31, (tile_rows, 128 * blocks), np.int64).astype(np.int32)
    assert np.array_equal(marlin.unpack(words, kernel).T, decode_slowly(words, KERNELS[kernel]))


def test_unpack_refuses_part_of_a_block() -> None:
    with pytest.raises(ValueError, match="whole blocks"):
        marlin.unpack(np.zeros((1, 100), np.int32), "W4A8")


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_scale_permutations_move_every_scale_once(groups: int, blocks: int, seed: int) -> None:
    scales = np.random.default_rng(seed).permutation(groups * blocks * 64).reshape(groups, blocks * 64)
    stored = scales.copy()
    for b in range(blocks):
        for i in range(8):
            for j in range(8):
                stored[:, 64 * b + 8 * i + j] = scales[:, 64 * b + 8 * j + i]
    assert np.array_equal(marlin.unpermute_groups(stored), scales.T)

    order = [2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)]
    one = scales[:1]
    packed = one.reshape(-1, 32)[:, order].reshape(1, -1)
    assert np.array_equal(marlin.unpermute_channels(packed), one.reshape(-1))
