"""Whether a process belongs to a run, asked of the process itself.

Files in the state folder only say where to look: one that was copied, damaged or forged must not make us take another
process for the run, and send it a signal.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import ProcessId, group_members, identify

_SUPERVISOR = "qinspect.inspector.runs.supervisor"


class Belongs(Enum):
    """What a process says of itself. UNKNOWN: it may not be asked, as one that changed its user."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


def to_run(pid: int, folder: Path, supervisor: int = 0) -> Belongs:
    """Whether a process is the command of the run of `folder`, or was started by it: it is our user's, and has the
    run's id in its environment, or writes into the run's log, or is a child of the run's supervisor (0: not known)."""
    import psutil

    try:
        process = psutil.Process(pid)
        if supervisor and process.ppid() == supervisor:
            return Belongs.YES
        ours = process.uids().real == os.getuid()
        marked: bool | None = process.environ().get(files.RUN_VARIABLE) == folder.name
    except (psutil.NoSuchProcess, ValueError):
        return Belongs.NO
    except (psutil.Error, OSError):
        return Belongs.UNKNOWN
    # a program may start another with an empty environment, or write over its own: where its output goes counts too
    if not marked:
        marked = _writes_into(pid, folder / files.LOG, (1, 2))
    if marked is None or (marked and not ours):
        return Belongs.UNKNOWN
    return Belongs.YES if marked else Belongs.NO


def is_supervisor(pid: int, folder: Path) -> bool:
    """Whether a process of our user watches the run of `folder`: its command line says so, or where its errors go."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.uids().real != os.getuid():
            return False
        words = process.cmdline()
    except (psutil.Error, OSError, ValueError):
        return False
    named = _SUPERVISOR in words[:-1] and Path(words[-1]).name == folder.name
    return named or _writes_into(pid, folder / files.SUPERVISOR_LOG, (2,)) is True


def members(folder: Path, pgid: int) -> list[ProcessId]:
    """Processes of a group that belong to the run. The group's number may be another's by now; as long as one of them
    is there, it is not."""
    if pgid <= 1:
        return []
    try:
        os.killpg(pgid, 0)
    except (OSError, OverflowError):
        return []
    return [p for p in group_members(pgid) if to_run(p.pid, folder) is Belongs.YES]


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at all processes of this host found of a run."""

    supervisor: ProcessId | None = None
    command: ProcessId | None = None


def search(folder: Path) -> Found:
    """The supervisor and the command of a run, by what the processes of our user say themselves. The command is the
    supervisor's child, or the only process that leads a session and belongs to the run; None where that is not clear.
    """
    import psutil

    watching, leading = [], []
    for process in psutil.process_iter():
        try:
            if process.uids().real != os.getuid() or process.pid == os.getpid():
                continue
            if is_supervisor(process.pid, folder):
                watching.append(process.pid)
            elif os.getsid(process.pid) == process.pid and to_run(process.pid, folder) is Belongs.YES:
                leading.append((process.pid, process.ppid()))
        except (psutil.Error, OSError):
            continue
    children = [pid for pid, parent in leading if parent in watching]
    commands = children or [pid for pid, _ in leading]
    return Found(
        identify(watching[0]) if len(watching) == 1 else None,
        identify(commands[0]) if len(commands) == 1 else None,
    )


def _writes_into(pid: int, path: Path, descriptors: tuple[int, ...]) -> bool | None:
    """Whether one of a process's descriptors is this very file; None where it may not be looked at."""
    try:
        mine = os.lstat(path)
    except OSError:
        return False
    # a link could make any file of another program the run's
    if not stat.S_ISREG(mine.st_mode) or mine.st_nlink != 1:
        return False
    for number in descriptors:
        try:
            theirs = os.stat(f"/proc/{pid}/fd/{number}")
        except PermissionError:
            return None
        except OSError:
            continue
        if os.path.samestat(mine, theirs):
            return True
    return False
