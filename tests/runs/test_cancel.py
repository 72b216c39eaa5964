"""A cancel ends in the truth, whatever happened before it and happens meanwhile."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from run_processes import (
    IGNORE_TERM,
    begin,
    command_pid,
    ended,
    fill_disk,
    kill,
    logged,
    python,
    reaches,
    reopened,
    shell,
    supervisor_pid,
    until,
)

from qinspect.inspector.errors import CannotSignal, RunIsNotLive
from qinspect.inspector.runs import Run, State, cancelling, list_runs, read_all_events
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import group_members, identify
from qinspect.inspector.runs.result import read_cancel

QINSPECT = Path(sys.executable).with_name("qinspect")


def stubborn(supervised: bool = True) -> Run:
    """A run that SIGTERM does not end."""
    run = python(IGNORE_TERM)
    logged(run, "ready")
    if not supervised:
        kill(supervisor_pid(run))
    return run


def interrupted_cancel(run: Run, grace: str) -> None:
    """`runs cancel`, stopped by ctrl-c while it waits."""
    with subprocess.Popen(
        [QINSPECT, "runs", "cancel", run.id, "--grace", grace], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as first:
        until((run.folder / files.CANCEL).exists, "the request")
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert first.returncode == 130


@pytest.mark.parametrize("grace", [0.0, 0.1])
def test_a_later_cancel_kills_what_an_interrupted_one_left(grace: float) -> None:
    run = stubborn(supervised=False)
    interrupted_cancel(run, "3600")
    assert run.state().state is State.UNSUPERVISED
    pid = command_pid(run)
    found = run.cancel(grace)
    assert found.state is State.CANCELLED
    assert found.result is not None
    assert found.result.cancelled_by is not None
    assert f"then SIGKILL after {grace:g} s" in found.result.cancelled_by
    assert group_members(pid) == []
    with pytest.raises(RunIsNotLive):
        run.cancel(grace)


def test_a_request_of_long_ago_kills_nobody_early() -> None:
    """Its time is over, and it counts anew: SIGTERM first, and a grace."""
    run = shell("trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.02; done")
    logged(run, "ready")
    kill(supervisor_pid(run))
    request = {"by": "somebody", "time": time.time() - 3600, "grace_s": 1.0}
    (run.folder / files.CANCEL).write_text(json.dumps(request))
    found = run.cancel(60.0)
    assert found.state is State.CANCELLED
    assert found.result is not None
    assert found.result.last_line == "saved"
    assert found.result.cancelled_by == "somebody sent SIGTERM"


def test_a_supervisor_finishes_what_an_interrupted_cancel_began() -> None:
    run = stubborn()
    interrupted_cancel(run, "1")
    found = ended(run)
    assert found.result is not None
    assert (found.state, found.result.signal) == (State.CANCELLED, "SIGKILL")
    assert found.result.notes == ()


@pytest.mark.parametrize("supervised", [True, False])
def test_three_cancels_at_once(supervised: bool) -> None:
    run = stubborn(supervised)
    answers: list[State] = []

    def cancel(grace: float) -> None:
        with suppress(RunIsNotLive):  # it came when all was over
            answers.append(run.cancel(grace).state)

    threads = [threading.Thread(target=cancel, args=(grace,)) for grace in (3600.0, 0.2, 5.0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(answers) == {State.CANCELLED}
    assert [e.kind for e in read_all_events(run.events_path)].count("end") <= 1
    result = run.state().result
    assert result is not None
    assert not any("memory" in note for note in result.notes)
    assert [p.name for p in run.folder.iterdir() if p.name.startswith(".")] == []


def test_what_stays_after_sigkill_is_named_and_was_really_sent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that waits in the kernel: it is there, and signals do nothing."""
    run = stubborn(supervised=False)
    sent: list[int] = []
    monkeypatch.setattr(cancelling, "_KILL_PATIENCE_S", 0.2)

    def send(_group: int, number: int) -> bool:
        sent.append(number)
        return True

    monkeypatch.setattr(cancelling, "kill_group", send)
    for grace in (0.0, 0.1):
        sent.clear()
        with pytest.raises(CannotSignal) as caught:
            run.cancel(grace)
        assert sent[0] == signal.SIGTERM
        assert set(sent[1:]) == {signal.SIGKILL}
        assert re.search(rf"SIGKILL was sent .* still there: {command_pid(run)} \(sleeping\)", str(caught.value))
    assert run.state().state is State.UNSUPERVISED
    monkeypatch.undo()
    assert run.cancel(0.0).state is State.CANCELLED


def test_a_stopped_command_ends_too() -> None:
    run = shell("echo ready; exec sleep 600")
    logged(run, "ready")
    os.kill(command_pid(run), signal.SIGSTOP)
    assert run.cancel(0.1).state is State.CANCELLED


