"""The errors a user meets: each names the file, the place in it, what was expected, what was found, and a cure."""

from __future__ import annotations

from pathlib import Path

from qinspect.inspector.text import visible

_MAX_QUOTED = 2000


class QinspectError(Exception):
    """One problem with one input, in parts that a program can use and one sentence that a person can.

    Parameters
    ----------
    problem: what is wrong, a clause without a full stop.
    file: the file it is wrong in.
    key: the entry (tensor name, archive member, JSON key) it concerns.
    offset: the byte position in the file.
    expected, found: what should have been there and what was.
    cure: what the user can do about it, an imperative clause.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        key: str | None = None,
        offset: int | None = None,
        expected: str | None = None,
        found: str | None = None,
        cure: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = None if file is None else str(file)
        self.key = key
        self.offset = offset
        self.expected = expected
        self.found = found
        self.cure = cure

    def __str__(self) -> str:
        where = []
        if self.file is not None:
            where.append(visible(self.file))
        if self.key is not None:
            where.append(f"key {visible(self.key, 120)}")
        if self.offset is not None:
            where.append(f"offset {self.offset}")
        sentence = visible(self.problem, 600)
        if self.expected is not None:
            sentence += f"; expected {visible(self.expected, 300)}"
        if self.found is not None:
            sentence += f"; found {visible(self.found, 300)}"
        if self.cure is not None:
            sentence += f". {visible(self.cure, 400)}"
        return f"{', '.join(where)}: {sentence}" if where else sentence

    def as_dict(self) -> dict[str, str | int | None]:
        """The same parts for `--json`: names as they are in the file, what is quoted from it shortened."""
        return {
            "type": type(self).__name__,
            "message": str(self),
            "problem": self.problem,
            "file": self.file,
            "key": self.key,
            "offset": self.offset,
            "expected": None if self.expected is None else self.expected[:_MAX_QUOTED],
            "found": None if self.found is None else self.found[:_MAX_QUOTED],
            "cure": self.cure,
        }


class CannotOpen(QinspectError):
    """The path is missing, unreadable, or not a checkpoint."""


class BrokenFile(QinspectError):
    """The file is a checkpoint by its kind, but damaged or hostile: nothing in it is believed further."""


class UnsafePickle(BrokenFile):
    """A pickle asks for something other than tensors, numbers, strings and containers. It was not run."""


class UnknownKey(QinspectError):
    """The checkpoint has no entry of this name."""


class CannotRead(QinspectError):
    """An entry is known, but its values cannot be had (unknown dtype, file changed, too large to expand)."""


class CannotDequantize(QinspectError):
    """The stored codes and scales do not fit the format they were recognised as."""


class BrokenNumbers(CannotDequantize):
    """The format is understood, and numbers in the file are none that it has: a group that is not there, a code out of
    its range."""


class CannotQuantize(QinspectError):
    """A weight cannot become codes and scales: it is no matrix, or not finite."""


class CannotApply(QinspectError):
    """Scales of a checkpoint cannot be replaced as asked. Nothing was written."""


class NothingInCommon(QinspectError):
    """Two checkpoints hold no weight that is the same one in both: there is nothing to compare."""


class UsageError(QinspectError):
    """The command line asks for something that does not exist."""


class NoDevice(QinspectError):
    """A GPU was asked for, and there is none, or what it takes to use it is missing."""


class CannotStartRun(QinspectError):
    """A run was not started: a missing program, a folder that cannot be written. Nothing is left behind."""


class UnknownRun(QinspectError):
    """There is no run of this id or name, or more than one."""


class RunIsLive(QinspectError):
    """Asked for what only a run that has ended allows."""


class RunIsNotLive(QinspectError):
    """Asked for what only a run that goes on allows."""


class CannotSignal(QinspectError):
    """The processes of a run cannot be reached, or do not go."""
