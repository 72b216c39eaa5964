"""Paths in the start form: what Tab makes of one, and a name for what is to be written. No widget in here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOST_ENTRIES = 10_000
"""Of a folder no more are looked at."""
_MOST_NAMES = 1_000


@dataclass(frozen=True, slots=True)
class Completion:
    """text: as far as all that is there agrees. names: what it can go on with, where there are several."""

    text: str
    names: tuple[str, ...] = ()


def completed(text: str, cwd: str) -> Completion:
    """What a shell's Tab makes of the beginning of a path, which may be relative to `cwd`. A folder gets a slash; what
    is hidden needs its dot. The text as it is where nothing begins so."""
    head, slash, start = text.rpartition("/")
    try:
        folder = Path(cwd or ".").expanduser() / Path(head + slash or ".").expanduser()
        with os.scandir(folder) as entries:
            found = [
                entry.name + ("/" if entry.is_dir() else "")
                for _, entry in zip(range(MOST_ENTRIES), entries, strict=False)
                if entry.name.startswith(start) and (start or not entry.name.startswith("."))
            ]
    except (OSError, ValueError, RuntimeError):  # no folder, no permission, a NUL, no such user
        return Completion(text)
    if not found:
        return Completion(text)
    shared = os.path.commonprefix(found)  # noqa: RUF071 (letters are what is completed, not parts of a path)
    return Completion(head + slash + shared, tuple(sorted(found)) if len(found) > 1 else ())


def free_name(name: str, cwd: str) -> str:
    """`name`, or with -2, -3 ... after it: the first that nothing in `cwd` has."""
    try:
        folder = Path(cwd or ".").expanduser()
        names = (name, *(f"{name}-{i}" for i in range(2, _MOST_NAMES)))
        return next((n for n in names if not os.path.lexists(folder / n)), name)
    except (OSError, ValueError, RuntimeError):
        return name
