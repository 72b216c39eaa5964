"""Files that are not what their name says: each is refused in one line that says what it is and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gguf_files import LIST, TEXT, GgufFile
from hostile import assert_one_line, floats, refused, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.checkpoint.kinds.words import as_text, first_words
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError

NAMES = ("model.safetensors", "pytorch_model.bin", "model.pt", "weights")
HTML = b'<!doctype html>\n<html class="">\n<head><title>weights at main</title></head></html>'
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4976698672\n"


def told(path: Path, data: bytes, *words: str) -> str:
    """The refusal of a file of these bytes, which has all `words` and no bytes as numbers. Opening by its folder says
    the same of it."""
    path.write_bytes(data)
    message = refused(path, CannotOpen, path.name, *words)
    assert "found bytes" not in message
    return message


# --- words ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Invalid username or password.", ("is text", "'Invalid username or password.'", "hf auth login")),
        (b"Entry not found", ("is text", "Entry not found", "/resolve/")),
        (HTML, ("an HTML page", "'weights at main'", "/resolve/ and not /blob/")),
        (b"  <HTML><body>503 Service Unavailable", ("an HTML page", "503 Service")),
        (b"<!-- x -->\n<html><body>caf\xe9</body>", ("an HTML page",)),
        (S3, ("an error message from a storage server", "AccessDenied: Access Denied")),
        (b"<?xml version='1.0'?><a/>", ("an XML file",)),
        (b'<?xml version="1.0"?>\n<net name="x" version="11">', ("OpenVINO",)),
        (b'{"error":"Access to model acme/x is restricted."}', ("JSON message", "acme/x is restricted", "login")),
        (b'{"detail": "Not Found"}', ("JSON message", "Not Found")),
        (b'{"error": "cut off in the mid', ("JSON message", "cut off")),
        (b'{"weight_map": {"a": "b"}}', ("an index of shards", ".index.json")),
        (b'{"hidden_size": 8}', ("a JSON file", "hidden_size")),
        (b"[1, 2]", ("a JSON file",)),
        (LFS, ("Git LFS pointer", "4.98 GB", "git lfs pull")),
        (b"# xet version 0\nfilesize = 1\nhash = 'ab'\n", ("Xet pointer", "hf download")),
        (b"/annex/objects/SHA256E-s5--ab", ("git-annex pointer", "git annex get")),
        (b"outs:\n- md5: ab\n  path: m.bin\n", ("DVC pointer", "dvc pull")),
        (b"import torch\n\nx = 1\n", ("Python source", "import torch")),
        (b"#!/usr/bin/env python\nprint(1)\n", ("Python source",)),
        (b"---\nlicense: mit\n---\n# A model\n", ("Markdown", "license")),
        (b"#!/bin/sh\n", ("a script",)),
        ("\ufeffhello".encode("utf-16"), ("is text", "hello")),
        ("caf\u00e9 \u65e5\u672c".encode(), ("is text",)),
        (b"x", ("is text", "'x'")),
    ],
    ids=lambda v: repr(v)[:24],
)
def test_words_where_weights_should_be(tmp_path: Path, name: str, data: bytes, words: tuple[str, ...]) -> None:
    told(tmp_path / name, data, *words)


def test_long_text_is_cut_and_escaped(tmp_path: Path) -> None:
    message = told(tmp_path / "m.bin", b"\x1b[31mred\n" + b"word " * 10_000, "is text", "\\x1b[31mred", "...")
    assert len(message) < 500


@pytest.mark.parametrize("name", ["README.md", "model.py", "settings.yaml"])
def test_a_text_by_its_name(tmp_path: Path, name: str) -> None:
    told(tmp_path / name, b"some words\n", "Give the checkpoint's file or folder")


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_first_words_are_one_clean_line(data: bytes) -> None:
    words = first_words(data)
    assert words.isprintable()
    assert (as_text(data) is None) == words.startswith(("bytes ", "nothing"))


@pytest.mark.parametrize("cut", range(1, 7))
def test_text_that_is_cut_within_a_letter(cut: int) -> None:
    data = "\u65e5\u672c".encode()[:cut]
    assert as_text(data) is not None or cut < 3


# --- zeros, nothing, a lost beginning ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [64, 100, 8192, 1 << 17])
def test_nothing_but_zeros(tmp_path: Path, name: str, n: int) -> None:
    told(tmp_path / name, bytes(n), f"all its {n:,} bytes are zero", "reserved but not filled")


@pytest.mark.parametrize("n", [64, 5000, 1 << 17])
def test_zeros_at_the_beginning(tmp_path: Path, n: int) -> None:
    told(tmp_path / "m.safetensors", bytes(n) + b"\x01" + bytes(9), f"first {n:,} bytes are zero", "beginning was lost")


def test_more_zeros_than_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as f:
        f.truncate(1 << 33)  # sparse: nothing is written
    refused(path, CannotOpen, "first 16,777,216 bytes (no more were looked at) are zero")


def test_the_end_of_an_archive(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", bytes(range(256)) * 4)
    told(tmp_path / "m.bin", out.getvalue()[100:], "the end of a zip archive", "Download or copy it again")


def test_bytes_that_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"\xf3\x9a\x00\x01" * 8)
    refused(tmp_path / "m.bin", CannotOpen, "not a checkpoint of a kind that qinspect knows", "found bytes f3 9a 00 01")
    (tmp_path / "m.safetensors").write_bytes(b"\xf3\x9a\x00\x01" * 8)
    message = refused(
        tmp_path / "m.safetensors", BrokenFile, "does not begin as a safetensors file does", "bytes f3 9a"
    )
    assert str(int.from_bytes(b"\xf3\x9a\x00\x01" * 2, "little")) not in message


# --- files of other programs ---


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.ones(2), b=np.zeros(3))
    return out.getvalue()


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.ones((2, 2)))
    return out.getvalue()


def zipped(*names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name in names:
            z.writestr(name, b"x" * 100)
    return out.getvalue()


def tarred(*names: str, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:  # type: ignore[call-overload]
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 600
            t.addfile(info, io.BytesIO(bytes(600)))
    return out.getvalue()


VOCABULARY = bytes(GgufFile([], {"tokenizer.ggml.model": (TEXT, "gpt2"), "tokenizer.ggml.tokens": (LIST, (8, ["a"]))}))
ONNX = bytes.fromhex("0803") + b"\x12\x07pytorch" + b"\x3a\x04\x0a\x02\x08\x01" + b"\x42\x02\x10\x09"
CTRANSLATE = struct.pack("<IH", 6, 16) + b"TransformerSpec\0" + struct.pack("<I", 7)
MSGPACK = b"\x81\xa6params\x81\xa5dense\x80"
TABLE = bytes(60) + b"\x01" + bytes.fromhex("57fb808b247547db")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (VOCABULARY, ("is a GGUF file without tensors", "a vocabulary only", "Give the file of the model")),
        (bytes(GgufFile([], version=1)), ("is a GGUF file of version 1", "version 2 or 3", "Convert the model again")),
        (bytes(GgufFile([], version=99)), ("is a GGUF file of version 99", "a newer program")),
        (bytes(GgufFile([], version=1, order=">")), ("is a GGUF file of version 1",)),
        (b"lmgg\x0a\0\0\0", ("a ggml file", "whisper.cpp")),
        (b"fmgg\x01\0\0\0", ("a ggmf file",)),
        (b"tjgg\x03\0\0\0", ("a ggjt file", "llama.cpp")),
        (b"algg\x01\0\0\0", ("a ggla file", "LoRA")),
        (npy(), (".npy", "save_file")),
        (npz(), (".npz", "2 arrays", "save_file")),
        (b"\x89HDF\r\n\x1a\n" + bytes(8), ("HDF5", "h5py")),
        (zipped("config.json", "metadata.json", "model.weights.h5"), ("a Keras model", "save_file")),
        (zipped("m/archive_format", "m/models/model.json"), ("torch.export", "torch.export.load")),
        (zipped("x.mlpackage/Manifest.json", "x.mlpackage/Data/com.apple.CoreML/model.mlmodel"), ("Core ML",)),
        (zipped("a/model.safetensors"), ("not one that torch.save wrote", "a/model.safetensors", "Unpack")),
        (zipped(), ("an empty zip archive",)),
        (tarred("model_config.yaml", "model_weights.ckpt"), ("a NeMo archive", "model_weights.ckpt", "tar -xf")),
        (tarred("./model_config.yaml", "./model_weights/"), ("a NeMo archive", "model_weights/")),
        (tarred("sys_info", "pickle", "tensors", "storages"), ("torch.save wrote it before version 0.1.10",)),
        (tarred(*(f"part{i}" for i in range(9))), ("a tar archive", "part0", "4 more")),
        (gzip.compress(b"x", mtime=0), ("compressed by gzip", "gunzip")),
        (lzma.compress(b"x"), ("compressed by xz", "unxz")),
        (bz2.compress(b"x"), ("compressed by bzip2", "bunzip2")),
        (b"\x28\xb5\x2f\xfd" + bytes(9), ("compressed by zstd", "unzstd")),
        (b"7z\xbc\xaf\x27\x1c" + bytes(9), ("a 7z archive",)),
        (ONNX, ("an ONNX model without tensors", "IR version 3, 1 node")),
        (CTRANSLATE, ("a CTranslate2 model", "TransformerSpec")),
        (MSGPACK, ("looks like a msgpack file", "params", "msgpack_restore")),
        (b"\x1c\0\0\0TFL3" + bytes(20), ("a TensorFlow Lite model",)),
        (b"\x1c\0\0\0ET12" + bytes(20), ("an ExecuTorch program",)),
        (b"ftrt" + bytes(20), ("looks like a TensorRT engine",)),
        (b"PAR1" + bytes(20), ("a Parquet file",)),
        (TABLE, ("the index of a TensorFlow checkpoint", "load_checkpoint")),
        (b"\x7fELF" + bytes(60), ("ELF",)),
        (b"\x89PNG\r\n\x1a\n", ("a picture",)),
        (b"%PDF-1.7\n\xff\xfe", ("a PDF document",)),
    ],
    ids=lambda v: repr(v)[:32],
)
@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "m"])
def test_files_of_other_programs(tmp_path: Path, name: str, data: bytes, words: tuple[str, ...]) -> None:
    told(tmp_path / name, data, *words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.engine", "looks like a TensorRT engine"),
        ("m.data-00000-of-00002", "looks like the data of a TensorFlow checkpoint"),
        ("m.onnx_data", "looks like the external weights of an ONNX model"),
        ("m.gguf", "looks like a damaged GGUF file"),
        ("m.safetensors.part", "looks like a download that was not finished"),
        ("m.tar.gz.partaa", "looks like one part of a file that was split"),
        ("m.zip.001", "looks like one part of a file that was split"),
        ("__0_0.distcp", "looks like a piece of a torch distributed checkpoint"),
    ],
)
def test_the_name_where_the_content_says_nothing(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"\xf3\x9a\x00\x01" * 8)
    refused(tmp_path / name, CannotOpen, name, words)


def test_the_name_does_not_go_before_the_content(tmp_path: Path) -> None:
    floats(tmp_path / "m.gguf", {"a": [1.0]})
    assert open_checkpoint(tmp_path / "m.gguf").kind == "safetensors"
    told(tmp_path / "m.engine", VOCABULARY, "a GGUF file")


def test_weights_beside_the_graph_that_they_belong_to(tmp_path: Path) -> None:
    (tmp_path / "openvino_model.bin").write_bytes(struct.pack("<8f", *range(1, 9)))
    (tmp_path / "openvino_model.xml").write_text("<?xml?><net name='x'>")
    refused(tmp_path / "openvino_model.bin", CannotOpen, "weights of openvino_model.xml")
    (tmp_path / "openvino_model.xml").rename(tmp_path / "model.onnx")
    refused(tmp_path / "openvino_model.bin", CannotOpen, "weights of model.onnx")


def test_real_models_of_other_kinds(tmp_path: Path) -> None:
    """What their own libraries write, where these are installed."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    helper = onnx.helper
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    onnx.save(helper.make_model(graph), str(tmp_path / "m.bin"))
    refused(tmp_path / "m.bin", CannotOpen, "an ONNX model")


