"""One type for what is noticed by a rule: why two models differ, what a log shows, what a check found.

Whoever notices it names the rule; reports and screens show the text, `--json` the parts. A rule's name is stable and
documented: docs/verdicts.md and docs/logs.md list those of their subjects. What no rule stands behind, a note of how a
file was opened, is a sentence (`Checkpoint.notes`, `Format.notes`).

`next` and `cure` are two things. A `cure` is an error's (`inspector/errors.py`): what was asked failed, and the cure
makes it possible. `next` is a finding's: nothing failed, and it says what is worth doing now that this is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Numbers = Mapping[str, float | int | None]
"""The numbers in a sentence by name; None for one that is not finite."""


class Severity(StrEnum):
    """How much a finding matters to whoever uses the model."""

    FINE = "fine"
    """Looked at, and as it should be."""
    NOTE = "note"
    """Worth knowing. Nothing is wrong by itself."""
    WARNING = "warning"
    """Something may be wrong, or is not what was asked for."""
    ERROR = "error"
    """Something is wrong."""


@dataclass(frozen=True, slots=True)
class Where:
    """model: `A` or `B`, empty where there is one only. key: of an entry, or a role. lines: of a log, from 1; a range
    is its first and last line. What does not apply is empty."""

    model: str = ""
    key: str = ""
    lines: tuple[int, ...] = ()


NOWHERE = Where()
"""Of the whole."""


@dataclass(frozen=True, slots=True)
class Finding:
    """rule: the name of what noticed it, stable. text: it in a sentence or two. next: what to do now, a sentence; empty
    where there is nothing to do."""

    rule: str
    text: str
    severity: Severity = Severity.NOTE
    where: Where = NOWHERE
    numbers: Numbers = field(default_factory=dict, hash=False)
    next: str = ""

    @property
    def passed(self) -> bool:
        """Of a check: whether all is as it should be."""
        return self.severity is Severity.FINE
