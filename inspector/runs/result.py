"""How a run ended: result.json, written last, and by one only."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


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


def result_from_dict(content: Mapping[str, Any]) -> Result | None:
    """What `as_dict` wrote; None where the outcome is not one."""
    try:
        outcome = Outcome(content.get("outcome", ""))
    except ValueError:
        return None

    def number(key: str) -> float | None:
        value = content.get(key)
        return float(value) if isinstance(value, int | float) else None

    def text(key: str) -> str | None:
        value = content.get(key)
        return value if isinstance(value, str) else None

    code, notes = content.get("exit_code"), content.get("notes")
    return Result(
        outcome=outcome,
        ended=number("ended") or 0.0,
        exit_code=code if isinstance(code, int) else None,
        signal=text("signal"),
        duration_s=number("duration_s"),
        last_error=text("last_error"),
        last_line=text("last_line"),
        cancelled_by=text("cancelled_by"),
        notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
    )


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """cancel.json: who asked for the end of a run. time: seconds since the epoch. grace_s: between the signals."""

    by: str
    time: float
    grace_s: float

    def as_dict(self) -> dict[str, Any]:
        """For cancel.json."""
        return asdict(self)


def cancel_from_dict(content: Mapping[str, Any] | None) -> CancelRequest | None:
    """What `as_dict` wrote; None for nothing."""
    if content is None:
        return None
    grace, when = content.get("grace_s"), content.get("time")
    return CancelRequest(
        by=str(content.get("by", "somebody")),
        time=float(when) if isinstance(when, int | float) else time.time(),
        grace_s=float(grace) if isinstance(grace, int | float) else 10.0,
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
