"""Whether every weight is at least so good: what decides the exit code."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.fidelity.pairs import NotCompared, Why
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.text import some, visible


@dataclass(frozen=True, slots=True)
class Threshold:
    """min_sqnr: in dB. below: weights with less, the worst first. unproven: weights of A without a number: what was not
    measured is not said to be good enough."""

    min_sqnr: float
    below: tuple[WeightFidelity, ...]
    unproven: tuple[NotCompared, ...]

    @property
    def passed(self) -> bool:
        """Whether all weights have a number, and none is below."""
        return not self.below and not self.unproven

    @property
    def sentence(self) -> str:
        """For people."""
        said = []
        if self.below:
            first = self.below[0]
            named = f"the worst {visible(first.role, 120)} with {first.sums.sqnr:.2f} dB"
            said.append(f"{some(len(self.below), 'weight')} below {self.min_sqnr:g} dB, {named}")
        if self.unproven:
            other = self.unproven[0]
            named = f"first {visible(other.role, 120)} ({other.why})"
            said.append(f"{some(len(self.unproven), 'weight')} of A without a number, {named}")
        return "; ".join(said) or f"no weight is below {self.min_sqnr:g} dB"


def threshold_of(found: Fidelity, min_sqnr: float) -> Threshold:
    """What of it misses the threshold."""
    below = tuple(w for w in found.worst_first if w.sums.sqnr < min_sqnr)
    return Threshold(min_sqnr, below, tuple(o for o in found.not_compared if _counts(found, o)))


def _counts(found: Fidelity, other: NotCompared) -> bool:
    """Whether its missing number leaves the threshold unproven."""
    if other.why is Why.ONLY_B or not other.n:
        return False
    if other.why is not Why.ONLY_A:
        return True
    return other.matrix and not _is_tied(found, other)


def _is_tied(found: Fidelity, other: NotCompared) -> bool:
    """Whether A's weight is another one's twin, which B does not keep twice."""
    names = {w.a for w in found.weights}
    if any(other.a in group and names & set(group) for group in found.a.checkpoint.tied()):
        return True
    return other.role == "lm_head.weight" and found.b.checkpoint.config.get("tie_word_embeddings") is True
