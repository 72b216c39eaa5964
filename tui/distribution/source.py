"""What can be looked at: points by name, with their tables, from a checkpoint or from a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from qinspect.inspector.progress import Progress, steps_of
from qinspect.inspector.values.clipping import ErrorCurve, Gauge


@dataclass(frozen=True, eq=False)
class Series:
    """One distribution of a point. label: `A`, `B`, `AB` where both are the same, "" where it is of neither. what: a
    phrase for people. shape: of the tensor, "" for what has none. step: of which all values are whole multiples, 0
    where there is none."""

    label: str
    what: str
    gauge: Gauge
    shape: str = ""
    step: float = 0.0
    curves: dict[int, ErrorCurve] = field(default_factory=dict)
    """By bits: those that were computed."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A point as it is shown. series: one, or A's and B's. notes: what else is to be said, a line each."""

    name: str
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> int:
        """Of the codes that it is looked at with first."""
        return self.series[0].gauge.tables.bits if self.series else 8

    def draw_curves(self, bits: int, check: Progress) -> None:
        """Compute the curves for `bits` that there are not yet."""
        for series in self.series:
            if bits not in series.curves:
                series.curves[bits] = series.gauge.curve(bits, steps_of(check, "errors"))


class KeptCharts:
    """The charts that were looked at last, with the curves that they have so far. For one thread at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Chart] = OrderedDict()

    def get(self, name: str, bits: int, check: Progress, make: Callable[[str, Progress], Chart]) -> Chart:
        """As it was kept, else made; with its curves for `bits`, for its own where that is 0."""
        chart = self._kept.get(name) or make(name, check)
        chart.draw_curves(bits or chart.bits, check)
        self._kept[name] = chart
        self._kept.move_to_end(name)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return chart


class Source(Protocol):
    """Where points come from. `load` is called in a thread."""

    @property
    def names(self) -> Sequence[str]:
        """All points that are known so far, in order."""

    def load(self, name: str, bits: int, check: Progress) -> Chart:
        """A point with its curves for `bits`, for its own where that is 0."""

    def beside(self, name: str, steps: int) -> str:
        """The name of the point so many places further on; the last one, the first one, at the ends."""
