"""Which rule makes the scale of which observation point, and whether alpha reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from qinspect.inspector.observers.points import Point
from qinspect.inspector.observers.registry import RULES
from qinspect.inspector.observers.rule import Rule

PERCENTILE_POINTS = ("x_proj:input", "x_conv_out:input", "ssm_state_act:input")
"""Where Quamba's percentile observers are: Mamba's x_proj, Mamba2's x_conv_out, and both's state."""

GROUPED_POINTS = ("x_conv_out:input", "B_conv_out:input", "C_conv_out:input", "ssm_state_act:input")
"""Where Quamba2 with group heads has a scale for each group."""

Grouping = Literal["", "groups", "heads"]
"""`groups`: one scale for each SSD group. `heads`: one for each of 4 x 4 blocks of heads and channels of a group."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A rule at a point. name: of RULES. alpha: what reached it, None where the rule has none. grouping: how the point
    is divided."""

    name: str
    rule: Rule
    alpha: float | None
    grouping: Grouping = ""

    @classmethod
    def of(
        cls, name: str, alpha: float | None, bits: int = 8, dtype: str = "float32", grouping: Grouping = ""
    ) -> Applied:
        """The rule of a name. alpha: left out where it has none."""
        named = RULES[name]
        if alpha is None or not named.takes_alpha:
            return cls(name, named.at(bits=bits, dtype=dtype), None, grouping)
        return cls(name, named.at(alpha, bits, dtype), alpha, grouping)

    @property
    def per_sample(self) -> bool:
        """Whether the rule needs a table of every sample: others can be had from the pooled one."""
        return RULES[self.name].per_sample


@dataclass(frozen=True, slots=True)
class Recipe:
    """Rules for all points of a model. at: the rule of a point at an alpha. rotates: whether the model is calibrated in
    Hadamard space. without_alpha: why an alpha reaches nothing, "" where it reaches something."""

    name: str
    at: Callable[[Point, float], Applied]
    rotates: bool = False
    without_alpha: str = ""


def _quamba(point: Point, alpha: float) -> Applied:
    return Applied.of("ema", alpha) if _place(point) in PERCENTILE_POINTS else _absmax(point, alpha)


def _group_heads(point: Point, alpha: float) -> Applied:
    place = _place(point)
    if place not in GROUPED_POINTS:
        return _absmax(point, alpha)
    if place[0] in "BC":
        return Applied.of("absmax", None, dtype=point.dtype, grouping="groups")
    return Applied.of("absmax", None, grouping="heads")  # Quamba's observers over heads take float32


def _percentile(point: Point, alpha: float) -> Applied:
    return Applied.of("pooled", alpha) if point.name.endswith(":input") else _absmax(point, alpha)


def _absmax(point: Point, _alpha: float) -> Applied:
    return Applied.of("absmax", None, dtype=point.dtype)


def _minmax(_point: Point, _alpha: float) -> Applied:
    return Applied.of("absmax", None)


def _place(point: Point) -> str:
    return point.name.rsplit(".", 1)[-1]


RECIPES = {
    r.name: r
    for r in (
        Recipe("quamba", _quamba, rotates=True),
        Recipe("quamba-group-heads", _group_heads, rotates=True, without_alpha="group heads use min-max"),
        Recipe("percentile", _percentile),
        Recipe("minmax", _minmax, without_alpha="min-max has none"),
    )
}
"""By name, in the order in which they are listed."""


def default_recipe(is_mamba: bool) -> str:
    """What a model is calibrated with where nothing is said."""
    return "quamba" if is_mamba else "percentile"


def rotates(recipe: str) -> bool:
    """Whether a recipe calibrates the model in Hadamard space."""
    return RECIPES[recipe].rotates


def applied(recipe: str, point: Point, alpha: float) -> Applied:
    """What a recipe does at a point. Raises ValueError for an unknown recipe."""
    if recipe not in RECIPES:
        raise ValueError(f"there is no recipe {recipe}")
    return RECIPES[recipe].at(point, alpha)


def short(alpha: float) -> str:
    """An alpha in as few digits as tell it from every other: a name of two would be taken for one."""
    return f"{alpha:g}" if float(f"{alpha:g}") == alpha else repr(alpha)


def reach(recipe: str, points: Sequence[Point], alpha: float) -> tuple[int, str]:
    """How many points an alpha reaches, and a sentence about it: a warning where it reaches none."""
    n = sum(applied(recipe, p, alpha).alpha is not None for p in points)
    if n:
        return n, f"alpha {short(alpha)} reached {n} of {len(points)} points"
    why = RECIPES[recipe].without_alpha or "no rule has one"
    return 0, f"alpha {short(alpha)} reached 0 of {len(points)} points: {why}"
