"""All rules, in the order of their codes."""

from __future__ import annotations

from functools import cache

from qinspect.inspector.lint.rule import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule."""
    from qinspect.inspector.lint.rules import clipping, defaults, experts, groups, inverse, layers, scales

    themes = (scales, defaults, inverse, layers, groups, experts, clipping)
    return tuple(sorted((rule for theme in themes for rule in theme.RULES), key=lambda rule: rule.code))
