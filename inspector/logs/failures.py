"""Why a run failed: of all errors near its end, the one that others only report.

A launcher says that a process died, a peer that it was left alone, a shell that a command returned 1. The cause is what
the process itself said, if that is in the log.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.logs.ends import both_ends
from qinspect.inspector.text import visible

MAX_KEPT = 64
_CONSEQUENCE = re.compile(
    r"ChildFailedError|[Ss]ee root cause|remote process exited|exitcode"
    r"|[Ee]xit(?:ed)?(?: with)? (?:exit )?(?:code|status)|CalledProcessError"
    r"|closing signal|died with <Signals|Connection (?:closed by|reset by) peer|Broken pipe"
    r"|Process(?:Raised|Exited)Exception|completed with exit code|^(?:Terminated|Aborted)\b|CANCELLED AT|DistStoreError"
    r"|: line \d+: +\d+ +Aborted\b|^terminate called |^main: failed to "
    r"|EngineDeadError|Engine (?:process|core) (?:failed|initialization)|WorkerProc initialization failed|SIGTERM"
    r"|ranks? (?:is|are) (?:dead|lost)|make.{0,5}: \*\*\*"
)
_WAITED = re.compile(r"Watchdog caught collective operation timeout")
"""What says that others did not come: the best there is where none of them says why."""
_KILLED = re.compile(r"(?:^|: line \d{1,9}: +\d{1,9} +)(?:Killed|Segmentation fault|Aborted|Bus error)(?: *$| +[(\S])")
"""What a shell says of a process that ended by a signal: of one that had failed already, no news."""
_RANK = re.compile(
    r"(?:^|[ _])(?:local_rank|rank|default)[ :=]?(\d{1,5})\b|^(\d{1,5})$|^\d{1,5},(\d{1,5})$", re.IGNORECASE
)
_RANK_IN_TEXT = re.compile(r"\[(?:[^\]\n]{0,80} )?Rank (\d{1,5})\]")
_MEMORY = re.compile(
    r"out of memory|OutOfMemory|oom[-_ ]?kill|CUDNN_STATUS_ALLOC_FAILED|MemoryError|alloc failed", re.IGNORECASE
)
_EXIT = re.compile(r"(?:code|status)[ :=]{1,3}(-?\d{1,3})\b")
_ASKED_FOR = frozenset({-signal.SIGTERM, 128 + signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT})


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that can end a run. who: the speaker, "" where the log does not tell them apart."""

    text: str
    line: int
    who: str = ""

    @property
    def is_consequence(self) -> bool:
        """Whether it only reports that something else failed."""
        only_reports = _CONSEQUENCE.search(self.text) or self.text == "a traceback without its exception"
        return bool(only_reports) or self.waited

    @property
    def waited(self) -> bool:
        """Whether it says that others were waited for in vain."""
        return bool(_WAITED.search(self.text))

    @property
    def is_shells(self) -> bool:
        """Whether it is a shell's word for a process that a signal ended."""
        return bool(_KILLED.search(self.text))

    @property
    def is_asked_for(self) -> bool:
        """Whether it is the end of a process that was told to end, as SIGTERM and Ctrl-C do."""
        code = _EXIT.search(self.text)
        return code is not None and int(code[1]) in _ASKED_FOR

    @property
    def rank(self) -> int | None:
        """The rank of the speaker, or the one that the text begins with."""
        found = _RANK.search(self.who) or _RANK_IN_TEXT.match(self.text)
        return int(next(g for g in found.groups() if g)) if found else None


@dataclass
class Failures:
    """Errors since the run last went on. root: the rank that a launcher names as the first to fail; code: what it
    exited with."""

    kept: list[Failure] = field(default_factory=list)
    root: int | None = None
    code: int | None = None
    before: list[Failure] = field(default_factory=list)
    """Those after which the run seemed to go on: of one of several processes that need not be so."""
    _root_begun: bool = False
    _moved: int = 0
    """The line of the last bar that went on."""

    def __bool__(self) -> bool:
        return bool(self.kept)

    def add(self, failure: Failure) -> None:
        """One more; of a flood the first and the last are kept."""
        if len(self.kept) >= MAX_KEPT:
            del self.kept[MAX_KEPT // 2]
        self.kept.append(failure)

    def launcher(self, pattern: str, groups: dict[str, Any]) -> None:
        """A line of torchrun's report."""
        if pattern == "torchrun.root":
            self._root_begun, self.root, self.code = True, None, None
        elif self._root_begun and pattern == "torchrun.rank" and self.root is None:
            self.root = groups.get("rank")
        elif self._root_begun and pattern == "torchrun.exitcode" and self.code is None:
            self.code = groups.get("code")

    def moved(self, line: int) -> None:
        """A bar went on: something lives after the errors that stand before this line."""
        self._moved = line

    def forget(self) -> None:
        """The run went on."""
        self.before, self.kept = [f for f in self.kept if not f.is_consequence], []
        self.root = self.code = None
        self._root_begun = False

    def cause(self) -> Failure:
        """The error that explains the others."""
        own = sorted((f for f in self.kept if not f.is_consequence), key=lambda f: f.line)
        before_shell = [f for f in own if not f.is_shells]
        if before_shell and before_shell[-1].line >= self._moved:
            own = before_shell
        waited = [f for f in self.kept if f.waited]
        if self.root is not None:
            of_root = [f for f in own if f.rank == self.root]
            of_root = of_root or [f for f in self.before if f.rank == self.root]
            if of_root:
                return of_root[-1]
            waited = [f for f in waited if f.rank == self.root]
            if any(f.rank is not None for f in own) and not waited:
                own = []  # others' errors are not the root's; that the root waited for them makes them the cause
        if not own:
            return waited[0] if waited else self.kept[-1]
        # in a run of one process the last error ended it; of several, the first to fail takes the others with it
        return own[-1] if len({f.who for f in own}) < 2 else own[0]

    def told(self) -> tuple[str, tuple[int, ...]]:
        """Why it failed, as the end of "the run failed", and the lines."""
        cause, last = self.cause(), self.kept[-1]
        lines = (cause.line,) if cause.line == last.line else tuple(sorted((cause.line, last.line)))
        text = visible(both_ends(cause.text, 400)).strip().rstrip(": ")
        if cause.is_consequence and not cause.waited and self.root is not None:
            how = f" exited with code {self.code}{_meaning(self.code)}" if self.code is not None else " failed first"
            own = "which error is its own, this log does not say" if self.before else "its own error is not in this log"
            return f" since rank {self.root}{how}: {own}", lines
        rank = cause.rank
        if rank is not None:
            what = "ran out of memory" if _MEMORY.search(text) else "failed"
            return f" since rank {rank} {what}: {text}", lines
        code = _EXIT.search(text)
        text += _meaning(int(code[1])) if code and cause.is_consequence else ""
        return f": {text}" + (f" (said by {visible(cause.who, 80)})" if cause.who else ""), lines


def _meaning(code: int | None) -> str:
    """What a code says about the signal that ended a process."""
    number = code - 128 if code is not None and code > 128 else -code if code is not None and code < 0 else 0
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
