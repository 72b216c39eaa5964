"""Where compiled code of ours is kept between processes. What is read from there is run, so the folder must be ours."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

CACHE_VARIABLE = "QINSPECT_CACHE_DIR"


def private_folder(name: str) -> Path | None:
    """A folder of this name in QINSPECT_CACHE_DIR or the user's cache folder; None unless it is this user's and nobody
    else may write there."""
    if given := os.environ.get(CACHE_VARIABLE):
        cache = Path(given)
    else:
        from platformdirs import user_cache_path

        cache = user_cache_path("qinspect")
    folder = cache / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    ours = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if ours and os.access(folder, os.W_OK | os.X_OK) else None


def put(path: Path, content: bytes) -> None:
    """Write a file whole: several processes may do so at once, and a file cut short by a crash must not be run.
    Raises OSError."""
    handle, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(made, path)
    finally:
        Path(made).unlink(missing_ok=True)
