"""`qinspect accuracy`. docs/cli.md is its contract, docs/verdicts.md says what the answers mean."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.accuracy import report
from qinspect.inspector.accuracy.choosing import Side, Wanted, chosen
from qinspect.inspector.accuracy.comparing import compared
from qinspect.inspector.accuracy.reading import found_in
from qinspect.inspector.accuracy.score import Score, check_counts, typed
from qinspect.inspector.accuracy.verdict import verdict_of
from qinspect.inspector.arguments import AsJson
from qinspect.inspector.errors import UsageError
from qinspect.inspector.printing import Meter, print_answer, with_meter

_FILE = "per-item samples of lm_eval, its results, or a log that shows its table."


def accuracy(
    file_a: Annotated[str | None, Parameter(help=f"Where A's accuracy is: {_FILE}")] = None,
    file_b: Annotated[str | None, Parameter(help="Where B's accuracy is.")] = None,
    /,
    *,
    a: Annotated[str | None, Parameter(help="A's accuracy, typed in: 53.74, 53.74% or 0.5374.")] = None,
    b: Annotated[str | None, Parameter(help="B's accuracy, typed in.")] = None,
    n: Annotated[int | None, Parameter(help="Number of items of each.")] = None,
    n_b: Annotated[int | None, Parameter(help="Number of B's items, where it differs.")] = None,
    task: Annotated[str | None, Parameter(help="The task, where a file has several.")] = None,
    metric: Annotated[
        str | None, Parameter(help="The metric (default: acc, else acc_norm, exact_match), or METRIC,FILTER.")
    ] = None,
    filtered: Annotated[
        str | None, Parameter(name="--filter", help="How lm_eval took the answers, such as strict-match.")
    ] = None,
    n_shot: Annotated[int | None, Parameter(help="Examples in the prompt, where a file has several.")] = None,
    margin: Annotated[
        float | None, Parameter(help="Test whether they are equivalent within this many percentage points.")
    ] = None,
    disagreement: Annotated[
        float | None, Parameter(help="Percent of answers to suppose different where items are not known (default: 5).")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Whether two accuracies differ, how sure that is, and how small a difference their items could show."""
    _check(margin, disagreement)
    check_counts(n, n_b)
    wanted = Wanted.named(task, metric, filtered, n_shot)
    first, second, notes = _scores(file_a, file_b, a, b, n, n_b, wanted)
    found = compared(
        first, second, None if margin is None else margin / 100, None if disagreement is None else disagreement / 100
    )
    verdict = verdict_of(found)
    print_answer(
        as_json, lambda: report.payload(found, verdict, notes), lambda width: report.text(found, verdict, width, notes)
    )
    return 0


def _check(margin: float | None, disagreement: float | None) -> None:
    for label, value in (("--margin", margin), ("--disagreement", disagreement)):
        if value is not None and not 0 < value <= 100:
            raise UsageError(f"{label} is in percent", expected="over 0, at most 100", found=f"{value:g}")


def _scores(
    file_a: str | None, file_b: str | None, a: str | None, b: str | None, n: int | None, n_b: int | None, wanted: Wanted
) -> tuple[Score, Score, list[str]]:
    """Typed in, or of two files; and what is to be said of them."""
    if a is not None and b is not None and file_a is None:
        return *typed(a, b, n, n_b), []
    if file_a is None or file_b is None or a is not None or b is not None:
        raise UsageError(
            "two accuracies are compared", expected="two files, or --a VALUE --b VALUE --n N",
            cure="`qinspect accuracy --help` lists the options.",
        )  # fmt: skip

    def work(meter: Meter) -> tuple[Score, Score, list[str]]:
        first = Side("A", file_a, tuple(found_in(file_a, wanted.metric, meter)))
        second = Side("B", file_b, tuple(found_in(file_b, wanted.metric, meter)))
        return chosen(first, second, wanted, n, n if n_b is None else n_b)

    return with_meter(work)
