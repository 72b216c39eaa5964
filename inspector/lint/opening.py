"""Checkpoints for lint by what was typed: of a damaged one, what can be opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qinspect.inspector.checkpoint.sound import open_sound
from qinspect.inspector.formats import format_of
from qinspect.inspector.lint.subject import Subject, subjects_of
from qinspect.inspector.progress import Progress, steps_of
from qinspect.inspector.text import visible

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration


def opened_subjects(
    a: str, b: str | None, run: Calibration | None, fast: bool, meter: Progress
) -> list[tuple[str, Subject]]:
    """The subjects that a user names, by `A` and `B`. Raises as `open_sound`."""
    named = {label: path for label, path in (("A", a), ("B", b)) if path is not None}
    opened = {label: open_sound(path, steps_of(meter, f"opening {visible(path, 60)}")) for label, path in named.items()}
    formats = {label: format_of(found.checkpoint) for label, found in opened.items()}
    return subjects_of(formats["A"], formats.get("B"), run, fast=fast, meter=meter, opened=opened)
