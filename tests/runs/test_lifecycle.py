"""Real processes from start to end: exit codes, signals, the death of each process involved, cancelling."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from run_processes import (
    IGNORE_TERM,
    WAIT_FOR_FILE,
    begin,
    command_pid,
    ended,
    kill,
    logged,
    python,
    reaches,
    reopened,
    shell,
    supervisor_pid,
    until,
)

from qinspect.inspector.errors import CannotSignal, RunIsLive, RunIsNotLive
from qinspect.inspector.runs import Run, State, find, list_runs, read_all_events
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import group_members, identify


def kinds(run: Run) -> list[str]:
    return [e.kind for e in read_all_events(run.events_path)]


@pytest.mark.parametrize(("code", "state"), [(0, State.FINISHED), (1, State.FAILED), (255, State.FAILED)])
def test_exit_codes(code: int, state: State) -> None:
    found = ended(shell(f"echo out; echo err >&2; exit {code}"))
    assert (found.state, found.reason) == (state, "")
    assert found.result is not None
    assert (found.result.exit_code, found.result.signal, found.result.last_line) == (code, None, "err")
    assert found.result.duration_s is not None


def test_both_streams_are_in_the_log_byte_by_byte() -> None:
    raw = b"\x00\xff\x1b[31m\r\n no end"
    run = python(f"import os; os.write(1, {raw!r}[:5]); os.write(2, {raw!r}[5:])")
    ended(run)
    assert run.log_path.read_bytes() == raw


def test_a_signal_is_a_failure_with_its_name() -> None:
    found = ended(shell("kill -SEGV $$"))
    assert found.result is not None
    assert (found.state, found.result.signal, found.result.exit_code) == (State.FAILED, "SIGSEGV", None)


def test_the_command_starts_in_its_folder_with_its_variables_and_no_input(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['A'], os.environ['PYTHONUNBUFFERED'], sys.stdin.read() == '')"
    run = begin(sys.executable, "-c", code + "; print(os.environ['QINSPECT_RUN_ID'])", cwd=tmp_path, env={"A": "b c"})
    ended(run)
    assert run.log_path.read_text().splitlines() == [f"{tmp_path} b c 1 True", run.id]


def test_a_run_is_running_until_it_ends(tmp_path: Path) -> None:
    run = shell(WAIT_FOR_FILE, tmp_path)
    assert run.state().state is State.RUNNING
    assert kinds(run) == ["start"]
    (tmp_path / "go").touch()
    assert ended(run).state is State.FINISHED
    assert kinds(run) == ["start", "end"]
    assert [e.seq for e in run.events()[0]] == [1, 2]
    left = {files.SPEC, files.LOG, files.EVENTS, files.PROCESS, files.HEARTBEAT, files.RESULT, files.SUPERVISOR_LOG}
    until(lambda: {p.name for p in run.folder.iterdir()} == left, "the files of a run that has ended")


def test_a_run_is_found_again_by_who_did_not_start_it(tmp_path: Path) -> None:
    run = shell(f"echo one; {WAIT_FOR_FILE}; echo two", tmp_path, name="mine")
    logged(run, "one")
    code = "from qinspect.inspector.runs import find; r = find('mine'); print(r.id, r.state().state, r.log_path.read_text())"  # noqa: E501
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [run.id, "running", "one"]
    (tmp_path / "go").touch()
    ended(reopened(run))
    assert run.log_path.read_text() == "one\ntwo\n"


# --- hang-up and death ---


def test_a_hang_up_of_the_launchers_session_changes_nothing(tmp_path: Path) -> None:
    qinspect = Path(sys.executable).with_name("qinspect")
    start = f"{qinspect} run --name survivor -- /bin/sh -c '{WAIT_FOR_FILE}; echo alive'"
    script = f"trap '' HUP; {start}; kill -HUP 0; kill -9 0"
    launcher = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, start_new_session=True, capture_output=True, text=True, check=False
    )
    assert launcher.returncode == -signal.SIGKILL, launcher.stderr
    run = find("survivor")
    for pid in (supervisor_pid(run), command_pid(run)):
        assert os.getsid(pid) not in (os.getsid(0), 0)
    os.kill(supervisor_pid(run), signal.SIGHUP)
    assert run.state().state is State.RUNNING
    (tmp_path / "go").touch()
    assert ended(run).state is State.FINISHED
    assert run.log_path.read_text() == "alive\n"


def test_the_command_outlives_its_supervisor(tmp_path: Path) -> None:
    run = shell(f"echo one; {WAIT_FOR_FILE}; echo two", tmp_path)
    kill(supervisor_pid(run))
    found = run.state()
    assert found.state is State.UNSUPERVISED
    assert "supervisor is gone" in found.reason
    with pytest.raises(RunIsLive):
        run.remove()
    (tmp_path / "go").touch()
    found = ended(run)
    assert (found.state, found.result) == (State.LOST, None)
    assert run.log_path.read_text() == "one\ntwo\n"
    run.remove()
    assert list_runs() == []


def test_cancel_without_a_supervisor_records_the_end() -> None:
    run = python(IGNORE_TERM)
    logged(run, "ready")
    kill(supervisor_pid(run))
    found = run.cancel(grace_s=0.1)
    assert found.state is State.CANCELLED
    assert found.result is not None
    assert found.result.cancelled_by is not None
    assert str(os.getpid()) in found.result.cancelled_by
    assert "SIGTERM, then SIGKILL" in found.result.cancelled_by
    assert found.result.last_line == "ready"
    assert "supervisor was gone" in found.result.notes[0]
    assert kinds(run) == ["start", "end"]
    assert [e.seq for e in run.events()[0]] == [1, 2]


def test_cancel_when_the_supervisor_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qinspect.inspector.runs.cancelling._SUPERVISOR_PATIENCE_S", 0.1)
    run = shell("sleep 600")
    os.kill(supervisor_pid(run), signal.SIGSTOP)
    found = run.cancel()
    assert found.state is State.CANCELLED
    assert found.result is not None
    assert "gave no answer" in found.result.notes[0]
    os.kill(supervisor_pid(run), signal.SIGCONT)
    who = identify(supervisor_pid(run))
    until(lambda: who is None or not who.is_alive(), "the supervisor's end")
    assert run.state() == found  # what was recorded first stays


def test_kill_9_of_the_command_is_a_failure_with_a_hint() -> None:
    run = shell("echo one; exec sleep 600")
    os.kill(command_pid(run), signal.SIGKILL)
    found = ended(run)
    assert found.result is not None
    assert (found.state, found.result.signal) == (State.FAILED, "SIGKILL")
    assert "memory" in found.result.notes[0]


def test_what_a_killed_command_left_half_written_goes_with_its_run() -> None:
    code = (
        "import os, signal; from pathlib import Path; from qinspect.inspector.whole_file import replacing\n"
        "here = Path(os.environ['QINSPECT_STATE_DIR'], 'runs', os.environ['QINSPECT_RUN_ID'], 'calibration')\n"
        "here.mkdir()\n"
        "with replacing(here / 'tables') as f: f.write(b'x'); f.flush(); print('half', flush=True); signal.pause()"
    )
    run = python(code)
    logged(run, "half")
    (half,) = (run.folder / "calibration").iterdir()
    assert half.name.startswith(".tables.unfinished-")
    os.kill(command_pid(run), signal.SIGKILL)
    ended(run)
    until(lambda: not half.exists(), "the end of the temporary file")


def test_kill_9_of_both_is_lost() -> None:
    run = shell("exec sleep 600")
    pid = command_pid(run)
    kill(supervisor_pid(run))
    kill(pid)
    found = run.state()
    assert found.state is State.LOST
    assert "without a result" in found.reason
    with pytest.raises(RunIsNotLive):
        run.cancel()


# --- cancelling ---


def test_cancel_ends_a_run_with_one_signal() -> None:
    run = shell("exec sleep 600")
    found = run.cancel()
    assert found.result is not None
    assert (found.state, found.result.signal, found.result.exit_code) == (State.CANCELLED, "SIGTERM", None)
    assert found.result.cancelled_by is not None
    assert found.result.cancelled_by.endswith("sent SIGTERM")
    with pytest.raises(RunIsNotLive):
        run.cancel()


def test_cancel_lets_a_command_end_well_by_itself() -> None:
    run = shell("trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.02; done")
    logged(run, "ready")
    found = run.cancel()
    assert found.result is not None
    assert (found.state, found.result.exit_code, found.result.last_line) == (State.CANCELLED, 0, "saved")


def test_cancel_kills_what_ignores_sigterm() -> None:
    run = python(IGNORE_TERM)
    logged(run, "ready")
    found = run.cancel(grace_s=0.1)
    assert found.result is not None
    assert (found.state, found.result.signal) == (State.CANCELLED, "SIGKILL")
    assert found.result.notes == ()


def test_cancel_kills_a_child_that_ignores_sigterm_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(IGNORE_TERM)
    other = shell("exec sleep 600")
    run = shell(f"{sys.executable} child.py & wait", tmp_path)
    logged(run, "ready")
    group = command_pid(run)
    assert len(group_members(group)) == 2
    assert run.cancel(grace_s=0.1).state is State.CANCELLED
    assert group_members(group) == []
    assert other.state().state is State.RUNNING


def test_a_child_that_is_left_over_is_still_the_run_and_can_be_cancelled(tmp_path: Path) -> None:
    run = shell("sleep 600 & echo ready; exec sleep 601")
    logged(run, "ready")
    kill(supervisor_pid(run))
    kill(command_pid(run))
    found = run.state()
    assert found.state is State.UNSUPERVISED
    assert "1 of its group still run" in found.reason
    assert run.cancel().state is State.CANCELLED
    assert group_members(command_pid(run)) == []


def test_sigterm_to_the_supervisor_cancels_the_run() -> None:
    run = shell("exec sleep 600")
    # until it waits for signals, SIGTERM would end it: the heartbeat of its first tick says that it does
    os.utime(run.folder / files.HEARTBEAT, (0, 0))
    until(lambda: (run.folder / files.HEARTBEAT).stat().st_mtime > 0, "a heartbeat")
    os.kill(supervisor_pid(run), signal.SIGTERM)
    found = ended(run)
    assert found.state is State.CANCELLED
    assert found.result is not None
    assert found.result.cancelled_by is not None
    assert f"process {os.getpid()} of user {os.getuid()}" in found.result.cancelled_by


def test_a_run_of_another_host_is_not_signalled() -> None:
    run = shell("exec sleep 600")
    spec = json.loads((run.folder / files.SPEC).read_text())
    (run.folder / files.SPEC).write_text(json.dumps({**spec, "host": "elsewhere"}))
    with pytest.raises(CannotSignal, match="elsewhere"):
        reopened(run).cancel()
    assert run.state().state is State.RUNNING


# --- several ---


def test_several_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    made = [shell(f"echo {i}; {WAIT_FOR_FILE}; exit {i}", tmp_path) for i in range(5)]
    assert [r.id for r in list_runs()] == [r.id for r in made]
    for run in made:
        reaches(run, State.RUNNING)
    (tmp_path / "go").touch()
    for i, run in enumerate(made):
        found = ended(run)
        assert found.result is not None
        assert found.result.exit_code == i
        assert run.log_path.read_text() == f"{i}\n"


def test_a_live_run_is_not_removed(tmp_path: Path) -> None:
    run = shell(WAIT_FOR_FILE, tmp_path)
    with pytest.raises(RunIsLive, match="qinspect runs cancel"):
        run.remove()
    assert run.folder.is_dir()
    (tmp_path / "go").touch()
    ended(run)
    run.remove()
    assert list(run.folder.parent.iterdir()) == []
