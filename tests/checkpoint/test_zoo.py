"""Files that nobody of this project made: each opens with what its own library reads, or is refused in one sentence
that says what it is. The collection is not part of the repository: QINSPECT_ZOO names its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hostile import assert_one_line, refused

from qinspect.inspector.checkpoint import Checkpoint, open_checkpoint
from qinspect.inspector.checkpoint.dtypes import SAFETENSORS
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.compare import compare
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError
from qinspect.inspector.formats import format_of

ZOO = Path(os.environ.get("QINSPECT_ZOO") or Path(__file__).parents[3] / "shared" / "zoo")
FILES = sorted(p for p in ZOO.rglob("*") if p.is_file() and p.parent != ZOO) if ZOO.is_dir() else []
POINTER = b"version https://git-lfs"

pytestmark = pytest.mark.skipif(not FILES, reason=f"no collection of files: QINSPECT_ZOO is not set, no folder {ZOO}")


def of(*suffixes: str, pointers: bool = False) -> list[Path]:
    """Files with these suffixes; the pointers of Git LFS among them, or the others that are not empty."""
    return [p for p in FILES if p.name.endswith(suffixes) and p.stat().st_size and _is_pointer(p) == pointers]


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as f:
        return f.read(len(POINTER)) == POINTER


def name_of(path: object) -> str:
    return str(path.relative_to(ZOO)) if isinstance(path, Path) else ""


def opened_or_refused(path: Path) -> Checkpoint | None:
    """None where it is refused, with its name and a cure."""
    refusals: list[QinspectError] = []
    try:
        return open_checkpoint(path)
    except QinspectError as e:
        refusals.append(e)
    assert path.name in assert_one_line(refusals[0])
    assert refusals[0].cure
    return None


@pytest.mark.parametrize("path", FILES or [ZOO], ids=name_of)
def test_it_opens_or_is_refused_in_one_line(path: Path) -> None:
    checkpoint = opened_or_refused(path)
    if checkpoint is None:
        return
    assert checkpoint.entries
    again = open_checkpoint(path)
    assert compare(format_of(checkpoint), format_of(again), codes=True).same


@pytest.mark.parametrize("path", of(".safetensors") or [ZOO], ids=name_of)
def test_safetensors_are_what_their_library_reads(path: Path) -> None:
    theirs = dict(safetensors.deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    ours = open_checkpoint(path)
    assert set(ours.entries) == set(theirs)
    for t in ours.tensors():
        expected = theirs[t.name]
        assert list(t.shape) == expected["shape"]
        assert t.dtype.name == SAFETENSORS[expected["dtype"]]
        assert t.read_bytes() == bytes(expected["data"])
        assert np.array_equal(t.read().reshape(-1).view(np.uint8), np.frombuffer(expected["data"], np.uint8))


@pytest.mark.parametrize("path", of(".safetensors", ".index.json", pointers=True) or [ZOO], ids=name_of)
def test_pointers(path: Path) -> None:
    kind = BrokenFile if path.suffix == ".json" else CannotOpen
    refused(path, kind, "Git LFS pointer", "git lfs pull", "a pointer to ")


@pytest.mark.parametrize("path", of(".index.json") or [ZOO], ids=name_of)
def test_indexes_name_what_is_missing(path: Path) -> None:
    shards = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
    missing = [s for s in shards if not (path.parent / s).is_file()]
    expected = f"{len(missing)} of {len(shards)} shards {'is' if len(missing) == 1 else 'are'} missing"
    refused(path, BrokenFile, expected, missing[0])


@pytest.mark.parametrize("path", [p for p in of(".json") if not p.name.endswith(".index.json")] or [ZOO], ids=name_of)
def test_configs(path: Path) -> None:
    assert read_json(path) == json.loads(path.read_bytes())
    refused(path, CannotOpen, "a JSON file, not weights", "Give the folder")


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        (".npy", ("one numpy array",)),
        (".npz", ("an archive of numpy arrays", "2 arrays")),
        (".tar", ("a tar archive as torch.save wrote it before",)),
        ("ggml-parakeet-tdt.bin", ("a ggml file",)),
        ("external_data.bin", ("looks like the external weights of",)),
        ("multi_external_weights.bin", ("looks like the external weights of",)),
    ],
)
def test_other_kinds_are_named(suffix: str, words: tuple[str, ...]) -> None:
    paths = of(suffix)
    assert paths
    for path in paths:
        refused(path, CannotOpen, path.name, *words)


@pytest.mark.parametrize("path", of(".onnx") or [ZOO], ids=name_of)
def test_onnx_models_have_tensors_or_say_that_they_have_none(path: Path) -> None:
    checkpoint = opened_or_refused(path)
    if checkpoint is None:
        refused(path, CannotOpen, "an ONNX model without tensors", "IR version")
    else:
        assert format_of(checkpoint).family == "onnx"


def test_a_binary_file_that_was_saved_as_text() -> None:
    paths = [p for p in of(".gguf") if b"\xef\xbf\xbd" in p.read_bytes()[:256]]
    assert paths
    for path in paths:
        refused(path, BrokenFile, path.name, "text", "EF BF BD", "again")


def test_empty_files() -> None:
    empty = [p for p in FILES if not p.stat().st_size]
    assert empty
    for path in empty:
        refused(path, BrokenFile, path.name, "is empty", "again")
