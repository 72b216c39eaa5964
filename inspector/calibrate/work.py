"""A calibration from its settings to its results: planned, opened, passed, written, each made of the one before. This
process imports torch; nothing else of the instrument does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qinspect.inspector.calibrate.folder import locked
from qinspect.inspector.calibrate.opening import opened
from qinspect.inspector.calibrate.passing import passed
from qinspect.inspector.calibrate.plan import planned
from qinspect.inspector.calibrate.records import Bar
from qinspect.inspector.calibrate.writing import written
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.models.memory import is_shortage, no_room


def calibrate(settings: Settings, state: Path) -> dict[str, Any]:
    """Run or resume a calibration whose files are in `state`. Returns what calibration.json says.

    Raises QinspectError for settings that do not fit the model, data or device, and for a folder that another
    calibration uses or has filled.
    """
    plan = planned(settings, state)
    with locked(state):
        try:
            return written(passed(opened(plan)))
        except Exception as e:
            if isinstance(e, QinspectError) or not is_shortage(e):
                raise
            said, asked = " ".join(str(e).split()) or "out of memory", plan.settings
            raise no_room(asked.model, said, asked.device, asked.batch, asked.seq_len) from e
        finally:
            Bar.end_line()