def test_a_hang_up_of_the_supervisor_does_nothing_and_sigterm_at_once_cancels() -> None:
    run = shell("exec sleep 600")
    os.kill(supervisor_pid(run), signal.SIGHUP)
    os.kill(supervisor_pid(run), signal.SIGTERM)  # also in its first moment
    assert ended(run).state is State.CANCELLED


def test_the_command_hears_the_signals_that_its_supervisor_holds_back() -> None:
    code = "import signal; print(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))))"
    run = begin(sys.executable, "-c", code)
    ended(run)
    assert run.log_path.read_text() == "[]\n"


# --- a full disk ---


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on new files cannot be written by this process; what is there can be written over."""

    def refuse(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "create_json", refuse)
    monkeypatch.setattr(files, "write_json", refuse)


def test_a_request_that_finds_no_room_is_written_over_the_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    run = shell("exec sleep 600")
    fill(monkeypatch)
    found = run.cancel()
    assert not (run.folder / files.CANCEL).exists()
    assert found.state is State.CANCELLED
    assert found.result is not None
    assert str(os.getpid()) in (found.result.cancelled_by or "")


def test_an_end_that_cannot_be_recorded_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    run = stubborn(supervised=False)
    fill(monkeypatch)
    found = run.cancel(0.1)
    assert found.state is State.CANCELLED
    assert "could not be recorded: No space left on device" in found.reason
    assert group_members(command_pid(run)) == []


@pytest.mark.parametrize(
    "content", [b"", bytes(2048), b"{", b"\xff" * 2048, b"[" * 2000, b'{"grace_s": 1e999}' + bytes(9)]
)
def test_what_else_stands_in_a_reserve(content: bytes, tmp_path: Path) -> None:
    (tmp_path / files.RESERVE).write_bytes(content)
    found = read_cancel(tmp_path)
    assert found is None or found.grace_s == 10.0


def test_a_really_full_disk(small_disk: Path) -> None:
    run = shell("exec sleep 600")
    fill_disk(small_disk)
    found = run.cancel()
    assert found.state is State.CANCELLED
    assert reopened(run).state().state is State.CANCELLED
    assert found.result is not None
    assert str(os.getpid()) in (found.result.cancelled_by or "")


# --- the clock ---

JUMP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  long by = 0;
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, t);
  if (id != CLOCK_REALTIME) return r;
  FILE *f = fopen(getenv("JUMP"), "r");
  if (f) { if (fscanf(f, "%ld", &by) != 1) by = 0; fclose(f); }
  t->tv_sec += by;
  if (t->tv_sec < 5) t->tv_sec = 5;
  return r;
}
"""


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes the clock of processes jump by the seconds in the file $JUMP."""
    place = tmp_path_factory.mktemp("jump")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (place / "jump.c").write_text(JUMP)
    made = place / "jump.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, place / "jump.c", "-ldl"], check=True)
    return made


@pytest.mark.parametrize("jump", [-3600, 3600, -(10**11)], ids=["an hour back", "an hour on", "1970"])
def test_a_clock_that_jumps_during_a_cancel(jump: int, jumping: Path, tmp_path: Path) -> None:
    """The grace is that of the request: the canceller and the supervisor count it by a clock that nobody sets."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    env = {**os.environ, "LD_PRELOAD": str(jumping), "JUMP": str(clock)}
    started = subprocess.run(
        [QINSPECT, "run", "--json", "--", sys.executable, "-c", IGNORE_TERM], env=env, capture_output=True, check=True
    )
    run_id = json.loads(started.stdout)["run"]["id"]
    run = next(r for r in list_runs() if r.id == run_id)
    logged(run, "ready")
    before = time.monotonic()
    with subprocess.Popen(
        [QINSPECT, "runs", "cancel", run_id, "--grace", "2"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as cancel:
        until(lambda: read_cancel(run.folder) is not None, "the request")
        clock.write_text(str(jump))
        out, err = cancel.communicate()
    took = time.monotonic() - before
    assert (cancel.returncode, err) == (0, b"")
    assert b"SIGKILL" in out
    assert took >= 2  # not before its grace
    result = run.state().result
    assert result is not None
    assert result.duration_s is not None
    assert 2 <= result.duration_s <= took + 60  # by the same clock


def test_a_clock_of_1970_while_a_run_is_started_and_lives(jumping: Path, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text(str(-(10**11)))
    env = {**os.environ, "LD_PRELOAD": str(jumping), "JUMP": str(clock)}
    said = subprocess.run(
        [QINSPECT, "run", "--json", "--", "sleep", "600"], env=env, capture_output=True, text=True, check=True
    )
    run_id = json.loads(said.stdout)["run"]["id"]
    assert run_id.startswith("19700101-")
    (run,) = list_runs()
    reaches(run, State.RUNNING)
    age = run.state().age_s
    assert age is not None
    assert age < 3600
    assert run.cancel().state is State.CANCELLED
    who = identify(supervisor_pid(run))
    assert who is None or not who.is_alive() or run.state().result is not None
