"""Where a run stands, found out from its folder and the processes of this host.

Nothing is remembered between two looks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from qinspect.inspector.processes import processes_are_visible
from qinspect.inspector.runs import belonging
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.belonging import Belongs
from qinspect.inspector.runs.identity import ProcessId, boot_id, from_dict, host_name
from qinspect.inspector.runs.result import Outcome, Result, read_result
from qinspect.inspector.runs.sign import heartbeat_age_s
from qinspect.inspector.runs.stored import problem_of, stored_json

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
    DAMAGED = "damaged"

    @property
    def is_live(self) -> bool:
        """Whether something of the run still goes on."""
        return self in (State.STARTING, State.RUNNING, State.UNSUPERVISED)


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands, and why.

    reason: "" where the state says all. heartbeat_age_s: None for no heartbeat. age_s: since the start of its command,
    by a clock that nobody sets; None where it is not running here. damage: what is wrong with its files, sentences.
    """

    state: State
    reason: str = ""
    result: Result | None = None
    heartbeat_age_s: float | None = None
    age_s: float | None = None
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Processes:
    """What process.json says. command: None before it was started. problem: what is wrong with the file."""

    supervisor: ProcessId | None = None
    command: ProcessId | None = None
    pgid: int = 0
    problem: str = ""


def read_processes(folder: Path) -> Processes | None:
    """What process.json says; None where it is not there."""
    stored = stored_json(folder / files.PROCESS)
    if stored.content is None:
        return Processes(problem=stored.problem) if stored.problem else None
    given = {key: stored.content.get(key) for key in ("supervisor", "command")}
    found = {key: from_dict(value) for key, value in given.items()}
    wrong = [key for key, value in given.items() if value is not None and found[key] is None]
    problem = f"{files.PROCESS}: {wrong[0]} is not a process" if wrong else ""
    command = found["command"]
    # the command leads its group, so its number is the group's; a file that says otherwise is not believed
    return Processes(found["supervisor"], command, command.pid if command else 0, problem)


def processes_of(folder: Path) -> Processes | None:
    """What process.json says; where it cannot be understood, or names a process that is not the run's, what the
    processes of this host say themselves."""
    said = read_processes(folder)
    if said is None or not processes_are_visible():
        return said
    if said.command is not None:
        if not said.command.is_alive() or command_belongs(folder, said, is_watched(folder, said)) is not Belongs.NO:
            return said
        problem = f"{files.PROCESS}: process {said.command.pid} does not say that it is the run's"
        said = replace(said, problem=said.problem or problem)
    elif not said.problem:
        return said
    found = belonging.search(folder)
    return replace(
        said, supervisor=said.supervisor or found.supervisor, command=found.command,
        pgid=found.command.pid if found.command else 0,
    )  # fmt: skip


def state_of(folder: Path, host: str, boot: str, created: float) -> RunState:
    """Where the run of `folder` stands; host, boot and created (seconds since the epoch) as its spec has them, host and
    boot "" where they are not known."""
    if not folder.is_dir():
        return RunState(State.LOST, "its folder is gone: it was deleted or has another name")
    stored = read_result(folder)
    damage = stored.problems
    if stored.result is not None:
        return replace(_ended(stored.result), damage=damage)
    found = _unended(folder, host, boot, created)
    damage = (*damage, *found.damage)
    if damage and not found.state.is_live and found.result is None:  # one may have come since
        return replace(found, state=State.DAMAGED, damage=damage,
                       reason="nothing of it is running, and its files cannot tell how it ended")  # fmt: skip
    return replace(found, damage=damage)


def _unended(folder: Path, host: str, boot: str, created: float) -> RunState:
    age = heartbeat_age_s(folder, bool(boot) and boot == boot_id())
    if host and host != host_name():
        return _elsewhere(host, age)
    if boot and boot_id() and boot != boot_id():
        return RunState(State.LOST, "the host was rebooted while it ran", heartbeat_age_s=age)
    processes = processes_of(folder)
    if processes is None:
        if abs(time.time() - created) < STARTING_S:
            return RunState(State.STARTING)
        return RunState(State.LOST, "it was never started: what launched it was stopped first")
    if not processes_are_visible():
        return _unseen(age)
    damage = (processes.problem,) if processes.problem else ()
    return replace(_by_processes(folder, processes, age), damage=damage)


