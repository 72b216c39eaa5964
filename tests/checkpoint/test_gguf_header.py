"""Headers of GGUF files: what is read of them, and what is refused in one sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf_files import ID, LIST, LLAMA, NUMBER, TEXT, GgufFile, Raw, Stored, plain
from hostile import floats, refused, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.checkpoint import Checkpoint, open_checkpoint
from qinspect.inspector.checkpoint.opening import open_source
from qinspect.inspector.checkpoint.source import Memory
from qinspect.inspector.errors import BrokenFile, CannotOpen


def opened(tmp_path: Path, file: GgufFile, name: str = "m.gguf") -> Checkpoint:
    (tmp_path / name).write_bytes(bytes(file))
    return open_checkpoint(tmp_path / name)


def q8_0(name: str, n_rows: int = 1) -> Stored:
    return Stored(name, ID["q8_0"], [n_rows, 32], b"\x00\x3c" * n_rows + bytes(32 * n_rows))


# --- what is read ---


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_tensors_are_out_by_in(tmp_path: Path, order: str, version: int) -> None:
    file = GgufFile([plain("a.weight", [1, 2, 3, 4, 5, 6], [2, 3], order)], order=order, version=version)
    (tensor,) = opened(tmp_path, file).tensors()
    assert (tensor.name, tensor.dtype.name, tensor.shape) == ("a.weight", "float32", (2, 3))
    assert tensor.read().tolist() == [[1, 2, 3], [4, 5, 6]]
    assert tensor.read_rows(1, 2).tolist() == [[4, 5, 6]]
    assert tensor.read_range(2, 4).tolist() == [3, 4]


def test_the_same_from_a_source_that_is_no_file() -> None:
    checkpoint = open_source(Memory(bytes(GgufFile([plain("a", [7.0])])), Path("m.gguf")))
    (tensor,) = checkpoint.tensors()
    assert (checkpoint.kind, tensor.read().tolist()) == ("GGUF", [7.0])


@pytest.mark.parametrize("alignment", [1, 8, 32, 64, 4096])
def test_alignment(tmp_path: Path, alignment: int) -> None:
    facts = {"general.alignment": (NUMBER, alignment)}
    file = GgufFile([plain("a", [1.0]), q8_0("b"), plain("c", [2.0])], facts, alignment=alignment)
    checkpoint = opened(tmp_path, file)
    assert [checkpoint.scalar(n) for n in "ac"] == [1, 2]


def test_facts_are_kept_in_words(tmp_path: Path) -> None:
    facts = {
        "general.architecture": (TEXT, "llama"),
        "general.name": (TEXT, "é\x1b[31m"),
        "a.u8": (0, 255), "a.i8": (1, -128), "a.u16": (2, 65535), "a.i16": (3, -5), "a.u32": (4, 1 << 31),
        "a.i32": (5, -7), "a.eps": (6, 1e-6), "a.third": (6, 1 / 3), "a.yes": (7, True), "a.u64": (10, 1 << 63),
        "a.i64": (11, -(1 << 62)), "a.f64": (12, 0.1),
        "a.heads": (LIST, (5, [8, 0, 8])), "a.flags": (LIST, (7, [True, False])), "a.none": (LIST, (4, [])),
        "a.words": (LIST, (TEXT, ["x", "y\n"])), "a.nested": (LIST, (9, [(5, [1, 2]), (5, [])])),
        "a.many": (LIST, (5, list(range(600)))),
        "tokenizer.ggml.tokens": (LIST, (TEXT, ["a"] * 300)),
        "tokenizer.ggml.scores": (LIST, (6, [0.0] * 3)),
    }  # fmt: skip
    found = opened(tmp_path, GgufFile([plain("a", [1.0])], facts)).metadata
    assert list(found) == list(facts)
    assert found["general.name"] == "é\x1b[31m"
    numbers = [found[f"a.{n}"] for n in ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64")]
    assert numbers == ["255", "-128", "65535", "-5", str(1 << 31), "-7", str(1 << 63), str(-(1 << 62))]
    assert (found["a.eps"], found["a.third"], found["a.f64"], found["a.yes"]) == ("1e-06", "0.33333334", "0.1", "true")
    assert (found["a.heads"], found["a.flags"], found["a.none"]) == ("[8, 0, 8]", "[true, false]", "[]")
    assert (found["a.words"], found["a.nested"]) == ('["x", "y\\n"]', "array of 2 arrays")
    assert found["a.many"] == "array of 600 int32 numbers"
    assert found["tokenizer.ggml.tokens"] == "array of 300 strings"
    assert found["tokenizer.ggml.scores"] == "array of 3 float32 numbers"


def test_a_vocabulary_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    words = [f"word {i}" * (i % 5) for i in range(60_000)]
    facts = {"tokenizer.ggml.tokens": (LIST, (TEXT, words)), "general.name": (TEXT, "behind it")}
    checkpoint = opened(tmp_path, GgufFile([plain(f"t.{i}", [float(i)]) for i in range(3000)], facts))
    assert checkpoint.metadata["tokenizer.ggml.tokens"] == "array of 60,000 strings"
    assert checkpoint.metadata["general.name"] == "behind it"
    assert checkpoint.scalar("t.2999") == 2999
    assert checkpoint.entries.columnar


def test_a_type_that_is_not_known_is_a_row_with_its_bytes(tmp_path: Path) -> None:
    unknown = [Stored(f"blk.0.{n}.weight", 139, [4, 8], bytes([i]) * 50) for i, n in enumerate("ab")]
    far = Stored("c", 4_000_000_000, [3], b"xyz")
    checkpoint = opened(tmp_path, GgufFile([plain("first", [1.0]), *unknown, q8_0("q"), far]))
    a, b, c = (checkpoint.tensor(n) for n in ("blk.0.a.weight", "blk.0.b.weight", "c"))
    assert a is not None
    assert b is not None
    assert c is not None
    assert (a.dtype.name, a.shape, a.nbytes) == ("ggml_139_iq4_k", (4, 8), 64)
    assert a.dtype is not b.dtype or a.dtype == b.dtype
    assert a.read_bytes()[:50] == bytes([0]) * 50
    assert (c.dtype.name, c.nbytes) == ("ggml_4000000000", 32)
    assert checkpoint.scalar("first") == 1
    assert sum(checkpoint.bytes_by_dtype().values()) == checkpoint.nbytes == 4 + 64 + 64 + 34 + 32


def test_tensors_may_stand_in_any_order_and_leave_holes(tmp_path: Path) -> None:
    a, b = plain("a", [1.0]), plain("b", [2.0])
    a.offset, b.offset = 64, 0
    raw = GgufFile([a, b]).header() + struct.pack("<f", 2.0) + bytes(60) + struct.pack("<f", 1.0)
    (tmp_path / "m.gguf").write_bytes(raw)
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    assert [checkpoint.scalar(n) for n in "ab"] == [1, 2]


def test_scalars_and_tensors_without_elements(tmp_path: Path) -> None:
    checkpoint = opened(tmp_path, GgufFile([plain("s", [3.0], []), Stored("e", 0, [0, 4], b""), plain("t", [4.0])]))
    s, e = checkpoint.tensor("s"), checkpoint.tensor("e")
    assert s is not None
    assert e is not None
    assert (s.shape, s.read().tolist(), e.shape, e.read().shape) == ((), 3, (0, 4), (0, 4))


# --- which files are the model ---


def split_model(folder: Path, present: tuple[int, ...] = (1, 2, 3), of: int = 3, n_tensors: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in present:
        facts: dict[str | bytes, tuple[int, object]] = {
            "split.no": (2, i - 1), "split.count": (2, of), "split.tensors.count": (5, n_tensors),
            **({"general.architecture": (TEXT, "llama")} if i == 1 else {}),
        }  # fmt: skip
        path = folder / f"m-{i:05d}-of-{of:05d}.gguf"
        path.write_bytes(bytes(GgufFile([plain(f"t{i}", [float(i)])], facts)))


@pytest.mark.parametrize("named", ["", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"])
def test_a_split_model_by_its_folder_or_any_part(tmp_path: Path, named: str) -> None:
    split_model(tmp_path)
    checkpoint = open_checkpoint(tmp_path / named)
    assert [checkpoint.scalar(f"t{i}") for i in (1, 2, 3)] == [1, 2, 3]
    assert checkpoint.metadata["general.architecture"] == "llama"
    assert (len(checkpoint.files), checkpoint.notes) == (3, ())


@pytest.mark.parametrize("named", ["", "m-00002-of-00003.gguf"])
def test_a_part_that_is_missing_is_a_note(tmp_path: Path, named: str) -> None:
    split_model(tmp_path, (1, 2))
    (note,) = open_checkpoint(tmp_path / named).notes
    assert note == "1 of 3 shards is missing: m-00003-of-00003.gguf. What it held is not here"


def test_parts_that_were_renamed_say_that_others_are_missing(tmp_path: Path) -> None:
    split_model(tmp_path, (1,))
    (tmp_path / "m-00001-of-00003.gguf").rename(tmp_path / "model.gguf")
    for path in (tmp_path, tmp_path / "model.gguf"):
        assert open_checkpoint(path).notes == ("1 of 3 tensors that the split model has are here",)


def test_what_belongs_to_a_model_is_not_taken_for_another(tmp_path: Path) -> None:
    (tmp_path / "model-Q8_0.gguf").write_bytes(bytes(GgufFile([q8_0("a.weight")], {"general.type": (TEXT, "model")})))
    for kind in ("imatrix", "mmproj", "adapter"):
        (tmp_path / f"{kind}.gguf").write_bytes(bytes(GgufFile([plain("x", [1.0])], {"general.type": (TEXT, kind)})))
    checkpoint = open_checkpoint(tmp_path)
    assert list(checkpoint.entries) == ["a.weight"]
    assert sum("not opened: " in note and "(1 tensor)" in note for note in checkpoint.notes) == 3
    (tmp_path / "model-Q4_0.gguf").write_bytes(bytes(GgufFile([q8_0("a.weight")])))
    refused(tmp_path, CannotOpen, "several checkpoints", "model-Q4_0.gguf, model-Q8_0.gguf", "Name the file")


def test_an_importance_matrix_alone_in_its_folder_opens(tmp_path: Path) -> None:
    (tmp_path / "imatrix.gguf").write_bytes(bytes(GgufFile([plain("x", [1.0])], {"general.type": (TEXT, "imatrix")})))
    assert list(open_checkpoint(tmp_path).entries) == ["x"]


def test_safetensors_go_before_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(bytes(GgufFile([q8_0("a.weight")])))
    floats(tmp_path / "model.safetensors", {"b": [1.0]})
    assert list(open_checkpoint(tmp_path).entries) == ["b"]


# --- what is refused ---


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (GgufFile([], n_tensors=1 << 60), ("counts more", "1,152,921,504,606,846,976 tensors")),
        (GgufFile([], n_facts=(1 << 64) - 1), ("counts more",)),
        (GgufFile([plain("a", [1.0])], n_tensors=2), ("found",)),
        (GgufFile([plain("a", [1.0]), plain("a", [2.0])]), ("key a", "twice")),
        (GgufFile([plain("a", [1.0])], {"general.alignment": (NUMBER, 0)}), ("alignment", "power of two", "found 0")),
        (GgufFile([plain("a", [1.0])], {"general.alignment": (NUMBER, 24)}), ("power of two", "24")),
        (GgufFile([plain("a", [1.0])], {"general.alignment": (TEXT, "x")}), ("power of two", "found x")),
        (GgufFile([plain("a", [1.0])], {"k": (13, Raw())}), ("key k", "type that is not known", "found 13")),
        (GgufFile([plain("a", [1.0])], {"k": (LIST, (99, []))}), ("key k", "type that is not known", "found 99")),
        (GgufFile([plain("a", [1.0])], {"k": (9, Raw(struct.pack("<IQ", 8, 1 << 61)))}), ("key k", "more elements")),
        (GgufFile([plain("a", [1.0])], {"k": (9, Raw(struct.pack("<IQ", 9, 1) * 9))}), ("key k", "nests too deeply")),
        (GgufFile([plain("a", [1.0])], {"k": (8, Raw(struct.pack("<Q", 1 << 62)))}), ("beyond the end", "truncated")),
        (GgufFile([plain("a", [1.0])], {"k": (8, Raw(struct.pack("<Q", 500)))}), ("beyond the end",)),
        (GgufFile([plain("a", [1.0])], {b"\xff": (7, True)}), ("not UTF-8",)),
        (GgufFile([Stored(b"\xff\xfe", 0, [1], bytes(4))]), ("not UTF-8", "ff fe")),
        (GgufFile([plain("a" * 70_000, [1.0])]), ("longer than any", "70000")),
        (GgufFile([plain("a", [1.0])], {"k" * 70_000: (7, True)}), ("longer than any", "70000")),
        (GgufFile([Stored("a", 0, [1] * 33, bytes(4))]), ("more dimensions", "found 33")),
        (GgufFile([Stored("a", 0, [1 << 40, 1 << 40], b"")]), ("key a", "larger than any file")),
        (GgufFile([Stored("a", 0, [0, (1 << 64) - 1], b"")]), ("key a", "larger than any file")),
        (
            GgufFile([Stored("a", 8, [2, 33], bytes(68))]),
            ("key a", "not whole blocks", "32 elements for q8_0", "[2, 33]"),
        ),
        (GgufFile([Stored("a", 8, [], bytes(34))]), ("key a", "not whole blocks")),
        (GgufFile([plain("a", [1.0]), Stored("b", 0, [9], bytes(4))]), ("key b", "beyond the end of the file")),
        (GgufFile([Stored("a", 0, [1], bytes(4), (1 << 64) - 1)]), ("key a", "beyond the end of the file")),
        (GgufFile([Stored("a", 139, [1], bytes(4), (1 << 64) - 1)]), ("key a", "beyond the end of the file")),
        (GgufFile([plain("a", [1.0] * 9), Stored("b", 0, [1], bytes(4), 32)]), ("key b", "overlaps", "inside a")),
        (GgufFile([q8_0("a"), Stored("b", 139, [1], b"", 3)]), ("key b", "overlaps", "inside a")),
    ],
    ids=lambda v: v[0][:24] if isinstance(v, tuple) else "",
)
def test_absurd_headers_are_one_sentence(tmp_path: Path, file: GgufFile, words: tuple[str, ...]) -> None:
    (tmp_path / "m.gguf").write_bytes(bytes(file))
    refused(tmp_path / "m.gguf", BrokenFile, "m.gguf", *words)


@pytest.mark.parametrize("n", [*range(4, 120), 150, 200, 250, 300])
def test_a_file_that_ends_early(tmp_path: Path, n: int) -> None:
    whole = bytes(GgufFile([q8_0("blk.0.attn_q.weight", 4), plain("b", [1.0])], LLAMA))
    (tmp_path / "m.gguf").write_bytes(whole[:n])
    refused(tmp_path / "m.gguf", BrokenFile, "m.gguf")


def test_duplicate_facts_are_refused(tmp_path: Path) -> None:
    raw = bytes(GgufFile([plain("a", [1.0])], {"k1": (7, True), "k2": (7, True)})).replace(b"k2", b"k1")
    (tmp_path / "m.gguf").write_bytes(raw)
    refused(tmp_path / "m.gguf", BrokenFile, "key k1", "twice")


@given(data=st.binary(max_size=400), version=st.sampled_from([2, 3]), order=st.sampled_from("<>"))
@settings(deadline=None, max_examples=300)
def test_any_bytes_behind_the_magic(data: bytes, version: int, order: str) -> None:
    raw = b"GGUF" + struct.pack(order + "I", version) + data
    survives(lambda: open_source(Memory(raw, Path("m.gguf"))))


# --- big-endian files ---


_WIDTHS = st.lists(st.sampled_from(["float32", "float16", "q8_0"]), min_size=1, max_size=4)


@given(start=st.integers(0, 300), n=st.integers(0, 300), widths=_WIDTHS)
@settings(deadline=None, max_examples=200)
def test_any_range_of_a_big_endian_file_is_that_of_its_twin(start: int, n: int, widths: list[str]) -> None:
    rng = np.random.default_rng(3)
    little, big = [], []
    for i, name in enumerate(widths):
        if name == "q8_0":
            raw = rng.integers(0, 256, 2 * 34, dtype=np.uint8).reshape(2, 34)
            turned = raw.copy()
            turned[:, :2] = raw[:, 1::-1]
            shape = [2, 32]
        else:
            raw = rng.integers(0, 256, (5, int(name[-2:]) // 8), dtype=np.uint8)
            turned, shape = raw[:, ::-1], [5]
        little.append(Stored(f"t{i}", ID[name], shape, raw.tobytes()))
        big.append(Stored(f"t{i}", ID[name], shape, turned.tobytes()))
    a = open_source(Memory(bytes(GgufFile(little)), Path("a.gguf")))
    b = open_source(Memory(bytes(GgufFile(big, order=">")), Path("b.gguf")))
    for x, y in zip(a.tensors(), b.tensors(), strict=True):
        assert (x.offset, x.read_bytes()) == (y.offset, y.read_bytes())
    (first,) = {t.file for t in b.tensors()}
    begin = min(t.offset for t in a.tensors())
    stop = max(t.offset + t.nbytes for t in a.tensors())
    start = begin + start % (stop - begin)
    n = min(n, stop - start)
    assert first.read(start, n) == next(a.tensors()).file.read(start, n)
