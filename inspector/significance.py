"""How likely chance alone is: exact tests of signs, Student's t, and the correction for many tests.

Nothing here is of a scale or an accuracy: `inspector/noise` and `inspector/accuracy` ask it about theirs. scipy has the
distributions; it is imported where a comparison needs one (repeats, thousands of signs), for it takes longer to import
than most comparisons take. docs/libraries.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

LEVEL = 0.05
"""The chance of a false claim that tests and intervals allow."""

_EXACT_UP_TO = 2000
"""Trials up to which binomial tails are sums of integers: to the last digit, and sooner than scipy is imported."""
_NORMAL = NormalDist()


def binomial_tail(k: int, n: int) -> float:
    """P(X >= k) of n fair coins. Exact integers up to 2,000 coins, beyond to 11 digits. Raises ValueError for n < 0."""
    if n < 0:
        raise ValueError("a number of trials is not negative")
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    if 2 * k <= n:  # the other tail is the shorter sum
        return 1.0 - binomial_tail(n - k + 1, n)
    if n <= _EXACT_UP_TO:
        return _exact_tail(k, n)
    from scipy import special

    return float(special.betainc(k, n - k + 1, 0.5))


def binomial_share(k: int, n: int) -> float:
    """P(X = k) of n fair coins."""
    return math.exp(_log_share(k, n)) if 0 <= k <= n else 0.0


def _exact_tail(k: int, n: int) -> float:
    term = total = math.comb(n, k)
    for j in range(k, n):
        term = term * (n - j) // (j + 1)
        total += term
    return total / (1 << n)  # integers of any size divide with one rounding


def _log_share(k: int, n: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)


def sign_test(n_for: int, n_against: int) -> float:
    """One-sided p: how likely as many signs, or more, point this way if each were a coin's. 1 for none.

    It takes signs as independent.
    """
    return binomial_tail(n_for, n_for + n_against)


def normal_p(z: float) -> float:
    """Two-sided p of a standard normal number."""
    return math.erfc(abs(z) / math.sqrt(2))


def normal_quantile(share: float) -> float:
    """The number that this share of a standard normal population is below."""
    return _NORMAL.inv_cdf(share)


def student_p(t: float, freedom: int) -> float:
    """Two-sided p of Student's t: I_x(freedom/2, 1/2) at x = freedom / (freedom + t^2) (Abramowitz and Stegun 26.7.1).
    Raises ValueError for fewer than one degree of freedom."""
    if freedom < 1:
        raise ValueError("Student's t has at least one degree of freedom")
    from scipy import special

    square = t * t
    if math.isinf(square):
        return 0.0
    if square > freedom:
        return float(special.betainc(freedom / 2, 0.5, freedom / (freedom + square)))
    # from the other side: close to t = 0 the share that is passed above has no digits left, and stdtr has none either
    return float(special.betaincc(0.5, freedom / 2, square / (freedom + square)))


def student_quantile(p: float, freedom: int) -> float:
    """The |t| of this two-sided p; p over 0 and at most 1."""
    from scipy import special

    return abs(float(special.stdtrit(freedom, p / 2)))


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p of each of many tests, in the order given: claiming those at most LEVEL makes any false claim at all
    with no more than that chance, however the tests depend on each other (Holm, Scand. J. Statist. 6, 1979)."""
    adjusted = [1.0] * len(p)
    so_far = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        so_far = max(so_far, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = so_far
    return adjusted
