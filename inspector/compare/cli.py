"""`qinspect A B` and `qinspect diff`. docs/cli.md is their contract."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, Codes, ModelA, ModelB, Noise, NoiseRun, open_model
from qinspect.inspector.collector import collector_resting
from qinspect.inspector.contents.cli import print_contents, survey_of
from qinspect.inspector.errors import QinspectError, UsageError
from qinspect.inspector.printing import print_error, print_json, print_text, terminal_width, with_meter
from qinspect.inspector.rows import where

if TYPE_CHECKING:
    from qinspect.inspector.compare import Comparison, ScalePair
    from qinspect.inspector.formats import Format


def report_pair(a: str, b: str, codes: bool | None, noise: Sequence[str] | None, run: str | None, as_json: bool) -> int:
    """How B differs from A; where B cannot be read, what A holds, and why."""
    first = open_model(a)
    try:
        second = first if b == a else open_model(b)
    except QinspectError as e:  # A is still worth seeing
        if not as_json:
            print_contents(first, survey_of(first))
            print_text(f"B  cannot be compared: {e}")
        return print_error(e, as_json)
    comparison = _compare(first, second, codes, noise, run)
    _print_comparison(comparison, _rows(comparison, "changed", "forward"), as_json, all_weights=False)
    return 0


def diff(
    a: ModelA,
    b: ModelB,
    /,
    *,
    only: Annotated[Literal["all", "changed"], Parameter(help="Rows to print.")] = "changed",
    sort: Annotated[
        Literal["forward", "diff", "changed", "noise"],
        Parameter(help="Forward order, or the largest first: difference, elements changed, place among noise bands."),
    ] = "forward",
    codes: Codes = None,
    noise: Noise = None,
    run: NoiseRun = None,
    csv: Annotated[bool, Parameter(name="--csv", negative="", help="Only the rows, as CSV.")] = False,
    markdown: Annotated[bool, Parameter(name="--markdown", negative="", help="Only the rows, as Markdown.")] = False,
    exit_zero: Annotated[bool, Parameter(name="--exit-zero", negative="", help="Exit 0 even if they differ.")] = False,
    as_json: AsJson = False,
) -> int:
    """Compare B with A. Exit code 0: no difference at the level printed, 1: different, 2: error."""
    if csv + markdown + as_json > 1:
        raise UsageError("--json, --csv and --markdown exclude each other", cure="Give one of them.")
    with collector_resting():  # what is made here is kept to the end
        first = open_model(a)
        second = first if b == a else open_model(b)
        comparison = _compare(first, second, codes, noise, run)
        rows = _rows(comparison, only, sort)
        if csv or markdown:
            from qinspect.inspector.compare.report import scale_table

            table = scale_table(rows)
            print_text(table.csv().removesuffix("\n") if csv else table.markdown())
        else:
            _print_comparison(comparison, rows, as_json, all_weights=only == "all")
        return 0 if comparison.same or exit_zero else 1


def _compare(a: Format, b: Format, codes: bool | None, noise: Sequence[str] | None, run: str | None) -> Comparison:
    from qinspect.inspector.compare import compare
    from qinspect.inspector.noise.sources import sources_of

    with closing(sources_of(a, b, noise or (), run)) as sources:
        return with_meter(lambda meter: compare(a, b, codes, meter, sources=sources))


def _rows(comparison: Comparison, only: str, sort: str) -> list[ScalePair]:
    from qinspect.inspector.compare.measures import OF_SCALES

    rows = where(comparison.scales, lambda p: only == "all" or not p.status.counts_as_same)
    if sort != "forward":
        rows.sort(key=OF_SCALES["difference" if sort == "diff" else sort].order)
    return rows


def _print_comparison(c: Comparison, rows: list[ScalePair], as_json: bool, all_weights: bool) -> None:
    if as_json:
        from qinspect.inspector.compare import payload

        weights = where(c.weights, lambda w: all_weights or not w.status.counts_as_same)
        print_json(payload.comparison(c, rows, weights))
        return
    from qinspect.inspector.compare.report import comparison_text, scale_table

    print_text(comparison_text(c, scale_table(rows), terminal_width()))
