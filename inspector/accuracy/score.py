"""An accuracy: a share of items that were right, of how many, and which, where that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from qinspect.inspector.accuracy.found import NO_FILTER
from qinspect.inspector.errors import UsageError
from qinspect.inspector.text import brief

MAX_COUNT = 10**12
"""Of items: no share of more is measured, and larger numbers end in no float."""


@dataclass(frozen=True, slots=True)
class Score:
    """share: 0 to 1. n: items. source: where it comes from. task, metric: "" where they are not named. items: whether
    each was right, by its id, None where only the share is known. n_derived: n was computed from the standard error.
    filter, version, n_shot: how the answers were taken, the task's version, examples in the prompt; "" and None where
    the source does not say."""

    share: float
    n: int
    source: str
    task: str = ""
    metric: str = ""
    items: Mapping[str, bool] | None = None
    n_derived: bool = False
    filter: str = ""
    version: str = ""
    n_shot: int | None = None

    @property
    def name(self) -> str:
        """What it is an accuracy of: `gsm8k exact_match, strict-match, 5-shot`; "" where nothing is named."""
        shots = "" if self.n_shot is None else f"{self.n_shot}-shot"
        filtered = "" if self.filter == NO_FILTER else self.filter
        return ", ".join(x for x in (f"{self.task} {self.metric}".strip(), filtered, shots) if x)

    @property
    def standard_error(self) -> float:
        """sqrt(p (1 - p) / n): of a share of n independent items."""
        return math.sqrt(self.share * (1 - self.share) / self.n)


def typed(a: str, b: str, n: int | None, n_b: int | None) -> tuple[Score, Score]:
    """Two accuracies as a user types them: both percentages if either has a `%` or is over 1, else both fractions.

    Raises UsageError for what is no share of items.
    """
    values = [_number(label, text) for label, text in (("--a", a), ("--b", b))]
    percent = "%" in a + b or max(values) > 1
    shares = [v / 100 if percent else v for v in values]
    for label, text, share in (("--a", a, shares[0]), ("--b", b, shares[1])):
        if not 0 <= share <= 1:
            raise UsageError(f"{label} is not an accuracy", expected="0 to 100 %, or 0 to 1", found=text)
    if n is None:
        raise UsageError(
            "without the number of items an accuracy has no error", expected="--n N",
            cure="LAMBADA has 5153 items; an lm_eval run with --limit has that many.",
        )  # fmt: skip
    return Score(shares[0], n, "typed in"), Score(shares[1], n if n_b is None else n_b, "typed in")


def check_counts(n: int | None, n_b: int | None) -> None:
    """Raises UsageError for numbers of items that nothing was measured on."""
    for label, items in (("--n", n), ("--n-b", n_b)):
        if items is not None and not 1 <= items <= MAX_COUNT:
            raise UsageError(f"{label} must be at least 1", expected=f"1 to {MAX_COUNT:,}", found=brief(items))


def _number(label: str, text: str) -> float:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{label} is not a number", expected="an accuracy such as 53.74 or 0.5374", found=text)
    return value
