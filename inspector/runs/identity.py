"""Who a process is. A number alone is not enough: the system gives it to another one later."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from qinspect.inspector.processes import processes_are_visible, start_ticks
from qinspect.inspector.runs.stored import fields_of

_SAME_TIME_S = 2.0
"""Create times of one process, read twice, differ by less: the system's clock may be set in between."""

_ENDED = frozenset({"zombie", "dead"})


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process number with the time it was given out.

    create_time: seconds since the epoch. start_ticks: clock ticks from boot to its start, which setting the clock does
    not change; None where the system does not tell.
    """

    pid: Annotated[int, Meta(ge=2, le=2**31 - 1)]  # 0 and 1 are never a run: 0 would be the group of who signals
    create_time: Annotated[float, Meta(gt=-1e15, lt=1e15)]
    start_ticks: int | None = None

    def is_alive(self) -> bool:
        """Whether this very process runs: not another of the same number, not one that has ended and waits."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            if process.status() in _ENDED:
                return False
            found = identify(self.pid)
        except (psutil.Error, ValueError, OverflowError, OSError):
            return False
        if found is None:
            return False
        if self.start_ticks is not None and found.start_ticks is not None:
            return self.start_ticks == found.start_ticks
        return abs(self.create_time - found.create_time) < _SAME_TIME_S

    def age_s(self) -> float | None:
        """Seconds since its start, by a clock that nobody sets; None where the system does not tell."""
        if self.start_ticks is None:
            return None
        try:
            return max(0.0, time_since_boot_s() - self.start_ticks / os.sysconf("SC_CLK_TCK"))
        except (OSError, ValueError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """For process.json."""
        return asdict(self)


def time_since_boot_s() -> float:
    """Seconds since the boot, those asleep too: what start ticks count. Raises OSError."""
    import time

    return time.clock_gettime(time.CLOCK_BOOTTIME)


def identify(pid: int) -> ProcessId | None:
    """The process that has this number now; None where there is none."""
    import psutil

    try:
        return ProcessId(pid, psutil.Process(pid).create_time(), start_ticks(pid))
    except (psutil.Error, ValueError, OverflowError, OSError):
        return None


def from_dict(content: object) -> ProcessId | None:
    """What `as_dict` wrote; None for anything else."""
    found, _ = fields_of(ProcessId, content, "") if isinstance(content, Mapping) else ({}, ())
    return ProcessId(**found) if {"pid", "create_time"} <= found.keys() else None


def group_members(pgid: int) -> list[ProcessId]:
    """Processes of the group that run, in no order."""
    import psutil

    found: list[ProcessId] = []
    if not processes_are_visible():
        return found
    for process in psutil.process_iter(["status"]):
        try:
            mine = os.getpgid(process.pid) == pgid and process.info["status"] not in _ENDED
        except OSError:
            continue
        who = identify(process.pid) if mine else None
        if who is not None:
            found.append(who)
    return found


def status_of(pid: int) -> str:
    """What a process does, in the system's words (`disk-sleep`, `stopped`); "" where it is gone."""
    import psutil

    try:
        return str(psutil.Process(pid).status())
    except (psutil.Error, OSError):
        return ""


@cache
def boot_id() -> str:
    """A word that changes when the host boots."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        try:
            return f"{psutil.boot_time():.0f}"
        except (psutil.Error, OSError, RuntimeError):  # no /proc at all
            return ""


def host_name() -> str:
    """The name of this host."""
    return socket.gethostname()
