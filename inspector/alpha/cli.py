"""`qinspect alpha`. docs/cli.md is its contract, docs/alpha.md says what the numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from qinspect.inspector.alpha.sweep import report
from qinspect.inspector.alpha.sweep.grid_file import opened
from qinspect.inspector.alpha.sweep.one import default_rule
from qinspect.inspector.alpha.sweep.rules import SWEPT
from qinspect.inspector.alpha.sweep.stored_scales import StoredScale, stored_scales
from qinspect.inspector.alpha.sweep.view import Asked, View, view
from qinspect.inspector.arguments import AsJson, opened_model, taking_old_names
from qinspect.inspector.calibration.layout import RUN_HELP
from qinspect.inspector.calibration.stored import Calibration, calibration_named
from qinspect.inspector.errors import CannotOpen, UsageError
from qinspect.inspector.observers.registry import OLD_NAMES, RULES
from qinspect.inspector.printing import Meter, narrate, print_json, print_text, terminal_width, with_meter, write
from qinspect.inspector.progress import steps_of
from qinspect.inspector.whole_file import replacing

if TYPE_CHECKING:
    RuleName = str
else:
    RuleName = Literal[tuple(SWEPT)]
RuleOption = Annotated[
    RuleName | None,
    Parameter(converter=taking_old_names(OLD_NAMES), help="How scales are made (default: as the recipe does)."),
]


def alpha_command(
    run: Annotated[str, Parameter(help=RUN_HELP)],
    /,
    *,
    alpha: Annotated[float | None, Parameter(help="From 0.5 to 1 (default: the run's first).")] = None,
    rule: RuleOption = None,
    bits: Annotated[Literal[8, 4], Parameter(help="Bits of a code.")] = 8,
    checkpoint: Annotated[str | None, Parameter(help="A checkpoint: say which alphas its scales lie at.")] = None,
    point: Annotated[str, Parameter(help="Glob over names of points, such as '*x_proj*'.")] = "",
    best: Annotated[bool, Parameter(negative="", help="Only the best alphas, for 8 and 4 bits.")] = False,
    dual: Annotated[
        bool,
        Parameter(negative="", help="4 bits and one that chooses between two steps (W4A5-SE), worst points first."),
    ] = False,
    csv: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="Write the points to a file, to stdout for -.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What every alpha does to the points of a calibration: scales, clipping, error, the best of them."""
    if csv is not None and as_json:
        raise UsageError("--json and --csv exclude each other", cure="Give one of them.")
    if alpha is not None and not 0.5 <= alpha <= 1:
        raise UsageError("--alpha is a fraction", expected="a number from 0.5 to 1", found=repr(alpha))
    if dual:
        _refuse_beside_dual(
            {"--rule": rule, "--checkpoint": checkpoint, "--best": best or None, "--bits 4": bits == 4 or None}
        )
        return _dual(run, alpha, point, csv, as_json)
    calibration = calibration_named(run)
    try:
        found = with_meter(
            lambda meter: _asked(calibration, _question(calibration, alpha, rule, bits, point), checkpoint, meter)
        )
    finally:
        calibration.close()
    if csv is not None:
        _write_csv(report.csv(found), csv)
    elif as_json:
        print_json(report.payload(found))
    else:
        print_text(report.text(found, terminal_width(), best))
    return 0


def _refuse_beside_dual(others: dict[str, object]) -> None:
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"--dual and {name} exclude each other", cure=f"Leave out {name}.")


def _dual(run: str, alpha: float | None, point: str, csv: str | None, as_json: bool) -> int:
    from qinspect.inspector.alpha.dual import dual_view
    from qinspect.inspector.alpha.dual import report as of_dual
    from qinspect.inspector.alpha.dual.payload import payload

    calibration = calibration_named(run)
    try:
        found = with_meter(
            lambda meter: dual_view(calibration, alpha, point, steps_of(meter, "two steps for every point"))
        )
    finally:
        calibration.close()
    if csv is not None:
        _write_csv(of_dual.csv(found), csv)
    elif as_json:
        print_json(payload(found))
    else:
        print_text(of_dual.text(found, terminal_width()))
    return 0


def _question(calibration: Calibration, alpha: float | None, rule: str | None, bits: int, point: str) -> Asked:
    name = rule or default_rule(calibration)
    if not RULES[name].takes_alpha:
        if alpha is not None:
            raise UsageError(f"the rule {name} has no alpha", cure="Leave out --alpha, or take another rule.")
        return Asked(name, None, bits, point)
    return Asked(name, calibration.results[0].alpha if alpha is None else alpha, bits, point)


def _asked(calibration: Calibration, asked: Asked, checkpoint: str | None, meter: Meter) -> View:
    stored: dict[str, StoredScale] | None = None
    if checkpoint is not None:
        stored = stored_scales(calibration, opened_model(checkpoint, meter))
    grid = opened(calibration, steps_of(meter, "every alpha of every point"))
    return view(calibration, grid, asked, stored, checkpoint or "", steps_of(meter, "reading tables"))


def _write_csv(content: str, place: str) -> None:
    if place == "-":
        write(content)
        return
    try:
        with replacing(Path(place)) as f:
            f.write(content.encode())
    except OSError as e:
        raise CannotOpen(f"cannot be written: {e.strerror}", file=place) from e
    narrate(f"{content.count(chr(10)) - 1:,} points in {place}")
