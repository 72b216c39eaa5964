"""A layer that is not as its neighbours are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Kind
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.roles import place_in_stack
from qinspect.inspector.siblings import expert_of
from qinspect.inspector.text import count, number, some


@rule(
    "S09", "unlike-neighbours", Severity.WARNING, Needs.SCALARS,
    why="The scales of one projection change slowly from layer to layer. One that leaps was made of other data, of a "
    "damaged weight, or of an outlier that now sets the step for all others. Trained models have a few such "
    "activations (the down_proj of early and last layers above all): then it is true, and more bits or a clip help.",
    threads=("Samsung/ONE#3047",),
    next="Compare the layer with the original (`qinspect fidelity`); look at its distribution in a calibration.",
    z=6.0, ratio=4.0, layers=8, neighbours=2,
)  # fmt: skip
def unlike_neighbours(subject: Subject, limits: Limits) -> Checked:
    """The scale of one projection leaps: against the layers beside it by more than six robust standard deviations of
    such steps, and four times at least."""
    table = subject.scales
    rows: dict[str, dict[int, int]] = {}
    for at in np.flatnonzero((table.value > 0) & np.isfinite(table.value)).tolist():
        record = table.records[at]
        stack, layer, kind = place_in_stack(record.role)
        if layer is not None and record.quantity.is_step and record.verified and expert_of(kind) is None:
            rows.setdefault(f"{stack}.*.{kind}", {})[layer] = at
    found: dict[Kind, list[Place]] = {}
    n = 0
    for by_layer in rows.values():
        if len(by_layer) < limits["layers"]:
            continue
        n += len(by_layer)
        layers = sorted(by_layer)
        places = [by_layer[layer] for layer in layers]
        for i, times, z in _leaps(np.log2(table.value[places]), limits):
            record = table.records[places[i]]
            said = f"{_times(times)} its neighbours', {z:.0f} standard deviations"
            place = Place(record.role, said, value=float(table.value[places[i]]), weight=abs(times))
            found.setdefault(record.kind, []).append(place)
    return Checked(n, "layer scale", tuple(_said(kind, places, n) for kind, places in found.items()))


def _leaps(logs: NDArray[np.float64], limits: Limits) -> list[tuple[int, float, float]]:
    """(place, log2 of the ratio to the median of its neighbours, robust z) of those that leap."""
    beside = int(limits["neighbours"])
    off = np.array([logs[i] - np.median(_around(logs, i, beside)) for i in range(len(logs))])
    spread = float(np.median(np.abs(off - np.median(off)))) * 1.4826
    z = np.abs(off) / max(spread, _LEAST_SPREAD)
    leaps = (z > limits["z"]) & (np.abs(off) >= math.log2(limits["ratio"]))
    return [(i, float(off[i]), float(z[i])) for i in np.flatnonzero(leaps).tolist()]


_LEAST_SPREAD = 0.02
"""Doublings. Where all scales are nearly one, a step is measured by this and not by nothing."""


def _around(logs: Sequence[float] | NDArray[np.float64], i: int, beside: int) -> list[float]:
    return [float(logs[j]) for j in range(max(0, i - beside), min(len(logs), i + beside + 1)) if j != i]


def _times(doublings: float) -> str:
    return f"{number(2**doublings)} times" if doublings >= 0 else f"1/{number(2**-doublings)} of"


def _said(kind: Kind, places: list[Place], n: int) -> Found:
    """Activations of sound models leap too: that is a note."""
    what = "scale of an activation" if kind is Kind.ACTIVATION else "scale of a weight"
    many = "scales of activations" if kind is Kind.ACTIVATION else "scales of weights"
    text = (
        f"{some(len(places), what, many)} of {count(n)} {'is' if len(places) == 1 else 'are'} unlike the layers beside"
    )
    return Found(
        text, tuple(places), {"scales": len(places), "of": n}, Severity.NOTE if kind is Kind.ACTIVATION else None
    )


RULES = (unlike_neighbours,)
