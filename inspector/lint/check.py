"""Run the rules over a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.finding import Finding, Severity, Where
from qinspect.inspector.formats import Format
from qinspect.inspector.lint.registry import all_rules
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, Rule, Theme
from qinspect.inspector.lint.subject import Subject

RANK = (Severity.FINE, Severity.NOTE, Severity.WARNING, Severity.ERROR)
"""The lesser first."""


_BESIDE = {Needs.BASE, Needs.OTHER, Needs.RUN}


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """One sentence of one rule, with the places behind it, the worst first. model: `A` or `B`."""

    rule: Rule
    found: Found
    model: str
    places: tuple[Place, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells findings apart at no cost: code, model and sentence. A finding itself is hashed and compared by
        all of its places, of which there may be 60,000."""
        return self.rule.code, self.model, self.found.text

    @property
    def severity(self) -> Severity:
        """The rule's, where the finding has none of its own."""
        return self.found.severity or self.rule.severity

    @property
    def finding(self) -> Finding:
        """The same in the type that all that is noticed has."""
        first = self.places[0].key if self.places else ""
        following = self.rule.next if self.found.next is None else self.found.next
        return Finding(
            self.rule.name, self.found.text, self.severity, Where(self.model, first), self.found.numbers, following
        )


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What became of one rule: what it looked at, or why it looked at nothing (`skipped`, a clause)."""

    rule: Rule
    model: str
    checked: Checked | None
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Lint:
    """What all rules found. findings: the worse first, then by code. models: what was looked at, by `A` and `B`."""

    findings: tuple[RuleFinding, ...]
    outcomes: tuple[RuleOutcome, ...]
    models: Mapping[str, Format] = field(default_factory=dict)

    @property
    def n_looked(self) -> int:
        """Rules that had something to look at, other than files, which every checkpoint has: of files where nothing
        else was asked."""
        others = [o for o in self.outcomes if o.rule.theme is not Theme.FILES]
        return sum(o.checked is not None and o.checked.n > 0 for o in others or self.outcomes)

    def at_least(self, severity: Severity) -> list[RuleFinding]:
        """The findings that are as severe."""
        return [f for f in self.findings if RANK.index(f.severity) >= RANK.index(severity)]


def lint(
    subjects: Sequence[tuple[str, Subject]],
    rules: Sequence[Rule] | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> Lint:
    """Check each model, `A` and `B`, with the rules: all of them where none are given; those that hold it against
    something only the first, to which that was given. limits: by the code of a rule, what replaces its own."""
    chosen = all_rules() if rules is None else rules
    own = limits or {}
    outcomes = [
        _outcome(rule, model, s, own.get(rule.code, {}))
        for place, (model, s) in enumerate(subjects)
        for rule in chosen
        if not place or _BESIDE.isdisjoint(rule.needs)
    ]
    found = [
        RuleFinding(o.rule, f, o.model, _in_order(f.places)) for o in outcomes if o.checked for f in o.checked.found
    ]
    found.sort(key=lambda f: (-RANK.index(f.severity), f.rule.code, f.model))
    return Lint(tuple(found), tuple(outcomes), {model: subject.fmt for model, subject in subjects})


def _outcome(rule: Rule, model: str, subject: Subject, limits: Limits) -> RuleOutcome:
    lacks = subject.lacks(rule.needs)
    if lacks:
        return RuleOutcome(rule, model, None, lacks)
    try:
        checked = rule.check(subject, {**rule.limits, **limits})
    except QinspectError as e:
        return RuleOutcome(rule, model, None, str(e))
    return RuleOutcome(rule, model, checked)


def _in_order(places: Sequence[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda p: -p.weight))
