"""`qinspect whence`. docs/cli.md is its contract, docs/whence.md says what the answers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.calibrate.records import RESULT
from qinspect.inspector.calibrate.stored import Calibration, open_calibration
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import UnknownRun
from qinspect.inspector.formats import format_of
from qinspect.inspector.printing import AsJson, Meter, print_json, print_text, terminal_width, with_meter
from qinspect.inspector.runs import find
from qinspect.inspector.text import visible
from qinspect.inspector.whence import report
from qinspect.inspector.whence.findings import Findings, whence
from qinspect.inspector.whence.verdict import verdict_of


def whence_command(
    checkpoint: Annotated[str, Parameter(help="A quantized checkpoint.")],
    /,
    *,
    run: Annotated[
        str, Parameter(help="A calibration: the id or name of its run, or the folder that calibration.json is in.")
    ],
    as_json: AsJson = False,
) -> int:
    """Which alpha made the scales of a checkpoint, by the distributions that a calibration stored."""
    calibration = _calibration(run)

    def work(meter: Meter) -> Findings:
        fmt = format_of(
            open_checkpoint(checkpoint, lambda d, t: meter(f"opening {visible(checkpoint, 60)}", d, t))
        )  # fmt: skip
        return whence(calibration, fmt, lambda d, t: meter("solving for alpha", d, t))

    try:
        found = with_meter(work)
    finally:
        calibration.close()
    verdict = verdict_of(found)
    if as_json:
        print_json(report.payload(found, verdict))
    else:
        print_text(report.text(found, verdict, terminal_width()))
    return 0


def _calibration(run: str) -> Calibration:
    """Of a run, or of a folder: what is a folder here is no run."""
    folder = Path(run)
    if folder.is_dir():
        inner = folder / "calibration"
        return Calibration(inner if not (folder / RESULT).exists() and (inner / RESULT).exists() else folder)
    try:
        return open_calibration(find(run))
    except UnknownRun as e:
        e.expected = "a run, or a folder with calibration.json"
        raise
