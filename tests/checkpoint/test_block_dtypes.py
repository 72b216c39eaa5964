"""Rows of types whose elements share bytes or blocks: read in part, against layouts that are written here, ml_dtypes,
and a file that ggml wrote."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from qinspect.inspector.checkpoint.dtypes import BLOCKS, DTYPES, DType
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.tensor import Tensor
from qinspect.inspector.errors import CannotDequantize, CannotRead
from qinspect.inspector.formats.records import Slice, part_of


class Counting(File):
    """A file that remembers how many bytes were read."""

    __slots__ = ("n_read",)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.n_read = 0

    def read(self, offset: int, n: int) -> bytes:
        self.n_read += n
        return super().read(offset, n)


def tensor(folder: Path, raw: bytes, dtype: DType, shape: tuple[int, ...], start: int = 0) -> tuple[Tensor, Counting]:
    path = folder / "raw"
    path.write_bytes(bytes(start) + raw)
    file = Counting(path)
    return Tensor("w", dtype, shape, None, file, start), file


def q8_0(values: NDArray[np.float32]) -> tuple[bytes, NDArray[np.float32]]:
    """A matrix as blocks of 32 (a float16 step, then 32 int8), and what they stand for."""
    blocks = values.reshape(-1, 32)
    steps = (np.abs(blocks).max(1) / 127).astype(np.float16)
    codes = np.rint(blocks / steps.astype(np.float32)[:, None]).astype(np.int8)
    raw = b"".join(struct.pack("<e", s) + c.tobytes() for s, c in zip(steps, codes, strict=True))
    return raw, (codes * steps.astype(np.float32)[:, None]).reshape(values.shape)


def decoded(dtype: str, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Q8_0 or Q4_0, by ggml's definition: of Q4_0 the low nibbles are the first half of a block."""
    steps = np.ascontiguousarray(blocks[..., :2]).view(np.float16).astype(np.float32)
    rest = blocks[..., 2:]
    codes = rest.view(np.int8) if dtype == "q8_0" else np.concatenate([rest & 15, rest >> 4], -1).astype(np.int8) - 8
    values: NDArray[np.float32] = codes.astype(np.float32) * steps
    return values.reshape(*blocks.shape[:-2], -1)


def test_rows_of_blocks_are_read_in_part(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((40, 96)).astype(np.float32)
    raw, truth = q8_0(values)
    found, file = tensor(tmp_path, raw, BLOCKS["q8_0"], (40, 96), start=5)
    assert found.nbytes == len(raw) == 40 * 3 * 34
    blocks = found.read_rows(7, 11)
    assert blocks.shape == (4, 3, 34)
    assert file.n_read == 4 * 3 * 34
    assert np.array_equal(decoded("q8_0", blocks), truth[7:11])
    assert found.read_rows(39, 99).shape == (1, 3, 34)
    assert found.read_rows(5, 5).shape == (0, 3, 34)


def test_stacked_experts_of_blocks_are_parts(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((3, 8, 64)).astype(np.float32)
    raw, truth = q8_0(values)
    stacked, file = tensor(tmp_path, raw, BLOCKS["q8_0"], (3, 8, 64))
    assert np.array_equal(decoded("q8_0", stacked.read_rows(1, 2)), truth[1:2])
    file.n_read = 0
    expert = part_of(stacked, Slice((2,), (4, 8)))
    assert expert.shape == (4, 64)
    assert np.array_equal(decoded("q8_0", expert.read_rows(1, 3)), truth[2, 5:7])
    assert file.n_read == 2 * 2 * 34


def test_a_part_of_a_plain_tensor(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    stacked, _ = tensor(tmp_path, values.tobytes(), DTYPES["float32"], (2, 3, 4))
    assert np.array_equal(part_of(stacked, Slice((1,))).read(), values[1])
    assert np.array_equal(part_of(stacked, Slice(rows=(1, 2))).read(), values[1:2])
    one = part_of(stacked, Slice((1, 2, 3)))
    assert (one.shape, float(one.read())) == ((), float(values[1, 2, 3]))
    for wrong in (
        Slice((2,)),
        Slice((-1,)),
        Slice((0, 0, 4)),
        Slice((0, 0, 0, 0)),
        Slice((0, 0, 0), (0, 1)),
        Slice((0,), (2, 4)),
        Slice((0,), (2, 1)),
    ):
        with pytest.raises(CannotDequantize, match="has no such part"):
            part_of(stacked, wrong)
    with pytest.raises(CannotDequantize, match="not in C order"):
        part_of(stacked.transposed(), Slice((0,)))


def test_rows_that_are_no_whole_blocks_are_refused(tmp_path: Path) -> None:
    found, _ = tensor(tmp_path, bytes(34 * 3), BLOCKS["q8_0"], (2, 48))
    with pytest.raises(CannotRead, match="not whole blocks"):
        found.read_rows(0, 1)
    with pytest.raises(CannotRead, match="cannot be decoded"):
        found.read()
    for part in (Slice((1,)), Slice((1, 0)), Slice(rows=(0, 1))):
        with pytest.raises(CannotDequantize, match="has no such part"):
            part_of(found, part)


@given(st.integers(1, 7), st.integers(1, 11), st.data())
def test_rows_of_packed_floats_are_those_of_the_whole(rows: int, columns: int, data: st.DataObject) -> None:
    """Four and six bits: a row may begin within a byte."""
    name = data.draw(st.sampled_from(["float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"]))
    dtype = DTYPES[name]
    raw = data.draw(st.binary(min_size=dtype.nbytes(rows * columns), max_size=dtype.nbytes(rows * columns)))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, rows), st.integers(0, rows))))
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[: rows * columns * dtype.bits]
    codes = (bits.reshape(-1, dtype.bits) << np.arange(dtype.bits, dtype=np.uint8)).sum(1).astype(np.uint8)
    truth = codes.view(getattr(ml_dtypes, name)).astype(np.float32).reshape(rows, columns)
    with TemporaryDirectory() as folder:
        found, file = tensor(Path(folder), raw, dtype, (rows, columns))
        part = found.read_rows(start, stop)
        assert np.array_equal(part.astype(np.float32), truth[start:stop])
        assert file.n_read <= dtype.nbytes((stop - start) * columns) + 1 or stop == start
        assert np.array_equal(found.read().astype(np.float32), truth)


