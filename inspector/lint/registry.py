"""All rules, in the order of their codes."""

from __future__ import annotations

from functools import cache

from qinspect.inspector.lint.rule import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule."""
    from qinspect.inspector.lint.rules import (
        claims,
        clipping,
        codes,
        copies,
        declared,
        defaults,
        experts,
        files,
        groups,
        inverse,
        layers,
        modules,
        pairs,
        runs,
        scales,
        structure,
        zero_points,
    )

    themes = (
        *(files, structure, modules, scales, defaults, inverse, layers, groups, experts, zero_points, codes, copies),
        *(declared, claims, pairs, runs, clipping),
    )  # fmt: skip
    return tuple(sorted((rule for theme in themes for rule in theme.RULES), key=lambda rule: rule.code))
