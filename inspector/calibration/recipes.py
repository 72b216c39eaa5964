"""Which rule makes the scale of which observation point, and whether alpha reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qinspect.inspector.calibration.points import Point
from qinspect.inspector.observers import Absmax, Quantile, Rule, quamba_absmax, quamba_percentile

PERCENTILE_POINTS = ("x_proj:input", "x_conv_out:input", "ssm_state_act:input")
"""Where Quamba's percentile observers are: Mamba's x_proj, Mamba2's x_conv_out, and both's state."""

GROUPED_POINTS = ("x_conv_out:input", "B_conv_out:input", "C_conv_out:input", "ssm_state_act:input")
"""Where Quamba2 with group heads has a scale for each group."""

Grouping = Literal["", "groups", "heads"]
"""`groups`: one scale for each SSD group. `heads`: one for each of 4 x 4 blocks of heads and channels of a group."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The rule of a point. alpha: what reached it, None where the rule has none. grouping: how the point is divided."""

    rule: Rule
    alpha: float | None
    grouping: Grouping = ""

    @property
    def per_sample(self) -> bool:
        """Whether the rule needs a table of every sample: others can be had from the pooled one."""
        return self.alpha is not None and self.rule.reducer != "pooled"


def default_recipe(is_mamba: bool) -> str:
    """What a model is calibrated with where nothing is said."""
    return "quamba" if is_mamba else "percentile"


def rotates(recipe: str) -> bool:
    """Whether a recipe calibrates the model in Hadamard space."""
    return recipe.startswith("quamba")


def applied(recipe: str, point: Point, alpha: float) -> Applied:
    """What a recipe does at a point. Raises ValueError for an unknown recipe."""
    name = point.name.rsplit(".", 1)[-1]
    arithmetic = "float32" if point.dtype == "float32" else point.dtype
    absmax = Applied(quamba_absmax(arithmetic), None)  # type: ignore[arg-type]
    if recipe == "quamba":
        return Applied(quamba_percentile(alpha), alpha) if name in PERCENTILE_POINTS else absmax
    if recipe == "quamba-group-heads":
        if name not in GROUPED_POINTS:
            return absmax
        if name[0] in "BC":
            return Applied(absmax.rule, None, "groups")
        return Applied(quamba_absmax("float32"), None, "heads")  # Quamba's observers over heads take float32
    if recipe == "percentile":
        is_linear_input = name.endswith(":input")
        return Applied(Rule(Quantile(alpha, "float64"), "pooled"), alpha) if is_linear_input else absmax
    if recipe == "minmax":
        return Applied(Rule(Absmax(1e-5), "max"), None)
    raise ValueError(f"there is no recipe {recipe}")


def short(alpha: float) -> str:
    """An alpha in as few digits as tell it from every other: a name of two would be taken for one."""
    return f"{alpha:g}" if float(f"{alpha:g}") == alpha else repr(alpha)


def reach(recipe: str, points: Sequence[Point], alpha: float) -> tuple[int, str]:
    """How many points an alpha reaches, and a sentence about it: a warning where it reaches none."""
    n = sum(applied(recipe, p, alpha).alpha is not None for p in points)
    if n:
        return n, f"alpha {short(alpha)} reached {n} of {len(points)} points"
    why = {"quamba-group-heads": "group heads use min-max", "minmax": "min-max has none"}.get(recipe, "no rule has one")
    return 0, f"alpha {short(alpha)} reached 0 of {len(points)} points: {why}"
