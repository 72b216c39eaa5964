"""The experts of a checkpoint, for people."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qinspect.inspector.experts.coverage import Coverage, LayerExperts
from qinspect.inspector.experts.states import STATES, State
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import count, number, some, times_text


def headline(found: Coverage) -> str:
    """`8 experts in 1 layer: 2 missing, 6 sound`."""
    if not found.layers:
        return "no scale in it is an expert's"
    in_layers = some(len(found.layers), "layer")
    return f"{some(found.n, 'expert')} in {in_layers}: {states_said(found.counts())}"


def states_said(counts: dict[State, int]) -> str:
    """`2 missing, 6 sound`: the worse first."""
    return ", ".join(f"{count(n)} {state}" for state, n in sorted(counts.items(), key=lambda found: -found[0].rank))


def layers_table(found: Coverage) -> Table:
    """A row for each layer."""
    columns = (
        Column("layer"), Column("experts", True), Column("states"), Column("input scales", True),
        Column("spread", True), Column("weights' spread", True, 1), Column("worst", False, 2),
    )  # fmt: skip
    return Table(columns, [_row(layer) for layer in found.layers])


def _row(layer: LayerExperts) -> list[str]:
    """One layer."""
    first = next((c for c in layer.columns if c.of_input), None)
    worst = max(layer.cells(), key=lambda cell: (cell.state.rank, -cell.number))
    at = "" if worst.state.sound else f"expert {worst.number}: {worst.column} {_said(worst.value, worst.state)}"
    return [
        layer.layer, count(len(layer.numbers)), states_said(layer.counts()),
        number(first.middle) if first is not None and not math.isnan(first.middle) else "",
        _times(layer.spread(True)), _times(layer.spread(False)), at,
    ]  # fmt: skip


def experts_table(layer: LayerExperts) -> Table:
    """A row for each expert of one layer, with the numbers that stand for a whole weight, and those of inputs."""
    shown = [c for c in layer.columns if c.of_input or c.name.endswith("#global")] or list(layer.columns)
    columns = (Column("expert", True), Column("state"), *(Column(c.name, True) for c in shown))
    rows = [
        [
            str(cell.number), str(cell.state),
            *(_said(float(c.values[at]), STATES[int(c.states[at])]) for c in shown),
        ]
        for at, cell in enumerate(layer.cells())
    ]  # fmt: skip
    return Table(columns, rows)


def clauses(found: Coverage) -> Iterator[str]:
    """What is particular about the scales of whole layers, each once."""
    whys: dict[str, int] = {}
    for layer in found.layers:
        for why in dict.fromkeys(c.why for c in layer.columns if c.why):
            whys[why] = whys.get(why, 0) + 1
    for why, n in whys.items():
        yield f"shared on purpose in {some(n, 'layer')}: {why}, which does not say whether an expert saw a token"


def _said(value: float, state: State) -> str:
    """A number, with its state where that is not a sound one."""
    if state in (State.MISSING, State.UNREAD, State.DAMAGED):
        return state.value
    return number(value) if state.sound or state is State.NOT_FINITE else f"{number(value)} {state}"


def _times(ratio: float) -> str:
    return "" if math.isnan(ratio) else times_text(ratio)
