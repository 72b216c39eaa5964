"""Files and folders that are written whole or not at all.

What is being written has a name that says who writes it, and is locked: what a killed process left is removed by the
next one that writes into the same folder, and what somebody still writes never is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from qinspect.inspector.processes import start_ticks

_MARK = ".unfinished-"
_NAME = re.compile(
    rf"\..*{re.escape(_MARK)}(?P<host>[0-9a-f]{{8}})-(?P<pid>[0-9]{{1,10}})-(?P<ticks>[0-9]{{1,20}})-[a-z0-9_]{{8}}",
    re.DOTALL,
)
_LONGEST_STEM_BYTES = 150
"""Of a name in the name of its temporary file: a name may have 255 bytes in all."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_swept: set[str] = set()
"""Folders that this process has looked through: a file that is written twice a second need not have it done again."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write what `path` shall hold: a temporary one beside it, synced and renamed at the end.

    Whatever fails, the old file stays and nothing is left over. Raises OSError.
    """
    with unfinished_file(path) as (f, temporary):
        yield f
        f.flush()
        os.fsync(f.fileno())
        os.replace(temporary, path)


@contextmanager
def unfinished_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A temporary file beside `path` and its name, to be written, synced and given its own name by the caller. What has
    the temporary name at the end is removed. Raises OSError."""
    _sweep_once(path.parent)
    handle, name = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as f:
            with suppress(OSError):  # no locks here: its name says whose it is
                fcntl.flock(f.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield f, temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill with what `path` shall hold: a temporary one beside it, synced and renamed at the end.

    `path` is absent or an empty folder. Whatever fails, it stays so and nothing is left over; what killed processes
    left beside it is removed by the next one. Raises OSError.
    """
    path = path.absolute()
    sweep(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
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


def sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder; nothing where it cannot be looked through."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(name)
        if found and found["host"] == _host() and not _is_alive(int(found["pid"]), int(found["ticks"])):
            _remove_unlocked(folder / name)


def _sweep_once(folder: Path) -> None:
    place = os.path.realpath(folder)
    if place not in _swept:
        _swept.add(place)
        sweep(folder)


def _prefix(path: Path) -> str:
    """How a temporary name of `path` begins: with whose it is."""
    stem = path.name
    if len(os.fsencode(stem)) > _LONGEST_STEM_BYTES:
        stem = sha256(os.fsencode(stem)).hexdigest()[:16]
    pid = os.getpid()
    return f".{stem}{_MARK}{_host()}-{pid}-{start_ticks(pid) or 0}-"


@cache
def _host() -> str:
    """This host in few letters: on a shared disk, numbers of processes are those of several hosts."""
    return sha256(socket.gethostname().encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _is_alive(pid: int, ticks: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        pass
    now = start_ticks(pid)
    return not ticks or now is None or now == ticks


def _remove_unlocked(path: Path) -> None:
    """Remove a file or folder that nobody has a lock on: a process of another container may have the same name."""
    with _locked(path) as alone:
        if not alone:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether nobody else writes it: the lock goes with the process that holds it. Where there are no locks, its name
    alone says whose it is."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError as e:
            alone = e.errno in _NO_LOCKS
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
