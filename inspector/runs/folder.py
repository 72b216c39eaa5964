"""The folder of one run: what its files are called, and how they are written: a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import BinaryIO

from qinspect.inspector.places import state_folder
from qinspect.inspector.whole_file import replacing, unfinished_file

SPEC = "spec.json"
LOG = "log"
EVENTS = "events.jsonl"
PROCESS = "process.json"
HEARTBEAT = "heartbeat"
CANCEL = "cancel.json"
RESULT = "result.json"
SUPERVISOR_LOG = "supervisor.log"
RESERVE = "reserve"
"""A file that is there only to be given up: on a full disk, a request to cancel is written over its start, and the
result into its room."""

RUN_VARIABLE = "QINSPECT_RUN_ID"
"""Variable in the command's environment that holds the id of its run, the folder's name: children inherit it."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
"""What file systems without hard links answer (FAT, some network and user-space ones)."""

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")


def runs_folder() -> Path:
    """The folder that the folders of all runs are in. It need not exist."""
    return state_folder() / "runs"


def is_run_id(name: str) -> bool:
    """Whether a folder has a name as we give it to runs."""
    return _ID.fullmatch(name) is not None


def write_json(path: Path, content: object) -> None:
    """Replace `path` at once: temp file, fsync, rename. Raises OSError; then the old file is still there."""
    with replacing(path) as f:
        _write(f, content)


def create_json(path: Path, content: object) -> bool:
    """The same for a file that only its first writer makes. False: another was first. Raises OSError."""
    with unfinished_file(path) as (f, temporary):
        _write(f, content)
        f.flush()
        os.fsync(f.fileno())
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
    return True


def _write(f: BinaryIO, content: object) -> None:
    f.write(json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")
