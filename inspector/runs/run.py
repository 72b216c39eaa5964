"""A run as the screen and the command line have it: a name for its folder, and what one can do with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.errors import CannotRead, RunIsLive, UnknownRun
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.before import LiveRun, warnings_for
from qinspect.inspector.runs.cancelling import DEFAULT_GRACE_S, cancel_run
from qinspect.inspector.runs.gpus import sample
from qinspect.inspector.runs.journal import RunEvent, read_events
from qinspect.inspector.runs.launch import launch
from qinspect.inspector.runs.logind import here
from qinspect.inspector.runs.spec import RunSpec, spec_from_dict
from qinspect.inspector.runs.state import RunState, read_processes, state_of

_SUPERVISOR_LEAVES_S = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Nothing here is remembered: every question is answered from its folder."""

    folder: Path
    spec: RunSpec

    @property
    def id(self) -> str:
        """The name of its folder: when it was started, and four letters of its own."""
        return self.folder.name

    @property
    def log_path(self) -> Path:
        """What the command wrote to stdout and stderr, byte by byte."""
        return self.folder / files.LOG

    @property
    def events_path(self) -> Path:
        """The journal."""
        return self.folder / files.EVENTS

    def state(self) -> RunState:
        """Where it stands now. Raises CannotRead where its folder may not be read."""
        return state_of(self.folder, self.spec.host, self.spec.boot_id, self.spec.created)

    def events(self, from_offset: int = 0) -> tuple[list[RunEvent], int]:
        """Events from a byte offset of the journal on, and the offset to ask from next: see `read_events`."""
        return read_events(self.events_path, from_offset)

    def cancel(self, grace_s: float = DEFAULT_GRACE_S) -> RunState:
        """Send SIGTERM to its processes, SIGKILL after the grace, and wait until it ended. Returns its state then.

        Takes up to the grace and some seconds. Raises RunIsNotLive, CannotSignal.
        """
        return cancel_run(self.folder, self.state, self.spec.host, grace_s)

    def refuse_if_live(self) -> None:
        """Raises RunIsLive while it goes on."""
        state = self.state().state
        if state.is_live:
            cure = f"`qinspect runs cancel {self.id}` ends it."
            raise RunIsLive(f"the run {self.id} is {state}", file=self.folder, cure=cure)

    def remove(self) -> None:
        """Delete its folder, log and all. Raises RunIsLive while it goes on, CannotRead where it cannot be deleted."""
        self.refuse_if_live()
        _wait_for_supervisor(self.folder)
        gone = self.folder.with_name(f".{self.id}")  # at once out of the list, also where deleting is stopped half-way
        try:
            self.folder.rename(gone)
            shutil.rmtree(gone)
        except OSError as e:
            raise CannotRead(f"the run's folder cannot be deleted: {e.strerror or e}", file=e.filename) from e


def start(spec: RunSpec) -> Run:
    """Start a run. When this returns, the command was started. Raises CannotStartRun; then nothing is left behind."""
    return Run(launch(spec), spec)


def check_before_start(spec: RunSpec) -> list[str]:
    """Sentences about what may go wrong with a run that is about to be started; none where nothing will."""
    live = [LiveRun(f"{r.id} ({r.spec.name})", r.spec) for r in list_runs() if r.state().state.is_live]
    others = [r for r in live if r.spec.host == spec.host]
    return warnings_for(spec, others, sample(), here())


def list_runs(known: Mapping[str, Run] | None = None) -> list[Run]:
    """All runs, the oldest first. A folder without a spec that can be read is none.

    known: runs listed before, by id: a spec never changes, so who asks again and again need not have it read again.
    """
    found = []
    try:
        folders = [p for p in files.runs_folder().iterdir() if not p.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        raise CannotRead(f"cannot be read: {e.strerror or e}", file=files.runs_folder()) from e
    for folder in folders:
        run = (known or {}).get(folder.name) or _open(folder)
        if run is not None:
            found.append(run)
    return sorted(found, key=lambda r: (r.spec.created, r.id))


def find(text: str) -> Run:
    """The run of this id, this name, or this start or end of an id. Raises UnknownRun where there is none, or more."""
    runs = list_runs()
    for matches in (
        [r for r in runs if r.id == text],
        [r for r in runs if r.spec.name == text],
        [r for r in runs if text and (r.id.startswith(text) or r.id.endswith(f"-{text}"))],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(r.id for r in matches[-5:])
            raise UnknownRun(f"{len(matches)} runs are called {text}", found=ids, cure="Give one of the ids.")
    raise UnknownRun(f"no run is called {text}", cure="`qinspect runs` lists them.")


def _wait_for_supervisor(folder: Path) -> None:
    """A supervisor lives a moment longer than its run, and has files open."""
    processes = read_processes(folder)
    end = time.monotonic() + _SUPERVISOR_LEAVES_S
    while processes and processes.supervisor and processes.supervisor.is_alive() and time.monotonic() < end:
        time.sleep(0.01)


def _open(folder: Path) -> Run | None:
    try:
        content = files.read_json(folder / files.SPEC)
    except CannotRead:  # another user's, or half deleted: the others are still to be seen
        return None
    return None if content is None else Run(folder, spec_from_dict(content))
