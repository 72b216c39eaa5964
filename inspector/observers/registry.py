"""The rules that have a name, each in one place: what commands take and list, what reports print, what recipes use.

A rule that is added here is there for `qinspect alpha`, `apply` and `whence`, for the screen and for the forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import AlphaInterval, MagnitudeTable
from qinspect.inspector.distribution.quantile import Floats, Rank
from qinspect.inspector.observers.rule import (
    Absmax,
    Arithmetic,
    Ema,
    EntropyOptimal,
    MseOptimal,
    Quantile,
    Rule,
    arithmetic_of,
)

ANY = 0.5
"""The alpha of a rule that is asked at others."""
TORCH_LIMIT = 1 << 24
"""Values beyond which torch.quantile refuses, and a float32 rank no longer reaches every value."""


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule for any alpha, bits and dtype.

    name: stable. says: a phrase for people. rule: at alpha `ANY`, 8 bits, float32; its fields are the rule's
    parameters. in_dtype: it computes in the dtype of the values. variant_of: the rule that it equals but for the
    rounding of ranks; a sweep over all alphas shows that one alone.
    """

    name: str
    says: str
    rule: Rule
    in_dtype: bool = False
    variant_of: str = ""

    @property
    def takes_alpha(self) -> bool:
        """Whether alpha makes a difference to it; else it chooses the range by itself."""
        return isinstance(self.rule.statistic, Quantile)

    @property
    def per_sample(self) -> bool:
        """Whether it needs a table of every sample: others can be had from their sum."""
        return self.takes_alpha and self.rule.reducer != "pooled"

    @property
    def depends_on_order(self) -> bool:
        """Whether the same samples in another order give another scale."""
        return isinstance(self.rule.reducer, Ema)

    @property
    def rank(self) -> Rank:
        """How its quantiles are ranked. Raises ValueError for a rule without alpha."""
        if not isinstance(self.rule.statistic, Quantile):
            raise ValueError(f"the rule {self.name} has no alpha")
        return self.rule.statistic.rank

    def at(self, alpha: float = ANY, bits: int = 8, dtype: str = "float32") -> Rule:
        """The rule itself. dtype: what the values of the point are stored as. Raises ValueError for a dtype that no
        observer computes in."""
        made = self.rule.at(alpha, bits)
        return replace(made, arithmetic=arithmetic_of(dtype)) if self.in_dtype else made

    def notation(self, bits: int = 8, rank: Rank | None = None) -> str:
        """How it prints, with `alpha` for the alpha. rank: instead of its own."""
        rule = self.at(ANY, bits)
        return with_any_alpha(str(ranked(rule, rank) if rank else rule), ANY)

    def scales(self, w_max: Floats, bits: int) -> NDArray[np.float32]:
        """float32: the scales of ranges."""
        return self.at(ANY, bits).scale_of(w_max).astype(np.float32)

    def can_use(self, tables: Sequence[MagnitudeTable], kept_apart: bool) -> bool:
        """Whether the tables of a point can answer. kept_apart: there is one a sample."""
        if not self.takes_alpha:
            return True
        if not self.per_sample:
            return self.rank == "float64" or sum(t.n for t in tables) <= TORCH_LIMIT
        return kept_apart and all(t.n <= TORCH_LIMIT for t in tables)

    def alphas(
        self, tables: Sequence[MagnitudeTable], scale: float, bits: int, tolerances: Sequence[float] = (0.0,)
    ) -> list[AlphaInterval | None]:
        """The inverse: the alphas that give `scale`, give or take each tolerance (relative); None where none does.

        Raises ValueError for a rule without alpha.
        """
        return [self._reached(found) for found in self.at(ANY, bits).alphas_of(tables, scale, tolerances)]

    def _reached(self, found: AlphaInterval | None) -> AlphaInterval | None:
        """A float32 rank is formed of a float32 alpha: what such a rule steps over, it cannot give. A float64 rank
        reaches what lies between two float32 alphas, so its interval is a step wider at both ends."""
        if found is None or self.rank == "float32":
            return found if found is not None and found.attained else None
        low = max(0.0, float(np.nextafter(np.float32(found.low), np.float32(0))))
        return AlphaInterval(low, min(1.0, float(np.nextafter(np.float32(found.high), np.float32(2)))), True)


def _by_name(*rules: NamedRule) -> Mapping[str, NamedRule]:
    return {r.name: r for r in rules}


RULES = _by_name(
    NamedRule("ema", "a moving average of each sample's quantile (Quamba)", Rule(Quantile(ANY), Ema())),
    NamedRule("pooled", "the quantile of all samples (numpy's rank)", Rule(Quantile(ANY, "float64"), "pooled")),
    NamedRule(
        "pooled-float32", "the quantile of all samples (torch's rank)", Rule(Quantile(ANY), "pooled"),
        variant_of="pooled",
    ),
    NamedRule("mean", "the mean of each sample's quantile", Rule(Quantile(ANY), "mean")),
    NamedRule("max", "the largest of each sample's quantile", Rule(Quantile(ANY), "max")),
    NamedRule("mse", "the range of least mean squared error", Rule(MseOptimal(), "pooled")),
    NamedRule("entropy", "the range of least Kullback-Leibler divergence", Rule(EntropyOptimal(), "pooled")),
    NamedRule("absmax", "the largest magnitude", Rule(Absmax(1e-5), "max"), in_dtype=True),
)  # fmt: skip
"""By name, in the order in which they are listed, and preferred where several fit a scale alike."""
OLD_NAMES = {"pooled-float64": "pooled", "one-batch": "pooled"}
"""What earlier versions called a rule: taken on a command line, and read from files that they wrote."""

WITH_ALPHA = tuple(r for r in RULES.values() if r.takes_alpha)
WITHOUT_ALPHA = tuple(r for r in RULES.values() if not r.takes_alpha)


def current(name: str) -> str:
    """The name that a rule has now, for one that it may have had before; another text as it is."""
    return OLD_NAMES.get(name, name)


def listed(rules: Sequence[NamedRule]) -> str:
    """`a, b and c`: their names, for a sentence."""
    *first, last = (r.name for r in rules)
    return f"{', '.join(first)} and {last}" if first else last


def with_any_alpha(notation: str, alpha: float) -> str:
    """The notation of a rule at this alpha, with `alpha` for it."""
    return notation.replace(f"(|x|, {alpha!r},", "(|x|, alpha,")


def ranked(rule: Rule, rank: Rank) -> Rule:
    """The rule with quantiles by another rank. Raises ValueError for a rule without them."""
    if not isinstance(rule.statistic, Quantile):
        raise ValueError(f"{rule.statistic} has no alpha")
    return replace(rule, statistic=replace(rule.statistic, rank=rank))


def quamba_percentile(alpha: float, sigma: float = 0.01) -> Rule:
    """Quamba's PerTensorPercentileObserver: a moving average of per-sample quantiles, in float32."""
    return replace(RULES["ema"].at(alpha), reducer=Ema(sigma))


def quamba_absmax(arithmetic: Arithmetic) -> Rule:
    """Quamba's PerTensorMinmaxObserver and, on the tables of a group, its grouped ones: a running maximum, at least
    1e-5, in the dtype of the activation."""
    return RULES["absmax"].at(dtype=arithmetic)
