"""The tests of two accuracies, and what their items could show at all.

Formulas: Wald, Agresti and Caffo (Am. Statist. 54, 2000) for two independent shares; Bonett and Price (J. Educ. Behav.
Statist. 37, 2012) for two of the same items; McNemar's exact and mid-p tests (Fagerland, Lydersen and Laake, BMC Med.
Res. Methodol. 13, 2013); two one-sided tests of equivalence (Schuirmann 1987).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qinspect.inspector.accuracy.score import Score
from qinspect.inspector.significance import LEVEL, binomial_share, binomial_tail, normal_p, normal_quantile

POWER = 0.8
"""Chance of seeing the smallest detectable difference."""
DISAGREEMENT = 0.05
"""Share of items whose answer differs between two quantizations of one model, where it is not known: a guess."""
RULES_OF_THUMB = (0.001, 0.005)
"""Below the first "robust", above the second "important": the rules that people use, without a test behind them."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Items that both were asked. n_only_a, n_only_b: right in that model alone. n_left_out: items that only one has,
    or whose content differs. exact_p, mid_p: McNemar's, two-sided."""

    n: int
    n_only_a: int
    n_only_b: int
    n_left_out: int
    exact_p: float
    mid_p: float

    @property
    def disagreement(self) -> float:
        """Share of items whose answer differs."""
        return (self.n_only_a + self.n_only_b) / self.n


@dataclass(frozen=True, slots=True)
class AccuracyComparison:
    """B less A, in shares. low, high: its 95 % interval. p: of the test that the verdict rests on, paired where there
    are items. detectable: the smallest difference seen with 80 % power. supposed_p: of the aggregates, if the same
    items had been asked and `disagreement` of the answers differed. margin, equivalence_p: of the TOST, None where no
    margin was asked for. needed: of each rule of thumb, items for which it is the smallest detectable difference.
    """

    a: Score
    b: Score
    difference: float
    error: float
    low: float
    high: float
    p: float
    z: float | None
    paired: Paired | None
    detectable: float
    disagreement: float
    supposed_p: float | None
    margin: float | None
    equivalence_p: float | None
    needed: tuple[tuple[float, int], ...]


def compared(a: Score, b: Score, margin: float | None = None, disagreement: float | None = None) -> AccuracyComparison:
    """Compare them: item by item where both have items, else as two independent shares. margin: a share. disagreement:
    what to suppose where items are not known."""
    pairs = paired(a, b)
    if pairs is not None:
        difference, error, low, high = _paired_interval(pairs)
        p, z, supposed = pairs.exact_p, None, None
        rho = pairs.disagreement or min(1.0, 3 / pairs.n)  # none of n: at most 3/n, with 95 % confidence
        detectable = min(1.0, smallest_detectable(math.sqrt(rho / pairs.n)))
    else:
        difference, error, low, high = _independent_interval(a, b)
        z = _pooled_z(a, b)
        p = normal_p(z)
        rho = DISAGREEMENT if disagreement is None else disagreement
        supposed = _supposed_p(difference, rho, min(a.n, b.n)) if a.n == b.n else None
        detectable = min(1.0, smallest_detectable(math.hypot(_certain_error(a), _certain_error(b))))
    equivalence = None if margin is None else equivalence_p(difference, _spread(low, high), margin)
    needed = tuple((rule, items_needed(rule, rho)) for rule in RULES_OF_THUMB)
    return AccuracyComparison(
        a, b, difference, error, low, high, p, z, pairs, detectable, rho, supposed, margin, equivalence, needed
    )


def paired(a: Score, b: Score) -> Paired | None:
    """The items of both, None where either has none or they share none."""
    if a.items is None or b.items is None:
        return None
    shared = a.items.keys() & b.items.keys()
    if not shared:
        return None
    only_a = sum(a.items[i] and not b.items[i] for i in shared)
    only_b = sum(b.items[i] and not a.items[i] for i in shared)
    left_out = len(a.items.keys() | b.items.keys()) - len(shared)
    return Paired(len(shared), only_a, only_b, left_out, *mcnemar(only_a, only_b))


