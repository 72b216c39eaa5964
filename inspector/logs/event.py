"""What a parser says about a log: one event at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

EventKind = Literal["phase", "progress", "point", "warning", "error", "table", "result", "setting", "note"]
KINDS: tuple[str, ...] = get_args(EventKind)
Level = Literal["", "debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("", "debug", "info", "warning", "error")
"""From the least severe on; "" where a line names no level."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One thing that a log says.

    fields hold what JSON can: texts (control characters already written as escapes), numbers, lists, objects. A number
    that JSON cannot hold is the text "inf", "-inf" or "nan". docs/logs.md lists the fields of each kind.
    line: number of the line it begins on, from 1. offset: bytes from the start of the stream to where it begins, in a
    line with carriage returns to the part after the last of them.
    """

    kind: EventKind
    fields: dict[str, Any]
    line: int
    offset: int
