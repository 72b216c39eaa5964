"""Which accuracy of A is compared with which of B: of the same task, metric, filter and number of examples.

A file often holds several numbers under one name: lm_eval prints gsm8k's exact_match once a filter. What both files
have in common is taken; where that is more than one, the user is asked, and where it is none, nothing is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qinspect.inspector.accuracy.found import METRICS, Found
from qinspect.inspector.accuracy.score import MAX_COUNT, Score
from qinspect.inspector.errors import CannotOpen, UsageError
from qinspect.inspector.text import visible

PRINTED = 1e-4
"""Values that differ by less are one, printed and as JSON."""
_MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user named, None for what was left open."""

    task: str | None = None
    metric: str | None = None
    filter: str | None = None
    n_shot: int | None = None

    @classmethod
    def named(cls, task: str | None, metric: str | None, filtered: str | None, n_shot: int | None) -> Wanted:
        """metric: also with its filter, as lm_eval writes both: `exact_match,strict-match`. Raises UsageError where
        that is another one than `filtered`."""
        of_metric = None
        if metric is not None and "," in metric:
            metric, of_metric = metric.split(",", 1)
        if of_metric and filtered and of_metric != filtered:
            raise UsageError("--metric and --filter name two filters", found=f"{of_metric}, {filtered}")
        return cls(task, metric, filtered or of_metric or None, n_shot)

    def __str__(self) -> str:
        shots = "" if self.n_shot is None else f"{self.n_shot}-shot"
        return " ".join(x for x in (self.task, self.metric, self.filter, shots) if x)

    def holds(self, f: Found) -> bool:
        """Whether an accuracy is one of those."""
        return (
            self.task in (None, f.task, f.alias)
            and self.metric in (None, f.metric)
            and self.filter in (None, f.filtered)
            and self.n_shot in (None, f.n_shot)
        )


@dataclass(frozen=True, slots=True)
class Side:
    """The accuracies of one file, of A or B."""

    label: str
    path: str
    found: tuple[Found, ...]

    def only(self, of: Callable[[Found], str], value: str) -> Side:
        """Those of one task, metric, ..."""
        return Side(self.label, self.path, tuple(f for f in self.found if of(f) == value))


def chosen(a: Side, b: Side, wanted: Wanted, n_a: int | None, n_b: int | None) -> tuple[Score, Score, list[str]]:
    """An accuracy of each, of the same name, and what is to be said of them, one sentence each.

    Raises CannotOpen for a file without such an accuracy, UsageError where a task, metric, filter or number of items
    must be named, or the files have none in common; BrokenFile for damaged items.
    """
    a, b = _wanted(a, wanted), _wanted(b, wanted)
    notes: list[str] = []
    task_of = _tasks(a, b)
    for of, what, option in (
        (task_of, "task", "--task"),
        (lambda f: f.metric, "metric", "--metric"),
        (lambda f: f.filtered, "filter", "--filter"),
    ):
        a, b = _in_common(a, b, of, what, option, notes)
    a, b = _of_same_shots(a, b, notes)
    first, second = _last(a, notes), _last(b, notes)
    if first.version and second.version and first.version != second.version:
        notes.append(f"The versions of the task differ: A {first.version}, B {second.version}.")
    return scored(a.path, first, n_a), scored(b.path, second, n_b), notes


def _wanted(side: Side, wanted: Wanted) -> Side:
    found = tuple(f for f in side.found if wanted.holds(f))
    if found:
        return Side(side.label, side.path, found)
    if not side.found or not str(wanted):
        raise CannotOpen(
            f"has no accuracy{f' of {wanted}' if str(wanted) else ''}", file=side.path,
            expected="lm_eval's table or results, or its per-item samples (--log_samples)",
            cure="Type the values: --a VALUE --b VALUE --n N.",
        )  # fmt: skip
    raise CannotOpen(
        f"has no accuracy of {wanted}",
        file=side.path,
        found=_listed(f.name for f in side.found),
        cure="Name another one.",
    )


def _tasks(a: Side, b: Side) -> Callable[[Found], str]:
    """The name of a task: where one file says `mmlu_anatomy` and the other's table `anatomy`, the first."""
    known: dict[str, set[str]] = {}
    for f in (*a.found, *b.found):
        if f.alias:
            known.setdefault(f.alias, set()).add(f.task)
    full = {f.task for f in (*a.found, *b.found) if f.alias}

    def name(f: Found) -> str:
        names = known.get(f.task, set())
        return next(iter(names)) if len(names) == 1 and f.task not in full else f.task

    return name


