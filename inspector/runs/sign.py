"""The sign of life of a supervisor: the file `heartbeat`, by two clocks.

Its modification time can be read from any host, and is wrong by as much as the clock is set. What it holds is the time
since the boot, which nobody sets, and which only this host can compare.
"""

from __future__ import annotations

import time
from pathlib import Path

from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import time_since_boot_s
from qinspect.inspector.runs.stored import open_file


def heartbeat() -> bytes:
    """What the file holds now: always as many bytes."""
    return f"{time_since_boot_s():<20.1f}\n".encode()


def heartbeat_age_s(folder: Path, same_boot: bool) -> float | None:
    """Seconds since the last sign; None where there never was one. same_boot: of this host since its last boot."""
    path = folder / files.HEARTBEAT
    try:
        age = max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None
    if not same_boot:
        return age
    try:
        with open_file(path) as f:
            since_boot = time_since_boot_s() - float(f.read(40))
    except (OSError, ValueError):
        return age
    return min(age, max(0.0, since_boot)) if since_boot > -1 else age  # what is written is rounded
