"""Bytes of a file with some of them others, and the checksums of an archive after that."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.apply import edits as module
from qinspect.inspector.apply.archive import with_checksums
from qinspect.inspector.apply.edits import edited, overlap
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.torch_file import float_places

Changes = list[tuple[int, bytes]]


@given(
    st.binary(min_size=1, max_size=200),
    st.lists(st.tuples(st.integers(0, 199), st.binary(min_size=1, max_size=9)), max_size=6),
    st.integers(1, 40),
    st.data(),
)
def test_a_file_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, changes: Changes, block: int, data: st.DataObject
) -> None:
    wanted: dict[int, bytes] = {}
    for at, new in changes:
        if at + len(new) <= len(raw) and overlap({**wanted, at: new}) is None:
            wanted[at] = new
    expected = bytearray(raw)
    for at, new in wanted.items():
        expected[at : at + len(new)] = new
    start = data.draw(st.integers(0, len(raw)))
    path = tmp_path_factory.mktemp("edits") / "file"
    path.write_bytes(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block)
        assert b"".join(edited(File(path), start, len(raw), wanted)) == bytes(expected[start:])


def test_edits_that_share_bytes() -> None:
    assert overlap({0: b"abcd", 4: b"x"}) is None
    assert overlap({0: b"abcd", 3: b"x"}) == 3


def patched(path: Path, edits: dict[int, bytes]) -> bytes:
    file = File(path)
    return b"".join(edited(file, 0, file.size, with_checksums(file, edits)))


@pytest.mark.parametrize("descriptor", [True, False])
def test_checksums_wherever_they_stand(tmp_path: Path, descriptor: bool) -> None:
    """torch writes them behind the data of each member; others write them before."""
    path = tmp_path / "a.bin"
    torch.save({"scale": 0.25, "t": torch.tensor([1.0, 2.0])}, path)
    if not descriptor:
        members = [(i.filename, zipfile.ZipFile(path).read(i)) for i in zipfile.ZipFile(path).infolist()]
        with zipfile.ZipFile(path, "w") as archive:
            for name, raw in members:
                archive.writestr(name, raw)
    (at,) = float_places(File(path)).values()
    new = patched(path, {at: b"\x3f\xe8" + bytes(6)})
    assert zipfile.ZipFile(io.BytesIO(new)).testzip() is None
    loaded = torch.load(io.BytesIO(new), weights_only=True)
    assert (loaded["scale"], loaded["t"].tolist()) == (0.75, [1.0, 2.0])


def test_torchs_number_of_the_file_is_its_own(tmp_path: Path) -> None:
    """Of two files that differ in one number, the one patched becomes what torch wrote of the other."""
    for name, value in (("a", 0.25), ("b", 0.75)):
        (tmp_path / name).mkdir()
        torch.save({"scale": value, "t": torch.tensor([1.0, 2.0])}, tmp_path / name / "x.bin")
    (at,) = float_places(File(tmp_path / "a" / "x.bin")).values()
    new = patched(tmp_path / "a" / "x.bin", {at: b"\x3f\xe8" + bytes(6)})
    assert new == (tmp_path / "b" / "x.bin").read_bytes()


def test_checksums_that_were_not_computed_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"scale": 0.25}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    (at,) = float_places(File(path)).values()
    new = patched(path, {at: b"\x3f\xe8" + bytes(6)})
    assert torch.load(io.BytesIO(new), weights_only=True) == {"scale": 0.75}
    assert sum(a != b for a, b in zip(path.read_bytes(), new, strict=True)) == 1
