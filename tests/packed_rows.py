"""Rows of codes as they are stored, at random, and slowly, in the words of `Packing`, what they stand for."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.kernels.packing import PackedRows, Packing, Plane

Array = NDArray[Any]
SMALL = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e3m4", "float8_e4m3b11fnuz")


def of_dtype(name: str) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name)).astype(np.float32))


FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
LEVELS = {
    **{name: of_dtype(name) for name in SMALL},
    "int8": np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32),
    "odd": np.random.default_rng(5).standard_normal(256).astype(np.float32),
    "counted": np.arange(256, dtype=np.float32) - 8,
    "fp4": np.tile(FP4, 16),
    "fp4 without -0": np.tile(FP4 + np.float32(0), 16),
}
"""Of patterns of up to 8 bits; of fewer bits, the first of them."""

PACKINGS = {
    **{f"{bits} bits": Packing(bits) for bits in range(1, 9)},
    "q4_0": Packing(4, 16, 32, 18, 2), "q4_k": Packing(4, 32, 256, 144, 16), "q2_k": Packing(2, 32, 256, 84, 16),
    "q8_0": Packing(8, 1, 32, 34, 2), "nvfp4": Packing(4, 8, 64, 36, 4), "stream": Packing(2, 1, 64, 18, 2),
    "q3_k": Packing(2, 32, 256, 110, 32, (Plane(1, 32, 0),)), "q5_0": Packing(4, 16, 32, 22, 6, (Plane(1, 1, 2),)),
    "q6_k": Packing(4, 64, 256, 210, 0, (Plane(2, 32, 128),)), "planar 3": Packing(2, 1, 32, 12, 0, (Plane(1, 1, 8),)),
    "planar 7": Packing(4, 1, 32, 28, 0, (Plane(2, 1, 16), Plane(1, 1, 24))),
    "pairs of rows": Packing(4, shifts=(0, 4)), "eight rows": Packing(4, shifts=(0, 16, 4, 20, 8, 24, 12, 28), word=4),
    "three rows of 2 bits": Packing(2, shifts=(6, 0, 2)),
}  # fmt: skip


def bits_of(stored: Array) -> list[int]:
    return [byte >> i & 1 for byte in stored.tolist() for i in range(8)]


def plane_of(stored: Array, plane: Plane) -> list[int]:
    """The codes of some bytes, in the words of Plane."""
    if plane.apart == 1:
        stream = bits_of(stored)
        ends = range(plane.bits, len(stream) + 1, plane.bits)
        return [sum(stream[end - plane.bits + i] << i for i in range(plane.bits)) for end in ends]
    return [
        int(stored[run + i]) >> shift & ((1 << plane.bits) - 1)
        for run in range(0, len(stored), plane.apart)
        for shift in range(0, 8, plane.bits)
        for i in range(plane.apart)
    ]


def row_of(stored: Array, p: Packing, columns: int) -> list[int]:
    found: list[int] = []
    n_blocks = -(-columns // p.block) if p.block else 1
    for start in range(0, n_blocks * p.block_bytes or 1, p.block_bytes or 1):
        codes = None
        shift = 0
        for plane in p.planes:
            n = p.block * plane.bits // 8 if p.block else len(stored)
            part = plane_of(stored[start + plane.first : start + plane.first + n], plane)
            codes = part if codes is None else [c | b << shift for c, b in zip(codes, part, strict=True)]
            shift += plane.bits
        found += codes or []
    return found[:columns]


def codes_of(m: PackedRows) -> Array:
    """uint8[rows, columns]."""
    p = m.packing
    if not p.shifts:
        return np.array([row_of(row, p, m.columns) for row in m.codes])
    words = m.codes[:, : m.columns * p.word].reshape(len(m.codes), -1, p.word)
    numbers = sum(words[..., k].astype(np.int64) << 8 * k for k in range(p.word))
    every = [number >> shift & ((1 << p.bits) - 1) for number in np.asarray(numbers) for shift in p.shifts]
    return np.array(every)[m.skipped : m.skipped + m.shape[0]]


def by_numpy(m: PackedRows) -> Array:
    """float32[rows, columns]."""
    of_column = np.arange(m.columns) // m.width if m.cell_of is None else m.cell_of
    cells = (m.shape[0], m.n_cells)
    scales = m.scales if m.of_scales is None else m.of_scales[m.scales]
    scale, zero, low = (
        None if n is None else np.broadcast_to(n, cells)[:, of_column] for n in (scales, m.zeros, m.minima)
    )
    assert scale is not None
    with np.errstate(all="ignore"):
        found = m.levels[codes_of(m)]
        found = found if zero is None else found - zero
        found = found / scale if m.divided else found * scale
        found = found if low is None else found + low
        return np.asarray(found if m.factors is None else found * m.factors)


@st.composite
def packed_rows(draw: st.DrawFn) -> PackedRows:
    p = PACKINGS[draw(st.sampled_from(sorted(PACKINGS)))]
    width = draw(st.sampled_from([1, 4, 7, 16, 20, 32, 128, 600, 2000]))
    columns = draw(st.integers(1, 4)) * p.block * 3 if p.block else draw(st.integers(1, 1300))
    if p.block and draw(st.booleans()):
        columns -= draw(st.integers(1, p.block - 1))  # the last block is not full
    n_rows, rng = draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 99)))
    skipped = draw(st.integers(0, len(p.shifts) - 1)) if p.shifts else 0
    stored_rows = -(-(skipped + n_rows) // len(p.shifts)) if p.shifts else n_rows
    levels = LEVELS[draw(st.sampled_from(sorted(LEVELS)))][: 1 << p.all_bits]
    ordered = draw(st.booleans())
    n_cells = draw(st.integers(1, 9)) if ordered else -(-columns // width)
    cells = (n_rows, n_cells) if ordered or draw(st.booleans()) else (1, 1)
    scales, zeros, minima = rng.standard_normal((3, *cells)).astype(np.float32)
    coded = draw(st.booleans())
    with_zeros, with_minima, divided = draw(st.sampled_from([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1)]))
    return PackedRows(
        rng.integers(0, 256, (stored_rows, p.bytes_of(columns) + draw(st.integers(0, 1))), np.uint8), columns, p,
        np.ascontiguousarray(levels), rng.integers(0, 256, cells, np.uint8) if coded else scales, width,
        zeros if with_zeros else None, minima if with_minima else None, bool(divided),
        of_scales=rng.standard_normal(256).astype(np.float32) if coded else None,
        cell_of=rng.integers(0, n_cells, columns, np.int32) if ordered else None,
        factors=rng.standard_normal(columns).astype(np.float32) if draw(st.booleans()) else None,
        skipped=skipped, n_rows=n_rows if p.shifts else None,
    )  # fmt: skip
