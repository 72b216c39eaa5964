"""What a rule looks for, what it found, why that matters and what to do: beside the list of findings."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from qinspect.inspector.lint.check import Lint, RuleOutcome
from qinspect.inspector.lint.report import place_text
from qinspect.inspector.lint.rule import Rule
from qinspect.inspector.text import count, some
from qinspect.tui.lint.rows import Row
from qinspect.tui.lint.text_view import TextView
from qinspect.tui.look import Line
from qinspect.tui.names import shown

PLACES_SHOWN = 12


class RulePane(TextView):
    """Of the finding under the cursor; of all rules, where there is none."""

    TITLE: ClassVar[str] = "2 the rule"

    def __init__(self) -> None:
        super().__init__(id="rule")
        self._of: tuple[Row | None, Lint | None] = (None, None)
        self._rule: Rule | None = None

    def show(self, row: Row | None, found: Lint | None) -> None:
        """What there is to say of a row."""
        self._of, self._rule = (row, found), None
        self.show_again()

    def explain(self, rule: Rule, found: Lint | None) -> None:
        """What there is to say of a rule that found nothing that is listed."""
        self._of, self._rule = (None, found), rule
        self.show_again()

    def lines(self, width: int) -> Sequence[Line]:
        if self._rule is not None:
            return explained(self._rule, self._of[1], width)
        return rule_lines(*self._of, width)


def explained(rule: Rule, found: Lint | None, width: int) -> list[Line]:
    """A rule, and what it looked at."""
    lines: list[Line] = [[(f"{rule.code} {rule.name}", "name"), (f"  {rule.severity}", "accent")], ""]
    for o in found.outcomes if found else ():
        if o.rule.code == rule.code:
            model = f"{o.model}: " if found and len(found.models) > 1 else ""
            lines += wrap(shown(f"{model}{_looked(o)}"), width)
    parts = [("next", rule.next), ("why", rule.why), ("looks for", rule.summary)]
    return lines + _told(parts, rule, width)


def rule_lines(row: Row | None, found: Lint | None, width: int) -> list[Line]:
    """A rule and what it found; without one, what was looked at."""
    if found is None:
        return list(wrap("The rules look at the files. What they find stands here.", width))
    if row is None or row.finding is None:
        return _looked_at(found, width)
    finding = row.finding
    rule = finding.rule
    lines: list[Line] = [[(f"{rule.code} {rule.name}", "name"), (f"  {finding.severity}", "accent")], ""]
    lines += wrap(shown(finding.found.text), width)
    parts = [("next", finding.finding.next), ("why", rule.why), ("looks for", rule.summary)]
    lines += _told(parts, rule, width)
    if finding.places:
        lines += ["", [(f"places, {count(len(finding.places))}", "dim")]]
        lines += [shown(place_text(p), 400) for p in finding.places[:PLACES_SHOWN]]
    return lines


def _told(parts: list[tuple[str, str]], rule: Rule, width: int) -> list[Line]:
    """Paragraphs under their labels, the threads last."""
    if rule.threads:
        parts = [*parts, ("reported", ", ".join(rule.threads))]
    lines: list[Line] = []
    for label, text in parts:
        lines += ["", [(label, "dim")], *wrap(shown(text), width)]
    return lines


def _looked(o: RuleOutcome) -> str:
    """`12 of 14, 2 left out`, or why nothing was."""
    if o.checked is None:
        return f"not checked: {o.skipped}"
    if not o.checked.n:
        return "nothing to look at"
    left = f", {count(o.checked.n_left)} left out" if o.checked.n_left else ""
    return f"{some(o.checked.n, o.checked.of)}{left}"


def _looked_at(found: Lint, width: int) -> list[Line]:
    """What each rule looked at."""
    lines: list[Line] = [[("what was looked at", "name")], ""]
    for o in found.outcomes:
        model = f"{o.model} " if len(found.models) > 1 else ""
        lines.append(
            [(f"{model}{o.rule.code} ", "name"), (shown(f"{o.rule.name}: {_looked(o)}", 400)[: width + 200], "")]
        )
    return lines
