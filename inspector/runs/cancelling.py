"""Ending a run from outside: also when nobody watches it any more."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from qinspect.inspector.errors import CannotSignal, RunIsNotLive
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.ending import kill_group
from qinspect.inspector.runs.identity import group_members, host_name
from qinspect.inspector.runs.journal import Journal
from qinspect.inspector.runs.result import CancelRequest, Outcome, Result, cancel_from_dict, cancelled_by
from qinspect.inspector.runs.state import Processes, RunState, left_over, read_processes
from qinspect.inspector.runs.tail import last_line

DEFAULT_GRACE_S = 10.0
_LOOK_EVERY_S = 0.05
_SUPERVISOR_PATIENCE_S = 30.0
"""How long a live supervisor may take for the result when the processes are gone: it reads the rest of the log."""
_KILL_PATIENCE_S = 15.0
"""How long processes may take to go after SIGKILL: one that waits for a disk or a GPU goes late."""


def cancel_run(folder: Path, state: Callable[[], RunState], host: str, grace_s: float) -> RunState:
    """Send SIGTERM to the group of a run, SIGKILL after the grace, and see to it that the end is recorded.

    Returns the state then. Raises RunIsNotLive, CannotSignal.
    """
    before = state()
    if not before.state.is_live:
        raise RunIsNotLive(
            f"the run {folder.name} is {before.state}", file=folder, cure="`qinspect runs show` says more."
        )
    if host != host_name():
        raise CannotSignal(f"the run {folder.name} is on host {host}", file=folder, cure="Cancel it there.")
    processes = read_processes(folder) or Processes()
    if not _ours(folder, processes):
        raise CannotSignal(f"the run {folder.name} has no process yet", file=folder, cure="Try again.")
    request = _request(folder, grace_s)
    if not kill_group(processes.pgid, signal.SIGTERM) and group_members(processes.pgid):
        raise CannotSignal("its processes are another user's", file=folder, cure="Ask them, or root.")
    killed = _see_it_end(processes.pgid, request.time + request.grace_s)
    return _wait_for_result(folder, state, processes, request, killed)


def _request(folder: Path, grace_s: float) -> CancelRequest:
    """Leave word for the supervisor who asked; the first one who asked counts, with a grace that may become shorter."""
    mine = CancelRequest(_who(), time.time(), grace_s)
    with contextlib.suppress(OSError):  # a full disk: the run is cancelled without a word
        if not files.create_json(folder / files.CANCEL, mine.as_dict()):
            earlier = cancel_from_dict(files.read_json(folder / files.CANCEL))
            if earlier is not None and earlier.time + earlier.grace_s > mine.time + mine.grace_s:
                files.write_json(folder / files.CANCEL, mine.as_dict())
            elif earlier is not None:
                return earlier
    return mine


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        user = f"user {os.getuid()}"
    return f"{user} (process {os.getpid()} on {host_name()})"


def _ours(folder: Path, processes: Processes) -> bool:
    """Whether the group is still that of the run: its leader lives, or processes that carry the run's id do."""
    if processes.command is None:
        return False
    return processes.command.is_alive() or bool(left_over(folder.name, processes)) or _watched(processes)


def _watched(processes: Processes) -> bool:
    return processes.supervisor is not None and processes.supervisor.is_alive()


def _see_it_end(pgid: int, kill_at: float) -> bool:
    """Wait until the group is empty; SIGKILL from `kill_at` (seconds since the epoch) on. Whether that was sent."""
    killed = False
    give_up = kill_at + _KILL_PATIENCE_S
    while group_members(pgid):
        now = time.time()
        if now >= give_up:
            raise CannotSignal(
                f"processes of group {pgid} are still there {_KILL_PATIENCE_S:.0f} s after SIGKILL",
                cure="They wait in the kernel for a disk or a GPU, and go when it answers.",
            )
        if now >= kill_at:
            killed = kill_group(pgid, signal.SIGKILL) or killed
        time.sleep(_LOOK_EVERY_S)
    return killed


def _wait_for_result(
    folder: Path, state: Callable[[], RunState], processes: Processes, request: CancelRequest, killed: bool
) -> RunState:
    """The supervisor records the end; where it is gone or stands still, we do."""
    end = time.monotonic() + _SUPERVISOR_PATIENCE_S
    while (now := state()).result is None and _watched(processes) and time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)
    if now.result is not None or state().result is not None:
        return state()
    what = "gave no answer" if _watched(processes) else "was gone"
    note = f"its supervisor {what}: the exit code is not known"
    said = last_line(folder / files.LOG) or None
    result = Result(
        Outcome.CANCELLED, time.time(), last_line=said, cancelled_by=cancelled_by(request, killed), notes=(note,)
    )
    try:
        files.create_json(folder / files.RESULT, result.as_dict())
    except OSError:
        with contextlib.suppress(OSError):
            (folder / files.RESERVE).unlink(missing_ok=True)
            files.create_json(folder / files.RESULT, result.as_dict())
    if not _watched(processes):
        with contextlib.suppress(OSError):
            journal = Journal(folder / files.EVENTS)
            journal.append("end", {"outcome": str(result.outcome), "exit_code": None, "signal": None})
            journal.close()
    return state()
