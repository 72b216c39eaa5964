"""ONNX files: what is read of them, and what is refused in one sentence."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hostile import refused, survives
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_files import (
    DATA_TYPES,
    array_of,
    attribute,
    graph,
    model,
    node,
    number,
    pair,
    part,
    tensor,
    varint,
    write_model,
)

from qinspect.inspector.checkpoint import Checkpoint, Value, open_checkpoint
from qinspect.inspector.checkpoint.onnx import read_onnx
from qinspect.inspector.checkpoint.opening import open_source
from qinspect.inspector.checkpoint.sound import open_sound
from qinspect.inspector.checkpoint.source import Memory, Source
from qinspect.inspector.cli import main
from qinspect.inspector.errors import BrokenFile, CannotOpen, CannotRead

_SETTINGS = settings(deadline=None, derandomize=True, max_examples=100, suppress_health_check=list(HealthCheck))
ONE = tensor("a", np.ones(2, np.float32))


def opened(tmp_path: Path, *args: object, **named: object) -> Checkpoint:
    return open_checkpoint(write_model(tmp_path / "m.onnx", *args, **named))


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:
    found = checkpoint.tensor(name)
    assert found is not None
    return found.read()


def packed(field: int, *numbers: int) -> bytes:
    return part(field, b"".join(map(varint, numbers)))


# --- what is read ---


def test_initializers_in_their_order_with_what_the_model_says(tmp_path: Path) -> None:
    tensors = [tensor("b.weight", np.arange(6, dtype=np.float32).reshape(2, 3)), tensor("a", np.int64(7))]
    (tmp_path / "m.onnx").write_bytes(
        number(1, 10) + part(2, "pytorch") + part(3, "2.13") + part(7, graph(tensors))
        + part(8, part(1, "") + number(2, 21)) + part(8, part(1, "com.microsoft") + number(2, 1))
        + part(14, pair("task", "tiny"))
    )  # fmt: skip
    found = open_checkpoint(tmp_path / "m.onnx")
    assert (found.kind, list(found.entries)) == ("ONNX", ["b.weight", "a"])
    assert values(found, "b.weight").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.scalar("a") == 7
    assert found.metadata == {
        "ir_version": "10", "producer_name": "pytorch", "producer_version": "2.13", "task": "tiny",
        "opset_import": "ai.onnx 21, com.microsoft 1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data_type", "more", "dtype", "expected"),
    [
        (1, part(4, struct.pack("<2f", 1.5, -2)), "float32", [1.5, -2]),
        (1, b"".join(varint(4 << 3 | 5) + struct.pack("<f", x) for x in (1.5, -2)), "float32", [1.5, -2]),
        (11, part(10, struct.pack("<2d", 1.5, -2)), "float64", [1.5, -2]),
        (3, packed(5, -128, 127), "int8", [-128, 127]),
        (3, number(5, -128) + number(5, 127), "int8", [-128, 127]),
        (3, packed(5, -128) + packed(5, 127), "int8", [-128, 127]),
        (2, packed(5, 255, 0), "uint8", [255, 0]),
        (6, packed(5, -(1 << 31), 5), "int32", [-(1 << 31), 5]),
        (7, packed(7, -(1 << 63), 5), "int64", [-(1 << 63), 5]),
        (13, packed(11, (1 << 64) - 1, 5), "uint64", [(1 << 64) - 1, 5]),
        (12, packed(11, (1 << 32) - 1, 5), "uint32", [(1 << 32) - 1, 5]),
        (10, packed(5, 0x3C00, 0xC000), "float16", [1, -2]),
        (16, packed(5, 0x3F80, 0xC000), "bfloat16", [1, -2]),
        (17, packed(5, 0x38, 0xC0), "float8_e4m3fn", [1, -2]),
        (9, packed(5, 1, 0), "bool", [True, False]),
        (22, packed(5, 0x7F), "int4", [-1, 7]),
        (21, packed(5, 0x7F), "uint4", [15, 7]),
        (23, packed(5, 0xC2), "float4_e2m1fn", [1, -2]),
        (25, packed(5, 0b1110), "uint2", [2, 3]),
        (26, packed(5, 0b1110), "int2", [-2, -1]),
        (14, part(4, struct.pack("<4f", 1, 2, 3, 4)), "complex64", [1 + 2j, 3 + 4j]),
    ],
)
def test_elements_one_by_one(tmp_path: Path, data_type: int, more: bytes, dtype: str, expected: list[complex]) -> None:
    found = opened(tmp_path, [tensor("a", data_type=data_type, dims=[2], more=more)]).tensor("a")
    assert found is not None
    assert (found.dtype.name, found.shape) == (dtype, (2,))
    assert found.read().tolist() == expected


@given(
    st.sampled_from([n for n in DATA_TYPES if n != "bool"]), st.lists(st.integers(0, 5), max_size=4),
    st.integers(0, 1 << 16), st.booleans(),
)  # fmt: skip
@_SETTINGS
def test_any_array(dtype: str, shape: list[int], seed: int, one_by_one: bool) -> None:
    random = np.random.default_rng(seed)
    array = np.frombuffer(random.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)
    whole = array.view(f"u{array.itemsize}") if array.size else array.astype(np.uint8)
    fields = {"float32": 4, "float64": 10, "int64": 7, "uint64": 11, "uint32": 11}
    field = fields.get(dtype, 5)
    more = part(field, array.tobytes()) if field in (4, 10) else packed(field, *map(int, whole.reshape(-1)))
    stored = tensor("a", array, more=more) if one_by_one else tensor("a", array)
    found = open_source(Memory(model([stored, ONE.replace(b"a", b"b")]), Path("m.onnx"))).tensor("a")
    assert found is not None
    assert (found.shape, found.dtype.name) == (tuple(shape), dtype)
    assert found.read().tobytes() == array.tobytes()


def test_constants_are_tensors_and_numbers(tmp_path: Path) -> None:
    nodes = [
        node("Constant", [], ["c"], value=tensor("other name", array_of("float32", [1, 2]))),
        node("Constant", [], ["f"], value_float=0.5), node("Constant", [], ["i"], value_int=-3),
        node("Constant", [], ["l"], value_ints=[1, 2]), node("Constant", [], ["x"], domain="somebody", value_int=1),
    ]  # fmt: skip
    found = opened(tmp_path, [ONE], nodes)
    assert list(found.entries) == ["a", "c", "f", "i"]
    assert values(found, "c").tolist() == [1, 2]
    assert (found.scalar("f"), found.scalar("i")) == (0.5, -3)
    assert found.graph is not None
    assert [n.outputs for n in found.graph.nodes] == [("c",), ("f",), ("i",), ("l",), ("x",)]
    assert found.graph.nodes[3].attributes == {"value_ints": (1, 2)}


def test_graphs_inside_have_names_of_their_own(tmp_path: Path) -> None:
    """Two branches that call their weight the same hold two weights, and each node takes that of its own."""
    nodes = [node("Relu", ["w"], ["r"]), node("Add", ["r", "a"], ["s"])]
    branches: dict[str, Any] = {
        name: graph([tensor("w", array_of("float32", [i]))], nodes)
        for i, name in enumerate(("then_branch", "else_branch"))
    }
    found = opened(tmp_path, [ONE], [node("If", ["c"], ["y"], "choice", **branches)])
    assert list(found.entries) == ["a", "w", "choice.else_branch.w"]
    assert [values(found, n).tolist() for n in list(found.entries)[1:]] == [[0], [1]]
    assert found.graph is not None
    assert [n.inputs for n in found.graph.nodes if n.op == "Relu"] == [("w",), ("choice.else_branch.w",)]
    assert [n.inputs for n in found.graph.nodes if n.op == "Add"] == [("r", "a"), ("choice.else_branch.r", "a")]


def test_functions_and_sparse_tensors(tmp_path: Path) -> None:
    inside = node("Constant", [], ["c"], value=tensor("", array_of("float32", [5])))
    function = part(1, "f") + part(7, inside) + part(10, "mine")
    sparse = part(1, tensor("s", array_of("float32", [1]))) + part(2, tensor("", array_of("int64", [3]))) + number(3, 9)
    (tmp_path / "m.onnx").write_bytes(model([], [], part(15, sparse)) + part(25, function))
    found = open_checkpoint(tmp_path / "m.onnx")
    assert list(found.entries) == ["s.values", "s.indices", "c"]
    assert values(found, "c").tolist() == [5]


def test_strings_are_told_and_not_read(tmp_path: Path) -> None:
    words = [tensor(n, data_type=8, dims=[2], more=part(6, "x") + part(6, w)) for n, w in (("s", "y"), ("t", "z"))]
    found = opened(tmp_path, [ONE, *words])
    s, t = found.entries["s"], found.entries["t"]
    assert isinstance(s, Value)
    assert isinstance(t, Value)
    assert str(s.value).startswith("2 strings, sha256 ")
    assert s.value != t.value


def test_a_type_of_tomorrow_has_its_bytes(tmp_path: Path) -> None:
    found = opened(tmp_path, [tensor("a", data_type=99, dims=[3], raw=b"12345"), ONE.replace(b"a", b"b")]).tensor("a")
    assert found is not None
    assert (found.dtype.name, found.shape, found.nbytes) == ("onnx_99", (3,), 5)
    with pytest.raises(CannotRead):
        found.read()


def test_fields_of_tomorrow_are_passed_over(tmp_path: Path) -> None:
    """As readers of the format do it."""
    more = number(99, 5) + varint(98 << 3 | 1) + bytes(8) + varint(97 << 3 | 5) + bytes(4) + part(96, b"\xff")
    assert list(opened(tmp_path, [ONE + more], [node("Relu", ["a"], ["b"]) + more], more).entries) == ["a"]


class Counted(Memory):
    """Bytes that know which of them were asked for."""

    __slots__ = ("n_read",)

    def _pread(self, offset: int, n: int) -> bytes:
        self.n_read = getattr(self, "n_read", 0) + n
        return super()._pread(offset, n)


def test_elements_are_not_read_at_opening(tmp_path: Path) -> None:
    """Of 40 MB in four tensors a window each is read, and of one row little more than the row."""
    big = np.zeros((1000, 2500), np.float32)
    source = Counted(model([tensor(n, big) for n in "abcd"]), tmp_path / "m.onnx")
    found = read_onnx(source)
    assert len(found) == 4
    assert source.n_read < 50_000
    source.n_read = 0
    t = found.tensor("c")
    assert t is not None
    assert not t.read_rows(3, 4).any()
    assert source.n_read == 10_000


# --- files beside ---


def beside(tmp_path: Path, **said: str) -> Path:
    stored = tensor("w", data_type=1, dims=[2], external={"location": "w.bin", **said})
    return write_model(tmp_path / "m.onnx", [ONE, stored])


@pytest.mark.parametrize("said", [{"offset": "4", "length": "8"}, {"offset": "4"}, {"offset": "4", "checksum": "x"}])
def test_a_tensor_in_a_file_beside(tmp_path: Path, said: dict[str, str]) -> None:
    (tmp_path / "w.bin").write_bytes(struct.pack("<4f", 9, 1, 2, 9))
    found = open_checkpoint(beside(tmp_path, **said))
    assert values(found, "w").tolist() == [1, 2]
    assert [f.path.name for f in found.files] == ["m.onnx", "w.bin"]
    (tmp_path / "w.bin").write_bytes(b"other")
    assert found.changed_files() == [tmp_path / "w.bin"]


def test_a_folder_below_is_inside(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(8))
    assert values(open_checkpoint(beside(tmp_path, location="data/w.bin")), "w").tolist() == [0, 0]


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "", ".", "..\\w.bin", "w\0.bin"])
def test_a_file_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(8))
    refused(
        beside(tmp_path / "in", location=location), BrokenFile, "key w", "outside the model's folder", "Do not trust"
    )


def test_a_link_that_leads_out_is_refused_but_of_the_hubs_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    blobs = tmp_path / "models--a--b" / "blobs"
    (tmp_path / "secret").write_bytes(bytes(8))
    (snapshot / "w.bin").symlink_to(tmp_path / "secret")
    refused(beside(snapshot), BrokenFile, "key w", "outside the model's folder")
    blobs.mkdir()
    refused(beside(snapshot), BrokenFile, "key w", "outside the model's folder")
    (blobs / "f00").write_bytes(struct.pack("<2f", 3, 4))
    (snapshot / "w.bin").unlink()
    (snapshot / "w.bin").symlink_to("../../blobs/f00")
    assert values(open_checkpoint(beside(snapshot)), "w").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, ("w.bin", "missing")),
        ({"offset": "5", "length": "8"}, ("beyond the end of the file", "12 bytes in w.bin")),
        ({"offset": str(1 << 62)}, ("beyond the end of the file",)),
        ({"offset": "-4"}, ("no number for the offset", "-4")),
        ({"offset": "4.0"}, ("no number for the offset",)),
        ({"length": "9" * 30}, ("no number for the length",)),
        ({"length": "4"}, ("another length", "8 bytes", "4 in w.bin")),
    ],
)
def test_places_that_cannot_be(tmp_path: Path, said: dict[str, str], words: tuple[str, ...]) -> None:
    if said:
        (tmp_path / "w.bin").write_bytes(bytes(12))
    refused(beside(tmp_path, **said), BrokenFile, "m.onnx", "key w", *words)


def test_a_file_for_each_tensor(tmp_path: Path) -> None:
    """torch writes a large model so: more than a process may have open."""
    names = [f"t{i}" for i in range(100)]
    n_open = len(os.listdir("/proc/self/fd"))
    stored = [tensor(n, data_type=1, dims=[1], external={"location": n}) for n in names]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(struct.pack("<f", i))
    found = opened(tmp_path, stored)
    assert len(os.listdir("/proc/self/fd")) < n_open + 40
    assert [found.scalar(n) for n in names] == list(range(100))
    assert not found.changed_files()
    (tmp_path / "t80").write_bytes(struct.pack("<2f", 1, 2))
    (tmp_path / "t81").unlink()
    assert [p.name for p in found.changed_files()] == ["t80", "t81"]
    for name in ("t80", "t81"):
        with pytest.raises(CannotRead, match="another file than when it was opened"):
            values(found, name)


def test_bytes_alone_have_no_files_beside(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    data = beside(tmp_path).read_bytes()
    with pytest.raises(BrokenFile, match="in another file"):
        open_source(Memory(data, tmp_path / "m.onnx"))


def test_a_pipe_beside_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.bin")
    refused(beside(tmp_path), BrokenFile, "key w", "cannot be read")


def test_lint_makes_a_finding_of_it_and_looks_at_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = tensor("w", data_type=1, dims=[2], external={"location": "w.bin"})
    codes = [tensor("v_quantized", np.ones((2, 2), np.int8)), tensor("s", np.float32(-1))]
    path = write_model(tmp_path / "m.onnx", [stored, *codes], [node("DequantizeLinear", ["v_quantized", "s"], ["v"])])
    assert main(["lint", str(path)]) == 1
    found = capsys.readouterr().out
    assert "F02 damaged-file" in found
    assert "expected the file w.bin" in found
    assert "negative" in found
    assert open_sound(path).checkpoint.graph is not None


# --- what is refused ---

DEEP = graph([ONE])
for _ in range(40):
    DEEP = graph([], [node("If", ["c"], ["y"], body=DEEP)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (model([tensor("a", data_type=1, dims=[2], raw=bytes(7))]), ("key a", "another size", "8 bytes", "7 bytes")),
        (model([tensor("a", data_type=1, dims=[2])]), ("key a", "0 bytes")),
        (model([tensor("a", data_type=3, dims=[2], more=packed(5, 1, 2, 3))]), ("key a", "2 numbers", "3 numbers")),
        (model([tensor("a", data_type=3, dims=[2])]), ("key a", "2 numbers", "0 numbers")),
        (model([tensor("a", data_type=1, dims=[-1], raw=b"")]), ("key a", "negative", "[-1]")),
        (model([tensor("a", data_type=1, dims=[1 << 40, 1 << 40], raw=b"")]), ("key a", "larger than any file")),
        (model([tensor("a", data_type=1, dims=[1] * 99, raw=b"")]), ("more dimensions",)),
        (model([tensor("a", data_type=8, dims=[3], more=part(6, "x"))]), ("key a", "number of strings")),
        (model([ONE, ONE]), ("key a", "occurs twice")),
        (model([part(8, b"\xff\xfe") + ONE]), ("not UTF-8",)),
        (model([ONE]) + part(7, graph([ONE])), ("two graphs",)),
        (number(1, 10) + part(7, DEEP), ("nest too deep",)),
        (number(1, 10) + varint(7 << 3 | 2) + varint(1 << 40) + graph([ONE]), ("beyond the end of the file",)),
        (number(1, 10) + part(7, varint(5 << 3 | 2) + varint(500) + ONE) + bytes(0), ("beyond",)),
        (number(1, 10) + part(7, graph([ONE]) + b"\x07"), ("not a field", "type 7")),
        (number(1, 10) + part(7, graph([ONE]) + b"\xff" * 11), ("beyond", "at most")),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, data: bytes, words: tuple[str, ...]) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    refused(tmp_path / "m.onnx", BrokenFile, "m.onnx", *words)


@pytest.mark.parametrize("kept", [30, 60, 100])
def test_a_file_that_ends_early(tmp_path: Path, kept: int) -> None:
    data = model([tensor("a", np.ones(50, np.float32))])
    (tmp_path / "m.onnx").write_bytes(data[:kept])
    refused(tmp_path / "m.onnx", BrokenFile, "m.onnx", "beyond the end of the file", "truncated")


def test_a_model_without_tensors(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", [], [node("Relu", ["x"], ["y"])])
    refused(tmp_path / "m.onnx", CannotOpen, "without tensors", "IR version 10, 1 node")


def test_numbers_that_are_counted_when_they_are_read(tmp_path: Path) -> None:
    """More of them than are worth counting at opening."""
    more = part(5, b"\x80\x01" * 40_000)
    found = opened(tmp_path, [tensor("a", data_type=2, dims=[50_000], more=more)]).tensor("a")
    assert found is not None
    with pytest.raises(BrokenFile, match="another number of elements"):
        found.read()


PIECES = [
    b"\x08\x0a",
    b"\x3a",
    b"\x0a",
    b"\x2a",
    b"\x80",
    b"\x01",
    b"\xff",
    part(8, "a"),
    number(1, 2),
    number(2, 1),
    ONE,
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=12), st.booleans())
@_SETTINGS
def test_any_message_is_opened_or_refused(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], inside: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    raw = b"".join(parts)
    path.write_bytes(number(1, 10) + part(7, graph([ONE], [raw] if inside else [], b"" if inside else raw)))
    survives(lambda: open_checkpoint(path).close())


@given(st.binary(max_size=40))
@_SETTINGS
def test_any_tensor_is_opened_or_refused(data: bytes) -> None:
    source: Source = Memory(model([data, ONE], [attribute("x", b"")]), Path("m.onnx"))
    survives(lambda: [t.read() for t in open_source(source).tensors()])


def test_a_float_of_another_kind_reads_across_columns(tmp_path: Path) -> None:
    """float8_e5m2, of which numpy has no name, with its axes turned round."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3).astype(ml_dtypes.float8_e5m2)
    found = opened(tmp_path, [tensor("a", data_type=19, dims=[2, 3], raw=array.tobytes())]).tensor("a")
    assert found is not None
    assert found.transposed().read().astype(np.float32).tolist() == array.T.astype(np.float32).tolist()
