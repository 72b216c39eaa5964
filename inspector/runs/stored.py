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
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, get_args, get_type_hints

import msgspec

from qinspect.inspector.json_text import KeyTwice, unique_keys
from qinspect.inspector.text import brief, visible

_MAX_JSON_BYTES = 16 << 20
"""A file of ours larger than this is not one that we wrote."""
_YEAR_9999_S = 253_370_764_800
Moment = Annotated[float, msgspec.Meta(ge=0, le=_YEAR_9999_S, description="seconds since 1970")]
_NAMES = {
    str: "a string",
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    tuple[str, ...]: "a list of strings",
    dict[str, str]: "strings by name",
}
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
        content = json.loads(raw, object_pairs_hook=unique_keys)
    except KeyTwice as e:
        return Stored(None, f"{path.name}: has the key {brief(e.key)} twice")
    except UnicodeDecodeError as e:
        return Stored(None, f"{path.name}: is not valid UTF-8 at offset {e.start}")
    except json.JSONDecodeError as e:
        return Stored(None, f"{path.name}: is not valid JSON at offset {e.pos}")
    except ValueError:  # an integer of thousands of digits
        return Stored(None, f"{path.name}: holds a number with too many digits")
    except RecursionError:
        return Stored(None, f"{path.name}: is nested too deeply")
    if not isinstance(content, dict):
        return Stored(None, f"{path.name}: is not a JSON object")
    return Stored(content)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).replace("Permission denied", "permission denied")


def fields_of(kind: type, content: Mapping[str, Any], file: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields of a dataclass as a stored object has them, and sentences about those that are none.

    Each is held against its annotation. One that is missing or null is not among the fields, so that it gets its
    default: the file may be older. One that is something else is not there either, and has a sentence. What the
    dataclass has no field for is of a newer version, and left alone.
    """
    found, problems = {}, []
    for key, (wanted, expected) in _annotations(kind).items():
        if (value := content.get(key)) is None:
            continue
        try:
            found[key] = msgspec.convert(value, wanted)
        except (msgspec.ValidationError, UnicodeError):  # half a surrogate pair where a number should be
            problems.append(wrong(content, key, expected, file))
    return found, tuple(problems)


def wrong(content: Mapping[str, Any], key: str, expected: str, file: str) -> str:
    """The sentence about a field that is not what it should be."""
    return f"{file}: {key} is {_said(content.get(key))}; expected {expected}"


@cache
def _annotations(kind: type) -> dict[str, tuple[Any, str]]:
    """Of each field its type, and what that is called."""
    return {key: (wanted, _called(wanted)) for key, wanted in get_type_hints(kind, include_extras=True).items()}


def _called(wanted: Any) -> str:
    for part in (wanted, *get_args(wanted)):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, msgspec.Meta) and mark.description:
                return mark.description
        if part in _NAMES:
            return _NAMES[part]
        if isinstance(part, type) and issubclass(part, Enum):
            return ", ".join(m.value for m in part)
    return str(wanted)


def _said(value: object) -> str:
    """A value for a sentence, numbers as JSON has them."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return visible(brief(value), 120)
