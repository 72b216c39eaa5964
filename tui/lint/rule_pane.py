"""What a rule looks for, what it found, why that matters and what to do: beside the list of findings."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from qinspect.inspector.lint.check import Lint
from qinspect.inspector.lint.report import place_text
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

    def show(self, row: Row | None, found: Lint | None) -> None:
        """What there is to say of a row."""
        self._of = row, found
        self.show_again()

    def lines(self, width: int) -> Sequence[Line]:
        return rule_lines(*self._of, width)


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
    if rule.threads:
        parts.append(("reported", ", ".join(rule.threads)))
    for label, text in parts:
        lines += ["", [(label, "dim")], *wrap(shown(text), width)]
    if finding.places:
        lines += ["", [(f"places, {count(len(finding.places))}", "dim")]]
        lines += [shown(place_text(p), 400) for p in finding.places[:PLACES_SHOWN]]
    return lines


def _looked_at(found: Lint, width: int) -> list[Line]:
    """What each rule looked at."""
    lines: list[Line] = [[("what was looked at", "name")], ""]
    for o in found.outcomes:
        if o.checked is None:
            text = f"not checked: {o.skipped}"
        elif not o.checked.n:
            text = "nothing to look at"
        else:
            text = some(o.checked.n, o.checked.of) + (
                f", {count(o.checked.n_left)} left out" if o.checked.n_left else ""
            )
        model = f"{o.model} " if len(found.models) > 1 else ""
        lines.append([(f"{model}{o.rule.code} ", "name"), (shown(f"{o.rule.name}: {text}", 400)[: width + 200], "")])
    return lines