@pytest.mark.parametrize("n", range(40))
def test_a_beginning_of_any_of_them_is_one_line(tmp_path: Path, n: int) -> None:
    path = tmp_path / "m.bin"
    kinds = (ONNX, CTRANSLATE, MSGPACK, TABLE, LFS, HTML, S3, VOCABULARY, npz(), tarred("a"), npy(), zipped("a"))
    for data in kinds:
        path.write_bytes(data[:n])
        with pytest.raises(QinspectError) as caught:
            open_checkpoint(path)
        assert "m.bin" in assert_one_line(caught.value)


@given(st.binary(max_size=600), st.sampled_from(["m.bin", "m.safetensors", "m.onnx", "m.tar", "m.pt.part"]))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    survives(lambda: open_checkpoint(path).close())


def test_a_pickle_that_attacks_is_told_before_all(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, ("1",)

    path = tmp_path / "m.bin"
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps(Attack(), protocol))
        with pytest.raises(QinspectError) as caught:
            open_checkpoint(path)
        assert "eval" in assert_one_line(caught.value)


# --- JSON beside the weights ---


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ("is empty",)),
        (LFS, ("Git LFS pointer", "git lfs pull", "expected JSON")),
        (HTML, ("an HTML page", "weights at main")),
        (b"Entry not found", ("is text", "Entry not found", "expected JSON")),
        (b"{'a': 1}", ("is not valid JSON", "found '{'a': 1}'")),
        (b'{"a": 1', ("is not valid JSON", "Repair or download")),
        (b"\xf3\x9a\x00\x01", ("is not valid JSON", "bytes f3 9a 00 01")),
        (b"[1]", ("is not a JSON object", "found a list")),
        (b"null", ("is not a JSON object", "found null")),
    ],
)
def test_json_that_is_something_else(tmp_path: Path, data: bytes, words: tuple[str, ...]) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(data)
    refused(path, BrokenFile, "index.json", *words)
    with pytest.raises(BrokenFile):
        read_json(path)
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    path.rename(tmp_path / "config.json")
    (note,) = open_checkpoint(tmp_path).notes
    assert "config.json" in note
    assert words[0] in note