def _in_common(
    a: Side, b: Side, of: Callable[[Found], str], what: str, option: str, notes: list[str]
) -> tuple[Side, Side]:
    """Both with one task (metric, filter) that they have in common."""
    in_a, in_b = (list(dict.fromkeys(map(of, side.found))) for side in (a, b))
    both = [x for x in in_a if x in in_b]
    if what == "metric":
        both = sorted(both, key=_rank)[:1]
    if len(both) > 1:
        raise UsageError(
            f"there are several {what}s", file=a.path, found=_listed(both), cure=f"Name one with {option}."
        )
    if both:
        return a.only(of, both[0]), b.only(of, both[0])
    if what == "task" and [""] in (in_a, in_b):  # appended results and items need not name their task
        silent, other, names = (a, b, in_b) if in_a == [""] else (b, a, in_a)
        if len(names) > 1:
            raise UsageError(
                "there are several tasks", file=other.path, found=_listed(names), cure=f"Name one with {option}."
            )
        notes.append(f"{silent.label} does not say its task; it is taken to be {other.label}'s, {names[0]}.")
        return a, b
    raise UsageError(
        f"A and B have no {what} in common", expected=f"the same {what} in both",
        found=f"A {_listed(x or 'not named' for x in in_a)}; B {_listed(x or 'not named' for x in in_b)}",
        cure="Evaluate both in the same way.",
    )  # fmt: skip


def _of_same_shots(a: Side, b: Side, notes: list[str]) -> tuple[Side, Side]:
    """Both with the examples in the prompt that they have in common; where there are none in common, each with its
    own, and a note."""

    def of(f: Found) -> str:
        return "" if f.n_shot is None else str(f.n_shot)

    in_a, in_b = (list(dict.fromkeys(map(of, side.found))) for side in (a, b))
    both = [x for x in in_a if x in in_b]
    if len(both) == 1:
        return a.only(of, both[0]), b.only(of, both[0])
    for side, values in ((a, both or in_a), (b, both or in_b)):
        if len(values) > 1:
            raise UsageError(
                "there are several numbers of examples", file=side.path,
                found=_listed(f"{x or 'not said'}" for x in values), cure="Name one with --n-shot.",
            )  # fmt: skip
    if in_a[0] and in_b[0]:
        notes.append(f"A was asked with {in_a[0]} examples, B with {in_b[0]}: other questions, not the models alone.")
    return a, b


def _last(side: Side, notes: list[str]) -> Found:
    """Of appended results and repeated tables the last, which is said. Raises UsageError where one table has two."""
    last = side.found[-1]
    beside = {f.share for f in side.found if f.place == last.place}
    if len(beside) > 1:
        raise UsageError(
            f"there are several values of {last.name} side by side", file=side.path,
            found=_listed(f"{x:g}" for x in beside), cure="Type the value: --a VALUE --b VALUE --n N.",
        )  # fmt: skip
    shares = [f.share for f in side.found]
    if max(shares) - min(shares) > PRINTED:
        n = len({f.place for f in side.found})
        notes.append(f"{side.label}'s file has {n} values of {last.name}; the last one counts.")
    return last


def scored(path: str, f: Found, n: int | None) -> Score:
    """An accuracy with its items: n of them where it is given, else as the file says, or as its standard error does.

    Raises UsageError where that is not known, BrokenFile for damaged items.
    """
    if f.problem is not None:
        raise f.problem

    def score(items: int, derived: bool = False) -> Score:
        return Score(f.share, items, path, f.task, f.metric, f.items, derived, f.filter, f.version, f.n_shot)

    if f.items is not None:
        return score(len(f.items))
    given = n if n is not None else f.n
    if given is not None:
        return score(given)
    if not f.error or f.error < 1 / MAX_COUNT:
        raise UsageError(
            "the number of items is not known", file=path, expected="a standard error beside it, or --n N",
            cure="Give --n N.",
        )  # fmt: skip
    # lm_eval's error is that of a sample: sqrt(p (1 - p) / (n - 1))
    return score(max(1, round(f.share * (1 - f.share) / f.error**2 + 1)), derived=True)


def _rank(metric: str) -> int:
    return METRICS.index(metric) if metric in METRICS else len(METRICS)


def _listed(names: Iterable[str]) -> str:
    shown = [visible(str(x), 60) for x in dict.fromkeys(names)]
    more = f" and {len(shown) - _MAX_LISTED} more" if len(shown) > _MAX_LISTED else ""
    return ", ".join(shown[:_MAX_LISTED]) + more
