"""An accuracy as a file gives it, with all that tells it from the others of the same file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qinspect.inspector.errors import BrokenFile

METRICS = ("acc", "acc_norm", "exact_match", "accuracy")
"""Shares of right items, the preferred first: where none is named, the first that both files have is taken."""
NO_FILTER = "none"
"""How lm_eval calls answers that were taken as they are."""


@dataclass(frozen=True, slots=True)
class Found:
    """A share in a file.

    task, metric, filter, version: "" where the file does not say. alias: how lm_eval's table calls the task, where that
    is another name. n_shot: None where it is not said. error: the standard error as printed. n: items, None where they
    are not given. place: tables and results are numbered in the order of the file. items: whether each was right.
    problem: why the items cannot be taken.
    """

    task: str
    metric: str
    share: float
    error: float | None = None
    n: int | None = None
    filter: str = ""
    alias: str = ""
    version: str = ""
    n_shot: int | None = None
    place: int = 0
    items: Mapping[str, bool] | None = None
    problem: BrokenFile | None = None

    @property
    def filtered(self) -> str:
        """The filter to compare by: none where the file names none."""
        return self.filter or NO_FILTER

    @property
    def name(self) -> str:
        """`gsm8k exact_match,strict-match`, as lm_eval's results write it."""
        filtered = "" if self.filtered == NO_FILTER else f",{self.filter}"
        return f"{self.task} {self.metric}{filtered}".strip()
