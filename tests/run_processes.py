"""Runs of real processes in tests: started, waited for by their state, gone at the end. Nothing sleeps for a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.runs import Run, RunState, State, list_runs, make_spec, start
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import identify

PATIENCE_S = 180.0
"""How long a state may take to come on a busy machine; nobody waits that long unless the test fails."""

T = TypeVar("T")

WAIT_FOR_FILE = f"while [ ! -e go ] && kill -0 {os.getpid()}; do sleep 0.05; done"
"""Shell: go on when the test makes a file `go` in the run's working folder, or is gone itself."""
IGNORE_TERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
IGNORE_TERM += "while True: time.sleep(60)"
"""Python: a program that SIGTERM does not end."""


def until(ask: Callable[[], T], what: str = "") -> T:
    """Wait for something true, and return it."""
    end = time.monotonic() + PATIENCE_S
    while not (found := ask()):
        assert time.monotonic() < end, f"never came: {what or ask}"
        time.sleep(0.01)
    return found


def begin(*argv: str, cwd: Path | None = None, name: str = "", env: Mapping[str, str] | None = None) -> Run:
    """Start a run."""
    return start(make_spec(argv, name=name, env=env, cwd=cwd))


def shell(script: str, cwd: Path | None = None, name: str = "") -> Run:
    """Start a run of /bin/sh."""
    return begin("/bin/sh", "-c", script, cwd=cwd, name=name)


def python(code: str, cwd: Path | None = None) -> Run:
    """Start a run of this Python."""
    return begin(sys.executable, "-c", code, cwd=cwd)


def ended(run: Run) -> RunState:
    """Wait until the run is no longer live, and return its state."""
    until(lambda: not run.state().state.is_live, f"the end of {run.id}")
    return run.state()


def reaches(run: Run, state: State) -> RunState:
    """Wait until the run is in a state."""
    until(lambda: run.state().state is state, f"{state} of {run.id}, which is {run.state()}")
    return run.state()


def logged(run: Run, text: str) -> None:
    """Wait until the log holds a text."""
    until(lambda: text.encode() in run.log_path.read_bytes(), f"{text!r} in the log")


def processes(run: Run) -> dict[str, Any]:
    """process.json."""
    content = json.loads((run.folder / files.PROCESS).read_text())
    assert isinstance(content, dict)
    return content


def supervisor_pid(run: Run) -> int:
    return int(processes(run)["supervisor"]["pid"])


def command_pid(run: Run) -> int:
    return int(processes(run)["command"]["pid"])


def kill(pid: int) -> None:
    """kill -9, and wait until the process is gone."""
    who = identify(pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: who is None or not who.is_alive(), f"the end of process {pid}")


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file; a dictionary changes fields of the one that is there."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))


def reopened(run: Run) -> Run:
    """The same run, read from its folder anew."""
    (found,) = (r for r in list_runs() if r.id == run.id)
    return found


def kill_all() -> None:
    """End whatever the runs of a test left behind."""
    try:
        runs = list_runs()
    except CannotRead:  # the test was about the folder
        return
    for run in runs:
        with contextlib.suppress(
            OSError, KeyError, TypeError, ValueError, AssertionError, OverflowError, RecursionError
        ):
            found = processes(run)
            for who in ("command", "supervisor"):
                now = identify(found[who]["pid"])
                if now is not None and now.start_ticks == found[who]["start_ticks"]:
                    (os.killpg if who == "command" else os.kill)(now.pid, signal.SIGKILL)


def fill_disk(disk: Path) -> Path:
    """A file that takes all that is left of a disk."""
    path = disk / "filler"
    with path.open("ab", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))
    return path
