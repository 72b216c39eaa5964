"""`qinspect fidelity`, which may be asked for methods too. docs/cli.md is its contract, docs/fidelity.md says what the
numbers mean."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, ModelA, ModelB, open_model
from qinspect.inspector.errors import UsageError
from qinspect.inspector.printing import narrate, print_json, print_text, terminal_width, with_meter

if TYPE_CHECKING:
    from qinspect.inspector.fidelity.results import Fidelity, Made, WeightFidelity
    from qinspect.inspector.fidelity.threshold import Threshold
    from qinspect.inspector.formats import Format
    from qinspect.inspector.table import Table

ROWS_SHOWN = 20


def fidelity_command(
    a: ModelA,
    b: ModelB,
    /,
    *,
    by: Annotated[
        Literal["layer", "kind", "expert", "segment"] | None,
        Parameter(help="One row for each layer, kind of weight, expert, or segment of a projection."),
    ] = None,
    worst: Annotated[
        int | None, Parameter(help=f"Only the N worst rows (default: {ROWS_SHOWN} in the report, elsewhere all).")
    ] = None,
    min_sqnr: Annotated[
        float | None, Parameter(help="In dB. Exit code 1 where a weight has less, or has no number.")
    ] = None,
    best: Annotated[
        bool,
        Parameter(negative="", help="Also the best that a search over scales finds, on blocks that are drawn: slower."),
    ] = False,
    best_of_all: Annotated[bool, Parameter(negative="", help="The same on all blocks: much slower.")] = False,
    methods: Annotated[
        bool, Parameter(negative="", help="Also which method made each weight of B (docs/method.md): slower.")
    ] = False,
    csv: Annotated[bool, Parameter(name="--csv", negative="", help="Only the rows, as CSV.")] = False,
    markdown: Annotated[bool, Parameter(name="--markdown", negative="", help="Only the rows, as Markdown.")] = False,
    fresh: Annotated[
        bool, Parameter(negative="", help="Measure, though the result of the same files is kept from before.")
    ] = False,
    device: Annotated[
        Literal["cpu", "cuda"], Parameter(help="Where sums are made; what decodes codes is the CPU in any case.")
    ] = "cpu",
    as_json: AsJson = False,
) -> int:
    """How far the values of B's weights are from A's, the worst first. Exit code 1: a weight is below --min-sqnr."""
    if csv + markdown + as_json > 1:
        raise UsageError("--json, --csv and --markdown exclude each other", cure="Give one of them.")
    if worst is not None and worst < 1:
        raise UsageError("--worst must be at least 1", found=str(worst))
    if min_sqnr is not None and not math.isfinite(min_sqnr):
        raise UsageError("--min-sqnr is a number of decibels", expected="such as 25", found=str(min_sqnr))
    first = open_model(a)
    second = first if a == b else open_model(b)
    of_weights = _methods(first, second) if methods else {}
    found = _measured(first, second, fresh, device)
    if best or best_of_all:
        found = _with_best(found, best_of_all)
    if found.measured_at is not None and not as_json:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.measured_at))
        narrate(f"measured {when}, of the same files; --fresh measures again")
    threshold = _threshold(found, min_sqnr)
    rows = found.worst_first
    if as_json:
        from qinspect.inspector.fidelity import payload

        print_json(payload.fidelity(found, rows[:worst], by, threshold, of_weights))
    elif csv or markdown:
        table = _csv_table(rows[:worst], of_weights) if csv and by is None else _table(rows, by, worst, of_weights)
        print_text(table.csv().removesuffix("\n") if csv else table.markdown())
        if threshold is not None and not threshold.passed:
            narrate(threshold.sentence)
    else:
        _print_report(found, by, worst, threshold, of_weights)
    return 0 if threshold is None or threshold.passed else 1


def _measured(a: Format, b: Format, fresh: bool, device: str) -> Fidelity:
    from qinspect.inspector.fidelity.kept import kept_or_measured

    if device == "cpu":
        return with_meter(lambda meter: kept_or_measured(a, b, meter, fresh=fresh))
    from qinspect.inspector.fidelity.on_device import ELEMENTS, measured_on

    body = measured_on(device)
    return with_meter(lambda meter: kept_or_measured(a, b, meter, fresh=fresh, body=body, elements=ELEMENTS))


def _methods(a: Format, b: Format) -> dict[str, Made]:
    from qinspect.inspector.fidelity.results import Made
    from qinspect.inspector.method.answers import methods_of

    if a.weights():
        raise UsageError(
            "--methods is asked of a model and its original", file=a.checkpoint.path, expected="A in full precision",
            found=a.description,
        )  # fmt: skip
    found = with_meter(lambda meter: methods_of(a, b, meter))
    return {w.role: Made(str(w.judged.method), w.judged.method.short, w.judged.said) for w in found.weights}


def _with_best(found: Fidelity, everything: bool) -> Fidelity:
    from qinspect.inspector.fidelity.best import with_best

    return with_meter(lambda meter: with_best(found, everything, meter))


def _threshold(found: Fidelity, min_sqnr: float | None) -> Threshold | None:
    from qinspect.inspector.fidelity.threshold import threshold_of

    return None if min_sqnr is None else threshold_of(found, min_sqnr)


def _csv_table(rows: list[WeightFidelity], methods: Mapping[str, Made]) -> Table:
    from qinspect.inspector.fidelity.report import csv_table

    return csv_table(rows, methods)


def _table(rows: list[WeightFidelity], by: str | None, worst: int | None, methods: Mapping[str, Made]) -> Table:
    from qinspect.inspector.fidelity.report import group_table, weight_table
    from qinspect.inspector.table import Table

    if by is None:
        return weight_table(rows[:worst], methods)
    table = group_table(rows, by)
    return Table(table.columns, table.rows[:worst])


def _print_report(
    found: Fidelity, by: str | None, worst: int | None, threshold: Threshold | None, methods: Mapping[str, Made]
) -> None:
    """Weights that are equal are only counted."""
    from qinspect.inspector.fidelity.report import fidelity_text

    rows = [w for w in found.worst_first if by is not None or not w.sums.exact]
    n_rows = worst or ROWS_SHOWN
    table = _table(rows, by, None, methods)
    left = max(0, len(table.rows) - n_rows)
    shown = type(table)(table.columns, table.rows[:n_rows])
    print_text(fidelity_text(found, shown, left, threshold, terminal_width()))
