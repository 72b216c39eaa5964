"""Scales of weights that an engine loads as one: q, k and v, gate and up, experts."""

from __future__ import annotations

import math
from statistics import median

import numpy as np

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.siblings import Siblings, siblings
from qinspect.inspector.text import count, number


@rule(
    "G01", "unequal-globals", Severity.WARNING, Needs.SCALARS,
    why="Engines that load these weights as one keep one number for all: the shards whose own number is another are "
    "off by the ratio. They warn once, or not at all; a model of 12,384 such pairs emitted corrupted tokens for weeks.",
    threads=("vllm#54974", "vllm#54150", "vllm#47515", "TensorRT-LLM#15762", "auto-round#2379"),
    next="Make one global scale of each group before the weights are quantized; `qinspect loaders` says which engine "
    "takes which number.",
    ratio=1.0,
)  # fmt: skip
def unequal_globals(subject: Subject, limits: Limits) -> Checked:
    """Weights that are loaded as one have a scale of the whole tensor each, and these are not equal."""
    table, outer = subject.scales, subject.outer_scales
    groups = siblings((place, module) for module, place in outer.items())
    apart: dict[str, list[tuple[float, Siblings]]] = {}
    n_of: dict[str, int] = {}
    for group in groups:
        values = table.value[list(group.places)]
        if not (np.isfinite(values).all() and (values > 0).all()):
            continue  # told by the rules of numbers
        kind = f"{group.kind}{' pairs of experts' if group.of_experts else ' groups'}"
        n_of[kind] = n_of.get(kind, 0) + 1
        ratio = float(values.max() / values.min())
        if ratio > limits["ratio"]:
            apart.setdefault(kind, []).append((ratio, group))
    found = tuple(_apart(subject, kind, groups, n_of[kind]) for kind, groups in apart.items())
    return Checked(sum(n_of.values()), "group of weights", found, len(groups) - sum(n_of.values()))


def _apart(subject: Subject, kind: str, groups: list[tuple[float, Siblings]], n: int) -> Found:
    ratios = [ratio for ratio, _ in groups]
    worst, at = max(groups, key=lambda found: found[0])
    middle = median(ratios)
    text = (
        f"{count(len(groups))} of {count(n)} {kind} have unequal scales, median {times(middle)}, worst {times(worst)} "
        f"at {at.module}"
    )
    places = tuple(Place(g.module, f"{times(ratio)}: {_each(subject, g)}", weight=ratio) for ratio, g in groups)
    return Found(text, places, {"groups": len(groups), "of": n, "median": middle, "worst": worst})


def _each(subject: Subject, group: Siblings) -> str:
    """`gate_proj 0.00046, up_proj 0.00025`."""
    values = subject.scales.value
    named = zip(group.names, group.places, strict=True)
    return ", ".join(f"{name} {number(float(values[place]))}" for name, place in named)


def times(ratio: float) -> str:
    """`10.0x`; of ratios near one as many digits as show that they are not."""
    if ratio >= 2 or ratio <= 1:
        return f"{ratio:.1f}x"
    return f"{ratio:.{max(2, min(6, 1 - math.floor(math.log10(ratio - 1))))}f}x"


RULES = (unequal_globals,)
