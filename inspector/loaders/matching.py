"""What rules of several engines ask: one scale for several modules, scales that are missing, entries of a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from qinspect.inspector.loaders.cost import constant, fp4_error, requantized, rounding_loss
from qinspect.inspector.loaders.engine import Match
from qinspect.inspector.loaders.statement import NO_COST, Cost
from qinspect.inspector.loaders.stored import FP8
from qinspect.inspector.loaders.view import View
from qinspect.inspector.siblings import GATE_UP, Siblings, all_experts
from qinspect.inspector.text import some

Pick = Callable[[Sequence[float]], float]
CostOf = Callable[[float], Cost]
Rank = Callable[[float], float]
"""The larger, the worse."""


def first_of(steps: Sequence[float]) -> float:
    """That of gate, or of q."""
    return steps[0]


def another_constant(factor: float) -> Cost:
    """Of FP4 whose outer scale is not its own."""
    return constant(factor, fp4_error())


def _from_one(factor: float) -> float:
    return abs(math.log(factor))


def _error(factor: float) -> float:
    return abs(factor - 1)


def one_for_all(
    view: View, groups: Iterable[Siblings[str]], last: str, pick: Pick, cost_of: CostOf | None, inverted: bool = False,
    by: Rank | None = None,
) -> Match | None:  # fmt: skip
    """Groups in which one scale is used for all, and differs from a stored one. last: the entry that the scales are in;
    inverted: it holds one over them. pick: the scale that is used. cost_of: what a factor costs; None: it is another
    constant. by: a rank of factors, to find the worst; None: by how far they are from 1. Groups that lack a scale are
    left out; those with numbers that no scale can be, counted."""
    modules: list[str] = []
    factors: list[float] = []
    n = of = bad = 0
    named = set()
    stored = view.steps(last, inverted)
    for group in groups:
        present = group.members
        if not all(m in stored for m in present):
            continue
        of += 1
        named.add(group.names)
        known = [s for m in present if (s := stored[m]) is not None]
        if len(known) < len(present):
            bad += 1
            continue
        used = pick(known)
        other = [(m, used / s) for m, s in zip(present, known, strict=True) if s != used]
        if other:
            n += 1
            modules += [m for m, _ in other]
            factors += [f for _, f in other]
    noun = "pair" if named == {GATE_UP} else "fused group"
    return _made(modules, factors, n, of, noun, bad, cost_of, by=by)


def rounded_to_largest(view: View, groups: Iterable[Siblings[str]]) -> Match | None:
    """Groups of FP8 that is rounded again to the largest scale of each."""
    return one_for_all(view, groups, "weight_scale", max, requantized, by=rounding_loss)


def one_of_layer(
    view: View, last: str, modules: Sequence[str], cost_of: CostOf, inverted: bool = False
) -> Match | None:
    """Experts whose inputs are quantized by the largest scale of their layer: of gate and up one, of down another."""
    layers: dict[tuple[str, bool], list[tuple[str, float | None]]] = {}
    for module in modules:
        if view.has(module, last):
            down = module.endswith((".down_proj", ".w2"))
            layers.setdefault((all_experts(module), down), []).append((module, view.step(module, last, inverted)))
    found, factors, of, bad = [], [], 0, 0
    for members in layers.values():
        of += len(members)
        known = [(m, step) for m, step in members if step is not None]
        if len(known) < len(members):  # what the largest is then, is not known
            bad += len(members)
            continue
        used = max(step for _, step in known)
        found += [m for m, step in known if step != used]
        factors += [used / step for _, step in known if step != used]
    why = "of layers in which a scale is no positive number"
    return _made(found, factors, len(found), of, "expert projection", bad, cost_of, why)


def _made(
    modules: list[str], factors: list[float], n: int, of: int, noun: str, bad: int, cost_of: CostOf | None,
    why: str = "with a scale that is no positive number", by: Rank | None = None,
) -> Match | None:  # fmt: skip
    adds = (f"not known of {some(bad, noun)} {why}",) if bad else ()
    if not modules:
        return Match((), of, noun, 0, adds=adds, known=False) if bad else None
    rank = by or (_from_one if cost_of else _error)
    worst = max(range(len(factors)), key=lambda i: rank(factors[i]))
    cost = (cost_of or another_constant)(factors[worst])
    return Match(modules, of, noun, n, factors, modules[worst], cost, adds)


def lacking(view: View, modules: Sequence[str], *lasts: str, adds: tuple[str, ...] = ()) -> Match | None:
    """Modules that have none of these entries."""
    return listed(view.lacking(modules, *lasts), len(modules), adds=adds)


def listed(
    modules: Sequence[str], of: int, noun: str = "module", adds: tuple[str, ...] = (),
    cost: Callable[[], Cost] | None = None,
) -> Match | None:  # fmt: skip
    """These modules; None where there are none. cost: simulated only where there are some."""
    return Match(modules, of, noun, adds=adds, cost=cost() if cost else NO_COST) if modules else None


def unscaled_codes(
    view: View, modules: Sequence[str], of: int, last: str, of_format: Callable[[], float]
) -> Match | None:
    """Modules whose codes are used without their scale: too large by one over it. of_format: the error that the format
    has by itself, simulated only where there are some."""
    if not modules:
        return None
    factors = [None if (s := view.step(m, last, inverted=True)) is None else s for m in modules]
    known = [(abs(f - 1), f, m) for m, f in zip(modules, factors, strict=True) if f is not None]
    if not known:
        return Match(
            modules, of, "module", factors=factors, adds=("by how much is not known: scales are no single numbers",)
        )
    _, factor, worst = max(known)
    return Match(modules, of, "module", None, factors, worst, constant(factor, of_format()))


def inverse_scales(view: View) -> Match | None:
    """FP8 whose settings say that scales are stored as one over them."""
    if str(view.settings.get("weight_scale_semantics")).lower() != "inverse":
        return None
    modules = view.stored_so(*FP8)
    return listed(modules, len(modules), adds=("of each block by its stored scale, squared",))


def whole(applies: object, *adds: str) -> Match | None:
    """Of the whole checkpoint, where it applies."""
    return Match(adds=adds) if applies else None
