"""Names of what an evaluation leaves in its folder, and where that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run

EVALUATION = "evaluation"
"""The folder of an evaluation inside that of its run."""
RESULT = "evaluation.json"
SCHEMA = "qinspect.evaluate/1"
"""`schema` of RESULT."""
LIVE = "figures.json"
"""The figures so far, while it goes on."""
LIVE_SCHEMA = "qinspect.evaluate.figures/1"


def evaluation_folder(run: Run) -> Path | None:
    """Where the files of an evaluation are, None for another run."""
    from qinspect.inspector.runs import state_folder

    return state_folder(run, "evaluate", EVALUATION)
