"""Folders of torch.distributed.checkpoint against what torch loads from them."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import refused, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint import metadata as m
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.state_dict_saver import save

from qinspect.inspector.checkpoint import Checkpoint, Tensor, open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.errors import BrokenFile, CannotOpen, CannotRead, QinspectError, UnsafePickle
from qinspect.inspector.formats import format_of

STATE = {
    "layers.0.weight": torch.arange(12.0).reshape(3, 4),
    "layers.0.scale": torch.tensor(0.5),
    "layers.1.weight": torch.arange(6.0).bfloat16().reshape(2, 3),
    "none": torch.zeros(0, 3),
    "flags": torch.tensor([True, False]),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """As torch writes it."""
    folder = tmp_path / "saved"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save({"model": STATE, "step": 7}, checkpoint_id=str(folder), no_dist=True)
    return folder


def spread(
    folder: Path, tensor: torch.Tensor, cuts: list[tuple[int, ...]], sizes: list[tuple[int, ...]], **of: Any
) -> Path:
    """A tensor in pieces, in torch's own classes and files: what several ranks write. of: fields of the first place."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for rank, (offsets, size) in enumerate(zip(cuts, sizes, strict=True)):
        part = tensor[tuple(slice(o, o + n) for o, n in zip(offsets, size, strict=True))].clone()
        with (folder / f"__{rank}_0.distcp").open("wb") as f:
            f.write(b"\xff" * (rank * 3))
            torch.save(part, f)
            length = f.tell() - rank * 3
        info = {"relative_path": f"__{rank}_0.distcp", "offset": rank * 3, "length": length, **(of if not rank else {})}
        places[m.MetadataIndex("w", torch.Size(offsets), rank)] = _StorageInfo(**info)
    chunks = [m.ChunkStorageMetadata(torch.Size(o), torch.Size(s)) for o, s in zip(cuts, sizes, strict=True)]
    described = m.TensorStorageMetadata(m.TensorProperties(tensor.dtype), tensor.size(), chunks[::-1])
    (folder / ".metadata").write_bytes(pickle.dumps(m.Metadata({"w": described}, None, places)))
    return folder


def tensor_of(checkpoint: Checkpoint, name: str = "w") -> Tensor:
    found = checkpoint.tensor(name)
    assert found is not None
    return found


def test_what_torch_saved_is_read(saved: Path) -> None:
    for path in (saved, saved / ".metadata", saved.parent):
        checkpoint = open_checkpoint(path)
        assert checkpoint.kind == "torch distributed"
        assert set(checkpoint.entries) == {f"model.{n}" for n in STATE}
        for name, expected in STATE.items():
            t = tensor_of(checkpoint, f"model.{name}")
            assert t.shape == tuple(expected.shape)
            assert t.dtype.name == str(expected.dtype).removeprefix("torch.")
            assert np.array_equal(t.read().astype(np.float64), expected.double().numpy())
        assert "not listed: 1 object other than tensors" in checkpoint.notes


def test_what_it_is_and_how_to_make_one_file_of_it(saved: Path) -> None:
    (said,) = (n for n in open_checkpoint(saved).notes if "distributed" in n)
    assert f"format_utils dcp_to_torch {saved} model.pt" in said


def test_a_copy_is_identical(saved: Path) -> None:
    a, b = (format_of(open_checkpoint(saved)) for _ in range(2))
    assert compare(a, b, codes=True).same
    torch.save({f"model.{n}": t for n, t in STATE.items()}, saved.parent / "model.pt")
    whole = format_of(open_checkpoint(saved.parent / "model.pt"))
    assert all(w.n_changed == 0 for w in compare(a, whole, codes=True).weights)


def test_a_piece_by_itself(saved: Path) -> None:
    refused(saved / "__0_0.distcp", CannotOpen, "a piece of a torch distributed checkpoint", "Give the folder")


def test_a_folder_without_metadata(saved: Path) -> None:
    (saved / ".metadata").unlink()
    refused(saved, CannotOpen, "without its .metadata", "1 .distcp file", "Copy the whole folder again")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8, torch.bfloat16])
def test_rows_over_ranks_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    full = torch.arange(20).reshape(5, 4).to(dtype)
    spread(tmp_path, full, [(0, 0), (2, 0), (4, 0)], [(2, 4), (2, 4), (1, 4)])
    t = tensor_of(open_checkpoint(tmp_path))
    assert np.array_equal(t.read().astype(np.float64), full.double().numpy())
    assert np.array_equal(t.read_rows(1, 5).astype(np.float64), full[1:].double().numpy())
    assert np.array_equal(t.read_range(7, 9).astype(np.float64), full.reshape(-1)[7:9].double().numpy())
    assert len(open_checkpoint(tmp_path).files) == 4


