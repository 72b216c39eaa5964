"""Samples: what is taken, in which order, what is recorded of it, and every way in which a source can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zstandard
from hostile import assert_one_line, survives
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import Table, parquet

from qinspect.inspector.errors import BrokenFile, CannotOpen, UsageError
from qinspect.inspector.samples import documents as documents_module
from qinspect.inspector.samples.data import ByteTokenizer, Samples, load_samples, load_tokenizer

TEXTS = ["one", "", "two two", "drei", "four four four", "   ", "sechs"]
Write = Callable[[Path, Sequence[str]], Path]


def lines(texts: Sequence[str]) -> bytes:
    return b"".join(json.dumps({"meta": 1, "text": t}).encode() + b"\n" for t in texts)


def jsonl(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "val.jsonl"
    path.write_bytes(lines(texts))
    return path


def jsonl_gz(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "val.jsonl.gz"
    path.write_bytes(gzip.compress(lines(texts), mtime=0))
    return path


def jsonl_zst(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "val.jsonl.zst"
    raw = lines(texts)  # two frames, as parallel compressors write
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(part) for part in (raw[:40], raw[40:])))
    return path


def in_parquet(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "val.parquet"
    parquet.write_table(Table.from_pydict({"n": list(range(len(texts))), "text": [t or None for t in texts]}), path)
    return path


def token_ids(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "ids.json"
    path.write_text(json.dumps({"vocab": 256, "samples": [list(t.encode()) for t in texts]}))
    return path


EVERY: tuple[Write, ...] = (jsonl, jsonl_gz, jsonl_zst, in_parquet, token_ids)


def load(source: Path | str, n: int = 100, seq_len: int = 100, **more: Any) -> Samples:
    return load_samples(source, ByteTokenizer(), n, seq_len, **more)


def texts_of(samples: Samples) -> list[str]:
    return [bytes(ids.tolist()).decode() for ids in samples.ids]


@pytest.mark.parametrize("write", EVERY)
def test_documents_come_as_they_are_and_empty_ones_are_counted(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path, TEXTS)
    samples = load(path, 3, 5)
    assert texts_of(samples) == ["one", "two t", "drei"]
    assert {ids.dtype for ids in samples.ids} == {np.dtype(np.int64)}
    found = samples.describe()
    assert json.loads(json.dumps(found)) == found
    assert found["order"] == [0, 2, 3]
    assert (found["samples"], found["samples_asked"], found["tokens"], found["seq_len"]) == (3, 3, 12, 5)
    assert (found["documents_seen"], found["documents_skipped_as_empty"]) == (4, 1)
    assert (found["shuffled"], found["seed"], found["warnings"]) == (False, 42, [])
    assert found["source"]["file"] == path.name
    assert found["source"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["source"]["sha256_of_bytes"] == found["source"]["bytes"] == path.stat().st_size
    assert found["tokenizer"] == (None if write is token_ids else {"name": "bytes", "sha256": None})


@pytest.mark.parametrize("write", EVERY)
def test_all_of_them_where_more_are_asked_for_with_a_warning(write: Write, tmp_path: Path) -> None:
    samples = load(write(tmp_path, TEXTS), 6)
    assert texts_of(samples) == [t for t in TEXTS if t]
    assert samples.describe()["warnings"] == []
    assert load(write(tmp_path, TEXTS), 7).warnings == ("7 samples asked for, the source has 6",)


@pytest.mark.parametrize("write", EVERY)
@pytest.mark.parametrize("n", [1, 4, 100])
def test_shuffled_is_numpys_permutation_of_the_documents(write: Write, n: int, tmp_path: Path) -> None:
    texts = [f"document {i}" if i % 3 else "" for i in range(40)]
    samples = load(write(tmp_path, texts), n, shuffle=True, seed=7)
    order = [i for i in np.random.default_rng(7).permutation(40).tolist() if texts[i]][:n]
    assert samples.order == tuple(order)
    assert texts_of(samples) == [texts[i] for i in order]
    found = samples.describe()
    assert (found["shuffled"], found["seed"], found["documents_seen"]) == (True, 7, 40)
    last = np.random.default_rng(7).permutation(40).tolist().index(order[-1])
    assert found["documents_skipped_as_empty"] == (14 if n == 100 else last + 1 - n)
    assert load(write(tmp_path, texts), n, shuffle=True, seed=7).describe() == found
    assert (
        load(write(tmp_path, texts), 100, shuffle=True, seed=8).order
        != load(write(tmp_path, texts), 100, shuffle=True, seed=7).order
    )


def test_the_permutation_is_the_documented_one(tmp_path: Path) -> None:
    """Numbers, so that another numpy cannot change the order unnoticed."""
    samples = load(jsonl(tmp_path, [str(i) for i in range(10)]), shuffle=True, seed=42)
    assert samples.order == (5, 6, 0, 7, 3, 2, 4, 9, 1, 8)


def test_the_hash_is_of_the_ids_in_order_and_of_where_they_are_cut(tmp_path: Path) -> None:
    samples = load(jsonl(tmp_path, ["ab", "c"]))
    assert samples.sha256 == hashlib.sha256(struct.pack("<5q", 2, 97, 98, 1, 99)).hexdigest()
    assert samples.sha256 != load(jsonl(tmp_path, ["a", "bc"])).sha256
    assert samples.sha256 != load(jsonl(tmp_path, ["c", "ab"])).sha256
    assert samples.sha256 == load(in_parquet(tmp_path, ["ab", "", "c"])).sha256


@pytest.mark.parametrize("window_log", [20, 28])
def test_zstandard_with_a_long_window_is_read(window_log: int, tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    packing = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "x.jsonl.zst").write_bytes(packing.compress(lines(TEXTS)) + packing.flush())
    assert len(load(tmp_path / "x.jsonl.zst").ids) == 6


# --- text ---


@given(text=st.text(max_size=60), seq_len=st.integers(1, 9), n=st.integers(1, 70))
def test_a_text_is_cut_into_consecutive_pieces(text: str, seq_len: int, n: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(documents_module, "TEXT_BLOCK_CHARACTERS", 5)
        path = _file("piece.txt", text.encode())
        raw = text.encode()
        pieces = [raw[i : i + seq_len] for i in range(0, len(raw), seq_len)][:n]
        if not pieces:
            with pytest.raises(BrokenFile, match="has no sample"):
                load(path, n, seq_len)
            return
        samples = load(path, n, seq_len)
        assert [bytes(ids.tolist()) for ids in samples.ids] == pieces
        assert samples.order == tuple(range(len(pieces)))


def _file(name: str, content: bytes) -> Path:
    path = Path(_SCRATCH[0]) / name
    path.write_bytes(content)
    return path


_SCRATCH: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _SCRATCH[:] = [tmp_path_factory.mktemp("data")]
    yield
    _SCRATCH.clear()


def test_text_may_be_compressed_and_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"abcd"))
    (tmp_path / "README").write_bytes(b"abcd")
    for name in ("a.txt.gz", "README"):
        assert texts_of(load(tmp_path / name, seq_len=3)) == ["abc", "d"]


def test_text_that_is_none_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"abc\xff\xfe")
    with pytest.raises(BrokenFile, match="is not text in UTF-8"):
        load(tmp_path / "x.txt")


# --- streaming ---


def test_a_large_file_is_read_no_further_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path, ["text"] * 600)
    with path.open("r+b") as f:
        f.truncate(10_000_000_000)  # sparse: zeros to the end
    samples = load(path, 512)
    assert (len(samples.ids), samples.n_seen) == (512, 512)
    source = samples.describe()["source"]
    assert (source["bytes"], source["sha256_of_bytes"]) == (10_000_000_000, 1 << 28)
    monkeypatch.setattr(documents_module, "MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(BrokenFile, match="line 601 is too long"):
        load(path, 601)


def test_a_broken_line_behind_the_last_sample_is_not_met(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(["a", "b"]) + b"\n  \nno json\n")
    assert len(load(path, 2).ids) == 2
    with pytest.raises(BrokenFile, match="line 5 is not valid JSON"):
        load(path, 3)


# --- damaged and foreign sources ---


def ids_file(folder: Path, content: Any) -> Path:
    path = folder / "ids.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"samples": [[1, -1]]}, "key [0][1]: an id of document 0 is outside the vocabulary; expected integers from 0"),
        ({"vocab": 4, "samples": [[1], [3, 4]]}, "key [1][1]: an id of document 1 is outside"),
        ({"vocab": 4, "samples": [[1], [3, 4]]}, "expected 0 to 3; found 4"),
        ([[1, 1.5]], "key [0][1]: an id of document 0 is no whole number; expected integers from 0; found 1.5"),
        ("", 'is empty; expected {"vocab"'),
        ([[True]], "found True"),
        ([["1"]], "found '1'"),
        ([[1, None]], "found None"),
        ([[10**30]], "an integer of 100 bits"),
        ([[[1]]], "found a list of 1"),
        ([], "has no sample; expected at least one text with a token in it; found no document"),
        ([[], []], "found 2 documents, all empty"),
        ([1, 2], "holds no token ids"),
        ({"ids": [[1]]}, "holds no token ids"),
        ({"vocab": "many", "samples": [[1]]}, "key vocab: is not a size"),
        ({"vocab": 0, "samples": [[1]]}, "key vocab: is not a size"),
        ("[[1", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)  # fmt: skip
def test_ids_that_are_none_are_named(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenFile) as caught:
        load(ids_file(tmp_path, content))
    assert words in str(caught.value)


def test_a_list_of_lists_needs_no_tokenizer_and_the_models_vocabulary_counts(tmp_path: Path) -> None:
    path = ids_file(tmp_path, [[5, 6], [7]])
    assert [ids.tolist() for ids in load_samples(path, None, 2, 512, vocab_size=8).ids] == [[5, 6], [7]]
    with pytest.raises(BrokenFile, match="expected 0 to 6; found 7"):
        load_samples(path, None, 2, 512, vocab_size=7)
    assert [ids.tolist() for ids in load_samples(path, None, 1, 512, vocab_size=7).ids] == [[5, 6]]
    with pytest.raises(BrokenFile, match=r"ids are of another tokenizer"):
        load_samples(jsonl(tmp_path, ["z"]), ByteTokenizer(), vocab_size=100)


@pytest.mark.parametrize("write", [jsonl, in_parquet])
def test_text_without_a_tokenizer_names_the_cure(write: Write, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("text")
    for path in (write(tmp_path, TEXTS), tmp_path / "x.txt"):
        with pytest.raises(CannotOpen, match=r"has no tokenizer. Put tokenizer.json beside .* ids as JSON"):
            load_samples(path, None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 is not valid JSON"),
        ("[" * 100_000, "line 2 is not valid JSON"),
        ("[1]", "line 2 has no such field; expected an object with 'text'; found a list of 1"),
        ('{"content": "a", "id": 2}', "found content, id. Name the field that holds the text"),
        ('{"text": 5}', "line 2 has no text in 'text'; found 5"),
    ],
)
def test_a_broken_line_is_named(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(BrokenFile) as caught:
        load(path)
    assert words in str(caught.value)


def test_another_field_is_asked_for_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"content": "a"}\n{"content": null}\n')
    samples = load(path, field="content")
    assert texts_of(samples) == ["a"]
    assert samples.describe()["source"]["field"] == "content"
    with pytest.raises(BrokenFile, match="has no such column; expected content; found n, text"):
        load(in_parquet(tmp_path, TEXTS), field="content")
    with pytest.raises(BrokenFile, match="row 0 of 'n' is not text"):
        load(in_parquet(tmp_path, TEXTS), field="n")


PACKED: tuple[Write, ...] = (jsonl_gz, jsonl_zst, in_parquet)


@pytest.mark.parametrize("write", PACKED)
@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_a_flipped_bit_is_one_error_or_other_samples(write: Write, at: int, bit: int) -> None:
    path = write(_SCRATCH[0], TEXTS * 20)
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    survives(lambda: load(path))


@pytest.mark.parametrize("write", PACKED)
@given(at=st.integers(1, 1 << 20))
def test_a_truncated_file_is_one_error(write: Write, at: int) -> None:
    path = write(_SCRATCH[0], TEXTS * 20)
    raw = path.read_bytes()
    assume(write is not jsonl_zst or at % len(raw) != first_frame(raw))
    path.write_bytes(raw[: at % len(raw)])
    with pytest.raises(BrokenFile) as caught:
        load(path, 1000)
    assert path.name in assert_one_line(caught.value)


def first_frame(raw: bytes) -> int:
    """Where the first of two frames ends: a file that is cut there is whole."""
    return raw.index(b"\x28\xb5\x2f\xfd", 1)


@pytest.mark.parametrize("name", ["zstandard", "pyarrow", "datasets", "tokenizers"])
def test_a_package_that_is_not_installed_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "tokenizer.json").write_text("{}")
    work: dict[str, Callable[[], object]] = {
        "zstandard": lambda: load(jsonl_zst(tmp_path, TEXTS)),
        "pyarrow": lambda: load(in_parquet(tmp_path, TEXTS)),
        "datasets": lambda: load("monology/pile-uncopyrighted"),
        "tokenizers": lambda: load_tokenizer(tmp_path),
    }
    with pytest.raises(CannotOpen, match=rf"`{name}`, which is not installed.*qinspect\[calibrate\]"):
        work[name]()


@pytest.mark.parametrize("source", ["none/x.jsonl", "none.txt", "no/such/place", "a b", "", "x\0y", "val.jsonl.zst"])
def test_what_is_neither_a_file_nor_a_name_is_refused(source: str) -> None:
    with pytest.raises(CannotOpen, match="is not a file"):
        load(source)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "none"):
        with pytest.raises(CannotOpen, match="is not a file"):
            load(source)


@pytest.mark.parametrize("numbers", [{"n": 0}, {"seq_len": 0}, {"seed": -1}])
def test_numbers_below_one_are_refused(numbers: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such calibration"):
        load(jsonl(tmp_path, TEXTS), **numbers)


# --- data sets by name ---


class Builder:
    """What the package `datasets` gives for a name, as far as it is used."""

    hash = "0123abcd"

    def __init__(self, name: str, config: str | None) -> None:
        if name == "absent":
            raise ConnectionError("Couldn't reach\nthe hub")
        self.asked = (name, config)
        self.info = SimpleNamespace(splits={"train": SimpleNamespace(num_examples=len(TEXTS))})

    def as_streaming_dataset(self, split: str) -> Iterator[dict[str, str]] | list[dict[str, str]]:
        if split == "gone":
            raise ValueError("Bad split")
        return [{"text": t} for t in TEXTS]


@pytest.fixture
def data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("datasets")
    module.load_dataset_builder = Builder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.mark.usefixtures("data_sets")
def test_a_data_set_is_streamed_by_its_name() -> None:
    samples = load("org/name:sub@validation", 3)
    assert texts_of(samples) == ["one", "two two", "drei"]
    assert samples.describe()["source"] == {
        "kind": "data set", "name": "org/name", "config": "sub", "split": "validation", "revision": "0123abcd",
        "field": "text",
    }  # fmt: skip
    for source in ("name", "name@train", "name@test"):
        assert len(load(source, shuffle=True, seed=1).ids) == 6
    assert load("name").describe()["source"]["split"] == "train"


@pytest.mark.usefixtures("data_sets")
def test_a_data_set_that_cannot_be_had_is_one_sentence() -> None:
    for source, words in (("absent", r"ConnectionError: .*Without a network, give a file"), ("x@gone", "Bad split")):
        with pytest.raises(CannotOpen, match=words) as caught:
            load(source)
        assert "\n" not in str(caught.value)
    with pytest.raises(BrokenFile, match="row 0 has no text"):
        load("name", field="content")


# --- tokenizers ---


@given(st.text(st.characters(exclude_categories=[])))
def test_bytes_are_the_texts_own(text: str) -> None:
    ids = ByteTokenizer().encode(text)
    assert all(0 <= i < 256 for i in ids)
    assert bytes(ids).decode("utf-8", "surrogatepass") == text


def test_a_model_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert load_tokenizer(tmp_path) is None
    with pytest.raises(CannotOpen):
        load_tokenizer(tmp_path / "none")


def test_the_models_tokenizer_without_its_truncation(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[U]": 0, "one": 1, "two": 2}, "[U]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_truncation(2)
    made.enable_padding(length=8)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    tokenizer = load_tokenizer(path)
    assert tokenizer is not None
    assert tokenizer.encode("one two two x") == [1, 2, 2, 0]
    samples = load_samples(jsonl(tmp_path, ["one two", "two"]), tokenizer)
    assert [ids.tolist() for ids in samples.ids] == [[1, 2], [2]]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert samples.describe()["tokenizer"] == {"name": "tokenizer.json", "sha256": sha256}
    path.write_text("{}")
    with pytest.raises(BrokenFile, match="is not a tokenizer"):
        load_tokenizer(tmp_path)


def test_text_that_a_tokenizer_refuses_is_one_error(tmp_path: Path) -> None:
    class Refusing(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            raise ValueError("no")

    with pytest.raises(BrokenFile, match="a text cannot be tokenized by bytes: no"):
        load_samples(jsonl(tmp_path, TEXTS), Refusing())
