"""What the system tells of a process: when it was started, as the kernel counts, which with its number tells it from
every other of this boot; and who started it."""

from __future__ import annotations

import os
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None where there is none, or the system does not tell."""
    try:
        return int(_stat_fields(pid)[19])
    except (OSError, ValueError, IndexError, OverflowError):
        return None


def parent_of(pid: int) -> int:
    """Who started it. Raises OSError, ValueError or IndexError where there is none, or the system does not tell."""
    return int(_stat_fields(pid)[1])


def _stat_fields(pid: int) -> list[bytes]:
    """Fields of its line from the state on: the name before it may hold anything, spaces and parentheses too."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def processes_are_visible() -> bool:
    """Whether this system lets us look at processes at all: in some sandboxes /proc is missing."""
    return start_ticks(os.getpid()) is not None
