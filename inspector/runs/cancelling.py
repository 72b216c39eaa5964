"""Ending a run from outside: also when nobody watches it any more, and when an earlier attempt was interrupted.

Time is counted from this request on, by a clock that nobody sets. Before every signal the processes are asked whether
they are the run's.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from qinspect.inspector.errors import CannotSignal, RunIsNotLive
from qinspect.inspector.processes import processes_are_visible
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.belonging import Belongs
from qinspect.inspector.runs.ending import kill_group
from qinspect.inspector.runs.identity import ProcessId, group_members, host_name, status_of
from qinspect.inspector.runs.journal import Journal
from qinspect.inspector.runs.result import (
    MAX_REQUEST_BYTES,
    CancelRequest,
    Outcome,
    Result,
    cancelled_by,
    read_cancel,
)
from qinspect.inspector.runs.state import (
    Processes,
    RunState,
    State,
    command_belongs,
    is_watched,
    left_over,
    processes_of,
)
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
        why = f": {before.reason}" if before.reason else ""
        raise RunIsNotLive(
            f"the run {folder.name} is {before.state}{why}", file=folder, cure="`qinspect runs show` says more."
        )
    if host and host != host_name():
        raise CannotSignal(f"the run {folder.name} is on host {host}", file=folder, cure="Cancel it there.")
    end = time.monotonic() + grace_s
    processes = processes_of(folder) or Processes()
    _refuse_others(folder, processes)
    group = _Group(folder, processes)
    request, killed = None, False
    if group.left():
        request = _request(folder, grace_s)
        group.signal(signal.SIGTERM)
        killed = _see_it_end(group, request, end)
    return _wait_for_result(folder, state, processes, request, killed)


def _refuse_others(folder: Path, processes: Processes) -> None:
    """Raises CannotSignal where there is no process that is known to be the run's."""
    command = processes.command
    if not processes_are_visible():
        raise CannotSignal("processes cannot be looked at here: /proc cannot be read", file=folder,
                           cure="Cancel it from outside of this sandbox.")  # fmt: skip
    if command is None:
        if processes.problem:
            raise CannotSignal(
                f"which processes are the run's is not known: {processes.problem}", file=folder,
                cure=f"Processes of the run have {files.RUN_VARIABLE}={folder.name} in their environment: "
                "look for them with `ps e`, and end them with kill.",
            )  # fmt: skip
        raise CannotSignal(f"the run {folder.name} has no process yet", file=folder, cure="Try again.")
    watched = is_watched(folder, processes)
    belongs = command_belongs(folder, processes, watched)
    if belongs is Belongs.YES or left_over(folder, processes):
        return
    if belongs is Belongs.UNKNOWN:
        raise CannotSignal(
            f"process {command.pid} has the number and the start of the run's command, but may not be looked into: "
            "it is not signalled", file=folder,
            cure=f"Look at it with `ps {command.pid}`; if it is the run's, `kill -- -{command.pid}` ends it.",
        )  # fmt: skip
    if not watched:
        raise CannotSignal(f"no process of the run {folder.name} was found", file=folder, cure="Try again.")


