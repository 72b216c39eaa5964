"""Experts of a mixture that lack a scale, or have one that no calibration made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.experts.coverage import LayerExperts, ScaleColumn
from qinspect.inspector.experts.judged import MADE_BY_NONE
from qinspect.inspector.experts.states import STATES, State
from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.siblings import expert_of
from qinspect.inspector.text import count, dims, have, number, some

Which = NDArray[np.bool_]
"""Of the experts of a layer, in their order."""


def _checked(subject: Subject, found: Iterable[Found | None]) -> Checked:
    return Checked(subject.experts.n, "expert", tuple(f for f in found if f is not None))


def _found(places: list[Place], n: int, said: str, severity: Severity | None = None) -> Found | None:
    """said: behind `have`."""
    if not places:
        return None
    text = f"{some(len(places), 'expert')} of {count(n)} {have(len(places))} {said}"
    return Found(text, tuple(places), {"experts": len(places), "of": n}, severity)


def _places(
    layers: Iterable[LayerExperts], fits: Callable[[ScaleColumn], Which], said: Callable[[ScaleColumn, int], str]
) -> list[Place]:
    """A place for each expert that has scales that fit. fits: which experts of a column; said: of one of them."""
    places: list[Place] = []
    for layer in layers:
        of: dict[int, list[str]] = {}
        for column in layer.columns:
            for at in np.flatnonzero(fits(column)).tolist():
                of.setdefault(at, []).append(said(column, at))
        places.extend(Place(f"{layer.layer}.experts.{layer.numbers[at]}", ", ".join(of[at])) for at in sorted(of))
    return places


@rule(
    "G04", "expert-lacks-scale", Severity.ERROR, Needs.SCALARS, Needs.WHOLE,
    why="An engine loads all experts of a layer into one tensor, and does not say that a number was not there: it may "
    "be what memory held, 0, or 1. The failure then depends on which experts a prompt reaches.",
    threads=("vllm#45212", "vllm#52501", "sglang#23625"),
    next="Calibrate with data that reach every expert (or with all experts for every token), and quantize again.",
)  # fmt: skip
def expert_lacks_scale(subject: Subject, limits: Limits) -> Checked:
    """An expert lacks a scale that its siblings have, or that the settings promise."""
    missing = State.MISSING.rank

    def some_have(column: ScaleColumn) -> Which:
        lacks: Which = column.states == missing
        return lacks & (not lacks.all())

    def none_has(column: ScaleColumn) -> Which:
        lacks: Which = column.states == missing
        return lacks & lacks.all()

    layers, n = subject.experts.layers, subject.experts.n
    return _checked(subject, (
        _found(_places(layers, some_have, _name), n, "no scale where their siblings have one"),
        _found(_places(layers, none_has, _name), n, "no input scale, though the settings say that one is stored"),
    ))  # fmt: skip


def _name(column: ScaleColumn, at: int) -> str:
    return f"no {column.name}"


@rule(
    "G05", "cold-expert", Severity.ERROR, Needs.SCALARS,
    why="An expert that saw no token of the calibration has no range. What is stored is then a default, or what memory "
    "held. Engines that keep one input scale for all experts of a layer take the largest: infinity and the like spoil "
    "the whole layer. A scale that is too small clips its own expert; one that is too large costs nothing in FP4 with "
    "scales of blocks, and bits in other formats.",
    threads=("vllm#45212", "sglang#24321", "Model-Optimizer#831", "Model-Optimizer#1142"),
    next="Calibrate with data that reach every expert (or with all experts for every token), and quantize again.",
)  # fmt: skip
def cold_expert(subject: Subject, limits: Limits) -> Checked:
    """The input scale of an expert is one that no calibration makes (zero, negative, not finite, beyond all
    activations), a default among siblings that have none, or far from that of its siblings."""
    layers, n = subject.experts.layers, subject.experts.n
    broken = [State.ZERO.rank, State.NEGATIVE.rank, State.NOT_FINITE.rank]

    def made_by_none(column: ScaleColumn) -> Which:
        return _of_inputs(column, np.isin(column.states, broken) | (_outlying(column) & _absurd(column.values)))

    def default(column: ScaleColumn) -> Which:
        return _of_inputs(column, column.states == State.DEFAULT.rank)

    def far(column: ScaleColumn) -> Which:
        return _of_inputs(column, _outlying(column) & ~_absurd(column.values))

    worst = _places(layers, made_by_none, _value)
    told = {place.key for place in worst}
    others = [
        (_places(layers, default, _value), "an input scale of exactly 1, a default"),
        (_places(layers, far, _ratio), "an input scale far from that of their siblings"),
    ]
    return _checked(subject, (
        _found(worst, n, "an input scale that no calibration makes: they saw no token"),
        *(_found([p for p in places if p.key not in told], n, said, Severity.WARNING) for places, said in others),
    ))  # fmt: skip


def _of_inputs(column: ScaleColumn, which: Which) -> Which:
    return which & column.of_input


def _outlying(column: ScaleColumn) -> Which:
    found: Which = column.states == State.OUTLYING.rank
    return found


def _absurd(values: NDArray[np.float64]) -> Which:
    return (values < MADE_BY_NONE[0]) | (values > MADE_BY_NONE[1])


def _value(column: ScaleColumn, at: int) -> str:
    state = STATES[int(column.states[at])]
    value = number(float(column.values[at]))
    return f"{column.name} {value}" + (f" ({state})" if state is not State.NOT_FINITE else "")


def _ratio(column: ScaleColumn, at: int) -> str:
    value = float(column.values[at])
    said = (
        f"{number(value / column.middle)} times" if value > column.middle else f"1/{number(column.middle / value)} of"
    )
    return f"{column.name} {said} the median {number(column.middle)}"


@rule(
    "G06", "dead-expert", Severity.WARNING, Needs.SCALARS,
    why="All scales of a projection are 0, so the expert gives nothing whatever goes in. It may have been pruned; or "
    "its range was never taken.",
    threads=("Model-Optimizer#831", "Model-Optimizer#1142", "Model-Optimizer#1560"),
    next="Compare with the original's weights of this expert: zeros there are right here.",
)  # fmt: skip
def dead_expert(subject: Subject, limits: Limits) -> Checked:
    """All scales of a weight of an expert are zero, those of its siblings are not."""

    def dead(column: ScaleColumn) -> Which:
        zero: Which = column.states == State.ZERO.rank
        return zero & (not column.of_input and not zero.all())

    places = _places(subject.experts.layers, dead, _value)
    return _checked(subject, [_found(places, subject.experts.n, "weights that are zero")])


@rule(
    "G07", "expert-of-another-shape", Severity.ERROR, Needs.HEADERS,
    why="An engine loads all experts of a layer into one tensor, which has room for one shape: it refuses the model, "
    "or fills a part of it.",
    next="Look for these experts in the original, and quantize them again where they were cut.",
)  # fmt: skip
def expert_of_another_shape(subject: Subject, limits: Limits) -> Checked:
    """A quantized weight of an expert has another shape than those of most of its siblings."""
    kinds: dict[tuple[str, str], list[tuple[str, tuple[int, ...]]]] = {}
    for weight in subject.fmt.weights():
        expert = expert_of(weight.role.removesuffix(".weight")) if len(weight.shape) == 2 else None
        if expert is not None:
            kinds.setdefault((expert.layer, expert.name), []).append((weight.role, weight.shape))
    n, places = sum(map(len, kinds.values())), []
    for of_kind in kinds.values():
        shapes = Counter(shape for _, shape in of_kind)
        if len(shapes) > 1:
            usual = shapes.most_common(1)[0][0]
            said = f"where most have {dims(usual)}"
            places += [Place(role, f"{dims(shape)}, {said}") for role, shape in of_kind if shape != usual]
    found = []
    if places:
        text = f"{some(len(places), 'weight')} of {count(n)} of experts {have(len(places))} another shape than siblings"
        found.append(Found(text, tuple(places), {"weights": len(places), "of": n}))
    return Checked(n, "weight of an expert", tuple(found))


RULES = (expert_lacks_scale, cold_expert, dead_expert, expert_of_another_shape)
