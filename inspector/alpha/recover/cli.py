"""`qinspect whence --run`. docs/cli.md is its contract, docs/whence.md says what the answers mean."""

from __future__ import annotations

from qinspect.inspector.alpha.recover import report
from qinspect.inspector.alpha.recover.answers import Answers, whence
from qinspect.inspector.alpha.recover.recovery import recovery_of
from qinspect.inspector.arguments import opened_model
from qinspect.inspector.calibration.stored import calibration_named
from qinspect.inspector.printing import Meter, print_answer, with_meter
from qinspect.inspector.progress import steps_of


def whence_by_run(checkpoint: str, run: str, as_json: bool) -> int:
    """Which alpha made the scales of a checkpoint, judged by the distributions that a calibration stored."""
    calibration = calibration_named(run)

    def work(meter: Meter) -> Answers:
        fmt = opened_model(checkpoint, meter)
        return whence(calibration, fmt, steps_of(meter, "solving for alpha"))

    try:
        found = with_meter(work)
    finally:
        calibration.close()
    recovery = recovery_of(found)
    print_answer(as_json, lambda: report.payload(found, recovery), lambda width: report.text(found, recovery, width))
    return 0
