"""`qinspect logs`. docs/cli.md is its contract, docs/logs.md says what is understood of a log."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson
from qinspect.inspector.logs import report
from qinspect.inspector.logs.summary import summarize
from qinspect.inspector.printing import narrate, print_json, print_text, with_meter
from qinspect.inspector.progress import steps_of


def logs(
    file: Annotated[str, Parameter(help="A log; - is stdin.", allow_leading_hyphen=True)],
    /,
    *,
    level: Annotated[
        Literal["info", "warning", "error"], Parameter(help="What to print besides conclusions: from this level on.")
    ] = "info",
    points: Annotated[bool, Parameter(name="--points", negative="", help="Print all rows of points.")] = False,
    as_json: AsJson = False,
) -> int:
    """What a log says: conclusions, phases, settings asked for and in effect, points, warnings, errors, results."""
    found = with_meter(lambda meter: summarize(file, None, steps_of(meter, "reading")))
    for problem in found.problems:
        narrate(problem)
    if as_json:
        print_json(report.payload(found))
    else:
        print_text(report.text(found, shown=level, all_points=points))
    return 0
