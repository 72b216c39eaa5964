"""Names of what a calibration leaves in its folder, and where that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run

CALIBRATION = "calibration"
"""The folder of a calibration inside that of its run."""
RESULT = "calibration.json"
SCHEMA = "qinspect.calibration/1"
"""`schema` of RESULT."""
TABLES = "distributions.safetensors"
SHARDS = "shards"
RUN_HELP = "A calibration: the id or name of its run, or the folder that calibration.json is in."
"""What `stored.calibration_named` takes, for a command's help."""


def calibration_folder(run: Run) -> Path | None:
    """Where the files of a calibration run are, None for another run."""
    from qinspect.inspector.runs import state_folder

    return state_folder(run, "calibrate", CALIBRATION)
