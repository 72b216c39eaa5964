from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hostile import assert_one_line, refused, state_dict, tensor, torch_zip, torch_zip_bytes

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.zip_directory import ZipDirectory
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError

PICKLE = state_dict(a=tensor())
GOOD = torch_zip_bytes(PICKLE, {"0": bytes(16)})
DIRECTORY = GOOD.index(b"PK\x01\x02")
END = GOOD.index(b"PK\x05\x06")


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "m.bin"
    path.write_bytes(data)
    return path


def put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        for name, data in members:
            z.writestr(name, data)
    return out.getvalue()


# --- what it reads ---


def test_members_are_where_zipfile_finds_them(tmp_path: Path) -> None:
    directory = ZipDirectory(File(written(tmp_path, GOOD)))
    with zipfile.ZipFile(io.BytesIO(GOOD)) as z:
        assert {i.filename: (i.file_size, i.header_offset) for i in z.infolist()} == directory.members
        for name, (size, _) in directory.members.items():
            start = directory.locate(name)
            assert GOOD[start : start + size] == z.read(name)


def test_a_comment_that_looks_like_an_end(tmp_path: Path) -> None:
    comment = b"PK\x05\x06" + b"x" * 10
    path = written(tmp_path, GOOD[:-2] + struct.pack("<H", len(comment)) + comment)
    refused(path, BrokenFile, "no directory")


