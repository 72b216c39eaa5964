"""Where a run stands, found out from its folder and the processes of this host.

Nothing is remembered between two looks.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import (
    ProcessId,
    boot_id,
    environment_of,
    from_dict,
    group_members,
    host_name,
)
from qinspect.inspector.runs.result import Outcome, Result, result_from_dict

STARTING_S = 60.0
"""A folder without a process is a start in progress for so long."""
HEARTBEAT_LOST_S = 60.0
"""A heartbeat older than this says that the supervisor stands still, or that its host is gone."""


class State(StrEnum):
    """Where a run stands."""

    STARTING = "starting"
    RUNNING = "running"
    UNSUPERVISED = "running-unsupervised"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_live(self) -> bool:
        """Whether something of the run still goes on."""
        return self in (State.STARTING, State.RUNNING, State.UNSUPERVISED)


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands, and why. reason: "" where the state says all. heartbeat_age_s: None for no heartbeat."""

    state: State
    reason: str = ""
    result: Result | None = None
    heartbeat_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Processes:
    """process.json: who watches, who is watched, None for what is not written. pgid: the command's group, 0: none."""

    supervisor: ProcessId | None = None
    command: ProcessId | None = None
    pgid: int = 0


def read_processes(folder: Path) -> Processes | None:
    """What process.json says; None where it is not there."""
    content = files.read_json(folder / files.PROCESS)
    if content is None:
        return None
    command = from_dict(content.get("command"))
    # the command leads its group, so its number is the group's; a file that says otherwise is not believed
    return Processes(from_dict(content.get("supervisor")), command, command.pid if command else 0)


def read_result(folder: Path) -> Result | None:
    """What result.json says; None where it is not there."""
    content = files.read_json(folder / files.RESULT)
    return None if content is None else result_from_dict(content)


def state_of(folder: Path, host: str, boot: str, created: float) -> RunState:
    """Where the run of `folder` stands; host, boot and created (seconds since the epoch) as its spec has them."""
    ended = _ended(folder)
    if ended is not None:
        return ended
    age = _heartbeat_age(folder)
    if host != host_name():
        return _elsewhere(host, age)
    if boot != boot_id():
        return RunState(State.LOST, "the host was rebooted while it ran", heartbeat_age_s=age)
    processes = read_processes(folder)
    if processes is None:
        if abs(time.time() - created) < STARTING_S:
            return RunState(State.STARTING)
        return RunState(State.LOST, "it was never started: who launched it was stopped before")
    return _by_processes(folder, processes, age)


def _ended(folder: Path) -> RunState | None:
    result = read_result(folder)
    if result is None:
        return None
    states = {
        Outcome.FINISHED: State.FINISHED,
        Outcome.FAILED: State.FAILED,
        Outcome.CANCELLED: State.CANCELLED,
    }
    return RunState(states[result.outcome], result=result)


def _elsewhere(host: str, age: float | None) -> RunState:
    """A run of another host: only its files can be seen from here."""
    if age is not None and age < HEARTBEAT_LOST_S:
        return RunState(State.RUNNING, f"on host {host}, by its heartbeat", heartbeat_age_s=age)
    since = "it never had a heartbeat" if age is None else f"no heartbeat for {age:.0f} s"
    return RunState(State.LOST, f"on host {host}, {since}: only that host can tell more", heartbeat_age_s=age)


def _by_processes(folder: Path, processes: Processes, age: float | None) -> RunState:
    watched = processes.supervisor is not None and processes.supervisor.is_alive()
    lives = processes.command is not None and processes.command.is_alive()
    if watched:
        reason = ""
        if age is not None and age > HEARTBEAT_LOST_S:
            reason = f"its supervisor has given no sign for {age:.0f} s"
        if lives:
            return RunState(State.RUNNING, reason, heartbeat_age_s=age)
        if processes.command is None:
            return RunState(State.STARTING, reason, heartbeat_age_s=age)
        return _ended(folder) or RunState(
            State.RUNNING, "the command has ended, its result is being written", heartbeat_age_s=age
        )
    if lives:
        reason = "its supervisor is gone: output goes on, events do not, and its exit code will not be known"
        return RunState(State.UNSUPERVISED, reason, heartbeat_age_s=age)
    ended = _ended(folder)  # it may have been written since the first look
    if ended is not None:
        return ended
    left = len(left_over(folder.name, processes))
    if left:
        reason = f"its first process and its supervisor are gone; {left} of its group still run"
        return RunState(State.UNSUPERVISED, reason, heartbeat_age_s=age)
    if processes.command is None:
        return RunState(State.LOST, "its supervisor was killed before the command was started", heartbeat_age_s=age)
    return RunState(
        State.LOST, "supervisor and command are gone without a result: killed, nobody knows how", heartbeat_age_s=age
    )


def left_over(run_id: str, processes: Processes) -> list[ProcessId]:
    """Processes of a group whose leader is gone. The number of a group may be another's by now: only those count that
    were started with this run's id in their environment."""
    if processes.pgid <= 1:
        return []
    try:
        os.killpg(processes.pgid, 0)
    except OSError:
        return []
    return [p for p in group_members(processes.pgid) if environment_of(p.pid).get(files.RUN_VARIABLE) == run_id]


def _heartbeat_age(folder: Path) -> float | None:
    try:
        return max(0.0, time.time() - (folder / files.HEARTBEAT).stat().st_mtime)
    except OSError:
        return None


def last_sign(folder: Path) -> float | None:
    """When the run last gave a sign, seconds since the epoch: for one that has no end."""
    times: list[Any] = []
    for name in (files.HEARTBEAT, files.LOG, files.EVENTS):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)
