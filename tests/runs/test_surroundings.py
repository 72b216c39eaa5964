"""Runs where the surroundings are not as usual: no /proc, no HOME, limits, bytes that are no text."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from run_processes import WAIT_FOR_FILE, begin, ended, shell, supervisor_pid, until

from qinspect.inspector.errors import CannotSignal
from qinspect.inspector.processes import start_ticks
from qinspect.inspector.runs import State, list_runs, state
from qinspect.inspector.runs.identity import ProcessId

QINSPECT = Path(sys.executable).with_name("qinspect")


def test_where_processes_cannot_be_seen_the_heartbeat_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shell(WAIT_FOR_FILE, tmp_path)
    for module in ("state", "cancelling", "identity"):
        monkeypatch.setattr(f"qinspect.inspector.runs.{module}.processes_are_visible", lambda: False)
    assert (run.state().state, run.state().reason) == (State.RUNNING, "by its heartbeat: /proc cannot be read here")
    with pytest.raises(CannotSignal, match="/proc cannot be read"):
        run.cancel()
    monkeypatch.setattr(state, "heartbeat_age_s", lambda *_: 3600.0)
    assert run.state().state is State.LOST
    assert "no heartbeat for 3600 s, and /proc cannot be read here" in run.state().reason


@pytest.mark.parametrize("home", [None, "relative", ""])
def test_without_a_home(home: str | None, tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        **({} if home is None else {"HOME": home}),
        "XDG_STATE_HOME": str(tmp_path / "s"),
    }
    for words in (["runs"], ["run", "-f", "--", "true"]):
        said = subprocess.run([QINSPECT, *words], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (said.returncode, "Traceback" in said.stderr) == (0, False)


def test_a_limit_on_the_size_of_files(own_runs: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    said = subprocess.run(
        [QINSPECT, "run", "--", "true"], capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert said.returncode == 2
    assert said.stderr.startswith(f"qinspect: {own_runs}: the run's folder cannot be written: File too large. ")
    assert "ulimit -f" in said.stderr
    assert list_runs() == []


def test_words_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff")
    run = begin("/usr/bin/printf", f"%s\\n{name}", "x", name=name, env={"V": name})
    ended(run)
    assert run.log_path.read_bytes() == b"x\na\xff"
    assert list_runs()[0].spec.env == {"V": name}


def test_a_state_folder_that_is_deleted_while_a_run_lives(tmp_path: Path, own_runs: Path) -> None:
    """Nothing is made anew, and nobody waits for ever."""
    run = shell(WAIT_FOR_FILE, tmp_path)
    pid = supervisor_pid(run)
    supervisor = ProcessId(pid, 0.0, start_ticks(pid))
    subprocess.run(["rm", "-rf", own_runs.parent], check=True)
    (found,) = [run.state()]
    assert (found.state, found.reason) == (State.LOST, "its folder is gone: it was deleted or has another name")
    (tmp_path / "go").touch()
    until(lambda: not supervisor.is_alive(), "the end of the supervisor")
    assert not own_runs.exists()
