"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write what `path` shall hold: a temporary one beside it, synced and renamed at the end.

    Whatever fails, the old file stays and nothing is left over. Raises OSError.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill with what `path` shall hold: a temporary one beside it, synced and renamed at the end.

    `path` is absent or an empty folder. Whatever fails, it stays so and nothing is left over; what a killed process
    left is removed by the next one that fills the same `path`. Raises OSError.
    """
    path = path.absolute()
    prefix = f".{path.name}.unfinished-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*"):
        with _locked(left) as alone:
            if alone:
                shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        with _locked(temporary):
            yield temporary
            for place in (*sorted(temporary.rglob("*")), temporary):
                _sync(place)
            os.chmod(temporary, 0o777 & ~umask())
            os.rename(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether nobody else fills the folder: the lock goes with the process that holds it. Where there are no locks
    nobody is known to be alone."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:
            alone = False
        yield alone
    finally:
        os.close(handle)


def umask() -> int:
    """What new files are not allowed."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
