"""The experts of a checkpoint, of its records and their numbers.

Told by roles, which are the same whatever library saved the model, and whether it saved each expert apart or all of a
layer as one entry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

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
    places: list[int] = []
    for place, role in enumerate(column(table.records, "role")):
        if _may_be(role) and _note(layers, role, place):
            places.append(place)
    if not layers:
        return Coverage(())
    plain = set(fmt.roles_of([name for name, _ in fmt.other_forms()]))
    for role in (*fmt.absent_scales(), *plain):
        if _may_be(role) and (found := _OF_ONE.fullmatch(common_spelling(role))):
            layer = layers.get(found[1] or "")
            if layer is not None and role in plain:
                layer.numbers.add(int(found[2]))
            elif layer is not None:
                layer.of_one.setdefault(found[3], {})
    made = tuple(_made(fmt, table, name, layer) for name, layer in layers.items() if layer.numbers)
    return Coverage(made, int(sum(not table.read[p] for p in places)))


def _may_be(role: str) -> bool:
    return any(word in role for word in _WORDS)


@dataclass
class _Layer:
    """Records of one layer: by what they are called inside an expert, the place of each expert's; or of all of them."""

    of_one: dict[str, dict[int, int]] = field(default_factory=dict)
    of_all: dict[str, int] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)


def _note(layers: dict[str, _Layer], role: str, place: int) -> bool:
    """Note a record of an expert, or of all of a layer. Whether it is one."""
    spelled = common_spelling(role)
    if found := _OF_ONE.fullmatch(spelled):
        layer = layers.setdefault(found[1] or "", _Layer())
        layer.numbers.add(int(found[2]))
        layer.of_one.setdefault(found[3], {})[int(found[2])] = place
    elif found := _OF_ALL.fullmatch(spelled):
        layers.setdefault(found[1] or "", _Layer()).of_all[found[2]] = place
    return found is not None


def _made(fmt: Format, table: ScaleTable, name: str, layer: _Layer) -> LayerExperts:
    numbers = tuple(sorted(layer.numbers))
    columns = [_of_one(fmt, table, inside, places, numbers) for inside, places in layer.of_one.items()]
    columns.extend(_of_all(fmt, table, inside, place, len(numbers)) for inside, place in layer.of_all.items())
    return LayerExperts(name, numbers, tuple(columns))


def _of_one(fmt: Format, table: ScaleTable, inside: str, places: dict[int, int], numbers: tuple[int, ...]) -> Column:
    """The column of scales that each expert has one of."""
    at = np.array([places.get(n, -1) for n in numbers])
    there = at >= 0
    values, states = np.full(len(numbers), np.nan), np.full(len(numbers), State.MISSING.rank, np.int8)
    if not places:  # settings say that all have it, and none has
        return Column(inside, inside.endswith(":input"), states, values, float("nan"))
    found, known = _read(table, at[there])
    values[there], states[there] = found, known
    record = table.records[int(at[there][0])]
    return judged(inside, record, values, states, fmt.on_purpose(record, DEFAULT))


def _of_all(fmt: Format, table: ScaleTable, inside: str, place: int, n: int) -> Column:
    """The column of one number that all experts have together."""
    value, state = _read(table, np.array([place]))
    values, states = np.repeat(value, n), np.repeat(state, n)
    record = table.records[place]
    return judged(inside, record, values, states, fmt.on_purpose(record, DEFAULT))


def _read(table: ScaleTable, at: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> tuple[Numbers, States]:
    """The number of each of these scales, of one of many its largest; and what is known before it is looked at."""
    values = np.where(np.isnan(table.value[at]), table.high[at], table.value[at])
    states = np.full(len(at), State.SOUND.rank, np.int8)
    for i in np.flatnonzero([int(p) in table.faults for p in at]).tolist():
        if table.faults[int(at[i])].n_negative:
            states[i] = State.NEGATIVE.rank
    states[table.n_not_finite[at] > 0] = State.NOT_FINITE.rank
    states[~table.read[at]] = State.UNREAD.rank
    return values, states
