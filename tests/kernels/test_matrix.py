"""Numbers out of codes by the compiled body, against numpy's arithmetic to the bit, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.kernels.distance import distance_sums
from qinspect.kernels.matrix import CHUNK, chunk_of, compiled, takes, values_of
from qinspect.kernels.packing import PackedRows, Packing

Array = NDArray[Any]
needs_compiler = pytest.mark.skipif(not compiled(), reason="no C compiler")
SMALL = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e3m4", "float8_e4m3b11fnuz")


def of_dtype(name: str) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name)).astype(np.float32))


LEVELS = {
    **{name: of_dtype(name) for name in SMALL},
    "int8": np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32),
    "odd": np.random.default_rng(5).standard_normal(256).astype(np.float32),
}


def codes_of(rows: Array, p: Packing, columns: int) -> Array:
    """Once more, slowly: the codes of a row, in the words of Packing."""
    found = []
    for row in rows:
        blocks = [row] if not p.block else [
            row[i * p.block_bytes + p.first : i * p.block_bytes + p.first + p.block * p.bits // 8]
            for i in range(-(-columns // p.block))
        ]  # fmt: skip
        codes = [
            (block[run + i] >> shift) & ((1 << p.bits) - 1)
            for block in blocks
            for run in range(0, len(block), p.apart)
            for shift in range(0, 8, p.bits)
            for i in range(p.apart)
        ]
        found.append(codes[:columns])
    return np.array(found)


def by_numpy(m: PackedRows) -> Array:
    codes = codes_of(m.codes, m.packing, m.columns)
    of_column = np.arange(m.columns) // m.width
    cells = (len(m.codes), -(-m.columns // m.width))
    scale, zero, low = (
        None if n is None else np.broadcast_to(n, cells)[:, of_column] for n in (m.scales, m.zeros, m.minima)
    )
    assert scale is not None
    with np.errstate(all="ignore"):
        found = m.levels[codes]
        found = found if zero is None else found - zero
        found = found / scale if m.divided else found * scale
        return np.asarray(found if low is None else found + low)


PACKINGS = [
    Packing(8), Packing(4), Packing(2), Packing(1), Packing(4, 16, 32, 18, 2), Packing(4, 32, 256, 144, 16),
    Packing(2, 32, 256, 84, 16), Packing(8, 1, 32, 34, 2), Packing(4, 8, 64, 36, 4),
]  # fmt: skip


@st.composite
def packed_rows(draw: st.DrawFn) -> PackedRows:
    p, width = draw(st.sampled_from(PACKINGS)), draw(st.sampled_from([1, 4, 7, 16, 20, 32, 128, 600, 2000]))
    columns = draw(st.integers(1, 4)) * p.block * 3 if p.block else draw(st.integers(1, 1300))
    n_rows, rng = draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 99)))
    n_bytes = columns // p.block * p.block_bytes if p.block else -(-columns * p.bits // 8)
    levels = LEVELS[draw(st.sampled_from(sorted(LEVELS)))][: 1 << p.bits]
    cells = (n_rows, -(-columns // width)) if draw(st.booleans()) else (1, 1)
    scales, zeros, minima = rng.standard_normal((3, *cells)).astype(np.float32)
    with_zeros, with_minima, divided = draw(st.sampled_from([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1)]))
    codes = rng.integers(0, 256, (n_rows, n_bytes), np.uint8)
    return PackedRows(
        codes, columns, p, np.ascontiguousarray(levels), scales, width, zeros if with_zeros else None,
        minima if with_minima else None, bool(divided),
    )  # fmt: skip


@needs_compiler
@given(packed_rows())
def test_values_are_those_of_numpy_to_the_bit(m: PackedRows) -> None:
    found, expected = values_of(m), by_numpy(m)
    assert found is not None
    assert found.dtype == expected.dtype == np.float32
    number = ~np.isnan(expected)
    assert np.array_equal(number, ~np.isnan(found))
    assert np.array_equal(found.view(np.uint32)[number], expected.view(np.uint32)[number])


@needs_compiler
@pytest.mark.parametrize("name", LEVELS)
def test_every_pattern_of_a_byte(name: str) -> None:
    codes = np.tile(np.arange(256, dtype=np.uint8), (3, 3))
    m = PackedRows(codes, codes.shape[1], Packing(8), LEVELS[name], np.ones((1, 1), np.float32), 1000)
    found = values_of(m)
    assert found is not None
    expected = np.tile(LEVELS[name], (3, 3))
    number = ~np.isnan(expected)
    assert np.array_equal(found[number].view(np.uint32), expected[number].view(np.uint32))
    assert np.isnan(found[~number]).all()


@needs_compiler
@given(packed_rows(), st.sampled_from([0, 4, 16, 32, 128]), st.booleans(), st.integers(0, 99))
def test_sums_of_codes_are_those_of_their_values(m: PackedRows, width: int, both: bool, seed: int) -> None:
    values = by_numpy(m)
    a: Any = replace(m, scales=m.scales * np.float32(1.5)) if both else (
        np.random.default_rng(seed).standard_normal(m.shape).astype(ml_dtypes.bfloat16)
    )  # fmt: skip
    x = by_numpy(a) if both else a
    found, expected = distance_sums(a, m, width), distance_sums(np.ascontiguousarray(x), values, width)
    finite = bool(np.isfinite(values).all() and np.isfinite(x.astype(np.float32)).all())
    if not finite or chunk_of(width or 1, a, m) is None:
        assert found is None or finite
        return
    assert found is not None
    assert expected is not None
    assert (found.at, found.largest) == (expected.at, expected.largest)
    assert np.allclose(found.rows, expected.rows, rtol=1e-13)
    assert np.allclose(found.columns, expected.columns, rtol=1e-13, atol=1e-13 * np.abs(expected.columns).max())
    if width:
        assert found.cells is not None
        assert expected.cells is not None
        assert np.allclose(found.cells, expected.cells, rtol=1e-13)


@needs_compiler
def test_halves_of_every_pattern() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = np.ascontiguousarray(every[np.isfinite(every)].reshape(-1, 64))
    found = distance_sums(x, x.astype(np.float32))
    assert found is not None
    assert found.at == -1  # float16 is read as numpy reads it
    assert found.rows[0].sum() == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-13)


def test_rows_of_too_few_bytes_are_an_error() -> None:
    m = PackedRows(np.zeros((2, 7), np.uint8), 16, Packing(4), LEVELS["odd"][:16], np.ones((1, 1), np.float32), 16)
    with pytest.raises(ValueError, match="no rows of 16 codes"):
        takes(m)


def test_chunks_are_whole_blocks_and_cells() -> None:
    m = PackedRows(
        np.zeros((1, 144), np.uint8), 256, Packing(4, 32, 256, 144, 16), LEVELS["odd"][:16],
        np.ones((1, 1), np.float32), 32,
    )  # fmt: skip
    assert chunk_of(32, m) == CHUNK
    assert chunk_of(96, m) is None  # no whole number of cells in whole blocks, nor the other way round
    assert chunk_of(1024, m) == CHUNK
    assert chunk_of(96, np.zeros((1, 96), np.float32)) == 480
    assert chunk_of(20, np.zeros((1, 96), np.float32)) == 480
