"""`qinspect apply`. docs/cli.md is its contract, docs/apply.md says what it does to which numbers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

from cyclopts import Parameter

from qinspect.inspector.apply import report
from qinspect.inspector.apply.application import Application, of_checkpoint, of_run
from qinspect.inspector.apply.chosen import Request, checked_alpha, parse_points
from qinspect.inspector.apply.write import write
from qinspect.inspector.arguments import AsJson, opened_model, taking_old_names
from qinspect.inspector.calibrate.checkpoint import check_target
from qinspect.inspector.calibration.layout import RUN_HELP
from qinspect.inspector.calibration.stored import calibration_named
from qinspect.inspector.errors import UsageError
from qinspect.inspector.formats import Format
from qinspect.inspector.observers.registry import OLD_NAMES, RULES, WITHOUT_ALPHA, listed
from qinspect.inspector.printing import Meter, print_answer, with_meter
from qinspect.inspector.progress import steps_of

Alpha = Annotated[float | None, Parameter(help="For every point that the recipe makes by a percentile.")]
if TYPE_CHECKING:
    RuleName = str
else:
    RuleName = Literal[tuple(RULES)]
RuleOption = Annotated[
    RuleName | None,
    Parameter(
        converter=taking_old_names(OLD_NAMES),
        help=f"Instead of the recipe's own at each point; {listed(WITHOUT_ALPHA)} take no alpha.",
    ),
]
PointsWords = Annotated[
    list[str] | None,
    Parameter(
        negative="",
        help="GLOB: these points only. GLOB=ALPHA: an alpha of their own. As often as needed; the last counts.",
    ),
]
ScalesFrom = Annotated[
    str | None, Parameter(help="A checkpoint whose scales are taken over exactly, instead of those of a run.")
]


def apply_command(
    run: Annotated[str | None, Parameter(help=f"{RUN_HELP} Not with --scales-from.")] = None,
    /,
    *,
    to: Annotated[str, Parameter(help="The checkpoint whose scales are replaced. It stays as it is.")],
    out: Annotated[Path, Parameter(help="The folder to write: absent, or empty.")],
    alpha: Alpha = None,
    rule: RuleOption = None,
    points: PointsWords = None,
    scales_from: ScalesFrom = None,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be replaced, and write nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    """A new checkpoint with activation scales for another alpha or rule, from what a calibration stored."""
    request = Request(None if alpha is None else checked_alpha(alpha), rule, parse_points(points or []))
    _check(run, request, scales_from)
    check_target(out)

    def work(meter: Meter) -> Application:
        fmt = opened_model(to, meter)
        if scales_from is not None:
            applied = of_checkpoint(opened_model(scales_from, meter), fmt, request, str(out))
        else:
            applied = _by_run(str(run), fmt, request, str(out), meter)
        return applied if dry_run else replace(applied, written=write(applied.plan, out, applied.origin, meter))

    with _interrupted_by_sigterm():
        done = with_meter(work)
    print_answer(as_json, lambda: report.payload(done), lambda width: report.text(done, width))
    return 0


def _check(run: str | None, request: Request, scales_from: str | None) -> None:
    if (run is None) == (scales_from is None):
        raise UsageError("the scales are those of a run, or of a checkpoint", cure="Give RUN, or --scales-from.")
    asks = request.alpha is not None or request.rule is not None or any(p.alpha is not None for p in request.points)
    if scales_from is not None and asks:
        raise UsageError("--scales-from takes scales as they are, without alpha or rule", cure="Leave those out.")


def _by_run(name: str, fmt: Format, request: Request, out: str, meter: Meter) -> Application:
    calibration = calibration_named(name)
    try:
        return of_run(name, calibration, fmt, request, out, steps_of(meter, "making scales"))
    finally:
        calibration.close()


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """What a run's cancelling sends ends it as ctrl-c does: nothing half-written is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