@pytest.mark.parametrize(
    ("cuts", "sizes", "why"),
    [
        ([(0, 0), (0, 2)], [(4, 2), (4, 2)], "cut along dimensions other than the first"),
        ([(0, 0), (3, 0)], [(2, 4), (1, 4)], "leave a gap"),
        ([(0, 0), (1, 0)], [(2, 4), (3, 4)], "overlap or leave"),
        ([(0, 0)], [(2, 4)], "do not cover all of it"),
    ],
)
def test_what_is_not_rows_is_listed_and_not_read(tmp_path: Path, cuts: Any, sizes: Any, why: str) -> None:
    t = tensor_of(open_checkpoint(spread(tmp_path, torch.ones(4, 4), cuts, sizes)))
    assert t.shape == (4, 4)
    for read in (t.read, t.read_bytes, lambda: t.read_rows(0, 1), lambda: t.read_range(0, 1)):
        with pytest.raises(CannotRead, match=why):
            read()


def test_chunks_that_are_nonsense(tmp_path: Path) -> None:
    folder = spread(tmp_path, torch.ones(4, 4), [(0, 0)], [(4, 4)])
    odd = [m.ChunkStorageMetadata(torch.Size(s), torch.Size(s)) for s in ((), (0,), (0, 0))]
    odd += [m.ChunkStorageMetadata("x", None), m.ChunkStorageMetadata((-1, 0), (4, 4))]  # type: ignore[arg-type]
    described = m.TensorStorageMetadata(m.TensorProperties(torch.float32), torch.Size((4, 4)), odd)
    (folder / ".metadata").write_bytes(pickle.dumps(m.Metadata({"w": described}, None, {})))
    with pytest.raises(CannotRead, match="do not have its number of dimensions"):
        tensor_of(open_checkpoint(folder)).read()


@pytest.mark.parametrize("path", ["../x.distcp", "/etc/passwd", "a\\b", ""])
def test_pieces_outside_the_folder(tmp_path: Path, path: str) -> None:
    folder = spread(tmp_path, torch.ones(2, 2), [(0, 0)], [(2, 2)], relative_path=path)
    refused(folder, BrokenFile, "outside the checkpoint's folder")


@pytest.mark.parametrize("place", [{"offset": 10**6}, {"length": 10**12}, {"offset": -1}])
def test_pieces_beyond_the_file(tmp_path: Path, place: dict[str, int]) -> None:
    refused(spread(tmp_path, torch.ones(2, 2), [(0, 0)], [(2, 2)], **place), BrokenFile, "beyond the end", "key w")


def test_a_piece_that_is_something_else(tmp_path: Path) -> None:
    spread(tmp_path, torch.ones(2, 2), [(0, 0)], [(2, 2)])
    raw = (tmp_path / ".metadata").read_bytes()
    torch.save(torch.ones(2, 3), tmp_path / "__0_0.distcp")
    (tmp_path / ".metadata").write_bytes(raw)
    with pytest.raises(QinspectError, match=r"a piece is not what|beyond the end"):
        tensor_of(open_checkpoint(tmp_path)).read()


def test_a_missing_file_of_pieces(tmp_path: Path) -> None:
    spread(tmp_path, torch.ones(4, 2), [(0, 0), (2, 0)], [(2, 2), (2, 2)])
    (tmp_path / "__1_0.distcp").unlink()
    refused(tmp_path, BrokenFile, "__1_0.distcp", "missing or cannot be read", "Copy the whole folder again")


@pytest.mark.parametrize("raw", [b"", b"\x80", pickle.dumps([1]), pickle.dumps({"a": 1}), b"<html>"])
def test_metadata_that_is_none(saved: Path, raw: bytes) -> None:
    (saved / ".metadata").write_bytes(raw)
    refused(saved, BrokenFile, ".metadata")


def test_metadata_that_attacks(saved: Path) -> None:
    (saved / ".metadata").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    refused(saved, UnsafePickle, "posix.system")


@given(st.integers(0, 1 << 16), st.integers(0, 255))
@settings(deadline=None, max_examples=150)
def test_damaged_metadata(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    if not folder.exists():
        spread(folder, torch.ones(4, 2), [(0, 0), (2, 0)], [(2, 2), (2, 2)])
        (folder / "sound").write_bytes((folder / ".metadata").read_bytes())
    raw = bytearray((folder / "sound").read_bytes())
    raw[at % len(raw)] = byte
    (folder / ".metadata").write_bytes(raw)

    def look() -> None:
        for t in open_checkpoint(folder).tensors():
            survives(t.read)

    survives(look)


def test_megatron_over_it(saved: Path) -> None:
    root = saved.parent / "megatron"
    root.mkdir()
    saved.rename(root / "iter_0000100")
    (root / "latest_checkpointed_iteration.txt").write_text("100")
    checkpoint = open_checkpoint(root)
    assert checkpoint.kind == "torch distributed"
    assert any("a Megatron checkpoint; opened iter_0000100" in n for n in checkpoint.notes)
