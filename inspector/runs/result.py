"""How a run ended: result.json, written last, and by one only."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.stored import Moment, fields_of, open_file, stored_json, wrong

MAX_REQUEST_BYTES = 2048
"""Of a request to cancel, where it is written over the start of the reserve."""

ExitCode = Annotated[int, Meta(ge=-(2**31), le=2**32, description="an exit code")]
Duration = Annotated[float, Meta(ge=0, le=1e11, description="seconds")]
Grace = Annotated[float, Meta(ge=0, le=1e6, description="seconds")]


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
    ended: Moment
    exit_code: ExitCode | None = None
    signal: str | None = None
    duration_s: Duration | None = None
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
    found, problems = fields_of(Result, content, files.RESULT)
    if "outcome" not in found:
        problem = wrong(content, "outcome", ", ".join(Outcome), files.RESULT)
        return StoredResult(None, (problem, *(p for p in problems if p != problem)))
    return StoredResult(Result(**{"ended": 0.0, **found}), problems)


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """cancel.json: who asked for the end of a run. time: seconds since the epoch. grace_s: between the signals.
    sigkill: whether who asked has sent it."""

    by: str
    time: Moment
    grace_s: Grace
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
    found, _ = fields_of(CancelRequest, content, files.CANCEL)
    return CancelRequest(
        by=(found.get("by") or "somebody")[:500],
        time=found.get("time") or time.time(),
        grace_s=found.get("grace_s", 10.0),
        sigkill=found.get("sigkill", False),
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
