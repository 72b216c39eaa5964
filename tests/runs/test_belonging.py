"""No file makes us take another process for a run's: processes are asked themselves, before every signal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_processes import (
    WAIT_FOR_FILE,
    begin,
    command_pid,
    ended,
    kill,
    logged,
    processes,
    python,
    reopened,
    shell,
    supervisor_pid,
    until,
)

from qinspect.inspector.errors import CannotSignal, QinspectError
from qinspect.inspector.runs import Run, State, list_runs, state
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.belonging import Belongs, is_supervisor, to_run
from qinspect.inspector.runs.identity import group_members, identify
from qinspect.inspector.runs.result import StoredResult, read_result

OVERWRITE_ENVIRONMENT = """
import ctypes, os, sys, time
# what programs do that show a title in ps: the first bytes of the environment are written over
with open('/proc/self/stat') as f: start = int(f.read().rpartition(')')[2].split()[47])
size = len(open('/proc/self/environ', 'rb').read())
with open('/proc/self/mem', 'r+b', buffering=0) as f: f.seek(start); f.write(bytes(size))
print('ready', flush=True)
while True: time.sleep(60)
"""


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user that has nothing to do with runs."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def forged(run: Run, victim: int, name: str = "20200101-000000-aaaa") -> Run:
    """A copy of a run whose files say that the victim is its command."""
    place = run.folder.with_name(name)
    shutil.copytree(run.folder, place)
    (place / files.RESULT).unlink(missing_ok=True)
    who = identify(victim)
    assert who is not None
    said = {**processes(run), "command": who.as_dict(), "pgid": who.pid}
    (place / files.PROCESS).write_text(json.dumps(said))
    (found,) = (r for r in list_runs() if r.folder == place)
    return found


def assert_unharmed(victim: subprocess.Popen[bytes], bad: Run) -> None:
    for grace in (0.0, 0.1):
        with pytest.raises(QinspectError):
            bad.cancel(grace)
    assert victim.poll() is None
    assert bad.state().state in (State.LOST, State.DAMAGED)


def test_a_forged_process_is_not_signalled(victim: subprocess.Popen[bytes]) -> None:
    run = shell("true")
    ended(run)
    assert_unharmed(victim, forged(run, victim.pid))


def test_a_forged_process_of_a_run_that_is_watched(victim: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The supervisor is real, and its command is said to be another process."""
    run = shell(WAIT_FOR_FILE, tmp_path)
    who = identify(victim.pid)
    assert who is not None
    content = {**processes(run), "command": who.as_dict(), "pgid": who.pid}
    (run.folder / files.PROCESS).write_text(json.dumps(content))
    real = supervisor_pid(run)
    assert run.cancel(5).state is State.CANCELLED
    assert victim.poll() is None
    assert not is_supervisor(real, run.folder) or ended(run).result is not None


