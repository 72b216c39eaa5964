"""Numbers out of codes by the compiled body, against numpy's arithmetic to the bit, and what it refuses."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from packed_rows import LEVELS, PACKINGS, by_numpy, packed_rows

from qinspect.kernels import compiled as compiling
from qinspect.kernels import matrix
from qinspect.kernels.distance import distance_sums
from qinspect.kernels.matrix import CHUNK, chunk_of, compiled, takes, values_of
from qinspect.kernels.packing import PackedRows, Packing, Plane

Array = NDArray[Any]
needs_compiler = pytest.mark.skipif(not compiled(), reason="no C compiler")


@pytest.fixture(params=["of this machine", "of any machine"], scope="module", autouse=True)
def body(request: pytest.FixtureRequest) -> Iterator[None]:
    """The body as it is compiled here, and as it is where the processor has nothing special."""
    caches = compiling._flags, compiling.library, matrix._body
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "of any machine":
            patch.setattr(compiling, "WIDER", ())
        for cached in caches:
            cached.cache_clear()
        yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.skipif(sys.platform != "linux" or not any(map(shutil.which, compiling.COMPILERS)), reason="no C compiler")
def test_where_there_is_a_compiler_there_is_a_body() -> None:
    assert compiled()


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
    a: Any = np.random.default_rng(seed).standard_normal(m.shape).astype(ml_dtypes.bfloat16)
    if both:
        of = "scales" if m.of_scales is None else "of_scales"
        a = replace(m, **{of: getattr(m, of) * np.float32(1.5)})
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


def rows(packing: Packing, n_bytes: int, columns: int, **more: Any) -> PackedRows:
    levels = np.ascontiguousarray(LEVELS["odd"][: 1 << packing.all_bits])
    codes = np.zeros((2, n_bytes), np.uint8)
    return PackedRows(codes, columns, packing, levels, np.ones((1, 1), np.float32), 16, **more)


@pytest.mark.parametrize(
    ("packing", "n_bytes"), [(Packing(4), 7), (Packing(3), 5), (PACKINGS["eight rows"], 63), (PACKINGS["q5_0"], 21)]
)
def test_rows_of_too_few_bytes_are_an_error(packing: Packing, n_bytes: int) -> None:
    with pytest.raises(ValueError, match="no rows of 16 codes"):
        takes(rows(packing, n_bytes, 16))


@pytest.mark.parametrize(
    "packing",
    [
        Packing(4, 4), Packing(3, 8), Packing(4, 128, 256, 200), Packing(4, 16, 32, 18, 3), Packing(4, 16, 48, 30, 2),
        Packing(4, above=(Plane(2),)), Packing(4, shifts=(0, 5)),
        Packing(4, shifts=(0, 4), word=2), Packing(4, 16, 32, 22, 6, (Plane(1, 1, 19),)),
        Packing(1, 1, 32, 40, 0, (Plane(1, 1, 4), Plane(1, 1, 8), Plane(1, 1, 12))),
    ],
)  # fmt: skip
def test_what_is_not_described_is_an_error(packing: Packing) -> None:
    with pytest.raises(ValueError, match="are no rows of"):
        takes(rows(packing, 4096, 256))


@pytest.mark.parametrize("cell", [-1, 3])
def test_cells_that_are_not_there_are_an_error(cell: int) -> None:
    m = rows(Packing(8), 16, 16, cell_of=np.full(16, cell, np.int32))
    with pytest.raises(ValueError, match="not all among 3"):
        takes(replace(m, scales=np.ones((2, 3), np.float32)))


@needs_compiler
@given(packed_rows(), st.integers(0, 4), st.integers(1, 5))
def test_some_rows_are_those_of_the_whole(m: PackedRows, start: int, n: int) -> None:
    start = min(start, m.shape[0] - 1)
    part, whole = m.rows(start, start + n), by_numpy(m)[start : start + n]
    found = values_of(part)
    assert found is not None
    assert part.shape == whole.shape
    assert np.array_equal(found, whole, equal_nan=True)


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
