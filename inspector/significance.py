"""How likely chance alone is: exact tests of signs, Student's t, and the correction for many tests.

Nothing here is of a scale or an accuracy: `inspector/noise` and `inspector/accuracy` ask it about theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

LEVEL = 0.05
"""The chance of a false claim that tests and intervals allow."""

_EXACT_UP_TO = 2000
"""Trials up to which binomial tails are sums of integers; beyond, of logarithms of gamma functions."""
_NORMAL = NormalDist()


def binomial_tail(k: int, n: int) -> float:
    """P(X >= k) of n fair coins. Exact integers up to 2,000 coins, beyond to 12 digits. Raises ValueError for n < 0."""
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
    return math.fsum(math.exp(_log_share(j, n)) for j in range(k, n + 1))


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
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t), t * t / (freedom + t * t))


def student_quantile(p: float, freedom: int) -> float:
    """The |t| of this two-sided p, by bisection; p over 0 and at most 1."""
    low, high = 0.0, 1.0
    while student_p(high, freedom) > p:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > p else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Regularised, rest being 1 - x, by its continued fraction on the side where it converges fast (Numerical Recipes
    6.4; Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _fraction(a, b, x) / a
    return 1.0 - math.exp(log_front) * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction by Lentz's method."""
    tiny, c = 1e-300, 1.0
    d = 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1), tiny)
    found = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _not_zero(1.0 + term * d, tiny)
            c = _not_zero(1.0 + term / c, tiny)
            found *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return found


def _not_zero(x: float, tiny: float) -> float:
    return x if abs(x) > tiny else tiny


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p of each of many tests, in the order given: claiming those at most LEVEL makes any false claim at all
    with no more than that chance, however the tests depend on each other (Holm, Scand. J. Statist. 6, 1979)."""
    adjusted = [1.0] * len(p)
    so_far = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        so_far = max(so_far, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = so_far
    return adjusted
