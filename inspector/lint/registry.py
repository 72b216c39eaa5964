"""All rules, in the order of their codes."""

from __future__ import annotations

from functools import cache

from qinspect.inspector.lint.rule import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule."""
    from qinspect.inspector.lint.rules import codes, copies, groups, scales, structure, zero_points

    return (*structure.RULES, *scales.RULES, *groups.RULES, *zero_points.RULES, *codes.RULES, *copies.RULES)
