"""Which tensors a setting of a calibration can reach, and which of them reacted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qinspect.inspector.compare import Comparison, ScalePair, Status, WeightPair
from qinspect.inspector.formats import Kind

_LAYER = re.compile(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Reach:
    """says: what is reached, a noun phrase. has: whether a pair is among them. by_rounding: only in last bits."""

    says: str
    has: Callable[[ScalePair | WeightPair], bool]
    by_rounding: bool = False


@dataclass(frozen=True, slots=True)
class Reacted:
    """n: pairs that a setting can reach and that were compared. n_differ: of them. n_apart: that only one model has, or
    that cannot be compared."""

    n: int
    n_differ: int
    n_apart: int


def _is_activation(p: ScalePair | WeightPair) -> bool:
    return isinstance(p, ScalePair) and p.record.kind is Kind.ACTIVATION


def _is_percentile(p: ScalePair | WeightPair) -> bool:
    return isinstance(p, ScalePair) and _is_activation(p) and p.record.alpha_sensitive is True


def _is_weight(p: ScalePair | WeightPair) -> bool:
    return p.quantized if isinstance(p, WeightPair) else p.record.kind is Kind.WEIGHT


def _is_any(_pair: ScalePair | WeightPair) -> bool:
    return True


PERCENTILES = Reach("activation scales that a percentile makes", _is_percentile)
ACTIVATIONS = Reach("all activation scales", _is_activation)
WEIGHTS = Reach("codes and scales of weights", _is_weight)
EVERYTHING = Reach("everything", _is_any)
ROUNDINGS = Reach("all activation scales, in their last bits", _is_activation, by_rounding=True)

REACH = {
    "percentile_alpha": PERCENTILES,
    **dict.fromkeys(("recipe", "data", "samples", "seq_len", "seed", "shuffle"), ACTIVATIONS),
    **dict.fromkeys(("batch", "device", "dtype"), ROUNDINGS),
    "weights": WEIGHTS,
    **dict.fromkeys(("model", "model_sha256"), EVERYTHING),
}
"""By the name of a setting of `qinspect calibrate`."""

_APART = (Status.ONLY_A, Status.ONLY_B, Status.SHAPE, Status.SCHEME, Status.INCOMPARABLE, Status.BROKEN)


def reacted(c: Comparison, reach: Reach) -> Reacted:
    """How many of the pairs that are in reach differ."""
    pairs: Iterable[ScalePair | WeightPair] = (*c.scales, *c.weights)
    statuses = [p.status for p in pairs if reach.has(p)]
    n_apart = sum(s in _APART for s in statuses)
    known = [s for s in statuses if s not in _APART and s is not Status.NOT_COMPARED]
    return Reacted(len(known), sum(not s.counts_as_same for s in known), n_apart)


def place(role: str) -> str:
    """A role without the number of its layer: `layers.*.mixer.x_proj:input`."""
    return _LAYER.sub("*", role)


@dataclass(frozen=True, slots=True)
class PlaceFinding:
    """The scales of one place in all layers. n: compared ones. largest: the signed difference in percent that is
    largest, None where none differs by a percentage. n_beyond: that differ by more than noise."""

    place: str
    alpha_sensitive: bool | None
    n: int
    n_up: int
    n_down: int
    n_mixed: int
    largest: float | None
    n_beyond: int

    @property
    def n_differ(self) -> int:
        """Those that differ."""
        return self.n_up + self.n_down + self.n_mixed


def places(c: Comparison) -> tuple[PlaceFinding, ...]:
    """Activation scales that were compared, by their place, in forward order."""
    by_place: dict[tuple[str, bool | None], list[ScalePair]] = {}
    for p in c.scales:
        if _is_activation(p) and p.status not in _APART:
            by_place.setdefault((place(p.role), p.record.alpha_sensitive), []).append(p)
    return tuple(_place(c, *key, pairs) for key, pairs in by_place.items())


def n_not_comparable(c: Comparison) -> int:
    """Activation scales that both models have, and that are in no place: of another shape, or of another scheme."""
    return sum(_is_activation(p) and p.status in _APART and bool(p.a and p.b) for p in c.scales)


def _place(c: Comparison, name: str, alpha_sensitive: bool | None, pairs: list[ScalePair]) -> PlaceFinding:
    changed = [p for p in pairs if p.status in (Status.DIFFERENT, Status.PERMUTED) and p.difference]
    ways = [p.difference.direction for p in changed if p.difference]
    sizes = [d.largest for p in changed if (d := p.difference) and d.largest == d.largest]
    n_beyond = sum(_is_beyond(c, p) for p in changed)
    return PlaceFinding(
        name, alpha_sensitive, len(pairs), ways.count("up"), ways.count("down"),
        len(ways) - ways.count("up") - ways.count("down"), max(sizes, key=abs, default=None), n_beyond,
    )  # fmt: skip


def _is_beyond(c: Comparison, p: ScalePair) -> bool:
    band = c.noise.of(p.role)
    d = p.difference
    return band is not None and d is not None and not (d.largest != d.largest or d.largest in band)
