"""Files of a run as they are read back: whatever lies there, a sentence; never a crash, and never a wait.

A run's folder outlives versions, disks and backups: a file may be damaged, newer than this program, a pipe, or gone.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from qinspect.inspector.text import brief, visible

_MAX_JSON_BYTES = 16 << 20
"""A file of ours larger than this is not one that we wrote."""
_YEAR_9999_S = 253_370_764_800
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file of JSON says. content: None where there is no file, or nothing that can be used. problem: a sentence
    that names the file, "" where nothing is wrong."""

    content: dict[str, Any] | None
    problem: str = ""


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; a pipe in its place would make the reader wait for ever. Raises OSError,
    FileNotFoundError only where there really is nothing of this name."""
    try:
        _refuse_other_kinds(path, os.stat(path).st_mode)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.EINVAL, "is a link to nothing", str(path)) from None
        raise
    try:
        _refuse_other_kinds(path, os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _refuse_other_kinds(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise OSError(errno.EINVAL, f"is {kind}, not a file", str(path))


def problem_of(path: Path) -> str:
    """Why a file that is there cannot be read, a sentence that names it; "" where it can, or there is none."""
    try:
        open_file(path).close()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as e:
        return f"{path.name}: {_why(e)}"
    return ""


def stored_json(path: Path) -> Stored:
    """The JSON object in a file of ours, or what is wrong with it."""
    try:
        with open_file(path) as f:
            raw = f.read(_MAX_JSON_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Stored(None)
    except OSError as e:
        return Stored(None, f"{path.name}: {_why(e)}")
    if len(raw) > _MAX_JSON_BYTES:
        return Stored(None, f"{path.name}: is larger than {_MAX_JSON_BYTES >> 20} MiB")
    if not raw.strip(b" \t\r\n\0"):
        return Stored(None, f"{path.name}: is empty")
    try:
        content = json.loads(raw)
    except UnicodeDecodeError as e:
        return Stored(None, f"{path.name}: is not valid UTF-8 at offset {e.start}")
    except json.JSONDecodeError as e:
        return Stored(None, f"{path.name}: is not valid JSON at offset {e.pos}")
    except ValueError:  # an integer of thousands of digits
        return Stored(None, f"{path.name}: holds a number of too many digits")
    except RecursionError:
        return Stored(None, f"{path.name}: is nested too deeply")
    if not isinstance(content, dict):
        return Stored(None, f"{path.name}: is not a JSON object")
    return Stored(content)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).replace("Permission denied", "permission denied")


class Fields:
    """Fields of an object that was stored, each of its type. One that is missing has its default: the file may be
    older. One that is something else has it too, and is noted in `problems`."""

    def __init__(self, content: Mapping[str, Any], file: str) -> None:
        self._content = content
        self._file = file
        self.problems: list[str] = []

    def note(self, key: str, expected: str) -> None:
        """A field is not what it should be."""
        problem = f"{self._file}: {key} is {_said(self._content.get(key))}; expected {expected}"
        if problem not in self.problems:
            self.problems.append(problem)

    def text(self, key: str) -> str | None:
        """A text; None for null."""
        value = self._content.get(key)
        if value is None or isinstance(value, str):
            return value
        self.note(key, "a text")
        return None

    def flag(self, key: str) -> bool | None:
        """True or false; None for null."""
        value = self._content.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.note(key, "true or false")
        return None

    def number(self, key: str, low: float, high: float, what: str = "a number") -> float | None:
        """A finite number in a range."""
        value = self._content.get(key)
        if value is None:
            return None
        # compared before it is converted: an integer may be too large for a float
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self.note(key, what)
        return None

    def time(self, key: str) -> float | None:
        """Seconds since the epoch."""
        return self.number(key, 0, _YEAR_9999_S, "seconds since 1970")

    def integer(self, key: str, low: int, high: int, what: str) -> int | None:
        """A whole number in a range."""
        value = self._content.get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.note(key, what)
        return None

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._content.get(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        self.note(key, "a list of texts")
        return ()

    def texts(self, key: str) -> dict[str, str]:
        """Texts by name."""
        value = self._content.get(key)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
            return dict(value)
        self.note(key, "texts by name")
        return {}


def _said(value: object) -> str:
    """A value for a sentence, numbers as JSON has them."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return visible(brief(value), 120)
