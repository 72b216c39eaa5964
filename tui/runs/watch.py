"""Looking at all runs again and again: what is known for good is not asked for again."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.runs import Run, State, list_runs
from qinspect.inspector.runs.show import Seen, look

WORDS = {State.UNSUPERVISED: "unwatched"}
"""States whose name is too long for a column."""
_DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Looked:
    """All runs at one time, live ones first, then the youngest; those that ended since the last look."""

    runs: tuple[Seen, ...] = ()
    ended: tuple[Seen, ...] = ()

    @property
    def n_live(self) -> int:
        """Runs that go on."""
        return sum(s.state.state.is_live for s in self.runs)


def state_word(seen: Seen) -> str:
    """The state in at most nine letters."""
    if seen.damage and not seen.state.state.is_live:
        return _DAMAGED
    return WORDS.get(seen.state.state, str(seen.state.state))


class RunWatch:
    """For a worker thread, one look at a time."""

    def __init__(self) -> None:
        self._known: dict[str, Run] = {}
        self._ended: dict[str, Seen] = {}
        self._live: set[str] = set()

    def look(self) -> Looked:
        """All runs as they are now. Raises CannotRead where the folder of runs may not be read."""
        runs = list_runs(self._known)
        self._known = {r.id: r for r in runs}
        self._ended = {i: s for i, s in self._ended.items() if i in self._known}
        found = []
        for run in runs:
            seen = self._ended.get(run.id) or look(run)
            if not run.folder.is_dir():  # deleted since it was listed
                continue
            if seen.state.result is not None and not seen.damage:  # an end is for good
                self._ended[run.id] = seen
            found.append(seen)
        live = {s.run.id for s in found if s.state.state.is_live}
        ended = tuple(s for s in found if s.run.id in self._live - live)
        self._live = live
        found.sort(key=lambda s: (not s.state.state.is_live, -s.run.spec.created, s.run.id))
        return Looked(tuple(found), ended)
