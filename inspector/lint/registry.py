"""All rules, in the order of their codes."""

from __future__ import annotations

from functools import cache

from qinspect.inspector.lint.rule import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule."""
    from qinspect.inspector.lint.rules import clipping, codes, copies, defaults, experts, groups
    from qinspect.inspector.lint.rules import inverse, layers, scales, structure, zero_points

    themes = (
        *(structure, scales, defaults, inverse, layers, groups, experts, zero_points, codes, copies, clipping),
    )  # fmt: skip
    return tuple(sorted((rule for theme in themes for rule in theme.RULES), key=lambda rule: rule.code))
