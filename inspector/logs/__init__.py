"""What programs print, understood: a parser that turns the bytes of a log into events.

This is the shape that `runs` builds on; the parser itself finds nothing yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Something that a log says. line: its number from 1; offset: the byte in the file that it starts at."""

    kind: str
    fields: dict[str, Any]
    line: int
    offset: int


class LogParser:
    """Fed with the bytes of a log in pieces of any size, gives the events in them. argv: the command that prints it."""

    def __init__(self, patterns: Any = None, argv: Sequence[str] = ()) -> None:
        self.patterns = patterns
        self.argv = argv

    def feed(self, data: bytes) -> list[LogEvent]:
        """Events that `data` completes."""
        del data
        return []

    def close(self) -> list[LogEvent]:
        """Events that only the end of the log completes."""
        return []
