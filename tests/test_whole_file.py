"""Folders that appear whole: what others left behind, and what others are still filling."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qinspect.inspector import whole_file
from qinspect.inspector.whole_file import new_folder

FILLING = """
import sys, time
from pathlib import Path
from qinspect.inspector.whole_file import new_folder
with new_folder(Path(sys.argv[1])) as made:
    (made / "part").write_text("one")
    print("filling", flush=True)
    sys.stdin.read()
"""


def filling(path: Path) -> subprocess.Popen[str]:
    """A process that fills the folder until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", FILLING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "filling\n"
    return process


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with filling(tmp_path / "out") as killed:
        os.kill(killed.pid, signal.SIGKILL)
    assert [p.name.startswith(".out.unfinished-") for p in tmp_path.iterdir()] == [True]
    (tmp_path / ".out.unfinished-file").write_text("no folder")
    with new_folder(tmp_path / "out") as made:
        (made / "whole").touch()
    assert {p.name for p in tmp_path.iterdir()} == {"out", ".out.unfinished-file"}
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["whole"]


def test_what_another_process_is_filling_stays(tmp_path: Path) -> None:
    with filling(tmp_path / "out") as other:
        with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out"):
            raise KeyboardInterrupt
        assert len(list(tmp_path.iterdir())) == 1
        other.communicate("")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "part").read_text() == "one"


def test_files_in_folders_of_a_new_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard may stand in a folder of its own: after a crash it is not empty."""
    synced: list[str] = []
    sync = whole_file._sync

    def watched(place: Path) -> None:
        synced.append(place.name)
        sync(place)

    monkeypatch.setattr(whole_file, "_sync", watched)
    with new_folder(tmp_path / "new") as made:
        (made / "shards").mkdir()
        (made / "shards" / "one").write_bytes(b"1")
        (made / "two").write_bytes(b"2")
    assert {"one", "two", "shards"} <= set(synced)


WRITER = """
import os, sys
from pathlib import Path
from qinspect.inspector.whole_file import replacing
with replacing(Path(sys.argv[1])) as f:
    f.write(b'half')
    print('writing', flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    mine = {".config.unfinished-abcdefgh", ".notes.unfinished-", ".x.unfinished-12345678-1-1-ABCDEFGH", ".out.abcdefgh"}
    for name in mine:  # of others, and of other hosts
        (tmp_path / name).touch()
    with (
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "other")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as living,
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as killed,
    ):
        for process in (living, killed):
            assert process.stdout is not None
            assert process.stdout.readline() == b"writing\n"
        killed.kill()
        killed.wait()
        there = {p.name for p in tmp_path.iterdir()} - mine
        assert len(there) == 2
        whole_file.sweep(tmp_path)
        (left,) = {p.name for p in tmp_path.iterdir()} - mine
        assert left.startswith(".other.unfinished-")
        living.communicate(b"")
    assert living.returncode == 0
    assert {p.name for p in tmp_path.iterdir()} == {"other", *mine}
    assert (tmp_path / "other").read_bytes() == b"half"


def test_the_next_one_who_writes_sweeps(tmp_path: Path) -> None:
    name = whole_file._prefix(tmp_path / "tables") + "abcd_123"
    dead = name.replace(f"-{os.getpid()}-", "-4194305-")
    living = tmp_path / name
    for place in (tmp_path / dead, living):
        place.write_bytes(b"tables")
    with whole_file.replacing(tmp_path / "result.json") as f:
        f.write(b"{}")
    assert {p.name for p in tmp_path.iterdir()} == {"result.json", name}


def test_a_number_that_another_process_has_by_now(tmp_path: Path) -> None:
    """The same number, and another start."""
    name = re.sub(r"-(\d+)-$", "-1-", whole_file._prefix(tmp_path / "x")) + "abcdefgh"
    (tmp_path / name).touch()
    whole_file.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_has_locked_stays(tmp_path: Path) -> None:
    """A process of a container has numbers of its own on the same disk."""
    name = whole_file._prefix(tmp_path / "x").replace(f"-{os.getpid()}-", "-4194305-") + "abcdefgh"
    with (tmp_path / name).open("wb") as f:
        fcntl.flock(f.fileno(), fcntl.LOCK_EX)
        whole_file.sweep(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [name]
    whole_file.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [1, 200, 255])
def test_long_names(length: int, tmp_path: Path) -> None:
    path = tmp_path / ("n" * length)
    with whole_file.replacing(path) as f:
        f.write(b"x")
    assert path.read_bytes() == b"x"
