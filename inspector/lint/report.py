"""What lint found, for people."""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.check import Lint, RuleFinding
from qinspect.inspector.lint.rule import Place
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import number, some, visible

PLACES_SHOWN = 3
"""Of each finding, without -v."""


def lint_text(found: Lint, verbose: bool, width: int | None) -> str:
    """All findings by rule, the worse first, each with its places; then what was looked at, and what was not."""
    lines: list[str] = []
    by_rule: dict[str, list[RuleFinding]] = {}
    for finding in found.findings:
        by_rule.setdefault(f"{finding.severity} {finding.rule.code}", []).append(finding)
    for findings in by_rule.values():
        lines.extend((*_rule_lines(findings, verbose, len(found.models) > 1, width or PIPE_WIDTH), ""))
    lines.extend(counted(found, width or PIPE_WIDTH))
    return "\n".join(lines)


def _rule_lines(findings: list[RuleFinding], verbose: bool, two: bool, width: int) -> Iterator[str]:
    """What one rule found, then once why it matters and what to do. two: models were looked at."""
    rule = findings[0].rule
    yield f"{rule.code} {rule.name}: {findings[0].severity}"
    for finding in findings:
        of = f"{finding.model}: " if two else ""
        yield from folded("  ", f"{of}{finding.found.text}", width)
        shown = finding.places if verbose else finding.places[:PLACES_SHOWN]
        for place in shown:
            yield f"    {place_text(place)}"
        if len(finding.places) > len(shown):
            yield f"    {some(len(finding.places) - len(shown), 'more place')}: -v lists them"
    threads = f" ({', '.join(rule.threads[:3])})" if rule.threads else ""
    yield from folded("  why:  ", f"{rule.why}{threads}", width)
    for following in dict.fromkeys(f.finding.next for f in findings):
        yield from folded("  next: ", following, width)


def place_text(place: Place) -> str:
    """`layers.3.up_proj.weight[0, 7] = nan: 1 of 64 numbers`."""
    index = str(list(place.index)) if place.index else ""
    value = f" = {number(place.value)}" if place.value is not None else ""
    said = f": {place.text}" if place.text else ""
    return visible(f"{place.key}{index}{value}{said}")


def places_table(found: Lint) -> Table:
    """Every place of every finding, a row each; one of a finding without places."""
    names = ("code", "rule", "severity", "model", "finding", "place", "value", "said")
    rows = []
    for f in found.findings:
        for place in f.places or (None,):
            index = str(list(place.index)) if place is not None and place.index else ""
            value = "" if place is None or place.value is None else number(place.value)
            key, said = ("", "") if place is None else (f"{place.key}{index}", place.text)
            rows.append([f.rule.code, f.rule.name, f.severity.value, f.model, f.found.text, key, value, said])
    return Table(tuple(map(Column, names)), rows)


def counted(found: Lint, width: int) -> Iterator[str]:
    """What was looked at, and what was not."""
    by = {s: sum(f.severity is s for f in found.findings) for s in Severity}
    counts = ", ".join(some(n, s.value) for s, n in by.items() if n and s is not Severity.FINE) or "no finding"
    yield from folded("", f"{counts}{_by_rules(found)}", width)
    for label, said in not_looked_at(found):
        yield from folded(label, said, width)


def _by_rules(found: Lint) -> str:
    if found.n_looked:
        n = sum(o.checked is not None and o.checked.n > 0 for o in found.outcomes)
        return f" of {some(n, 'rule')} that had something to look at"
    if nothing := nothing_to_check(found):
        return f": {nothing}"
    asked = f"{some(len(found.outcomes), 'rule')} that {'was' if len(found.outcomes) == 1 else 'were'} asked for"
    return f": none of {asked} had anything to look at"


def nothing_to_check(found: Lint) -> str:
    """Said of models without anything that rules are about; "" of all others."""
    if found.n_looked or any(fmt.scales() or fmt.weights() for fmt in found.models.values()):
        return ""
    return "nothing to check, there are no scales and no quantized weights"


def not_looked_at(found: Lint) -> Iterator[tuple[str, str]]:
    """What was left out and why, a label and a sentence each: codes that nobody understands, rules, parts of what a
    rule is about."""
    for model, fmt in found.models.items():
        if fmt.not_understood:
            of = f"{model}: " if len(found.models) > 1 else ""
            yield "codes not looked at: ", f"{of}{fmt.not_understood}"
    skipped: dict[str, list[str]] = {}
    left: dict[str, list[str]] = {}
    for o in found.outcomes:
        if o.checked is None:
            skipped.setdefault(o.skipped, []).append(o.rule.code)
        elif o.checked.n and o.checked.n_left:
            said = f"{some(o.checked.n_left, o.checked.of)} not looked at"
            left.setdefault(f"{said}: {o.checked.why_left}" if o.checked.why_left else said, []).append(o.rule.code)
    for why, codes in skipped.items():
        yield "not checked: ", f"{', '.join(dict.fromkeys(codes))}: {why}"
    for said, codes in left.items():
        yield f"{', '.join(dict.fromkeys(codes))}: ", said
