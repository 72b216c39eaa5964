"""`qinspect whence`. docs/cli.md is its contract, docs/whence.md says what the answers mean."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.alpha.recover import report
from qinspect.inspector.alpha.recover.answers import Answers, whence
from qinspect.inspector.alpha.recover.recovery import recovery_of
from qinspect.inspector.arguments import AsJson, opened_model
from qinspect.inspector.calibration.stored import RUN_HELP, calibration_named
from qinspect.inspector.printing import Meter, print_answer, with_meter
from qinspect.inspector.progress import steps_of


def whence_command(
    checkpoint: Annotated[str, Parameter(help="A quantized checkpoint.")],
    /,
    *,
    run: Annotated[str, Parameter(help=RUN_HELP)],
    as_json: AsJson = False,
) -> int:
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
