"""`qinspect whence`. docs/cli.md is its contract, docs/whence.md says what the answers mean."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, opened_model
from qinspect.inspector.calibration.layout import RUN_HELP
from qinspect.inspector.errors import UsageError
from qinspect.inspector.printing import Meter, print_answer, with_meter


def whence_command(
    checkpoint: Annotated[str, Parameter(help="A quantized checkpoint.")],
    /,
    *,
    run: Annotated[str | None, Parameter(help=RUN_HELP)] = None,
    base: Annotated[str | None, Parameter(help="The model in full precision that the checkpoint was made of.")] = None,
    as_json: AsJson = False,
) -> int:
    """Which alpha made the activation scales (--run), or which method made each weight (--base)."""
    if (run is None) == (base is None):
        raise UsageError(
            "is asked by one of --run and --base" if run is None else "is asked by --run or by --base, not by both",
            key="whence", cure="--run RUN: which alpha made its scales. --base MODEL: which method made its weights.",
        )  # fmt: skip
    if base is None:
        from qinspect.inspector.alpha.recover.cli import whence_by_run

        return whence_by_run(checkpoint, str(run), as_json)
    return _by_base(checkpoint, base, as_json)


def _by_base(checkpoint: str, base: str, as_json: bool) -> int:
    from qinspect.inspector.method import report
    from qinspect.inspector.method.answers import Methods, methods_of

    def work(meter: Meter) -> Methods:
        return methods_of(opened_model(base, meter), opened_model(checkpoint, meter), meter)

    found = with_meter(work)
    print_answer(as_json, lambda: report.payload(found), lambda width: report.text(found, width))
    return 0
