"""`qinspect lint`. docs/cli.md is its contract, docs/lint.md has the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, ModelA, open_model
from qinspect.inspector.finding import Severity
from qinspect.inspector.printing import print_json, print_text, terminal_width, with_meter

if TYPE_CHECKING:
    from qinspect.inspector.lint.check import Lint

CLEAN, FINDINGS, NOTHING_CHECKED = 0, 1, 3
"""Exit codes; 2 is that of an error, as everywhere."""


def lint_command(
    a: ModelA,
    b: Annotated[str | None, Parameter(help="The original, or another checkpoint to hold it against.")] = None,
    /,
    *,
    run: Annotated[str | None, Parameter(help="A calibration of the same model.")] = None,
    fast: Annotated[
        bool, Parameter(negative="", help="Only headers and single numbers; the rest is not checked.")
    ] = False,
    fail_on: Annotated[
        Literal["error", "warning", "note"], Parameter(help="Exit code 1 from this severity on.")
    ] = "error",
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="", help="Every place.")] = False,
    as_json: AsJson = False,
) -> int:
    """Rules that find broken scales."""
    found = _linted(a, b, run, fast)
    if as_json:
        from qinspect.inspector.lint import payload

        print_json(payload.lint(found))
    else:
        from qinspect.inspector.lint.report import lint_text

        print_text(lint_text(found, verbose, terminal_width()))
    if found.at_least(Severity(fail_on)):
        return FINDINGS
    return CLEAN if found.n_looked else NOTHING_CHECKED


def _linted(a: str, b: str | None, run: str | None, fast: bool) -> Lint:
    from qinspect.inspector.calibration.stored import calibration_named
    from qinspect.inspector.lint.check import lint
    from qinspect.inspector.lint.opening import subject_of

    second = None if b is None else open_model(b)
    calibration = None if run is None else calibration_named(run)
    return with_meter(lambda meter: lint([("A", subject_of(a, second, calibration, fast, meter))]))
