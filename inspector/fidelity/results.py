"""What comes out: plain frozen data that reports and screens read."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from qinspect.inspector.fidelity.factors import Factors
from qinspect.inspector.fidelity.pairs import NotCompared
from qinspect.inspector.fidelity.sums import Sums
from qinspect.inspector.fidelity.undoing import Undone, What

if TYPE_CHECKING:
    from qinspect.inspector.formats import Format


@dataclass(frozen=True, slots=True)
class Part:
    """A channel or a group and the error in it. where: (channel,), or the row and column in which the group begins.
    share: of the squared error of the whole weight. sqnr: of its own values, in dB."""

    where: tuple[int, ...]
    share: float
    sqnr: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rounding to nearest with max scales on the grid of the stored codes. sqnr: what it gives, in dB; None where that
    is not known. loss: sqnr less that of the stored weight: above zero where the stored one is worse. said: the rule,
    or why there is none."""

    sqnr: float | None
    loss: float | None
    said: str


@dataclass(frozen=True, slots=True)
class OfSegment:
    """Rows `start` to `stop` of a projection that gives several things: z, x, B, C and dt of a Mamba mixer's. aa, ab,
    bb, dd: as in Sums."""

    name: str
    start: int
    stop: int
    aa: float
    ab: float
    bb: float
    dd: float


SEED = 0
"""Of what is drawn for the best found."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best that a search over scales found for each block. sqnr: of it, in dB, the stored one and loss; None where
    that is not known. loss: above zero where the stored weight is worse. error: the standard error of both, None where
    all blocks were searched. n_blocks, n_all: blocks that were searched, and that there are; rows where all share one
    scale. said: what was tried, or why nothing was."""

    sqnr: float | None
    loss: float | None
    error: float | None
    n_blocks: int
    n_all: int
    said: str


class Made(NamedTuple):
    """Which method made a weight, in words and in a few characters, and what shows it: told to whoever prints the rest,
    by who knows."""

    method: str
    short: str
    said: str


@dataclass(frozen=True, slots=True)
class WeightFidelity:
    """One weight, B against A.

    a, b: the names. shape: logical. stored_a, stored_b: how, in words. quantized_a, quantized_b: whether by codes and
    scales. note: where the parts of either lie, or what was calculated. channels: positions along the first axis with
    the most error, most first; () of what has no rows, or no error. group_shape: rows and columns that share a scale;
    () where there are none. group: the one with the most error. factors: by which its channels were multiplied, where
    they were; then nothing is said of the loss against rounding to nearest. undone: what was done to it, and undone
    before it was measured. as_stored: its SQNR without that, in dB; None where that was not measured. best: where that
    was asked for. segments: of a projection that gives several things, where every value was finite.
    """

    role: str
    a: str
    b: str
    shape: tuple[int, ...]
    stored_a: str
    stored_b: str
    quantized_a: bool
    quantized_b: bool
    note: str
    sums: Sums
    n_channels: int
    channels: tuple[Part, ...]
    group_shape: tuple[int, ...]
    group: Part | None
    nearest: Nearest | None
    factors: Factors | None
    undone: tuple[Undone, ...] = ()
    as_stored: float | None = None
    best: Best | None = None
    segments: tuple[OfSegment, ...] = ()

    @property
    def brought_over(self) -> str:
        """What was done to its values and undone, for people; "" where it was compared as it stands (a head that is the
        embedding, or padding of zeros, are)."""
        return "; ".join(u.said for u in self.undone if u.what not in (What.PADDING, What.TIED))

    @property
    def quantized(self) -> bool:
        """Whether one of the two is."""
        return self.quantized_a or self.quantized_b

    @property
    def where(self) -> tuple[int, ...]:
        """Index of the largest error; () where there is none."""
        if self.sums.at < 0:
            return ()
        index, at = [], self.sums.at
        for d in reversed(self.shape):
            index.append(at % d)
            at //= d
        return tuple(reversed(index))

    @property
    def by_segment(self) -> list[tuple[str, WeightFidelity]]:
        """Its segments as weights of their own, of which only the distance is known, with their names."""
        if not self.segments:
            return []
        width = math.prod(self.shape[1:])
        found = []
        for s in self.segments:
            at = s.start * width if s.dd else -1
            sums = Sums((s.stop - s.start) * width, aa=s.aa, ab=s.ab, bb=s.bb, dd=s.dd, at=at)
            of = replace(
                self, role=f"{self.role} rows {s.start} to {s.stop}", sums=sums, nearest=None, best=None, segments=()
            )
            found.append((s.name, of))
        return found

    @property
    def order(self) -> tuple[float, float]:
        """A sort key: the worst first, what is exact last."""
        sqnr = self.sums.sqnr
        return (math.inf if math.isnan(sqnr) else sqnr, -self.sums.largest)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Everything that was found. bits: per weight of B, as far as known. changed: paths of files that changed while
    they were read. measured_at: in seconds since the epoch, of a result that was kept; None of one made just now."""

    a: Format
    b: Format
    weights: tuple[WeightFidelity, ...]
    not_compared: tuple[NotCompared, ...]
    bits: float | None
    changed: tuple[str, ...]
    measured_at: float | None = None

    @property
    def worst_first(self) -> list[WeightFidelity]:
        """The weights, by SQNR."""
        return sorted(self.weights, key=lambda w: w.order)

    @property
    def counted(self) -> list[WeightFidelity]:
        """Those that the summary is of: quantized ones, where there are any; otherwise all."""
        return [w for w in self.weights if w.quantized] or list(self.weights)
