"""Folders that appear whole: what others left behind, and what others are still filling."""

from __future__ import annotations

import os
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
