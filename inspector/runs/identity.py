"""Who a process is. A number alone is not enough: the system gives it to another one later."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

_SAME_TIME_S = 2.0
"""Create times of one process, read twice, differ by less: the system's clock may be set in between."""

_ENDED = frozenset({"zombie", "dead"})


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process number with the time it was given out.

    create_time: seconds since the epoch. start_ticks: clock ticks from boot to its start, which setting the clock does
    not change; None where the system does not tell.
    """

    pid: int
    create_time: float
    start_ticks: int | None = None

    def is_alive(self) -> bool:
        """Whether this very process runs: not another of the same number, not one that has ended and waits."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            if process.status() in _ENDED:
                return False
            found = identify(self.pid)
        except psutil.Error:
            return False
        if found is None:
            return False
        if self.start_ticks is not None and found.start_ticks is not None:
            return self.start_ticks == found.start_ticks
        return abs(self.create_time - found.create_time) < _SAME_TIME_S

    def as_dict(self) -> dict[str, Any]:
        """For process.json."""
        return asdict(self)


def identify(pid: int) -> ProcessId | None:
    """The process that has this number now; None where there is none."""
    import psutil

    try:
        return ProcessId(pid, psutil.Process(pid).create_time(), _start_ticks(pid))
    except (psutil.Error, ValueError, OverflowError):
        return None


def from_dict(content: object) -> ProcessId | None:
    """What `as_dict` wrote; None for anything else."""
    if not isinstance(content, Mapping):
        return None
    pid, created, ticks = content.get("pid"), content.get("create_time"), content.get("start_ticks")
    # 0 and 1 are never a run, and 0 as a group would be the group of whoever sends the signal
    if not isinstance(pid, int) or pid <= 1 or not isinstance(created, int | float):
        return None
    return ProcessId(pid, float(created), ticks if isinstance(ticks, int) else None)


def _start_ticks(pid: int) -> int | None:
    try:
        # the second field is the name of the program and may hold anything, spaces and parentheses too
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def group_members(pgid: int) -> list[ProcessId]:
    """Processes of the group that run, in no order."""
    import psutil

    found = []
    for process in psutil.process_iter(["status"]):
        try:
            mine = os.getpgid(process.pid) == pgid and process.info["status"] not in _ENDED
        except OSError:
            continue
        who = identify(process.pid) if mine else None
        if who is not None:
            found.append(who)
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Variables that a process was started with; none where they may not be read."""
    import psutil

    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}


@cache
def boot_id() -> str:
    """A word that changes when the host boots."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"{psutil.boot_time():.0f}"


def host_name() -> str:
    """The name of this host."""
    return socket.gethostname()
