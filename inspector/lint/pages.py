"""Rules as text: `qinspect lint --explain`, and the table in docs/lint.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qinspect.inspector.lint.rule import Needs, Rule, Theme
from qinspect.inspector.text import number

_THEMES = {
    Theme.FILES: "Files",
    Theme.STRUCTURE: "Structure",
    Theme.SCALES: "Scales",
    Theme.GROUPS: "Weights that are loaded as one",
    Theme.CODES: "Codes",
    Theme.DECLARED: "What is declared",
    Theme.PAIRS: "Beside another checkpoint or a run",
}


def explained(rule: Rule) -> list[tuple[str, str]]:
    """(label, sentence) of all that there is to say of a rule; labels are "" or end in a colon."""
    parts = [("", f"{rule.code} {rule.name}: {rule.severity}"), ("looks for:", rule.summary), ("why:", rule.why)]
    if rule.threads:
        parts.append(("reported in:", ", ".join(rule.threads)))
    parts.append(("next:", rule.next))
    parts.append(("needs:", needs_said(rule.needs)))
    if rule.limits:
        parts.append(("limits:", ", ".join(f"{name} = {number(value)}" for name, value in rule.limits.items())))
    return parts


def needs_said(needs: Sequence[Needs]) -> str:
    """`scalars`, `codes, base model`."""
    return ", ".join(needs)


def rules_page(rules: Sequence[Rule]) -> str:
    """The part of docs/lint.md that lists the rules: by theme, a table each."""
    return "\n".join(_page(rules))


def _page(rules: Sequence[Rule]) -> Iterator[str]:
    for theme, title in _THEMES.items():
        of_theme = [r for r in rules if r.theme is theme]
        if not of_theme:
            continue
        yield f"### {title}"
        yield ""
        yield "| code | name | severity | looks for | why, and where it was reported | next | needs |"
        yield "|---|---|---|---|---|---|---|"
        for r in of_theme:
            threads = f" ({', '.join(r.threads)})" if r.threads else ""
            limits = "".join(f"; `{name}` = {number(value)}" for name, value in r.limits.items())
            cells = (r.code, f"`{r.name}`", r.severity, f"{r.summary}", f"{r.why}{threads}", r.next)
            yield f"| {' | '.join(c.replace('|', chr(92) + '|') for c in cells)} | {needs_said(r.needs)}{limits} |"
        yield ""
