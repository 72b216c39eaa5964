"""One over the scale where the scale is meant, or the other way round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Quantity
from qinspect.inspector.lint.reach import Reach
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.rows import column
from qinspect.inspector.text import are, count, number, some

_THREADS = ("TransformerEngine#123", "zml#698", "TensorRT-LLM#16447", "vllm#47515")
_WHY = (
    "Some libraries store a scale, some one over it, under names that are the same or nearly. Read the wrong way "
    "round, every value of the tensor is off by the square of the scale, and the model says nothing that makes sense. "
    "Of two levels of scales it is the outer one, as a rule."
)
_NEXT = "Find out which library wrote the file, and with which version: convert the scales, or name the right one."


@dataclass(frozen=True, slots=True)
class _Turned:
    """What may stand the wrong way round. name: `scale`. scale: float64, of each weight; NaN where it has none."""

    name: str
    scale: NDArray[np.float64]


def _turned(reach: Reach) -> tuple[_Turned, _Turned]:
    """All that there is of one level; of two levels the outer one, since that of blocks is in eight bits."""
    alone = np.where(np.isnan(reach.outer), reach.scale, np.nan)
    return _Turned("scale", alone), _Turned("outer scale", reach.outer)


@rule(
    "S07", "inverse-alone", Severity.ERROR, Needs.SCALARS, why=_WHY, threads=_THREADS, next=_NEXT,
    largest=100.0, least=1e-3, likely=50.0,
)  # fmt: skip
def inverse_alone(subject: Subject, limits: Limits) -> Checked:
    """By its scales a weight reaches to more than 100, which trained weights do not, and by one over its scale, or over
    the outer of two, to where they do (0.001 to 50)."""
    reach = subject.reach
    places = tuple(
        Place(reach.weights[i].role,
              f"up to {number(float(reach.reach[i]))}; one over the {turned.name}: {number(float(other))}",
              value=float(turned.scale[i]), weight=float(reach.reach[i]))
        for turned in _turned(reach)
        for i, other in enumerate((reach.reach / turned.scale**2).tolist())
        if reach.reach[i] > limits["largest"] and limits["least"] < other < limits["likely"]
    )  # fmt: skip
    found: tuple[Found, ...] = ()
    if places:
        n = len(reach.weights)
        text = (
            f"{some(len(places), 'weight')} of {count(n)} {'reaches' if len(places) == 1 else 'reach'} further than "
            "trained weights do, and would not with one over a scale of theirs"
        )
        severity = None if 2 * len(places) >= n else Severity.WARNING  # a few weights may be what they seem
        found = (Found(text, places, {"weights": len(places), "of": n}, severity),)
    return Checked(len(reach.weights), "weight", found)


@rule(
    "P10", "inverse-of-original", Severity.ERROR, Needs.SCALES, Needs.BASE, why=_WHY, threads=_THREADS, next=_NEXT,
    near=2.0, apart=8.0,
)  # fmt: skip
def inverse_of_original(subject: Subject, limits: Limits) -> Checked:
    """Beside the original: the largest value that scale and codes stand for is not the original's, and with one over
    the scale, or over the outer of two, it is."""
    originals = subject.originals
    known, reach = originals.known, originals.reach
    ratio = reach.reach[known] / originals.largest[known]
    weights = [reach.weights[i] for i in np.flatnonzero(known).tolist()]
    places = tuple(
        Place(weights[i].role,
              f"{number(float(ratio[i]))} times the original; one over the {turned.name}: {number(other)}",
              value=float(turned.scale[known][i]), weight=_apart(float(ratio[i])))
        for turned in _turned(reach)
        for i, other in enumerate((ratio / turned.scale[known] ** 2).tolist())
        if _apart(float(ratio[i])) > limits["apart"] and _apart(other) < limits["near"]
    )  # fmt: skip
    found: tuple[Found, ...] = ()
    if places:
        text = f"{some(len(places), 'weight')} of {count(len(weights))} fit the original with one over a scale only"
        found = (Found(text, places, {"weights": len(places), "of": len(weights)}),)
    left = len(reach.weights) - len(weights)
    return Checked(len(weights), "weight", found, left, "the original has no such weight" if left else "")


def _apart(ratio: float) -> float:
    """How many times two numbers are apart, 1 or more; NaN where that is not known, and so neither near nor far."""
    return max(ratio, 1 / ratio) if ratio > 0 else float("nan")


@rule(
    "P11", "inverse-of-other", Severity.ERROR, Needs.SCALARS, Needs.OTHER, why=_WHY, threads=_THREADS, next=_NEXT,
    near=1.25, apart=4.0,
)  # fmt: skip
def inverse_of_other(subject: Subject, limits: Limits) -> Checked:
    """Beside another checkpoint of the model: its scales are one over these, pair by pair."""
    table, theirs = subject.scales, subject.other_scales
    at_other = {role: place for place, role in enumerate(column(theirs.records, "role"))}
    alone = np.flatnonzero((table.value > 0) & np.isfinite(table.value)).tolist()
    pairs = [
        (at, float(table.value[at]), float(theirs.value[at_other[role]]))
        for at in alone
        if (role := table.records[at].role) in at_other and table.records[at].quantity is not Quantity.ZERO_POINT
    ]
    pairs = [(at, a, b) for at, a, b in pairs if b > 0 and np.isfinite(b)]
    inverse = [
        (at, a, b) for at, a, b in pairs
        if max(a / b, b / a) > limits["apart"] and max(a * b, 1 / (a * b)) < limits["near"]
    ]  # fmt: skip
    found: tuple[Found, ...] = ()
    if inverse:
        text = f"{some(len(inverse), 'scale')} of {count(len(pairs))} in both {are(len(inverse))} one over the other's"
        places = tuple(
            Place(table.records[at].role, f"{number(a)} here, {number(b)} there", value=a) for at, a, b in inverse
        )
        found = (Found(text, places, {"scales": len(inverse), "of": len(pairs)}),)
    return Checked(len(pairs), "scale pair", found)


RULES = (inverse_alone, inverse_of_original, inverse_of_other)