class _Group:
    """The processes of a run's group. It is the run's as long as one that was in it at the last look still is: a number
    is given out again only when nobody has it."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        """Asks its first process; where that is gone, `left` asks the others."""
        self.folder, self._processes = folder, processes
        self._known: set[tuple[int, float]] = set()
        if command_belongs(folder, processes, is_watched(folder, processes)) is Belongs.YES:
            self._known = {_key(p) for p in group_members(processes.pgid)}

    def left(self) -> list[ProcessId]:
        """Those that live."""
        found = group_members(self._processes.pgid)
        if found and self._known.isdisjoint(map(_key, found)):
            found = left_over(self.folder, self._processes)
        self._known = {_key(p) for p in found}
        return found

    def signal(self, number: int) -> bool:
        """Send a signal to what is left. False: nothing is. Raises CannotSignal where it is not allowed."""
        if not self.left():
            return False
        if kill_group(self._processes.pgid, number):
            return True
        if self.left():
            raise CannotSignal("its processes are another user's", file=self.folder, cure="Ask them, or root.")
        return False


def _key(process: ProcessId) -> tuple[int, float]:
    return process.pid, process.create_time if process.start_ticks is None else process.start_ticks


def _request(folder: Path, grace_s: float) -> CancelRequest:
    """Leave word for the supervisor who asked; the first one who asked counts. Where the disk is full, it is written
    over room that is kept for this."""
    mine = CancelRequest(_who(), time.time(), grace_s)
    try:
        if files.create_json(folder / files.CANCEL, mine.as_dict()):
            return mine
    except OSError:
        with contextlib.suppress(OSError):
            _write_over_reserve(folder, mine)
        return mine
    # the first word stays, with the grace of the last: the supervisor counts anew when it changes
    first = read_cancel(folder)
    both = mine if first is None else replace(first, time=mine.time, grace_s=grace_s)
    with contextlib.suppress(OSError):
        files.write_json(folder / files.CANCEL, both.as_dict())
    return both


def _write_over_reserve(folder: Path, request: CancelRequest) -> None:
    """Into a file that has its room already. Raises OSError."""
    data = json.dumps(replace(request, by=request.by[:500]).as_dict()).encode().ljust(MAX_REQUEST_BYTES, b"\0")
    handle = os.open(folder / files.RESERVE, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.pwrite(handle, data[:MAX_REQUEST_BYTES], 0)
        os.fsync(handle)
    finally:
        os.close(handle)


def _say_sigkill(folder: Path, request: CancelRequest) -> None:
    """Tell the supervisor, before it sees the end, who sent SIGKILL."""
    said = replace(request, sigkill=True)
    try:
        files.write_json(folder / files.CANCEL, said.as_dict())
    except OSError:
        with contextlib.suppress(OSError):
            _write_over_reserve(folder, said)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        user = f"user {os.getuid()}"
    return f"{user} (process {os.getpid()} on {host_name()})"


def _see_it_end(group: _Group, request: CancelRequest, kill_at: float) -> bool:
    """Wait until the group is empty; SIGKILL from `kill_at` (of the monotonic clock) on. Whether that was sent."""
    give_up: float | None = None
    while left := group.left():
        now = time.monotonic()
        if give_up is not None and now >= give_up:
            raise _still_there(group.folder, left)
        if now >= kill_at:
            if give_up is None:
                _say_sigkill(group.folder, request)
            if group.signal(signal.SIGKILL):
                give_up = give_up or now + _KILL_PATIENCE_S
        time.sleep(_LOOK_EVERY_S)
    return give_up is not None


def _still_there(folder: Path, left: list[ProcessId]) -> CannotSignal:
    listed = ", ".join(f"{p.pid} ({status_of(p.pid) or 'gone now'})" for p in left[:5])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    return CannotSignal(
        f"SIGKILL was sent {_KILL_PATIENCE_S:.0f} s ago, and these processes are still there: {listed}{more}",
        file=folder, cure="One in disk-sleep waits in the kernel for a disk or a GPU, and goes when that answers.",
    )  # fmt: skip


def _wait_for_result(
    folder: Path, state: Callable[[], RunState], processes: Processes, request: CancelRequest | None, killed: bool
) -> RunState:
    """The supervisor records the end; where it is gone or stands still, we do."""
    end = time.monotonic() + _SUPERVISOR_PATIENCE_S
    while (now := state()).result is None and is_watched(folder, processes) and time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)
    if now.result is not None or (now := state()).result is not None or request is None:
        return now  # without a request there was nothing left to end
    what = "gave no answer" if is_watched(folder, processes) else "was gone"
    note = f"its supervisor {what}: the exit code is not known"
    said = last_line(folder / files.LOG) or None
    result = Result(
        Outcome.CANCELLED, time.time(), last_line=said, cancelled_by=cancelled_by(request, killed), notes=(note,)
    )
    try:
        first = _record(folder, result)
    except OSError as e:
        why = f"it ended, and that could not be recorded: {e.strerror or e}"
        return RunState(State.CANCELLED, why, result=result)
    if first and not is_watched(folder, processes):
        with contextlib.suppress(OSError):
            journal = Journal(folder / files.EVENTS)
            journal.append("end", {"outcome": str(result.outcome), "exit_code": None, "signal": None})
            journal.close()
    return state()


def _record(folder: Path, result: Result) -> bool:
    """Write result.json, into the room of the reserve where there is no other. False: another did. Raises OSError."""
    try:
        first = files.create_json(folder / files.RESULT, result.as_dict())
    except OSError:
        (folder / files.RESERVE).unlink(missing_ok=True)
        first = files.create_json(folder / files.RESULT, result.as_dict())
    with contextlib.suppress(OSError):
        (folder / files.RESERVE).unlink(missing_ok=True)
    return first
