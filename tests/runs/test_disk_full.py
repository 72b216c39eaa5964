"""A disk that fills up: what was written stays readable, and nothing crashes or loops."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from run_processes import WAIT_FOR_FILE, ended, fill_disk, logged, shell

from qinspect.inspector.errors import CannotStartRun
from qinspect.inspector.runs import State, missing, read_all_events, supervisor
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.journal import Journal
from qinspect.inspector.runs.result import Outcome, Result
from qinspect.inspector.runs.stored import stored_json


def test_a_log_that_fills_the_disk_ends_the_command_and_not_the_run(small_disk: Path) -> None:
    run = shell(
        "sleep 1; yes 0123456789 || echo failed; exit 7"
    )  # a disk that is full before a run is known is no start
    found = ended(run)
    assert found.result is not None
    assert (found.state, found.result.exit_code) == (State.FAILED, 7)
    assert run.log_path.read_bytes().startswith(b"0123456789\n")
    assert read_all_events(run.events_path)[0].kind == "start"


def test_a_disk_that_others_filled(small_disk: Path, tmp_path: Path) -> None:
    run = shell(f"echo one; {WAIT_FOR_FILE}; exit 3", tmp_path)
    logged(run, "one")
    fill_disk(small_disk)
    (tmp_path / "go").touch()
    found = ended(run)
    assert found.result is not None
    assert (found.state, found.result.exit_code) == (State.FAILED, 3)
    assert [e.seq for e in read_all_events(run.events_path)][:1] == [1]


@pytest.mark.parametrize("room", [0, 4096, 8192, 12288])
def test_a_full_disk_refuses_a_start(room: int, small_disk: Path) -> None:
    """Whatever file it is that finds no room, the folder is named and not the command."""
    filler = fill_disk(small_disk)
    os.truncate(filler, filler.stat().st_size - room)
    with pytest.raises(CannotStartRun) as caught:
        shell("true")
    assert "No space left on device" in str(caught.value)
    assert "QINSPECT_STATE_DIR" in str(caught.value)
    assert str(caught.value).startswith(f"{small_disk}/runs: ")
    assert [p.name for p in small_disk.glob("runs/*")] == []


# --- the write layer ---


class Full:
    """os.write on a disk with so much room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = self._write(fd, data[: self.room])
        self.room -= n
        return n


@pytest.mark.parametrize("room", [0, 1, 30])
def test_an_event_that_does_not_fit_leaves_a_gap_and_no_half_line(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    assert journal.append("start")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Full(room))
        assert not journal.append("phase", {"name": "x" * 100})
        assert not journal.append("phase", {"name": "x" * 100})
    assert journal.append("end")
    assert (journal.lost, journal.problem) == (2, "No space left on device")
    journal.close()
    events = read_all_events(path)
    assert [(e.seq, e.kind) for e in events] == [(1, "start"), (4, "end")]
    assert missing(events) == 2
    assert path.read_bytes().count(b"\n") == 2


def test_the_result_is_written_into_the_room_of_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / files.RESERVE).write_bytes(bytes(100))
    create = files.create_json

    def full_while_reserved(path: Path, content: Any) -> bool:
        if (tmp_path / files.RESERVE).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return create(path, content)

    monkeypatch.setattr(files, "create_json", full_while_reserved)
    journal = Journal(tmp_path / files.EVENTS)
    journal.lost, journal.problem = 3, "No space left on device"
    supervisor._write_result(tmp_path, Result(Outcome.FINISHED, 1.0, exit_code=0), journal)
    journal.close()
    written = json.loads((tmp_path / files.RESULT).read_text())
    assert written["exit_code"] == 0
    assert written["notes"] == ["3 events could not be written: No space left on device; the log may lack lines too"]


def test_a_result_that_never_fits_is_said_once_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: Any) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    waits: list[float] = []
    monkeypatch.setattr(files, "create_json", full)
    monkeypatch.setattr(time, "sleep", waits.append)
    supervisor._write_result(tmp_path, Result(Outcome.FINISHED, 1.0), None)
    assert 60 < sum(waits) < 3600
    (line,) = capsys.readouterr().err.splitlines()
    assert "result.json: cannot be written: No space left on device. Free space" in line


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"old": 1})

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (files.write_json, files.create_json):
        with suppress(OSError):
            write(path, {"new": 2})
    assert stored_json(path).content == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_file_system_without_hard_links_still_has_one_first_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "x.json"
    assert files.create_json(path, {"first": 1})
    assert not files.create_json(path, {"second": 2})
    assert stored_json(path).content == {"first": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
