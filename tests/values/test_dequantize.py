"""The file that dequantize writes: the truth of Quamba's own code, in a form that others read, or no file at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from quamba_files import DATA, expected_folded, expected_hashes, folder_of, only_folder, sha256, whole_set
from safetensors import safe_open
from safetensors.numpy import load_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotOpen, QinspectError, UnknownKey
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.values.dequantize import write_dequantized

if TYPE_CHECKING:
    from conftest import Plain

NAMES = sorted(p.name for p in DATA.iterdir())
SMALL = "m1_w8a8_pa0.9995"


def open_format(folder: Path) -> Format:
    return format_of(open_checkpoint(folder))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_the_file_holds_the_truth_under_its_names(name: str, out: Path) -> None:
    fmt = open_format(folder_of(name))
    n, n_bytes = write_dequantized(fmt, out)
    written = load_file(out)
    exact, folded = expected_hashes(name), expected_folded(name)
    assert exact
    assert exact.keys() | folded.keys() <= written.keys()  # the truth in the repository is of one layer
    assert list(written) == [w.name for w in fmt.weights()]
    assert (n, n_bytes) == (len(written), sum(w.nbytes for w in written.values()))
    assert {w.dtype for w in written.values()} == {np.dtype(np.float32)}
    for key, truth in exact.items():
        assert list(written[key].shape) == truth["shape"], key
        assert sha256(written[key]) == truth["sha256"], key
    for key, values in folded.items():
        assert written[key].shape == values.shape, key
        assert np.abs(written[key] - values).max() <= 1e-6 * np.abs(values).max(), key


@pytest.mark.skipif(not whole_set(), reason="QINSPECT_FIXTURES is not set: the whole set of fixtures is elsewhere")
@pytest.mark.parametrize("folder", whole_set(), ids=lambda p: str(getattr(p, "name", p)))
def test_the_whole_set_has_the_names_and_shapes_of_the_truth(folder: Path, out: Path) -> None:
    write_dequantized(open_format(only_folder(folder)), out)
    truth, written = load_file(folder / "expected.safetensors"), load_file(out)
    assert truth.keys() <= written.keys()
    as_first_layer = {re.sub(r"(?<=layers\.)\d+", "0", name): w.shape for name, w in written.items()}
    assert as_first_layer == {name: w.shape for name, w in truth.items()}


def test_the_header_says_where_it_comes_from(out: Path) -> None:
    write_dequantized(open_format(folder_of(SMALL)), out)
    with safe_open(out, framework="np") as f:
        assert f.metadata() == {"format": "pt", "dequantized_from": "Quamba W8A8, 2 layers"}
    assert open_format(out).family == "plain"


def test_a_weight_written_in_blocks_is_the_same(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.inspector.values import dequantize, inspection

    fmt = open_format(folder_of("m2_w4a8_gh_pa0.9995"))
    write_dequantized(fmt, out)
    whole = out.read_bytes()
    monkeypatch.setattr(dequantize, "row_blocks", lambda w: inspection.row_blocks(w, 5000))
    seen: list[tuple[int, int]] = []
    write_dequantized(fmt, out, progress=lambda done, total: seen.append((done, total)))
    assert out.read_bytes() == whole
    assert len(seen) > 2 * len(fmt.weights())
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_keys_is_a_glob_over_whole_names(out: Path) -> None:
    fmt = open_format(folder_of(SMALL))
    write_dequantized(fmt, out, "*.in_proj.weight")
    assert list(load_file(out)) == [f"backbone.layers.{i}.mixer.in_proj.weight" for i in (0, 1)]
    write_dequantized(fmt, out, "backbone.layers.1.mixer.[io]*_proj.weight")
    assert list(load_file(out)) == [f"backbone.layers.1.mixer.{m}_proj.weight" for m in ("in", "out")]
    with pytest.raises(UnknownKey, match="no quantized weight matches"):
        write_dequantized(fmt, out, "in_proj")


def test_nothing_quantized_is_an_error_not_an_empty_file(out: Path, plain: Plain) -> None:
    fmt = open_format(plain("full.safetensors", {"w": np.ones((2, 2), np.float32)}))
    with pytest.raises(UnknownKey, match="no quantized weight to dequantize"):
        write_dequantized(fmt, out)
    assert not out.exists()


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_the_file_that_is_read_is_never_replaced(link: Callable[[Path, Path], None] | None, tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"  # a torch file under this name: the first bytes tell what it is
    source.write_bytes((folder_of(SMALL) / "pytorch_model.bin").read_bytes())
    before = source.read_bytes()
    target = source if link is None else tmp_path / "other.safetensors"
    if link is not None:
        link(source, target)
    with pytest.raises(CannotOpen, match="is the checkpoint that is read"):
        write_dequantized(open_format(source), target)
    assert source.read_bytes() == target.read_bytes() == before


def test_another_file_that_is_there_is_replaced_as_a_whole(out: Path) -> None:
    out.write_bytes(b"old")
    reader = out.open("rb")
    write_dequantized(open_format(folder_of(SMALL)), out)
    assert len(load_file(out)) == 18
    with reader:
        assert reader.read() == b"old"


def test_the_file_has_the_rights_of_a_new_file(out: Path, tmp_path: Path) -> None:
    write_dequantized(open_format(folder_of(SMALL)), out)
    (tmp_path / "new").touch()
    assert out.stat().st_mode == (tmp_path / "new").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failure_midway_leaves_nothing(error: Any, before: bytes | None, out: Path) -> None:
    if before is not None:
        out.write_bytes(before)

    def fail_later(done: int, total: int) -> None:
        if 2 * done > total:
            assert len(list(out.parent.iterdir())) == 1 + (before is not None)  # under another name until now
            raise error

    expected = CannotOpen if isinstance(error, OSError) else error
    with pytest.raises(expected):
        write_dequantized(open_format(folder_of(SMALL)), out, progress=fail_later)
    assert list(out.parent.iterdir()) == ([out] if before is not None else [])
    assert before is None or out.read_bytes() == before


def test_a_weight_that_cannot_be_read_leaves_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fmt = open_format(folder_of(SMALL))
    last = fmt.weights()[-1]
    dequantize = type(fmt).dequantize

    def broken_at_the_end(self: Format, weight: Any, *rows: int) -> Any:
        if weight.name == last.name:
            raise QinspectError("the end is missing")
        return dequantize(self, weight, *rows)

    monkeypatch.setattr(type(fmt), "dequantize", broken_at_the_end)
    with pytest.raises(QinspectError, match="the end is missing"):
        write_dequantized(fmt, out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["out.bin", "out", "none/out.safetensors", "w" * 300 + ".safetensors"])
def test_a_place_that_cannot_be_written_is_one_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(CannotOpen):
        write_dequantized(open_format(folder_of(SMALL)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_replaced(out: Path) -> None:
    out.mkdir()
    with pytest.raises(CannotOpen):
        write_dequantized(open_format(folder_of(SMALL)), out)
    assert list(out.parent.iterdir()) == [out]
