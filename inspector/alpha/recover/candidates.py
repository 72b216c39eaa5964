"""The rules that may have made a scale: what is known in the field as "percentile", of which there are several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qinspect.inspector.distribution import AlphaInterval, MagnitudeTable
from qinspect.inspector.observers import Ema, Quantile, Rule

ANY = 0.5
"""The alpha of a rule that is asked at others."""
TORCH_LIMIT = 1 << 24
"""Values beyond which torch.quantile refuses, and a float32 rank no longer reaches every value."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """name: stable. rule: at any alpha. says: a phrase for people."""

    name: str
    rule: Rule
    says: str

    @property
    def notation(self) -> str:
        """The rule, with `alpha` for the alpha."""
        return str(self.rule).replace(f"(|x|, {ANY!r},", "(|x|, alpha,")

    @property
    def is_pooled(self) -> bool:
        """Whether it takes all samples together."""
        return self.rule.reducer == "pooled"

    @property
    def depends_on_order(self) -> bool:
        """Whether the same samples in another order give another scale."""
        return isinstance(self.rule.reducer, Ema)

    def can_use(self, tables: Sequence[MagnitudeTable], kept_apart: bool) -> bool:
        """Whether the tables of a point can answer. kept_apart: there is one a sample."""
        assert isinstance(self.rule.statistic, Quantile)
        if self.is_pooled:
            return self.rule.statistic.rank == "float64" or sum(t.n for t in tables) <= TORCH_LIMIT
        return kept_apart and all(t.n <= TORCH_LIMIT for t in tables)

    def alphas(
        self, tables: Sequence[MagnitudeTable], scale: float, bits: int, tolerances: Sequence[float]
    ) -> list[AlphaInterval | None]:
        """The alphas that give `scale`, give or take each tolerance (relative); None where none does."""
        return [self._reached(found) for found in replace(self.rule, bits=bits).alphas_of(tables, scale, tolerances)]

    def _reached(self, found: AlphaInterval | None) -> AlphaInterval | None:
        """A float32 rank is formed of a float32 alpha: what such a rule steps over, it cannot give. A float64 rank
        reaches what lies between two float32 alphas, so its interval is a step wider at both ends."""
        assert isinstance(self.rule.statistic, Quantile)
        if found is None or self.rule.statistic.rank == "float32":
            return found if found is not None and found.attained else None
        low = max(0.0, float(np.nextafter(np.float32(found.low), np.float32(0))))
        return AlphaInterval(low, min(1.0, float(np.nextafter(np.float32(found.high), np.float32(2)))), True)


CANDIDATES = (
    Candidate("ema", Rule(Quantile(ANY), Ema()), "a moving average of each sample's quantile (Quamba)"),
    Candidate("pooled-float64", Rule(Quantile(ANY, "float64"), "pooled"), "the quantile of all samples (numpy's rank)"),
    Candidate("pooled-float32", Rule(Quantile(ANY), "pooled"), "the quantile of all samples (torch's rank)"),
    Candidate("mean", Rule(Quantile(ANY), "mean"), "the mean of each sample's quantile"),
    Candidate("max", Rule(Quantile(ANY), "max"), "the largest of each sample's quantile"),
)
"""In the order in which they are preferred where several fit alike."""
