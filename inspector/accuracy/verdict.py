"""What two accuracies say, and what to do next. docs/verdicts.md lists every verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qinspect.inspector.accuracy.comparing import AccuracyComparison
from qinspect.inspector.significance import LEVEL

Judgement = Literal["improved", "worse", "equivalent", "inconclusive"]
NEXT_STEPS: dict[Judgement, str] = {
    "improved": "If B was chosen as the best of several, test it once more on items that were not used to choose it.",
    "worse": "Look at the items that only A gets right, and at the setting that differs: `qinspect diff A B`.",
    "equivalent": "Choose by cost: within the margin neither is better.",
    "inconclusive": "Evaluate both on more of the same items, or compare their perplexities document by document.",
}
"""By kind."""
ITEMS_CURE = "Run lm_eval with --log_samples and compare the per-item files: pairs show smaller differences."
"""Where the items are missing."""


@dataclass(frozen=True, slots=True)
class AccuracyVerdict:
    """kind: stable. text: a sentence or two. weak: items are missing, the test is of aggregates."""

    kind: Judgement
    text: str
    weak: bool

    @property
    def next(self) -> str:
        """What to do now."""
        return ITEMS_CURE if self.weak and self.kind == "inconclusive" else NEXT_STEPS[self.kind]


def verdict_of(c: AccuracyComparison) -> AccuracyVerdict:
    """The one verdict of a comparison."""
    weak = c.paired is None
    kind: Judgement
    if c.p <= LEVEL and c.difference:
        kind = "improved" if c.difference > 0 else "worse"
        text = f"B is {'better' if c.difference > 0 else 'worse'} by {points(abs(c.difference))} (p = {c.p:.2g})."
        if c.equivalence_p is not None and c.equivalence_p <= LEVEL:
            text += f" Yet the difference is within the margin of {points(c.margin or 0)}."
    elif c.equivalence_p is not None and c.equivalence_p <= LEVEL:
        kind = "equivalent"
        text = f"Equivalent within {points(c.margin or 0)} (two one-sided tests, p = {c.equivalence_p:.2g})."
    else:
        kind = "inconclusive"
        text = (
            f"Not separable: {points(c.difference, signed=True)} (p = {c.p:.2g}), "
            f"and anything from {points(c.low, signed=True)} to {points(c.high, signed=True)} is compatible. "
            f"That is no proof of equality: differences under {points(c.detectable)} are mostly missed here."
        )
    if weak:
        known = c.a.items is not None and c.b.items is not None
        text += f" Weak: {'A and B have no item in common' if known else 'per-item data are missing'}."
    return AccuracyVerdict(kind, text, weak)


def points(share: float, signed: bool = False) -> str:
    """A difference of shares, in percentage points."""
    value = 100 * share
    digits = 2 if abs(value) >= 0.01 or not value else 4
    return f"{value:{'+' if signed else ''}.{digits}f} points"
