"""A run as the screen and the command line have it: a name for its folder, and what one can do with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qinspect.inspector.errors import CannotRead, RunIsLive, UnknownRun
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.before import LiveRun, warnings_for
from qinspect.inspector.runs.cancelling import DEFAULT_GRACE_S, cancel_run
from qinspect.inspector.runs.gpus import sample
from qinspect.inspector.runs.guard import refuse_unsafe, unsafe_folder
from qinspect.inspector.runs.journal import RunEvent, read_events
from qinspect.inspector.runs.launch import launch, remove_half_deleted
from qinspect.inspector.runs.logind import here
from qinspect.inspector.runs.spec import RunSpec, our_words, spec_from_dict
from qinspect.inspector.runs.state import RunState, is_watched, processes_of, state_of
from qinspect.inspector.runs.stored import stored_json

_SUPERVISOR_LEAVES_S = 5.0
_SPEC_COMES_S = 10.0
"""Between making a run's folder and writing its spec lies a moment."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Nothing here is remembered: every question is answered from its folder."""

    folder: Path
    spec: RunSpec
    damage: tuple[str, ...] = ()
    """What is wrong with its spec, sentences."""

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

        Takes up to the grace and some seconds. Raises RunIsNotLive, CannotSignal, CannotRead.
        """
        refuse_unsafe(self.folder)
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
            if gone.is_symlink():  # somebody's link among the runs: it goes, and not what it leads to
                gone.unlink()
            else:
                shutil.rmtree(gone)
            remove_half_deleted(self.folder.parent)
        except OSError as e:
            raise CannotRead(f"the run's folder cannot be deleted: {e.strerror or e}", file=e.filename) from e


def start(spec: RunSpec) -> Run:
    """Start a run. When this returns, the command was started. Raises CannotStartRun; then nothing is left behind."""
    return Run(launch(spec), spec.withheld())


def check_before_start(spec: RunSpec) -> list[str]:
    """Sentences about what may go wrong with a run that is about to be started; none where nothing will."""
    live = [LiveRun(f"{r.id} ({r.spec.name})", r.spec) for r in list_runs() if r.state().state.is_live]
    others = [r for r in live if r.spec.host == spec.host]
    return warnings_for(spec, others, sample(), here())


def list_runs(known: Mapping[str, Run] | None = None) -> list[Run]:
    """All runs, the oldest first. One whose spec cannot be read is among them, with what is wrong with it.

    known: runs listed before, by id: a spec never changes, so who asks again and again need not have it read again.
    Raises CannotRead where the folder of runs may not be read, or is not safe to be believed.
    """
    found = []
    place = files.runs_folder()
    try:
        refuse_unsafe(place.parent, place)
        folders = [p for p in place.iterdir() if not p.name.startswith(".")]
    except FileNotFoundError:
        return []
    except NotADirectoryError as e:
        raise CannotRead(
            "the folder of runs cannot exist: a part of its path is a file",
            file=place,
            cure="Set QINSPECT_STATE_DIR to a folder, or remove the file.",
        ) from e
    except OSError as e:
        raise CannotRead(f"cannot be read: {e.strerror or e}", file=place) from e
    for folder in folders:
        before = (known or {}).get(folder.name)
        run = before if before is not None and not before.damage else _open(folder)
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


def run_in(folder: Path) -> Run | None:
    """The run whose folder this is, wherever it lies; None where it is none's."""
    folder = folder.absolute()
    return _open(folder) if (folder / files.SPEC).exists() or files.is_run_id(folder.name) else None


def _wait_for_supervisor(folder: Path) -> None:
    """A supervisor lives a moment longer than its run, and has files open."""
    processes = processes_of(folder)
    end = time.monotonic() + _SUPERVISOR_LEAVES_S
    while processes and is_watched(folder, processes) and time.monotonic() < end:
        time.sleep(0.01)


def _open(folder: Path) -> Run | None:
    """None where the folder is none of a run, or was deleted since it was listed."""
    stored = stored_json(folder / files.SPEC)
    if stored.content is not None:
        found = spec_from_dict(stored.content)
        spec, problems = found.spec, found.problems
    elif stored.problem or (files.is_run_id(folder.name) and folder.is_dir()):
        if not stored.problem and _is_being_made(folder):
            return None
        spec, problems = RunSpec((), "", ""), (stored.problem or f"{files.SPEC}: there is none",)
    else:
        return None
    if not spec.created:
        spec = replace(spec, created=_started(folder))
    unsafe = unsafe_folder(folder)
    return Run(folder, spec, (*problems, *([unsafe.problem] if unsafe else [])))


def _is_being_made(folder: Path) -> bool:
    """Whether who launches it has just made the folder, and not yet its spec."""
    try:
        return abs(time.time() - folder.stat().st_mtime) < _SPEC_COMES_S and next(folder.iterdir(), None) is None
    except OSError:
        return True


def _started(folder: Path) -> float:
    """When a run without a spec was started: its id says so, else its folder."""
    try:
        if files.is_run_id(folder.name):
            return time.mktime(time.strptime(folder.name[:15], "%Y%m%d-%H%M%S"))
        return folder.stat().st_mtime
    except (ValueError, OverflowError, OSError):
        return 0.0


def state_folder(run: Run, command: str, inside: str) -> Path | None:
    """Where a run of this command of ours keeps its files: what `--state` says, else `inside` in the run's own folder.
    None for a run of another command."""
    words = our_words(run.spec.argv) or ()
    if words[:1] != (command,):
        return None
    pairs = zip(words, (*words[1:], ""), strict=True)
    asked = [after if word == "--state" else word[8:] for word, after in pairs if word.split("=")[0] == "--state"]
    return Path(run.spec.cwd) / asked[-1] if asked and asked[-1] else run.folder / inside
