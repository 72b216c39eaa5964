"""What the verdict's rules look at, and the numbers that they cite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.chance import activation_points
from qinspect.inspector.compare.names import Renaming, renamings
from qinspect.inspector.compare.results import CopyProblem, ScalePair, Status, Summary, WeightPair
from qinspect.inspector.formats import Format, Topic
from qinspect.inspector.noise.band import Noise
from qinspect.inspector.provenance import Declared, declared_alpha, effective_alphas, several_alphas
from qinspect.inspector.roles import strip_root
from qinspect.inspector.rows import how_many, where

SEED_SIGNIFICANT_PERCENT = 1.0
SEED_NOT_APPLIED_PERCENT = 0.1


@dataclass(frozen=True)
class Evidence:
    """What the rules look at."""

    a: Format
    b: Format
    scales: Sequence[ScalePair]
    weights: Sequence[WeightPair]
    copies: Sequence[CopyProblem]
    summary: Summary
    weights_compared: bool
    weight_bytes: int
    noise: Noise

    def points(self, alpha_sensitive: bool) -> list[ScalePair]:
        """Activation points in both models that a percentile makes (or that none does)."""
        return activation_points(self.scales, alpha_sensitive)

    def said(self, topic: Topic, roles: Sequence[str] = ()) -> str:
        """What the family of A, else that of B, has to say on a topic; "" where neither has anything."""
        return self.a.says(topic, roles) or self.b.says(topic, roles)

    @cached_property
    def declared(self) -> tuple[Declared | None, Declared | None]:
        """The percentile_alpha that A and B are said to have."""
        return declared_alpha(self.a), declared_alpha(self.b)

    @cached_property
    def asked_ways(self) -> dict[str, str]:
        """By role, where a point has an alpha of its own in A or B: the way its scale has to go by what they declare,
        `up`, `down` or `` for none. {} where one alpha is declared for all, or one of them does not say."""
        several = several_alphas(self.a), several_alphas(self.b)
        if not any(several):
            return {}
        of_a, of_b = ({strip_root(n): x for n, x in effective_alphas(f).items()} for f in (self.a, self.b))
        ways = {-1: "down", 0: "", 1: "up"}
        return {n: ways[(of_b[n] > of_a[n]) - (of_b[n] < of_a[n])] for n in of_a.keys() & of_b.keys()}

    @cached_property
    def changed_weights(self) -> list[WeightPair]:
        """Codes and tensors whose bytes differ."""
        return where(self.weights, lambda w: w.status is Status.DIFFERENT)

    @cached_property
    def renamed(self) -> list[Renaming]:
        """Entries that are the same thing under two names. Families store one thing under names of their own: of two
        families only what no scale belongs to counts."""
        across = self.a.family != self.b.family
        weights = where(self.weights, lambda w: w.a != w.b and not (w.joined or w.tied or (w.quantized and across)))
        names = [(w.a, w.b) for w in weights if w.a and w.b]
        if not across:
            scales = where(self.scales, lambda p: p.a is not p.b and not (p.joined or p.tied))
            names += [(p.a.key, p.b.key) for p in scales if p.a and p.b]
        return renamings(names)

    @cached_property
    def n_paired(self) -> int:
        """Scales, codes and other entries that are in both."""
        return how_many(self.scales, lambda p: p.a and p.b) + how_many(self.weights, lambda w: w.a and w.b)

    @cached_property
    def alone(self) -> tuple[list[Tensor], list[Tensor]]:
        """Codes and tensors without a partner, of A and of B."""
        found = []
        without = where(self.weights, lambda w: w.status in (Status.ONLY_A, Status.ONLY_B))
        for fmt, status in ((self.a, Status.ONLY_A), (self.b, Status.ONLY_B)):
            names = [w.a or w.b or "" for w in without if w.status is status]
            found.append([t for t in map(fmt.checkpoint.tensor, names) if t is not None])
        return found[0], found[1]

    def of_status(self, *statuses: Status) -> list[ScalePair | WeightPair]:
        """Pairs of these statuses, scales first."""
        return [
            *where(self.scales, lambda p: p.status in statuses),
            *where(self.weights, lambda w: w.status in statuses),
        ]

    @cached_property
    def structure(self) -> list[ScalePair | WeightPair]:
        """What cannot be compared number by number, or has no partner."""
        return self.of_status(Status.ONLY_A, Status.ONLY_B, Status.SHAPE, Status.DTYPE, Status.SCHEME)

    @cached_property
    def broken(self) -> list[ScalePair | WeightPair]:
        """What could not be read."""
        return self.of_status(Status.BROKEN)

    @cached_property
    def moved(self) -> list[ScalePair | WeightPair]:
        """What holds the same cells in another order."""
        return self.of_status(Status.PERMUTED)


def size_of(pair: ScalePair) -> float | None:
    """|difference| in percent of A; 0 for equal ones, None where there is no percentage."""
    d = pair.difference
    if d is None:
        return 0.0 if pair.status is Status.IDENTICAL else None
    return None if math.isnan(d.largest) else abs(d.largest)
