"""The calibrations that lie on this machine, and which of them knows a point of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qinspect.inspector.calibration.layout import calibration_folder
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.provenance import model_sha256
from qinspect.inspector.text import some

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run


@dataclass(frozen=True)
class AtHand:
    """A calibration that has a point. run: whose it is. of_model: whether it is known to be of the model that the
    checkpoints were made from; False is not known, not that it is another's."""

    run: Run
    calibration: Calibration
    of_model: bool


def calibrations() -> Iterator[tuple[Run, Path]]:
    """Runs of a calibration, the newest first, and where their files are; none where runs cannot be listed."""
    from qinspect.inspector.runs import list_runs

    try:
        runs = list_runs()
    except (QinspectError, OSError):
        return
    for run in reversed(runs):
        folder = calibration_folder(run)
        if folder is not None:
            yield run, folder


def calibration_with(point: str, formats: Sequence[Format]) -> AtHand | None:
    """The newest finished calibration that has this point, by name or role: one of the same model where any is known to
    be, and none that is known to be of another. It is the caller's to close."""
    hashes = {h for fmt in formats if (h := model_sha256(fmt.checkpoint))}
    unknown: AtHand | None = None
    for run, folder in calibrations():
        try:
            calibration = Calibration(folder)
        except QinspectError:
            continue
        made_from = calibration.model_sha256
        same = made_from in hashes if made_from and hashes else None
        if point not in calibration or same is False or (same is None and unknown is not None):
            calibration.close()
            continue
        if same:
            if unknown is not None:
                unknown.calibration.close()
            return AtHand(run, calibration, of_model=True)
        unknown = AtHand(run, calibration, of_model=False)
    return unknown


def why_none(point: str, formats: Sequence[Format]) -> str:
    """Why `calibration_with` found nothing: short, for one line of a screen, which says what to do."""
    hashes = {h for fmt in formats if (h := model_sha256(fmt.checkpoint))}
    n = others = 0
    for _, folder in calibrations():
        try:
            calibration = Calibration(folder)
        except QinspectError:
            continue
        n += 1
        made_from = calibration.model_sha256
        others += point in calibration and bool(made_from and hashes) and made_from not in hashes
        calibration.close()
    if not n:
        return "no calibration here yet"
    if others:
        return "the run that has it is of another model"
    return f"none of {some(n, 'run')} here has this point"
