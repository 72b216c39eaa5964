"""`qinspect explain`. docs/cli.md is its contract, docs/explain.md reads a page."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson
from qinspect.inspector.errors import UsageError
from qinspect.inspector.explain import report
from qinspect.inspector.explain.asking import explanation_of
from qinspect.inspector.printing import print_answer, with_meter


def explain_command(
    a: Annotated[str, Parameter(help="A quantized checkpoint.")],
    b: Annotated[str, Parameter(help="The one that it is compared with.")],
    /,
    *,
    run: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            consume_multiple=True,
            help="Calibrations that are asked which alpha made each model: "
            "id or name of a run, or a folder with calibration.json.",
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        Parameter(negative="", consume_multiple=True, help="Repeats of the same settings: their spread is the noise."),
    ] = None,
    markdown: Annotated[bool, Parameter(negative="", help="The page as Markdown.")] = False,
    as_json: AsJson = False,
) -> int:
    """Did my flag take effect? What was declared, what it reaches, what reacted, and what to try next."""
    if markdown and as_json:
        raise UsageError("--json and --markdown exclude each other", cure="Give one of them.")
    found = with_meter(lambda meter: explanation_of(a, b, run or [], noise or [], meter))
    text = (lambda _: report.markdown(found)) if markdown else (lambda width: report.text(found, width))
    print_answer(as_json, lambda: report.payload(found), text)
    return 0
