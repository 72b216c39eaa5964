"""What a rule of lint is: its name, what it needs, why it matters and what to do, beside the function that checks it.

docs/lint.md is written from these, and `qinspect lint --explain CODE` prints them: a rule has no other description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.finding import Numbers, Severity

if TYPE_CHECKING:
    from qinspect.inspector.lint.subject import Subject


class Theme(StrEnum):
    """What rules are about; the first letter of their codes, and the file in `rules/` that they are in."""

    FILES = "F"
    """Files that are damaged, missing, or not what an index says."""
    STRUCTURE = "H"
    """Entries that are missing, orphaned, or of another shape: told by headers."""
    SCALES = "S"
    """Numbers that a scale should not be."""
    GROUPS = "G"
    """Scales of weights that an engine loads as one: q, k and v, gate and up, experts."""
    CODES = "C"
    """What codes show: told by reading the weights."""
    DECLARED = "D"
    """What a config says of tensors, against the tensors."""
    PAIRS = "P"
    """What shows only beside another checkpoint, or a calibration."""


class Needs(StrEnum):
    """What has to be read, or given, before a rule can say anything."""

    FILES = "files"
    WHOLE = "whole checkpoint"
    """All of its tensors: of a rule that says that something is absent."""
    HEADERS = "headers"
    SCALARS = "scalars"
    """Scales of a few numbers: kilobytes of the largest model."""
    SCALES = "scales"
    """All scales, those of blocks too."""
    CODES = "codes"
    BASE = "base model"
    OTHER = "another checkpoint"
    RUN = "run"

    @property
    def fast(self) -> bool:
        """Whether it is had at once, of a checkpoint of any size."""
        return self not in (Needs.SCALES, Needs.CODES, Needs.BASE)


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a rule found something.

    key: an entry or a role. text: what is there, a clause: `10.0x: gate 0.012, up 0.0012`. index: of the number in the
    tensor; () where it is the only one, or none is meant. value: the number. weight: the worse, the larger: places are
    listed by it, worst first, and in their own order where it is equal.
    """

    key: str
    text: str = ""
    index: tuple[int, ...] = ()
    value: float | None = None
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found, in a sentence with the counts behind it. severity, next: where they are not the rule's own."""

    text: str
    places: tuple[Place, ...] = ()
    numbers: Numbers = field(default_factory=dict, hash=False)
    severity: Severity | None = None
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a rule looked at. n: how many, 0 where there was nothing to look at. of: what they are, one of them:
    `scale`. n_left: how many could not be looked at, or were left out. why_left: a clause, `they cannot be read`."""

    n: int
    of: str
    found: tuple[Found, ...] = ()
    n_left: int = 0
    why_left: str = ""


Limits = Mapping[str, float]
"""Numbers that a rule compares with, by name."""

Check = Callable[["Subject", Limits], Checked]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be wrong with a checkpoint.

    code: `S01`: its theme and a number; stable. name: the same in words, stable: `not-finite`. summary: what it looks
    for, a sentence. why: why that matters. threads: public reports of it, `project#number`. next: what to do. limits:
    the numbers that it compares with; qinspect.toml can set others.
    """

    code: str
    name: str
    severity: Severity
    needs: tuple[Needs, ...]
    summary: str
    why: str
    next: str
    check: Check = field(repr=False)
    threads: tuple[str, ...] = ()
    limits: Limits = field(default_factory=dict, hash=False)

    @property
    def theme(self) -> Theme:
        """By its code."""
        return Theme(self.code[0])


def said_of(error: QinspectError) -> str:
    """What is wrong with a module, without where: `is missing; expected ...; found nothing`."""
    parts = (error.problem, error.expected and f"expected {error.expected}", error.found and f"found {error.found}")
    return "; ".join(filter(None, parts))


def rule(
    code: str,
    name: str,
    severity: Severity,
    *needs: Needs,
    why: str,
    next: str,  # noqa: A002 - what a finding calls it
    threads: tuple[str, ...] = (),
    **limits: float,
) -> Callable[[Check], Rule]:
    """Make a rule of a function that checks it. Its docstring is the summary."""

    def made(check: Check) -> Rule:
        summary = " ".join((check.__doc__ or "").split())
        return Rule(code, name, severity, needs, summary, why, next, check, threads, limits)

    return made
