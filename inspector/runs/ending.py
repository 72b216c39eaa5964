"""What the end of a command means, and the signals that bring it about."""

from __future__ import annotations

import os

from qinspect.inspector.runs.result import CancelRequest, Outcome, Result, cancelled_by, signal_name
from qinspect.inspector.runs.tail import LogTail, last_line


def kill_group(pgid: int, number: int) -> bool:
    """Send a signal to a group. False: there is none, or it is not ours to signal."""
    if pgid <= 1:  # 0 is our own group, 1 everybody's
        return False
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False
    return True


def ending_of(
    returncode: int, cancel: CancelRequest | None, killed: bool, ended: float, took_s: float, tail: LogTail
) -> Result:
    """The result of a command that we saw end. returncode: as subprocess has it, negative for a signal. ended: seconds
    since the epoch. took_s: by a clock that nobody sets."""
    name = signal_name(-returncode) if returncode < 0 else None
    outcome = Outcome.CANCELLED if cancel else Outcome.FINISHED if returncode == 0 else Outcome.FAILED
    notes = []
    if name == "SIGKILL" and not killed and cancel is None:
        notes.append("SIGKILL did not come from qinspect: the system sends it when memory runs out (see dmesg)")
    return Result(
        outcome=outcome,
        exit_code=returncode if returncode >= 0 else None,
        signal=name,
        ended=ended,
        duration_s=max(0.0, took_s),
        last_error=tail.last_error,
        last_line=last_line(tail.path) or None,
        cancelled_by=cancelled_by(cancel, killed) if cancel else None,
        notes=tuple(notes),
    )
