"""The rules that a scale can be made by, each at any alpha if it has one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.recover.candidates import CANDIDATES, Candidate
from qinspect.inspector.observers import (
    Arithmetic,
    EntropyOptimal,
    MseOptimal,
    Quantile,
    Rule,
    quamba_absmax,
)

BITS = (8, 4)
"""Of the codes that everything is known for."""
_CANDIDATES = {c.name: c for c in CANDIDATES}


@dataclass(frozen=True, slots=True)
class Choice:
    """A rule to choose. name: stable. says: a phrase for people. candidate: the rule at any alpha; None where it has no
    alpha."""

    name: str
    says: str
    candidate: Candidate | None = None

    @property
    def per_sample(self) -> bool:
        """Whether it needs a table of every sample."""
        return self.candidate is not None and not self.candidate.is_pooled

    def at(self, alpha: float, bits: int, dtype: str = "float32") -> Rule:
        """The rule itself. dtype: what the values of the point are stored as: min-max observers compute in it."""
        if self.candidate is not None:
            rule = self.candidate.rule
            assert isinstance(rule.statistic, Quantile)
            return replace(rule, statistic=replace(rule.statistic, alpha=alpha), bits=bits)
        if self.name == "absmax":
            return replace(quamba_absmax(_arithmetic(dtype)), bits=bits)
        return Rule((MseOptimal if self.name == "mse" else EntropyOptimal)(bits), "pooled", bits, clamp=0.0)

    def scales(self, w_max: NDArray[Any], bits: int) -> NDArray[np.float32]:
        """float32: the scales of ranges. For a rule with an alpha."""
        scale: NDArray[np.float32] = self.at(0.5, bits).scale_of(w_max).astype(np.float32)
        return scale


def _arithmetic(dtype: str) -> Arithmetic:
    found: Arithmetic = next(a for a in get_args(Arithmetic) if a == dtype)
    return found


WITH_ALPHA = (
    Choice("ema", "a moving average of each sample's quantile (Quamba)", _CANDIDATES["ema"]),
    Choice("pooled", "the quantile of all samples together", _CANDIDATES["pooled-float64"]),
    Choice("max", "the largest of each sample's quantile", _CANDIDATES["max"]),
    Choice("mean", "the mean of each sample's quantile", _CANDIDATES["mean"]),
)
WITHOUT = (
    Choice("mse", "the range of least mean squared error"),
    Choice("entropy", "the range of least Kullback-Leibler divergence"),
    Choice("absmax", "the largest magnitude"),
)
"""Their numbers are those of one range, and that of mse is the optimum that every other is measured against."""
RULES = {c.name: c for c in (*WITH_ALPHA, *WITHOUT)}
