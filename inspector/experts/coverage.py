"""What is known of the experts of a checkpoint: plain data, for reports, for rules and for the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.experts.states import NO_EXPERT, STATES, State

Numbers = NDArray[np.float64]
States = NDArray[np.int8]


@dataclass(frozen=True)
class ScaleColumn:
    """One scale of every expert of a layer.

    name: `gate_proj:input`, what follows the expert's number in the role. of_input: whether it is the scale of what
    goes in. states: int8[experts], ranks in STATES. values: float64[experts], the number, of a scale of many the
    largest; NaN where there is none. middle: the median of the sound ones, NaN where there is none. why: what is
    particular about all of them, a clause, "" where nothing is.
    """

    name: str
    of_input: bool
    states: States
    values: Numbers
    middle: float
    why: str = ""

    @property
    def spread(self) -> float:
        """The largest of the sound numbers over the least; NaN where there are none."""
        sound = self.values[(self.states <= State.OUTLYING.rank) & np.isfinite(self.values) & (self.values > 0)]
        return float(sound.max() / sound.min()) if sound.size else float("nan")


@dataclass(frozen=True, slots=True)
class Cell:
    """One expert of a layer. state: the worst of its scales; column: the name of that scale, of a sound expert the one
    that its number is of. value: that number, NaN where there is none. ratio: over the median of its siblings."""

    layer: str
    number: int
    state: State
    column: str
    value: float
    ratio: float


@dataclass(frozen=True)
class LayerExperts:
    """The experts of one layer. layer: the module that has them, `layers.3.mlp`. numbers: of the experts, rising."""

    layer: str
    numbers: tuple[int, ...]
    columns: tuple[ScaleColumn, ...]

    @property
    def static(self) -> bool:
        """Whether it has scales of what goes in."""
        return any(c.of_input for c in self.columns)

    @cached_property
    def worst(self) -> NDArray[np.intp]:
        """Of each expert the place in `columns` of its worst scale; of a sound one, of its first input scale, or of its
        first scale that is one number."""
        states = np.stack([c.states for c in self.columns])
        worst: NDArray[np.intp] = states.argmax(0)
        shown = next((i for i, c in enumerate(self.columns) if c.of_input), self._first_of_weights)
        worst[states.max(0) <= State.DYNAMIC.rank] = shown
        return worst

    @property
    def _first_of_weights(self) -> int:
        return next((i for i, c in enumerate(self.columns) if c.name.endswith("#global")), 0)

    @cached_property
    def states(self) -> States:
        """int8[experts]: the worst state of each, DYNAMIC for a sound one without a static scale."""
        states: States = np.stack([c.states for c in self.columns]).max(0)
        if not self.static:
            states = np.where(states <= State.SHARED.rank, np.int8(State.DYNAMIC.rank), states)
        return states

    def cell(self, place: int) -> Cell:
        """The expert at this place among `numbers`."""
        column = self.columns[int(self.worst[place])]
        value = float(column.values[place])
        ratio = value / column.middle if column.middle > 0 and 0 < value < float("inf") else float("nan")
        return Cell(self.layer, self.numbers[place], STATES[int(self.states[place])], column.name, value, ratio)

    def cells(self) -> Iterator[Cell]:
        """All experts."""
        return map(self.cell, range(len(self.numbers)))

    def counts(self) -> Counter[State]:
        """How many experts are in each state."""
        return Counter({STATES[rank]: n for rank, n in enumerate(np.bincount(self.states).tolist()) if n})

    def spread(self, of_input: bool) -> float:
        """The widest spread of a scale over the experts: of the inputs, or of the numbers for a whole weight; NaN where
        there are none."""
        own = [c for c in self.columns if c.of_input is of_input]
        if not of_input:
            own = [c for c in own if c.name.endswith("#global")] or own
        found = [s for c in own if np.isfinite(s := c.spread)]
        return max(found, default=float("nan"))


@dataclass(frozen=True)
class Coverage:
    """All experts of a model, by layer. n_unread: scales that could not be read, or were left out."""

    layers: tuple[LayerExperts, ...]
    n_unread: int = 0

    @property
    def n(self) -> int:
        """Experts."""
        return sum(len(layer.numbers) for layer in self.layers)

    def counts(self) -> Counter[State]:
        """How many experts are in each state."""
        return sum((layer.counts() for layer in self.layers), Counter[State]())

    @cached_property
    def states(self) -> States:
        """int8[layers, experts]: the state of each, by its number; NO_EXPERT where there is none."""
        found = np.full((len(self.layers), self._width), NO_EXPERT, np.int8)
        for row, layer in enumerate(self.layers):
            found[row, list(layer.numbers)] = layer.states
        return found

    @property
    def _width(self) -> int:
        return max((layer.numbers[-1] + 1 for layer in self.layers), default=0)
