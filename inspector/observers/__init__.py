"""How a scale comes out of distributions: rules, replayed from stored tables at any setting, without the model.

points.py the named places in a forward pass. rule.py a rule: statistic, reducer, map, and the inverse of all three.
registry.py the rules that have a name. recipes.py which of them makes the scale of which point. groups.py a scale a
group.

Tables are in `inspector/distribution`, calibrations that stored some in `inspector/calibration`: neither is known here
what a scale is for, nor where a table came from.
"""

from qinspect.inspector.observers.groups import group_tables, grouped
from qinspect.inspector.observers.points import Point
from qinspect.inspector.observers.recipes import RECIPES, Applied, Recipe, applied
from qinspect.inspector.observers.registry import RULES, NamedRule, current, quamba_absmax, quamba_percentile
from qinspect.inspector.observers.rule import (
    CLAMP,
    ROOM_ULPS,
    Absmax,
    Arithmetic,
    Ema,
    EntropyOptimal,
    MseOptimal,
    Quantile,
    Rule,
)

__all__ = [
    "CLAMP",
    "RECIPES",
    "ROOM_ULPS",
    "RULES",
    "Absmax",
    "Applied",
    "Arithmetic",
    "Ema",
    "EntropyOptimal",
    "MseOptimal",
    "NamedRule",
    "Point",
    "Quantile",
    "Recipe",
    "Rule",
    "applied",
    "current",
    "group_tables",
    "grouped",
    "quamba_absmax",
    "quamba_percentile",
]
