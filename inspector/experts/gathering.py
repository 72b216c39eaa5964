"""The experts of a checkpoint, of its records and their numbers.

Told by roles, which are the same whatever library saved the model, and whether it saved each expert apart or all of a
layer as one entry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.experts.coverage import Column, Coverage, LayerExperts, Numbers, States
from qinspect.inspector.experts.judged import DEFAULT, judged
from qinspect.inspector.experts.states import State
from qinspect.inspector.formats import Format
from qinspect.inspector.progress import Steps
from qinspect.inspector.roles import common_spelling
from qinspect.inspector.rows import column
from qinspect.inspector.values.scale_table import ScaleTable, read_scales

_OF_ONE = re.compile(r"(?:(.*)\.)?experts\.(\d{1,6})\.(.+)")
_OF_ALL = re.compile(r"(?:(.*)\.)?experts\.([^\d.][^.]*[.:].+)")
_WORDS = ("experts.", "switch_mlp.")
"""One of these is in every role of an expert. `shared_experts` are no experts: all tokens see them."""


def coverage_of(fmt: Format, everything: bool = True, steps: Steps | None = None) -> Coverage:
    """The experts of a checkpoint. everything: scales of blocks are read too. steps may raise to cancel."""
    return coverage(fmt, read_scales(fmt, everything, steps))


def coverage(fmt: Format, table: ScaleTable) -> Coverage:
    """The same, of scales that were read."""
    layers: dict[str, _Layer] = {}
    places = [p for p, role in enumerate(column(table.records, "role")) if _note(layers, role, p)]
    for problem in fmt.problems():
        _note_damaged(layers, fmt.role_of(problem.key))
    if layers:
        _note_others(layers, fmt)
    made = tuple(_made(fmt, table, name, layer) for name, layer in layers.items() if layer.numbers)
    return Coverage(made, int(sum(not table.read[p] for p in places)))


@dataclass
class _Layer:
    """One layer. of_one: by what records are called inside an expert, the place of each expert's. of_all: place of a
    record that all experts have together. numbers: of its experts. damaged: numbers and projections whose tensors do
    not fit together."""

    of_one: dict[str, dict[int, int]] = field(default_factory=dict)
    of_all: dict[str, int] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    damaged: set[tuple[int, str]] = field(default_factory=set)


def _note(layers: dict[str, _Layer], role: str, place: int) -> bool:
    """Note a record, where it is one of an expert, or of all of a layer. Whether it is."""
    spelled = _spelled(role)
    if found := _OF_ONE.fullmatch(spelled):
        layer = layers.setdefault(found[1] or "", _Layer())
        layer.numbers.add(int(found[2]))
        layer.of_one.setdefault(found[3], {})[int(found[2])] = place
    elif found := _OF_ALL.fullmatch(spelled):
        layers.setdefault(found[1] or "", _Layer()).of_all[found[2]] = place
    return found is not None


def _note_damaged(layers: dict[str, _Layer], role: str) -> None:
    """Note an entry at fault, where it is one of an expert."""
    if found := _OF_ONE.fullmatch(_spelled(role)):
        layer, projection = layers.setdefault(found[1] or "", _Layer()), _projection(found[3])
        layer.numbers.add(int(found[2]))
        layer.damaged.add((int(found[2]), projection))
        if not any(_projection(inside) == projection for inside in layer.of_one):
            layer.of_one[f"{projection}.weight"] = {}


def _note_others(layers: dict[str, _Layer], fmt: Format) -> None:
    """Note experts that are not quantized, in layers where others are; and scales that settings promise."""
    for role in fmt.roles_of([name for name, _ in fmt.other_forms()]):
        found = _OF_ONE.fullmatch(_spelled(role))
        if found and (layer := layers.get(found[1] or "")):
            layer.numbers.add(int(found[2]))
    for role in fmt.absent_scales():
        found = _OF_ONE.fullmatch(_spelled(role))
        if found and (layer := layers.get(found[1] or "")):
            layer.of_one.setdefault(found[3], {})


def _spelled(role: str) -> str:
    """A role as the expressions have it; "" of what is no expert's for certain, which most are."""
    return common_spelling(role) if any(word in role for word in _WORDS) else ""


def _projection(inside: str) -> str:
    return re.split(r"[.:]", inside, maxsplit=1)[0]


def _made(fmt: Format, table: ScaleTable, name: str, layer: _Layer) -> LayerExperts:
    numbers = tuple(sorted(layer.numbers))
    columns = [_of_one(fmt, table, inside, layer, numbers) for inside in layer.of_one]
    columns.extend(_of_all(fmt, table, inside, place, len(numbers)) for inside, place in layer.of_all.items())
    return LayerExperts(name, numbers, tuple(columns))


def _of_one(fmt: Format, table: ScaleTable, inside: str, layer: _Layer, numbers: tuple[int, ...]) -> Column:
    """The column of scales that each expert has one of."""
    places, projection = layer.of_one[inside], _projection(inside)
    at = np.array([places.get(n, -1) for n in numbers])
    there = at >= 0
    values = np.full(len(numbers), np.nan)
    lacking = [State.DAMAGED if (n, projection) in layer.damaged else State.MISSING for n in numbers]
    states = np.array([state.rank for state in lacking], np.int8)
    if not places:
        return Column(inside, inside.endswith(":input"), states, values, float("nan"))
    values[there], states[there] = _read(table, at[there])
    record = table.records[int(at[there][0])]
    return judged(inside, record, values, states, fmt.on_purpose(record, DEFAULT))


def _of_all(fmt: Format, table: ScaleTable, inside: str, place: int, n: int) -> Column:
    """The column of one number that all experts have together."""
    value, state = _read(table, np.array([place]))
    record = table.records[place]
    return judged(inside, record, np.repeat(value, n), np.repeat(state, n), fmt.on_purpose(record, DEFAULT))


def _read(table: ScaleTable, at: NDArray[np.int64]) -> tuple[Numbers, States]:
    """The number of each of these scales, of one of many its largest; and what is known before it is looked at."""
    values = np.where(np.isnan(table.value[at]), table.high[at], table.value[at])
    states = np.full(len(at), State.SOUND.rank, np.int8)
    for i, place in enumerate(at.tolist()):
        if place in table.problems:
            states[i] = State.DAMAGED.rank
        elif not table.read[place]:
            states[i] = State.UNREAD.rank
        elif table.n_not_finite[place]:
            states[i] = State.NOT_FINITE.rank
        elif place in table.faults and table.faults[place].n_negative:
            states[i] = State.NEGATIVE.rank
    return values, states
