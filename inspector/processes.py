"""When a process was started, as the kernel counts: with its number, what tells it from every other of this boot."""

from __future__ import annotations

import os
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None where there is none, or the system does not tell."""
    try:
        # the second field is the name of the program and may hold anything, spaces and parentheses too
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError, OverflowError):
        return None


def processes_are_visible() -> bool:
    """Whether this system lets us look at processes at all: in some sandboxes /proc is missing."""
    return start_ticks(os.getpid()) is not None