def _ended(result: Result) -> RunState:
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


def _unseen(age: float | None) -> RunState:
    """Processes cannot be looked at here: only the files can."""
    if age is not None and age < HEARTBEAT_LOST_S:
        return RunState(State.RUNNING, "by its heartbeat: /proc cannot be read here", heartbeat_age_s=age)
    since = "it never had a heartbeat" if age is None else f"no heartbeat for {age:.0f} s"
    return RunState(State.LOST, f"{since}, and /proc cannot be read here to tell more", heartbeat_age_s=age)


def is_watched(folder: Path, processes: Processes) -> bool:
    """Whether the supervisor lives: this process, and a supervisor of this run by what it says itself."""
    who = processes.supervisor
    return who is not None and who.is_alive() and belonging.is_supervisor(who.pid, folder)


def command_belongs(folder: Path, processes: Processes, watched: bool) -> Belongs:
    """Whether the process of the command lives and is the run's: NO for neither."""
    if processes.command is None or not processes.command.is_alive():
        return Belongs.NO
    supervisor = processes.supervisor.pid if watched and processes.supervisor else 0
    return belonging.to_run(processes.command.pid, folder, supervisor)


def _by_processes(folder: Path, processes: Processes, age: float | None) -> RunState:
    watched = is_watched(folder, processes)
    command = command_belongs(folder, processes, watched)
    running_s = processes.command.age_s() if processes.command and command is not Belongs.NO else None
    if watched:
        reason = ""
        if age is not None and age > HEARTBEAT_LOST_S:
            reason = f"its supervisor has given no sign for {age:.0f} s"
        if command is not Belongs.NO:
            return RunState(State.RUNNING, reason, heartbeat_age_s=age, age_s=running_s)
        if processes.command is None and processes.problem:
            return _ended_since(folder) or RunState(
                State.RUNNING, "its supervisor is alive; which process is its command is not known", heartbeat_age_s=age
            )
        if processes.command is None:
            return RunState(State.STARTING, reason, heartbeat_age_s=age)
        return _ended_since(folder) or RunState(
            State.RUNNING, "the command has ended, its result is being written", heartbeat_age_s=age
        )
    if command is Belongs.YES:
        reason = "its supervisor is gone: output goes on, events do not, and its exit code will not be known"
        return RunState(State.UNSUPERVISED, reason, heartbeat_age_s=age, age_s=running_s)
    if command is Belongs.UNKNOWN:
        pid = processes.command.pid if processes.command else 0
        reason = f"its supervisor is gone; process {pid} seems to be its command, but may not be looked into"
        return RunState(State.UNSUPERVISED, reason, heartbeat_age_s=age, age_s=running_s)
    ended = _ended_since(folder)
    if ended is not None:
        return ended
    left = len(left_over(folder, processes))
    if left:
        reason = f"its first process and its supervisor are gone; {left} of its group still run"
        return RunState(State.UNSUPERVISED, reason, heartbeat_age_s=age)
    if processes.command is None:
        return RunState(State.LOST, "its supervisor was killed before the command was started", heartbeat_age_s=age)
    return RunState(
        State.LOST, "supervisor and command are gone without a result: killed, nobody knows how", heartbeat_age_s=age
    )


def _ended_since(folder: Path) -> RunState | None:
    """The end, where it was written since the first look."""
    result = read_result(folder).result
    return None if result is None else _ended(result)


def left_over(folder: Path, processes: Processes) -> list[ProcessId]:
    """Processes of a group whose leader is gone, as far as they belong to the run."""
    return belonging.members(folder, processes.pgid)


def unreadable(folder: Path) -> tuple[str, ...]:
    """What is wrong with the files that only grow: one that is there and cannot be read."""
    return tuple(problem for name in (files.LOG, files.EVENTS) if (problem := problem_of(folder / name)))


def last_sign(folder: Path) -> float | None:
    """When the run last gave a sign, seconds since the epoch: for one that has no end."""
    times: list[float] = []
    for name in (files.HEARTBEAT, files.LOG, files.EVENTS):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)