def test_rows_of_more_than_two_dimensions_are_read_in_part(tmp_path: Path) -> None:
    values = np.arange(6 * 2 * 5, dtype=np.int8).reshape(6, 2, 5)
    found, file = tensor(tmp_path, values.tobytes(), DTYPES["int8"], (6, 2, 5))
    assert np.array_equal(found.read_rows(2, 4), values[2:4])
    assert file.n_read == 20


# --- a file that ggml wrote ---

TYPES = {
    2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k",
    16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs",
    29: "iq1_m", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0", 42: "q2_0",
}  # fmt: skip
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def gguf_tensors(raw: bytes) -> Iterator[tuple[str, tuple[int, ...], int, int]]:
    """(name, shape, type, offset in the file) of a small GGUF file."""
    at = 8

    def number(form: str) -> int:
        nonlocal at
        (found,) = struct.unpack_from("<" + form, raw, at)
        at += struct.calcsize("<" + form)
        return int(found)

    def text() -> str:
        nonlocal at
        n = number("Q")
        at += n
        return raw[at - n : at].decode()

    def skip(kind: int) -> None:
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            inner, n = number("I"), number("Q")
            for _ in range(n):
                skip(inner)
        else:
            at += SIZES[kind]

    n_tensors, n_keys = number("Q"), number("Q")
    for _ in range(n_keys):
        text()
        skip(number("I"))
    infos = []
    for _ in range(n_tensors):
        name = text()
        shape = tuple(number("Q") for _ in range(number("I")))[::-1]
        infos.append((name, shape, number("I"), number("Q")))
    data = -(-at // 32) * 32
    yield from ((name, shape, kind, data + offset) for name, shape, kind, offset in infos)


@pytest.mark.skipif("QINSPECT_FIXTURES" not in os.environ, reason="QINSPECT_FIXTURES is not set")
@pytest.mark.parametrize("name", ["gguf_every_type", "gguf_every_type_2026", "gguf_q8_0", "gguf_q4_0"])
def test_blocks_of_a_file_of_ggml(name: str) -> None:
    folder = Path(os.environ["QINSPECT_FIXTURES"]) / name
    path = next(p for p in (folder / "model").rglob("*.gguf"))
    truth = load_file(folder / "expected.safetensors")
    found = sorted(gguf_tensors(path.read_bytes()), key=lambda t: t[3])
    ends = [t[3] for t in found[1:]] + [path.stat().st_size]
    file = Counting(path)
    n_types = set()
    for (key, shape, kind, offset), end in zip(found, ends, strict=True):
        if kind not in TYPES:
            continue
        dtype = BLOCKS[TYPES[kind]]
        t = Tensor(key, dtype, shape, None, file, offset)
        assert -(-t.nbytes // 32) * 32 == -(-(end - offset) // 32) * 32, (key, dtype.name)
        n_types.add(kind)
        if dtype.name in ("q8_0", "q4_0") and key in truth:
            stop = min(5, shape[0])
            assert np.array_equal(decoded(dtype.name, t.read_rows(1, stop)), truth[key][1:stop]), key
    assert n_types


def test_a_block_is_made_of_whole_bytes() -> None:
    for dtype in BLOCKS.values():
        assert dtype.nbytes(dtype.block) == dtype.block_bytes
        assert dtype.nbytes(3 * dtype.block) == 3 * dtype.block_bytes
        if dtype.name != "tq1_0":  # digits of base 3, five a byte
            assert dtype.block * dtype.bits <= 8 * dtype.block_bytes
        assert (dtype.is_float, dtype.is_integer, dtype.is_complex) == (False, False, False)
