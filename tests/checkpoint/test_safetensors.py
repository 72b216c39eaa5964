from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hostile import entry, floats, opened, refused, safetensors_bytes, survey, write_safetensors
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint, safetensors
from qinspect.inspector.checkpoint.dtypes import DTYPES, SAFETENSORS
from qinspect.inspector.errors import BrokenFile, CannotRead

TORCH_DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64,
    torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e4m3fn,
    torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
)  # fmt: skip
F32 = entry("F32", [1], 0, 4)


@pytest.fixture(autouse=True, params=["small", "large"])
def _headers_of_both_sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large headers are read another way, with the same answers."""
    if request.param == "large":
        monkeypatch.setattr(safetensors, "LARGE_HEADER_BYTES", 0)


def codes(n: int) -> bytes:
    """`n` bytes of every pattern, without order."""
    return bytes((i * 37 + 11) % 256 for i in range(n))


# --- what it reads ---


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_every_dtype_that_torch_can_write_reads_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    raw = torch.tensor(list(codes(32 * dtype.itemsize)), dtype=torch.uint8)
    if dtype is torch.bool:
        raw = raw % 2
    save_file({"a": raw.view(dtype).reshape(4, 8)}, tmp_path / "m.safetensors")
    t = opened(tmp_path / "m.safetensors")
    values = t.read()
    assert t.dtype.name == str(dtype).removeprefix("torch.")
    assert values.shape == (4, 8)
    assert values.tobytes() == bytes(raw.tolist())
    assert t.read_range(3, 5).tobytes() == bytes(raw.tolist())[3 * dtype.itemsize : 5 * dtype.itemsize]
    if dtype.is_floating_point and dtype not in (torch.float8_e8m0fnu,):
        expected = raw.view(dtype).double().reshape(4, 8).numpy()
        assert np.array_equal(values.astype(np.float64), expected, equal_nan=True)


def test_fp4_as_torch_writes_it(tmp_path: Path) -> None:
    raw = torch.arange(16, dtype=torch.uint8).reshape(2, 8)
    save_file({"a": raw.view(torch.float4_e2m1fn_x2)}, tmp_path / "m.safetensors")
    t = opened(tmp_path / "m.safetensors")
    assert (t.dtype.name, t.shape, t.nbytes) == ("float4_e2m1fn", (2, 16), 16)
    table = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)
    expected = [table[nibble] for byte in range(16) for nibble in (byte & 15, byte >> 4)]
    assert t.read().astype(np.float64).reshape(-1).tolist() == expected


@pytest.mark.parametrize("name", ["F4", "F6_E2M3", "F6_E3M2"])
def test_packed_floats_against_ml_dtypes(tmp_path: Path, name: str) -> None:
    bits = DTYPES[SAFETENSORS[name]].bits
    levels = list(range(1 << bits))
    stream = sum(code << (bits * i) for i, code in enumerate(levels))
    data = stream.to_bytes(len(levels) * bits // 8, "little")
    path = write_safetensors(tmp_path / "m.safetensors", {"a": entry(name, [4, len(levels) // 4], 0, len(data))}, data)
    t = opened(path)
    expected = np.array(levels, np.uint8).view(getattr(ml_dtypes, SAFETENSORS[name]))
    assert np.array_equal(t.read().reshape(-1).astype(np.float64), expected.astype(np.float64))
    assert np.array_equal(t.read_rows(1, 3).astype(np.float64), t.read()[1:3].astype(np.float64))


def test_every_name_of_the_format_is_known(tmp_path: Path) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, ours in SAFETENSORS.items():
        n = DTYPES[ours].nbytes(8)
        header[name] = entry(name, [8], end, end + n)
        end += n
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "m.safetensors", header, bytes(end)))
    assert {name: t.dtype.name for name, t in checkpoint.entries.items() if hasattr(t, "dtype")} == SAFETENSORS
    assert all(t.read().size == 8 for t in checkpoint.tensors())


def test_metadata_and_order_of_the_data(tmp_path: Path) -> None:
    header = {
        "b": entry("U8", [2], 2, 4),
        "__metadata__": {"format": "pt", "x": ""},
        "a": {"shape": [], "data_offsets": [0, 2], "dtype": "I16"},
    }
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "m.safetensors", header, b"\x01\x02\x03\x04"))
    assert checkpoint.metadata == {"format": "pt", "x": ""}
    assert list(checkpoint.entries) == ["b", "a"]
    assert [t.read().tolist() for t in checkpoint.tensors()] == [[3, 4], 0x0201]


@pytest.mark.parametrize("shape", [[0], [0, 5], [3, 0, 7], [0, 0]])
def test_empty_tensors(tmp_path: Path, shape: list[int]) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"a": entry("F32", shape, 0, 0), "b": F32}, bytes(4))
    checkpoint = open_checkpoint(path)
    tensors = list(checkpoint.tensors())
    assert tensors[0].read().shape == tuple(shape)
    assert tensors[0].read_bytes() == b""


def test_no_tensors_at_all(tmp_path: Path) -> None:
    assert not open_checkpoint(write_safetensors(tmp_path / "m.safetensors", {})).entries


@pytest.mark.parametrize("length", [0x0080, 0x0180, 0x0280, 0x0380, 0x0480, 0x0580])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_header_length_that_looks_like_a_pickle(tmp_path: Path, length: int, suffix: str) -> None:
    raw = json.dumps({"a": F32}).encode().ljust(length)
    path = tmp_path / f"m{suffix}"
    path.write_bytes(safetensors_bytes(raw, b"\x00\x00\x80?"))
    assert opened(path).read().tolist() == [1.0]


def test_rows_and_ranges(tmp_path: Path) -> None:
    data = np.arange(24, dtype="<f4")
    path = write_safetensors(tmp_path / "m.safetensors", {"a": entry("F32", [6, 4], 0, 96)}, data.tobytes())
    t = opened(path)
    whole = data.reshape(6, 4)
    assert np.array_equal(t.read_rows(2, 5), whole[2:5])
    assert np.array_equal(t.read_rows(4, 99), whole[4:])
    assert np.array_equal(t.transposed().read(), whole.T)
    assert np.array_equal(t.transposed().read_rows(1, 3), whole.T[1:3])
    assert np.array_equal(t.transposed().transposed().read(), whole)


# --- what it refuses ---


@pytest.mark.parametrize("n", [1, 7])
def test_shorter_than_its_length_field(tmp_path: Path, n: int) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"\x10" + bytes(n - 1))
    refused(path, BrokenFile, "m.safetensors", "too short", "at least 8 bytes", f"found {n}")


@pytest.mark.parametrize("keep", [8, 9, 30, 63])
def test_truncated_header(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors_bytes({"a": F32}, bytes(4))[:keep])
    refused(path, BrokenFile, "m.safetensors", "offset 0", "beyond the end", "truncated")


def test_truncated_data(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"a": F32}, bytes(3))
    refused(path, BrokenFile, "key a", "data offsets leave the file", "found [0, 4]", "copy it again")


@pytest.mark.parametrize("length", [10**8 + 1, 1 << 32, 1 << 63, (1 << 64) - 1])
def test_header_length_over_the_limit(tmp_path: Path, length: int) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"a": F32}, bytes(4), length)
    refused(path, BrokenFile, "offset 0", "at most 100000000 bytes", f"found {length}")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"1", b"\xff\xfe{}", b'{"a":}', b'{"a": NaN}', b'{"a": Infinity}',
        b"{" + b"}", b'{"a":' + b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b'{"a":{"dtype":"F32","shape":['
        + b"9" * 5000 + b'],"data_offsets":[0,4]}}', b"\x00" * 64,
    ],
    ids=lambda raw: repr(raw[:12]) + str(len(raw)),
)  # fmt: skip
def test_header_that_is_no_json_object(tmp_path: Path, raw: bytes) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", raw, b"\x01")
    refused(path, BrokenFile, "m.safetensors", "offset")


def test_deeply_nested_where_a_size_belongs(tmp_path: Path) -> None:
    for depth in (900, 980, 990):
        raw = b'{"a":{"dtype":"F32","shape":[' + b"[" * depth + b"]" * depth + b'],"data_offsets":[0,4]}}'
        refused(write_safetensors(tmp_path / "m.safetensors", raw, bytes(4)), BrokenFile, "m.safetensors")
        raw = b'{"a":{"dtype":' + b"[" * depth + b"]" * depth + b',"shape":[],"data_offsets":[0,4]}}'
        refused(write_safetensors(tmp_path / "m.safetensors", raw, bytes(4)), BrokenFile, "m.safetensors")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (None, "not a JSON object"),
        ([], "not a JSON object"),
        ("F32", "not a JSON object"),
        ({}, "lacks a field"),
        ({"dtype": "F32", "shape": [1]}, "lacks a field"),
        ({**F32, "dtype": 7}, "wrong type"),
        ({**F32, "dtype": None}, "wrong type"),
        ({**F32, "dtype": "F31"}, "dtype is unknown"),
        ({**F32, "dtype": "f32"}, "dtype is unknown"),
        ({**F32, "dtype": "F\x1b[31m"}, "dtype is unknown"),
        ({**F32, "shape": 1}, "wrong type"),
        ({**F32, "shape": {"0": 1}}, "wrong type"),
        ({**F32, "shape": [-1]}, "not a size"),
        ({**F32, "shape": [1.0]}, "not a size"),
        ({**F32, "shape": [True]}, "not a size"),
        ({**F32, "shape": ["1"]}, "not a size"),
        ({**F32, "shape": [None]}, "not a size"),
        ({**F32, "shape": [[1]]}, "not a size"),
        ({**F32, "shape": [2]}, "do not fit"),
        ({**F32, "shape": []  , "dtype": "F16"}, "do not fit"),
        ({**F32, "shape": [1, 0]}, "do not fit"),
        ({**F32, "shape": [1 << 62]}, "larger than any file"),
        ({**F32, "shape": [1 << 31, 1 << 31, 1 << 31]}, "larger than any file"),
        ({**F32, "shape": [10**400]}, "not a size"),
        ({**F32, "shape": [0, 1 << 64]}, "not a size"),
        ({**F32, "shape": [1 << 63, 2, 0]}, "larger than any file"),
        ({**F32, "shape": [2] * 100_000}, "larger than any file"),
        ({**F32, "shape": [0, 1 << 50]}, "do not fit"),
        ({**F32, "shape": [1] * 99 + [2]}, "do not fit"),
        ({**F32, "data_offsets": [0]}, "wrong type"),
        ({**F32, "data_offsets": [0, 4, 4]}, "wrong type"),
        ({**F32, "data_offsets": "04"}, "wrong type"),
        ({**F32, "data_offsets": [0.0, 4.0]}, "wrong type"),
        ({**F32, "data_offsets": [False, 4]}, "leave the file"),
        ({**F32, "data_offsets": [4, 0]}, "leave the file"),
        ({**F32, "data_offsets": [-4, 0]}, "leave the file"),
        ({**F32, "data_offsets": [0, 8]}, "leave the file"),
        ({**F32, "data_offsets": [1 << 64, (1 << 64) + 4]}, "leave the file"),
        ({**F32, "data_offsets": [10**400, 10**400 + 4]}, "leave the file"),
    ],
    ids=lambda x: repr(x)[:60],
)  # fmt: skip
def test_entry_that_cannot_be_believed(tmp_path: Path, fields: object, words: str) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"layer.weight": fields}, bytes(4))
    refused(path, BrokenFile, "m.safetensors", "key layer.weight", words)


def test_six_bit_shape_that_ends_inside_a_byte(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"a": entry("F6_E2M3", [3], 0, 3)}, bytes(3))
    refused(path, BrokenFile, "key a", "do not fit")


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ([(0, 4), (0, 4)], "overlaps"),
        ([(0, 4), (2, 6)], "overlaps"),
        ([(0, 4), (5, 9)], "hole"),
        ([(1, 5)], "hole"),
        ([(0, 4)], "belong to none"),
    ],
)
def test_bytes_that_belong_to_two_or_none(tmp_path: Path, ranges: list[tuple[int, int]], words: str) -> None:
    header = {f"t{i}": entry("F32", [1], *r) for i, r in enumerate(ranges)}
    refused(write_safetensors(tmp_path / "m.safetensors", header, bytes(9)), BrokenFile, "offset", words)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{}}', "a"),
        (b'{"__metadata__":{},"__metadata__":{}}', "__metadata__"),
        (b'{"__metadata__":{"x":"1","y":"","x":"2"}}', "__metadata__.x"),
    ],
)  # fmt: skip
def test_a_name_twice(tmp_path: Path, raw: bytes, key: str) -> None:
    refused(write_safetensors(tmp_path / "m.safetensors", raw, bytes(2)), BrokenFile, f"key {key}: ", "twice")


@pytest.mark.parametrize(
    "raw",
    [b'{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}', b'{"dtype":"F32","shape":[1],"shape":[1]}'],
)
def test_a_field_twice(tmp_path: Path, raw: bytes) -> None:
    refused(write_safetensors(tmp_path / "m.safetensors", b'{"a":' + raw + b"}", bytes(4)), BrokenFile, "once each")


@pytest.mark.parametrize("metadata", [[], "x", {"a": 1}, {"a": None}, {"a": {"b": "c"}}, {"\x1b[2J": 1}])
def test_metadata_that_is_no_object_of_strings(tmp_path: Path, metadata: object) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"__metadata__": metadata})
    refused(path, BrokenFile, "__metadata__", "object of strings")


def test_name_of_10_kb_is_shortened_in_the_error(tmp_path: Path) -> None:
    name = "layers." + "x" * 10_000 + ".\x1b[31m\n"
    message = refused(
        write_safetensors(tmp_path / "m.safetensors", {name: entry("F99", [1], 0, 4)}, bytes(4)), BrokenFile, "more)..."
    )
    assert len(message) < 1000


def test_file_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    path = floats(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})
    t = opened(path)
    with path.open("r+b") as f:
        f.truncate(path.stat().st_size - 4)
    with pytest.raises(Exception, match="became shorter while it was open") as caught:
        t.read()
    assert type(caught.value).__name__ == "CannotRead"


def test_file_that_vanishes_or_is_replaced_while_it_is_open(tmp_path: Path) -> None:
    path = floats(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})
    checkpoint = open_checkpoint(path)
    assert checkpoint.changed_files() == []
    path.unlink()
    assert checkpoint.changed_files() == [path]
    assert [t.read().tolist() for t in checkpoint.tensors()] == [[1.0, 2.0]]
    floats(path, {"a": [3.0, 4.0]})
    assert checkpoint.changed_files() == [path]
    assert [t.read().tolist() for t in checkpoint.tensors()] == [[1.0, 2.0]]


def test_reading_after_close_is_an_error_of_ours(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(floats(tmp_path / "m.safetensors", {"a": [1.0]}))
    (t,) = checkpoint.tensors()
    checkpoint.close()
    with pytest.raises(Exception, match="cannot be read") as caught:
        t.read()
    assert type(caught.value).__name__ == "CannotRead"


# --- the same headers as the safetensors library ---

_A = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'
_EMPTY = '"dtype":"F32","shape":%s,"data_offsets":[4,4]'


def library_reads(data: bytes) -> dict[str, tuple[list[int], int]] | None:
    """Shape and bytes of each tensor by the safetensors library; None where it refuses the file."""
    import safetensors

    try:
        return {name: (t["shape"], len(t["data"])) for name, t in safetensors.deserialize(data)}  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return None


@pytest.mark.parametrize(
    ("header", "opens"),
    [
        ("{" + f'"a":{{{_A},"x":1}}' + "}", True),
        ("{" + f'"a":{{"x":{{"y":[1]}},{_A},"x":2}}' + "}", True),
        ("{" + f'"a":{{{_A},"x":-0}}' + "}", True),
        ("{" + f'"a":{{{_A}}},"__metadata__":null' + "}", True),
        ("{" + f'"a-0 -0":{{{_A}}}' + "}", True),
        ("{" + f'"\\ud83d\\ude00":{{{_A}}}' + "}", True),
        ("{" + f'"a\\\\ud800":{{{_A}}}' + "}", True),
        ("{" + f'"a":{{{_A.replace("[1]", str([1] * 33))}}}' + "}", True),
        ("{" + f'"a":{{{_A.replace("[1]", str([1] * 1000))}}}' + "}", True),
        ("{" + f'"a":{{{_A}}},"b":{{{_EMPTY % [1 << 40, 0]}}}' + "}", True),
        ("{" + f'"a":{{{_A}}},"b":{{{_EMPTY % [0, (1 << 64) - 1, 3]}}}' + "}", True),
        ("  {" + f'"a":{{{_A}}}' + "}\n", True),
        ("{" + f'"a":{{{_A.replace("[0,4]", "[-0,4]")}}}' + "}", False),
        ("{" + f'"a":{{{_A.replace("[1]", "[1,-0]")}}}' + "}", False),
        ("{" + f'"a":{{{_A}}},"b":{{{_EMPTY % "[-0]"}}}' + "}", False),
        ("{" + f'"\\ud800":{{{_A}}}' + "}", False),
        ("{" + f'"\\ude00\\ud83d":{{{_A}}}' + "}", False),
        ("{" + f'"a":{{{_A},"x":"\\uD83Dx"}}' + "}", False),
        ("{" + f'"a":{{{_A}}},"__metadata__":{{"x":"\\udfff"}}' + "}", False),
        ("{" + f'"a":{{{_A}}},"b":{{{_EMPTY % [1 << 63, 2, 0]}}}' + "}", False),
        ("{" + f'"a":{{{_A}}},"b":{{{_EMPTY % [0, 1 << 64]}}}' + "}", False),
        ("{" + f'"a":{{{_A},"dtype":"F32"}}' + "}", False),
        ("{" + f'"a":{{{_A}}}' + "}\0", False),
    ],
    ids=lambda v: repr(v)[:60],
)
def test_headers_that_the_library_takes_and_refuses(tmp_path: Path, header: str, opens: bool) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", header.encode(), bytes(4))
    theirs = library_reads(path.read_bytes())
    assert (theirs is not None) == opens
    if theirs is None:
        refused(path, BrokenFile, "m.safetensors")
    else:
        ours = {t.name: (list(t.shape), t.nbytes) for t in open_checkpoint(path).tensors()}
        assert ours == theirs


@pytest.mark.parametrize("shape", [[1] * 33, [1] * 100, [1] * 100_000])
def test_more_dimensions_than_an_array_has(tmp_path: Path, shape: list[int]) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"a": entry("F32", shape, 0, 4)}, b"\x00\x00\x80?")
    t = opened(path)
    assert (t.shape, t.nbytes) == (tuple(shape), 4)
    assert t.read_range(0, 1).tolist() == [1.0]
    for read in (t.read, lambda: t.read_rows(0, 1)):
        with pytest.raises(CannotRead, match="no array can have this shape"):
            read()
    assert open_checkpoint(path).tensor("a") is None
    assert survey(path)


@pytest.mark.parametrize("shape", [[1 << 40, 0], [0, 1 << 63], [3, 0, 1 << 50]])
def test_a_size_that_no_bytes_vouch_for(tmp_path: Path, shape: list[int]) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", {"a": entry("F32", shape, 0, 0)})
    t = opened(path)
    assert (t.shape, t.nbytes, t.read_bytes()) == (tuple(shape), 0, b"")
    with pytest.raises(CannotRead, match="no array can have this shape"):
        t.read()
    assert survey(path)
