"""The folder of a calibration: one calibration's, and used by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qinspect.inspector.calibrate.records import write_json
from qinspect.inspector.calibration.layout import SHARDS
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.text import brief

DECIDES = "decides.json"
LOCK = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else calibrates in this folder meanwhile. Raises CannotOpen where somebody does."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno in (errno.EWOULDBLOCK, errno.EACCES):
                cure = "Wait for it, or name another folder with --state."
                raise CannotOpen("another calibration is at work in this folder", file=folder, cure=cure) from e
            # a file system without locks: shards are written whole all the same
        yield
    finally:
        os.close(handle)


def keep_to(folder: Path, decides: Mapping[str, Any]) -> None:
    """Make the folder that of this calibration. Raises CannotOpen where it holds the tables of another: hours of a
    machine are not thrown away because of a wrong word in a command."""
    path = folder / DECIDES
    for left in (folder / SHARDS).glob(".*"):  # half a shard of a process that was killed
        left.unlink(missing_ok=True)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_json(path, decides)
        return
    except (OSError, ValueError) as e:
        raise CannotOpen(f"cannot be read: {e}", file=path, cure="Name another folder with --state.") from e
    before = before if isinstance(before, dict) else {}
    differing = [name for name in decides if before.get(name) != decides[name]]
    if differing and not any(
        (folder / SHARDS).iterdir() if (folder / SHARDS).is_dir() else ()
    ):  # it failed before it had anything
        write_json(path, decides)
    elif differing:
        name = next((n for n in differing if not isinstance(decides[n], dict | list)), differing[0])
        raise CannotOpen(
            f"holds another calibration: it differs in {', '.join(differing)}", file=folder, key=name,
            expected=brief(decides[name]), found=brief(before.get(name)),
            cure="Name another folder with --state, or remove this one.",
        )  # fmt: skip
