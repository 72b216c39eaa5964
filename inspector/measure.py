"""A measure: a number of one tensor, the same wherever it is seen: as a column, a sort order, a colour, a field of
`--json`.

What is measured comes later and elsewhere (how far two scales differ, what a quantization cost, how much a tensor
matters): a measure says only what the number is called, what it costs to know, and how it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from qinspect.inspector.progress import Progress

T = TypeVar("T")


class Cost(StrEnum):
    """What has to be read before a measure is known."""

    HEADERS = "headers"
    SCALES = "scales"
    WEIGHTS = "weights"
    MODEL = "model"
    """The model has to be run."""


@dataclass(frozen=True, slots=True)
class ColourScale:
    """Where a number stands between nothing and too much, both in the unit of the measure.

    Steps are equal in log(|value|) from `faint` to `strong`; where `faint` is the larger of the two, less is worse, and
    steps are equal in the value. signed: up and down have colours of their own.
    """

    faint: float
    strong: float
    signed: bool = False

    @property
    def falling(self) -> bool:
        """Whether less is worse."""
        return self.faint > self.strong

    def place(self, value: float | None) -> float:
        """0 for nothing to 1 for `strong` and beyond, negative for what is signed and below zero; NaN where the value
        is not known."""
        if value is None or math.isnan(value):
            return math.nan
        if self.falling:
            return min(1.0, max(0.0, (self.faint - value) / (self.faint - self.strong)))
        size = abs(value)
        if size <= self.faint:
            return 0.0
        place = 1.0 if size >= self.strong else math.log(size / self.faint) / math.log(self.strong / self.faint)
        return math.copysign(place, value) if self.signed else place


Compute = Callable[[Sequence[T], Progress], Mapping[str, float]]
"""compute(items, progress): role to value, for what has to be asked for. progress(phase, done, total) is called all
along, and may raise to cancel."""


@dataclass(frozen=True, slots=True)
class Measure(Generic[T]):
    """One number of each item.

    key: its name in `--sort` and `--json`. name: the heading of its column. unit: `%`, `elements`, `dB`, ... sentence:
    what it is, for people. value: the number of an item: infinite where it differs and no number says how far, None
    where nothing is known or compared. text: the cell. compute: where values do not come with the items.
    """

    key: str
    name: str
    unit: str
    sentence: str
    cost: Cost
    colours: ColourScale
    value: Callable[[T], float | None]
    text: Callable[[T], str]
    compute: Compute[T] | None = None

    def order(self, item: T) -> tuple[int, float]:
        """A sort key: the largest first, whatever its sign, or the least where less is worse; then the unknown."""
        return self.rank(self.value(item))

    def rank(self, value: float | None) -> tuple[int, float]:
        """The sort key of a number."""
        if value is None or math.isnan(value):
            return (1, 0.0)
        return (0, value if self.colours.falling else -abs(value))

    def colour(self, item: T) -> float:
        """Where the item stands on the colour scale."""
        return self.colours.place(self.value(item))


def by_key(measures: Iterable[Measure[T]]) -> dict[str, Measure[T]]:
    """Measures by their keys. Raises ValueError where two have one."""
    made: dict[str, Measure[T]] = {}
    for m in measures:
        if m.key in made:
            raise ValueError(f"two measures have the key {m.key}")
        made[m.key] = m
    return made
