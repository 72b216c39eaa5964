"""Weights whose scales ask for less than the original has."""

from __future__ import annotations

import numpy as np

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.roles import place_in_stack
from qinspect.inspector.text import count, number, some


@rule(
    "P12", "one-layer-clips", Severity.WARNING, Needs.SCALES, Needs.BASE,
    why="A scale at half of what the largest value asks for clips that value to half. Where all weights do so, the "
    "method searches its scales, and chose it; where one layer does, something happened to that layer.",
    threads=("Model-Optimizer PR#1382",),
    next="Quantize this layer again; `qinspect fidelity ORIGINAL A` says what the clipping costs.",
    clips=0.5, holds=0.8, share=0.1, layers=4,
)  # fmt: skip
def one_layer_clips(subject: Subject, limits: Limits) -> Checked:
    """In one layer, scales reach to half of the original's largest value or less, while those of the other layers
    reach to all of it."""
    originals = subject.originals
    known = np.flatnonzero(originals.known).tolist()
    ratio = originals.reach.reach / originals.largest
    by_kind: dict[str, list[tuple[int, float]]] = {}
    for i in known:
        stack, layer, kind = place_in_stack(originals.reach.weights[i].role)
        if layer is not None:
            by_kind.setdefault(f"{stack}.*.{kind}", []).append((i, float(ratio[i])))
    places, n = list[Place](), 0
    for found in by_kind.values():
        if len(found) < limits["layers"]:
            continue
        n += len(found)
        clipping = [(i, r) for i, r in found if r <= limits["clips"]]
        others = [r for _, r in found if r > limits["clips"]]
        if clipping and len(clipping) <= max(1, limits["share"] * len(found)) and min(others) >= limits["holds"]:
            places.extend(
                Place(originals.reach.weights[i].role, f"{number(r)} of the original's largest value", weight=1 / r)
                for i, r in clipping
            )
    result: tuple[Found, ...] = ()
    if places:
        clip = "clips" if len(places) == 1 else "clip"
        text = f"{some(len(places), 'weight')} of {count(n)} {clip} at half of the original or below"
        result = (Found(text, tuple(places), {"weights": len(places), "of": n}),)
    left = len(originals.reach.weights) - len(known)
    return Checked(n, "weight", result, left, "the original has no such weight" if left else "")


RULES = (one_layer_clips,)
