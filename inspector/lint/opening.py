"""A checkpoint for lint by what was typed: of a damaged one, what can be opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qinspect.inspector.checkpoint.sound import open_sound
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.progress import Progress, steps_of
from qinspect.inspector.text import visible

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration


def subject_of(path: str, other: Format | None, run: Calibration | None, fast: bool, meter: Progress) -> Subject:
    """The subject that a user names. Raises as `open_sound`."""
    opened = open_sound(path, steps_of(meter, f"opening {visible(path, 60)}"))
    return Subject(format_of(opened.checkpoint), other, run, fast=fast, meter=meter, opened=opened)
