"""Tests of chance against brute force, tables of the literature, mpmath and scipy's own distributions."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qinspect.inspector.significance import (
    binomial_share,
    binomial_tail,
    holm,
    normal_p,
    normal_quantile,
    sign_test,
    student_p,
    student_quantile,
)


@given(n=st.integers(0, 12), k=st.integers(-1, 14))
def test_the_tail_is_the_share_of_all_throws(n: int, k: int) -> None:
    throws = list(itertools.product((0, 1), repeat=n))
    expected = Fraction(sum(sum(t) >= k for t in throws), len(throws))
    assert binomial_tail(k, n) == float(expected)
    assert binomial_share(k, n) == pytest.approx(sum(sum(t) == k for t in throws) / len(throws))


@settings(max_examples=30)
@given(n=st.integers(1, 2500), share=st.floats(0, 1))
def test_both_ways_of_counting_agree(n: int, share: float) -> None:
    k = round(share * n)
    exact = Fraction(sum(math.comb(n, j) for j in range(k, n + 1)), 1 << n)
    assert binomial_tail(k, n) == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


def test_no_trials_are_no_evidence() -> None:
    assert sign_test(0, 0) == 1
    with pytest.raises(ValueError, match="not negative"):
        binomial_tail(0, -1)


def test_sixteen_signs_of_sixteen() -> None:
    assert sign_test(16, 0) == 2**-16
    assert sign_test(0, 16) == 1
    assert sign_test(3, 1) == 5 / 16


@pytest.mark.parametrize(  # two-sided 5 % and 0.1 % points of Student's t, as every table has them
    ("freedom", "p", "t"),
    [
        (1, 0.05, 12.7062), (2, 0.05, 4.30265), (5, 0.05, 2.57058), (30, 0.05, 2.04227), (120, 0.05, 1.97993),
        (1, 0.001, 636.619), (4, 0.001, 8.61030), (10, 0.001, 4.58689),
    ],
)  # fmt: skip
def test_students_t(freedom: int, p: float, t: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(t, rel=1e-5)
    assert student_p(t, freedom) == pytest.approx(p, rel=2e-5)
    assert student_p(-t, freedom) == student_p(t, freedom)


@given(t=st.floats(0, 1e6))
def test_closed_forms_of_students_t(t: float) -> None:
    assert student_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), rel=1e-9, abs=1e-10)
    assert student_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-6, abs=1e-13)


def test_the_ends_of_students_t() -> None:
    assert student_p(0, 3) == 1
    assert student_p(math.inf, 3) == 0
    with pytest.raises(ValueError, match="at least one"):
        student_p(1, 0)


def test_the_normal_distribution() -> None:
    assert normal_p(1.959964) == pytest.approx(0.05, rel=1e-6)
    assert normal_quantile(0.975) == pytest.approx(1.959964, rel=1e-6)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_is_the_step_down_of_its_definition(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a >= raw for a, raw in zip(adjusted, p, strict=True))
    for level in (0.01, 0.05, 0.5):
        claimed = set()
        for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[i] * (len(p) - rank) > level:
                break
            claimed.add(i)
        assert {i for i, a in enumerate(adjusted) if a <= level} == claimed


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30, 120, 1000, 100_000])
@pytest.mark.parametrize("t", [1e-8, 1e-4, 0.3, 1.0, 3.3, 10.0, 50.0, 1e3])
def test_students_t_on_a_grid(freedom: int, t: float) -> None:
    """The truth is mpmath's, to 50 digits: scipy's own stdtr has nine close to zero."""
    with mpmath.workdps(50):
        x = mpmath.mpf(freedom) / (freedom + mpmath.mpf(t) ** 2)
        expected = float(mpmath.betainc(mpmath.mpf(freedom) / 2, 0.5, 0, x, regularized=True))
    assert student_p(t, freedom) == pytest.approx(expected, rel=1e-10, abs=1e-290)
    assert student_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-8, abs=1e-290)


@pytest.mark.parametrize("freedom", [1, 2, 5, 30, 1000])
@pytest.mark.parametrize("p", [1e-12, 1e-6, 0.001, 0.05, 0.3, 0.9])
def test_quantiles_of_students_t_on_a_grid(freedom: int, p: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(stats.t.isf(p / 2, freedom), rel=1e-10)
    assert student_p(student_quantile(p, freedom), freedom) == pytest.approx(p, rel=1e-10)


@pytest.mark.parametrize("n", [3, 100, 2000, 2001, 9800])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.51, 0.6, 0.9, 1.0])
def test_tails_on_a_grid(n: int, share: float) -> None:
    k = math.ceil(share * n)
    ways = total = math.comb(n, k)
    for j in range(k, n):
        ways = ways * (n - j) // (j + 1)  # C(n, j + 1)
        total += ways
    assert binomial_tail(k, n) == pytest.approx(float(Fraction(total, 1 << n)), rel=1e-11, abs=1e-290)
    assert binomial_tail(k, n) == pytest.approx(stats.binom.sf(k - 1, n, 0.5), rel=1e-9, abs=1e-290)
    assert binomial_share(k, n) == pytest.approx(stats.binom.pmf(k, n, 0.5), rel=1e-9, abs=1e-290)


def test_what_a_small_comparison_needs_does_not_import_scipy() -> None:
    ask = "from qinspect.inspector.significance import *; sign_test(900, 1100), holm([0.1]), normal_p(1)"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; {ask}; print('scipy' in sys.modules)"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert found.stdout == "False\n"