def test_zip64_as_zipfile_writes_it(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in (("x/data.pkl", PICKLE), ("x/data/0", bytes(16))):
            with z.open(name, "w", force_zip64=True) as f:
                f.write(data)
    assert len(open_checkpoint(written(tmp_path, out.getvalue())).entries) == 1


def zip64(n: int = 3, size: int = END - DIRECTORY, start: int = DIRECTORY, locator: int | None = None) -> bytes:
    """GOOD with a zip64 directory record that says this, and an old one that defers to it."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, n, n, size, start)
    found = struct.pack("<4sLQL", b"PK\x06\x07", 0, END if locator is None else locator, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return GOOD[:END] + record + found + end


def test_zip64_directory(tmp_path: Path) -> None:
    assert list(open_checkpoint(written(tmp_path, zip64())).entries) == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        zip64(n=1 << 62), zip64(n=4), zip64(size=1 << 62), zip64(size=(1 << 64) - 1), zip64(start=1 << 62),
        zip64(start=0), zip64(start=(1 << 64) - 1), zip64(locator=1 << 62), zip64(locator=0), zip64(locator=END + 1),
        put(zip64(), zip64().index(b"PK\x06\x07"), b"PK\x06\x00"), put(zip64(), END, b"PK\x06\x00"), zip64()[-60:],
    ],
)  # fmt: skip
def test_zip64_directory_that_lies(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data if data[:2] == b"PK" and data[2:4] == b"\x03\x04" else b"PK\x03\x04" + data)
    refused(path, BrokenFile, "m.bin")


# --- what it refuses ---


@pytest.mark.parametrize("n", range(4, len(GOOD), 7))
def test_truncated(tmp_path: Path, n: int) -> None:
    refused(written(tmp_path, GOOD[:n]), BrokenFile, "no directory at its end", "truncated")


@pytest.mark.parametrize("n", [1, 100])
def test_bytes_removed_from_the_front_or_middle(tmp_path: Path, n: int) -> None:
    refused(written(tmp_path, GOOD[:40] + GOOD[40 + n :]), BrokenFile, "does not fit the file")


@pytest.mark.parametrize(
    ("at", "new", "words"),
    [
        (END + 4, b"\x01\x00", "several disks"),
        (END + 10, b"\x09\x00", "directory"),
        (END + 12, b"\xff\xff\x00\x00", "does not fit the file"),
        (END + 16, b"\xff\xff\xff\x00", "does not fit the file"),
        (END + 16, b"\x00\x00\x00\x00", "directory is damaged"),
        (END + 10, b"\xff\xff", "zip64 directory is missing"),
        (DIRECTORY, b"PK\x01\x00", "directory is damaged"),
        (DIRECTORY + 8, b"\x01\x00", "encrypted"),
        (DIRECTORY + 10, b"\x08\x00", "compressed"),
        (DIRECTORY + 10, b"\x63\x00", "compressed"),
        (DIRECTORY + 20, b"\x01\x00\x00\x00", "compressed"),
        (DIRECTORY + 20, b"\xf0\xff\xff\x7f" * 2, "reaches into the zip directory"),
        (DIRECTORY + 20, b"\xff\xff\xff\xff", "zip64 field is missing"),
        (DIRECTORY + 28, b"\xff\xff", "directory ends early"),
        (DIRECTORY + 30, b"\x08\x00", "directory"),
        (DIRECTORY + 42, b"\xff\xff\xff\x7f", "reaches into the zip directory"),
    ],
)
def test_directory_that_lies(tmp_path: Path, at: int, new: bytes, words: str) -> None:
    refused(written(tmp_path, put(GOOD, at, new)), BrokenFile, "m.bin", words)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "\\etc", "../x", "a/../../x", "a\\..\\x", "..", "C:/x", "c:x", "a/..", "../\x1b[31m"]
)
def test_names_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, archive(("x/data.pkl", PICKLE), ("x/data/0", bytes(16)), (name, b"x")))
    refused(path, BrokenFile, "leaves the archive", "Do not unpack")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("x/data.pkl", PICKLE)
        with pytest.warns(UserWarning, match="Duplicate name"):
            z.writestr("x/data.pkl", PICKLE)
    refused(written(tmp_path, out.getvalue()), BrokenFile, "same name", "x/data.pkl")


def test_names_that_differ_only_in_what_cannot_be_decoded_are_one(tmp_path: Path) -> None:
    data = archive(("x/data.pkl", PICKLE), ("x/data/AA", b""), ("x/data/BB", b""))
    data = data.replace(b"AA", b"\xff\xfe").replace(b"BB", b"\xfe\xff")
    refused(written(tmp_path, data), BrokenFile, "same name")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, compression: int) -> None:
    data = archive(("x/data.pkl", PICKLE), ("x/data/0", bytes(50_000_000)), compression=compression)
    refused(written(tmp_path, data), BrokenFile, "compressed", "torch.save")


def _overlap(shift: int) -> bytes:
    """GOOD with the second member's header said to be inside, or at, the first member."""
    second = GOOD.index(b"PK\x01\x02", DIRECTORY + 4)
    return put(GOOD, second + 42, struct.pack("<L", shift))


@pytest.mark.parametrize("shift", [0, 10, 40])
def test_members_that_overlap(tmp_path: Path, shift: int) -> None:
    refused(written(tmp_path, _overlap(shift)), BrokenFile, "overlap")


@pytest.mark.parametrize(
    ("at", "new", "words"),
    [
        (0, b"PK\x03\x05", "local header is damaged"),
        (8, b"\x08\x00", "local header is damaged"),
        (26, b"\xff\xff", "local header is damaged"),
        (28, b"\x20\x00", "overlaps what follows"),
        (28, b"\xff\xff", "overlaps what follows"),
        (30, b"X", "different names"),
    ],
)
def test_a_storage_whose_local_header_lies(tmp_path: Path, at: int, new: bytes, words: str) -> None:
    member = GOOD.index(b"PK\x03\x04", 4)
    checkpoint = open_checkpoint(written(tmp_path, put(GOOD, member + at, new)))
    (t,) = checkpoint.tensors()
    with pytest.raises(QinspectError, match=words) as caught:
        t.read()
    assert type(caught.value) is BrokenFile
    assert "archive/data/0" in assert_one_line(caught.value)
    assert checkpoint.scalar("a") is None


def test_a_pickle_whose_local_header_lies(tmp_path: Path) -> None:
    refused(written(tmp_path, put(GOOD, 30, b"X")), BrokenFile, "different names")


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ((("x", b""),), "found x"),
        ((("a/data.pkl", PICKLE), ("b/data.pkl", PICKLE)), "2 of 2"),
        (
            (("word/document.xml", b"<x/>"), ("[Content_Types].xml", b"")),
            "found word/document.xml, [Content_Types].xml",
        ),
    ],
)
def test_archives_that_torch_did_not_write(tmp_path: Path, members: tuple[tuple[str, bytes], ...], found: str) -> None:
    refused(written(tmp_path, archive(*members)), CannotOpen, "not one that torch.save wrote", found)


@pytest.mark.parametrize("order", [b"big", b"", b"little\n", b"\x1b[31m", b"little" * 100_000])
def test_byte_order(tmp_path: Path, order: bytes) -> None:
    data = archive(("x/data.pkl", PICKLE), ("x/byteorder", order), ("x/data/0", bytes(16)))
    refused(written(tmp_path, data), CannotOpen, "little-endian")


def test_storage_that_is_missing_or_short(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    refused(torch_zip(path, PICKLE), BrokenFile, "storage is missing", "archive/data/0")
    refused(torch_zip(path, PICKLE, {"0": bytes(15)}), BrokenFile, "storage 0", "expected 16 bytes", "found 15")


@pytest.mark.parametrize("key", ["../data.pkl", "../../../etc/passwd", "/etc/passwd", "0\x00", "\x1b[2J", ""])
def test_storage_keys_are_names_of_members_and_nothing_else(tmp_path: Path, key: str) -> None:
    from hostile import storage_id

    path = torch_zip(tmp_path / "m.bin", state_dict(a=tensor(storage=storage_id(key=key))), {"0": bytes(16)})
    refused(path, BrokenFile, "missing from the archive")
