"""All rules, in the order of their codes."""

from __future__ import annotations

from functools import cache

from qinspect.inspector.lint.rule import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule."""
    from qinspect.inspector.lint.rules import claims, declared, files, groups, pairs, runs, scales

    return (*files.RULES, *scales.RULES, *groups.RULES, *declared.RULES, *claims.RULES, *pairs.RULES, *runs.RULES)