def mcnemar(n_only_a: int, n_only_b: int) -> tuple[float, float]:
    """(exact, mid-p), two-sided: under no difference each discordant item is a coin's throw. The mid-p counts half of
    the outcomes as extreme as the one found, and is the less conservative."""
    n, most = n_only_a + n_only_b, max(n_only_a, n_only_b)
    tail, point = binomial_tail(most, n), binomial_share(most, n)
    if n_only_a == n_only_b:
        return 1.0, 1.0 - point / 2
    return min(1.0, 2 * tail), 2 * tail - point


def smallest_detectable(error: float) -> float:
    """The difference found with 80 % power at a two-sided 5 %: (z_0.975 + z_0.8) times the standard error, about 2.8.
    Of paired items the error is sqrt(rho / m), rho being the share whose answer differs."""
    return _FACTOR * error


def items_needed(difference: float, disagreement: float) -> int:
    """Paired items for which this is the smallest detectable difference: rho (2.8 / delta)^2."""
    return math.ceil(disagreement * (_FACTOR / difference) ** 2)


def equivalence_p(difference: float, error: float, margin: float) -> float:
    """Two one-sided tests: the larger p of `the difference is beyond -margin` and `beyond +margin`."""
    if error == 0:
        return 0.0 if abs(difference) < margin else 1.0
    return math.erfc((margin - abs(difference)) / error / math.sqrt(2)) / 2


_Z = normal_quantile(1 - LEVEL / 2)
_FACTOR = _Z + normal_quantile(POWER)


def _spread(low: float, high: float) -> float:
    """The standard error that an interval was made with."""
    return (high - low) / 2 / _Z


def _certain_error(s: Score) -> float:
    """The standard error of a share; where all items or none were right, and it is 0 however few they are, that with a
    right and a wrong item added."""
    p, n = (s.share * s.n + 1) / (s.n + 2), s.n + 2
    return s.standard_error or math.sqrt(p * (1 - p) / n)


def _independent_interval(a: Score, b: Score) -> tuple[float, float, float, float]:
    """(difference, standard error, low, high): Wald's error, and Agresti and Caffo's interval, which adds a right and a
    wrong item to each."""
    difference = b.share - a.share
    shares = [((s.share * s.n + 1) / (s.n + 2), s.n + 2) for s in (a, b)]
    centre = shares[1][0] - shares[0][0]
    half = _Z * math.sqrt(sum(p * (1 - p) / n for p, n in shares))
    error = math.hypot(a.standard_error, b.standard_error)
    return difference, error, max(-1.0, centre - half), min(1.0, centre + half)


def _paired_interval(pairs: Paired) -> tuple[float, float, float, float]:
    """The same of paired items: Wald's error, and Bonett and Price's interval, which adds an item to each discordant
    cell."""
    n, up, down = pairs.n, pairs.n_only_b, pairs.n_only_a
    difference = (up - down) / n
    error = math.sqrt(max(0.0, (up + down) / n - difference**2) / n)
    p_up, p_down = (up + 1) / (n + 2), (down + 1) / (n + 2)
    half = _Z * math.sqrt((p_up + p_down - (p_up - p_down) ** 2) / (n + 2))
    return difference, error, max(-1.0, p_up - p_down - half), min(1.0, p_up - p_down + half)


def _pooled_z(a: Score, b: Score) -> float:
    """The two-proportion z."""
    share = (a.share * a.n + b.share * b.n) / (a.n + b.n)
    error = math.sqrt(share * (1 - share) * (1 / a.n + 1 / b.n))
    return (b.share - a.share) / error if error else 0.0


def _supposed_p(difference: float, disagreement: float, n: int) -> float | None:
    """p of a paired test, by the normal approximation, if so many answers differed; None where they could not make the
    difference."""
    variance = disagreement - difference**2
    if abs(difference) > disagreement or variance <= 0:
        return None
    return normal_p(difference / math.sqrt(variance / n))