def test_an_end_that_is_written_during_the_look_counts(
    victim: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else of the run is damaged."""
    run = shell("true")
    ended(run)
    who = identify(victim.pid)
    assert who is not None
    (run.folder / files.PROCESS).write_text(json.dumps({**processes(run), "command": who.as_dict()}))
    looks = iter([StoredResult(None, ())])
    monkeypatch.setattr(state, "read_result", lambda folder: next(looks, None) or read_result(folder))
    assert reopened(run).state().state is State.FINISHED


def test_a_forged_log_does_not_make_a_process_the_runs(tmp_path: Path) -> None:
    """A link, soft or hard, to the file that another program writes into."""
    run = shell("true")
    ended(run)
    theirs = tmp_path / "theirs"
    with theirs.open("wb") as out, subprocess.Popen(["sleep", "600"], stdout=out, start_new_session=True) as victim:
        try:
            for i, link in enumerate((Path.symlink_to, Path.hardlink_to)):
                bad = forged(run, victim.pid, f"20200101-00000{i}-aaaa")
                (bad.folder / files.LOG).unlink()
                link(bad.folder / files.LOG, theirs)
                assert_unharmed(victim, bad)
        finally:
            victim.kill()


def test_a_number_that_was_given_to_a_later_process(victim: subprocess.Popen[bytes]) -> None:
    run = shell("true")
    ended(run)
    bad = forged(run, victim.pid)
    content = processes(bad)
    content["command"]["start_ticks"] -= 1
    (bad.folder / files.PROCESS).write_text(json.dumps(content))
    assert_unharmed(victim, bad)


@pytest.mark.parametrize("supervised", [True, False])
def test_a_command_without_the_runs_variable_is_known_all_the_same(supervised: bool) -> None:
    """By its parent, and by where its output goes."""
    run = begin("/usr/bin/env", "-i", "/bin/sh", "-c", "echo ready; exec sleep 600")
    logged(run, "ready")
    if not supervised:
        kill(supervisor_pid(run))
    assert run.state().state.is_live
    assert run.cancel().state is State.CANCELLED
    assert group_members(command_pid(run)) == []


def test_a_command_that_writes_over_its_environment() -> None:
    run = python(OVERWRITE_ENVIRONMENT)
    logged(run, "ready")
    kill(supervisor_pid(run))
    assert run.state().state is State.UNSUPERVISED
    assert run.cancel(0.1).state is State.CANCELLED


def test_one_that_cannot_be_known_is_left_alone_and_said() -> None:
    run = begin("/usr/bin/env", "-i", "/bin/sh", "-c", "echo ready; exec >/dev/null 2>&1; exec sleep 600")
    logged(run, "ready")
    pid = command_pid(run)
    assert to_run(pid, run.folder, supervisor_pid(run)) is Belongs.YES
    kill(supervisor_pid(run))
    assert to_run(pid, run.folder) is Belongs.NO
    with pytest.raises(QinspectError):
        run.cancel(0.1)
    os.kill(pid, signal.SIGKILL)


def test_a_process_that_may_not_be_looked_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As one that changed its user."""
    import psutil

    run = shell(WAIT_FOR_FILE, tmp_path)
    kill(supervisor_pid(run))

    def refuse(process: psutil.Process) -> dict[str, str]:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "environ", refuse)
    assert run.state().state is State.UNSUPERVISED
    assert "may not be looked into" in run.state().reason
    with pytest.raises(CannotSignal, match=f"process {command_pid(run)} has the number and the start"):
        run.cancel(0.1)
    monkeypatch.undo()


def test_only_the_runs_supervisor_is_its_supervisor(tmp_path: Path) -> None:
    a, b = (shell(WAIT_FOR_FILE, tmp_path) for _ in range(2))
    assert is_supervisor(supervisor_pid(a), a.folder)
    assert not is_supervisor(supervisor_pid(a), b.folder)
    assert not is_supervisor(os.getpid(), a.folder)
    assert not is_supervisor(2**31 - 1, a.folder)


def test_a_run_whose_folder_was_renamed(tmp_path: Path) -> None:
    run = shell(WAIT_FOR_FILE, tmp_path)
    run.folder.rename(run.folder.with_name("mine"))
    (found,) = list_runs()
    assert found.state().state is State.RUNNING
    assert found.cancel(0.1).state is State.CANCELLED


def test_what_is_run_is_not_what_a_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec that another program changes between writing and starting."""
    from qinspect.inspector.runs import launch

    written = launch._write_spec

    def change(folder: Path, spec: object) -> None:
        written(folder, spec)  # type: ignore[arg-type]
        content = json.loads((folder / files.SPEC).read_text())
        (folder / files.SPEC).write_text(json.dumps({**content, "argv": ["/bin/touch", str(tmp_path / "evil")]}))

    monkeypatch.setattr(launch, "_write_spec", change)
    run = shell("echo good")
    ended(run)
    assert run.log_path.read_text() == "good\n"
    assert not (tmp_path / "evil").exists()


def test_a_supervisor_that_nobody_tells_anything_starts_nothing(own_runs: Path, tmp_path: Path) -> None:
    run = shell("true")
    ended(run)
    place = run.folder.with_name("20200101-000000-aaaa")
    place.mkdir()
    (place / files.SPEC).write_text(json.dumps({"argv": ["/bin/touch", str(tmp_path / "evil")], "cwd": "/"}))
    said = subprocess.run(
        [sys.executable, "-P", "-m", "qinspect.inspector.runs.supervisor", str(place)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(said.stdout)["problem"] == "nobody said what to run"
    assert not (tmp_path / "evil").exists()


def test_a_run_in_a_run(tmp_path: Path) -> None:
    qinspect = Path(sys.executable).with_name("qinspect")
    outer = shell(f"{qinspect} run --name inner -- sh -c '{WAIT_FOR_FILE}'; echo started; {WAIT_FOR_FILE}", tmp_path)
    logged(outer, "started")
    (inner,) = (r for r in list_runs() if r.spec.name == "inner")
    assert reopened(outer).cancel(0.5).state is State.CANCELLED
    assert inner.state().state is State.RUNNING
    assert inner.cancel(0.5).state is State.CANCELLED
    until(lambda: not inner.state().state.is_live, "its end")
