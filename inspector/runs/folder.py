"""The folder of one run: what its files are called, and how they are written: a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.places import state_folder

SPEC = "spec.json"
LOG = "log"
EVENTS = "events.jsonl"
PROCESS = "process.json"
HEARTBEAT = "heartbeat"
CANCEL = "cancel.json"
RESULT = "result.json"
SUPERVISOR_LOG = "supervisor.log"
RESERVE = "reserve"
"""A file that is there only to be given up: on a full disk, the result is written into its room."""

RUN_VARIABLE = "QINSPECT_RUN_ID"
"""Variable in the command's environment that holds the id of its run, the folder's name: children inherit it."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
"""What file systems without hard links answer (FAT, some network and user-space ones)."""

_MAX_JSON_BYTES = 16 << 20
"""A file of ours larger than this is not one that we wrote."""


def runs_folder() -> Path:
    """The folder that the folders of all runs are in. It need not exist."""
    return state_folder() / "runs"


def write_json(path: Path, content: object) -> None:
    """Replace `path` at once: temp file, fsync, rename. Raises OSError; then the old file is still there."""
    temporary = _write_temporary(path, content)
    try:
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def create_json(path: Path, content: object) -> bool:
    """The same for a file that only its first writer makes. False: another was first. Raises OSError."""
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None where there is none, or none that can be read. Raises CannotRead if it may not be."""
    try:
        with path.open("rb") as f:
            raw = f.read(_MAX_JSON_BYTES + 1)
        content = json.loads(raw)
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as e:
        raise CannotRead(f"cannot be read: {e.strerror or e}", file=path) from e
    return content if isinstance(content, dict) else None


def _write_temporary(path: Path, content: object) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            json.dump(content, f, indent=1, allow_nan=False)
            f.write("\n")
            f.flush()
            os.fsync(f.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
