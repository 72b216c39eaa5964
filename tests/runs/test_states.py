"""Telling a run that goes on from one that does not, where the folder and the processes seem to disagree."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from run_processes import WAIT_FOR_FILE, command_pid, edit, ended, kill, reopened, shell, supervisor_pid, until

from qinspect.inspector.errors import CannotRead, CannotSignal, RunIsNotLive, UnknownRun
from qinspect.inspector.runs import Run, State, find, list_runs, make_spec
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import ProcessId, from_dict, identify, time_since_boot_s


@pytest.fixture
def live(tmp_path: Path) -> Run:
    return shell(WAIT_FOR_FILE, tmp_path, name="live")


def test_a_number_that_was_given_to_another_process_is_not_the_run(live: Run) -> None:
    path = live.folder / files.PROCESS
    pid = command_pid(live)
    kill(supervisor_pid(live))
    found = identify(pid)
    assert found is not None
    assert found.start_ticks is not None
    edit(path, command={"create_time": found.create_time - 1000, "start_ticks": found.start_ticks - 100_000})
    # its environment still says whose it is, so nothing of the run is lost
    assert live.state().state is State.UNSUPERVISED
    edit(path, command={"pid": os.getpid()})
    assert live.state().state is State.LOST
    with pytest.raises(RunIsNotLive):
        live.cancel()
    os.killpg(pid, 9)


def test_a_clock_that_was_set_does_not_make_a_run_another(live: Run) -> None:
    found = identify(command_pid(live))
    assert found is not None
    assert ProcessId(found.pid, found.create_time + 7200, found.start_ticks).is_alive()
    assert ProcessId(found.pid, found.create_time + 0.5, None).is_alive()
    assert not ProcessId(found.pid, found.create_time + 7200, None).is_alive()


@pytest.mark.parametrize("content", [None, 1, {}, {"pid": 0, "create_time": 1.0}, {"pid": "7", "create_time": 1.0},
                                     {"pid": 1, "create_time": 1.0}, {"pid": -1, "create_time": 1.0}])  # fmt: skip
def test_numbers_that_are_no_process_are_never_signalled(content: object) -> None:
    assert from_dict(content) is None


def test_a_reboot_ends_every_run(live: Run) -> None:
    edit(live.folder / files.SPEC, boot_id="another boot")
    found = reopened(live).state()
    assert (found.state, found.reason) == (State.LOST, "the host was rebooted while it ran")


def test_a_run_of_another_host_is_judged_by_its_heartbeat(live: Run) -> None:
    edit(live.folder / files.SPEC, host="elsewhere", boot_id="another boot")
    found = reopened(live).state()
    assert found.state is State.RUNNING
    assert "on host elsewhere" in found.reason
    kill(supervisor_pid(live))
    os.utime(live.folder / files.HEARTBEAT, (0, time.time() - 3600))
    found = reopened(live).state()
    assert found.state is State.LOST
    assert "elsewhere" in found.reason
    assert "no heartbeat for 3600 s" in found.reason


def test_a_supervisor_that_stands_still_is_said(live: Run) -> None:
    os.kill(supervisor_pid(live), 19)
    (live.folder / files.HEARTBEAT).write_text(f"{time_since_boot_s() - 3600}\n")
    os.utime(live.folder / files.HEARTBEAT, (0, time.time() - 3600))
    found = live.state()
    assert found.state is State.RUNNING
    assert "no sign for 3600 s" in found.reason


def test_a_clock_that_was_set_does_not_make_a_supervisor_stand_still(live: Run) -> None:
    os.utime(live.folder / files.HEARTBEAT, (0, time.time() - 3600))
    assert live.state().reason == ""


def test_a_result_counts_whatever_the_processes_say(live: Run) -> None:
    (live.folder.parent.parent.parent / "go").touch()
    assert ended(live).state is State.FINISHED
    edit(live.folder / files.SPEC, host="elsewhere", boot_id="another boot")
    assert reopened(live).state().state is State.FINISHED


def test_a_folder_without_a_process_is_starting_then_lost(own_runs: Path) -> None:
    spec = make_spec(["true"])
    folder = own_runs / "20000101-000000-abcd"
    folder.mkdir(parents=True)
    files.write_json(folder / files.SPEC, spec.as_dict())
    (run,) = list_runs()
    assert run.state().state is State.STARTING
    edit(folder / files.SPEC, created=time.time() - 3600)
    found = reopened(run).state()
    assert (found.state, found.reason) == (State.LOST, "it was never started: what launched it was stopped first")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"command": 3}', b"\xff", b'{"supervisor": {"pid": true}}'])
def test_broken_files_are_a_damaged_run_and_no_crash(raw: bytes, live: Run, tmp_path: Path) -> None:
    who = identify(supervisor_pid(live))
    (tmp_path / "go").touch()
    ended(live)
    until(lambda: who is None or not who.is_alive(), "the supervisor's end")
    edit(live.folder / files.SPEC, created=0)
    for name in (files.RESULT, files.PROCESS):
        (live.folder / name).write_bytes(raw)
    found = reopened(live).state()
    assert found.state is State.DAMAGED
    assert any(sentence.startswith(f"{files.RESULT}: ") for sentence in found.damage)
    (live.folder / files.SPEC).write_bytes(raw)
    (run,) = list_runs()
    assert bool(run.damage) == (not raw.startswith(b'{"'))


# --- finding ---


def test_runs_are_found_by_id_part_or_name(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    a, b = (shell(WAIT_FOR_FILE, tmp_path, name=name) for name in ("first", "second"))
    for run in (a, b):
        for text in (run.id, run.spec.name, run.id.rpartition("-")[2]):
            assert find(text) == run
        ended(run)
    with pytest.raises(UnknownRun, match="no run is called third"):
        find("third")
    with pytest.raises(UnknownRun):
        find("")
    shell("true", name="first")
    with pytest.raises(UnknownRun, match="2 runs are called first"):
        find("first")
    for run in list_runs():
        ended(run)


def test_no_folder_is_no_runs(own_runs: Path) -> None:
    assert list_runs() == []
    own_runs.parent.mkdir()
    own_runs.write_text("a file")
    with pytest.raises(CannotRead, match="a part of its path is a file"):
        list_runs()
    own_runs.unlink()


def test_a_run_without_a_process_yet_is_not_cancelled_and_not_marked(own_runs: Path) -> None:
    folder = own_runs / "20000101-000000-abcd"
    folder.mkdir(parents=True)
    files.write_json(folder / files.SPEC, make_spec(["true"]).as_dict())
    with pytest.raises(CannotSignal, match="no process yet"):
        list_runs()[0].cancel()
    assert [p.name for p in folder.iterdir()] == [files.SPEC]
