"""How a run ended: result.json, written last, and by one only."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.stored import Fields, open_file, stored_json

MAX_REQUEST_BYTES = 2048
"""Of a request to cancel, where it is written over the start of the reserve."""


class Outcome(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a run.

    exit_code: None where a signal ended the command, or nobody saw it end. signal: its name. ended: seconds since the
    epoch. duration_s: from the start of the command. last_error: of the log, where the parser found one. last_line: of
    the log. cancelled_by: who asked, and what was sent. notes: what else is to be known, sentences.
    """

    outcome: Outcome
    ended: float
    exit_code: int | None = None
    signal: str | None = None
    duration_s: float | None = None
    last_error: str | None = None
    last_line: str | None = None
    cancelled_by: str | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For result.json."""
        return {**asdict(self), "outcome": str(self.outcome), "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class StoredResult:
    """What result.json says. result: None where it is not there, or does not say how the run ended."""

    result: Result | None
    problems: tuple[str, ...] = ()


def read_result(folder: Path) -> StoredResult:
    """The end of a run as its folder has it."""
    stored = stored_json(folder / files.RESULT)
    if stored.content is None:
        return StoredResult(None, (stored.problem,) if stored.problem else ())
    return result_from_dict(stored.content)


def result_from_dict(content: Mapping[str, Any]) -> StoredResult:
    """What `as_dict` wrote, as far as it can be believed."""
    fields = Fields(content, files.RESULT)
    try:
        outcome = Outcome(fields.text("outcome") or "")
    except ValueError:
        fields.note("outcome", ", ".join(Outcome))
        return StoredResult(None, tuple(fields.problems))
    result = Result(
        outcome=outcome,
        ended=fields.time("ended") or 0.0,
        exit_code=fields.integer("exit_code", -(2**31), 2**32, "an exit code"),
        signal=fields.text("signal"),
        duration_s=fields.number("duration_s", 0, 1e11, "seconds"),
        last_error=fields.text("last_error"),
        last_line=fields.text("last_line"),
        cancelled_by=fields.text("cancelled_by"),
        notes=fields.words("notes"),
    )
    return StoredResult(result, tuple(fields.problems))


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """cancel.json: who asked for the end of a run. time: seconds since the epoch. grace_s: between the signals.
    sigkill: whether who asked has sent it."""

    by: str
    time: float
    grace_s: float
    sigkill: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For cancel.json."""
        return asdict(self)


def read_cancel(folder: Path) -> CancelRequest | None:
    """Who asked for the end of a run: cancel.json, or what was written over the reserve where a disk was full."""
    content = stored_json(folder / files.CANCEL).content
    if content is None:
        try:
            with open_file(folder / files.RESERVE) as f:
                content = json.loads(f.read(MAX_REQUEST_BYTES).partition(b"\0")[0] or b"null")
        except (OSError, ValueError, RecursionError):
            return None
    return cancel_from_dict(content) if isinstance(content, dict) else None


def cancel_from_dict(content: Mapping[str, Any]) -> CancelRequest:
    """What `as_dict` wrote. Of a broken one is left that somebody asked."""
    fields = Fields(content, files.CANCEL)
    grace = fields.number("grace_s", 0, 1e6)
    return CancelRequest(
        by=(fields.text("by") or "somebody")[:500],
        time=fields.time("time") or time.time(),
        grace_s=10.0 if grace is None else grace,
        sigkill=fields.flag("sigkill") or False,
    )


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `signal 70` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cancelled_by(request: CancelRequest, killed: bool) -> str:
    """The sentence of who cancelled a run with what."""
    then = f", then SIGKILL after {request.grace_s:g} s" if killed else ""
    return f"{request.by} sent SIGTERM{then}"
