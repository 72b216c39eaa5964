"""Each check passes where it shall, and fails where what it looks at is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.distribution import Bounds, MagnitudeTable, merge
from qinspect.inspector.observers import RULES, Rule
from qinspect.inspector.verify import checks
from qinspect.inspector.verify.checks import average_clips, counted_as_sorted, finite, monotone, whole_range
from qinspect.inspector.verify.sweep import Yardstick, sweep

VALUES = np.linspace(-3, 5, 999).astype(np.float16)
TABLE = MagnitudeTable.of(VALUES)
ALPHAS = [0.5, 0.9, 1.0]


def test_finite_values() -> None:
    assert finite(TABLE).passed
    odd = finite(MagnitudeTable.of(np.array([1, np.nan, np.inf, -np.inf], np.float16)))
    assert not odd.passed
    assert odd.numbers == {"values": 4, "nan": 1, "infinite": 2}


def test_counts_against_sorting() -> None:
    assert counted_as_sorted(VALUES.astype(np.float32), TABLE, ALPHAS).passed
    assert not counted_as_sorted(VALUES.astype(np.float32), MagnitudeTable.of(VALUES[:-1]), ALPHAS).passed
    assert not counted_as_sorted(np.zeros(3, np.float32), TABLE, ALPHAS).passed
    odd = np.array([1, np.nan], np.float16)
    assert counted_as_sorted(odd.astype(np.float32), MagnitudeTable.of(odd), ALPHAS).passed
    assert not counted_as_sorted(odd.astype(np.float32), MagnitudeTable.of(odd[:1]), ALPHAS).passed


def test_monotone_scales() -> None:
    found = sweep("pooled", RULES["pooled"].at(), [TABLE], ALPHAS, Yardstick(TABLE, 0.99))
    assert monotone(found).passed
    assert monotone(replace(found, rows=found.rows[:1])).passed
    falling = monotone(replace(found, rows=found.rows[::-1]))
    assert not falling.passed
    assert "at alpha 0.9 it falls" in falling.text
    nan = Bounds(np.array(np.nan), np.array(np.nan))
    assert not monotone(replace(found, rows=(replace(found.rows[0], scale=nan), *found.rows[1:]))).passed
    assert not monotone(replace(found, rows=(replace(found.rows[0], scale=nan),))).passed


Patch = Callable[[float], None]


@pytest.fixture
def ranges_times(monkeypatch: pytest.MonkeyPatch) -> Patch:
    """Observers whose ranges are so many times too large."""
    true = Rule.w_max_at

    def patch(factor: float) -> None:
        monkeypatch.setattr(Rule, "w_max_at", lambda *a: true(*a) * np.float32(factor))

    return patch


def test_one_batch_at_alpha_1_is_the_largest_value(ranges_times: Patch) -> None:
    found = whole_range(TABLE, RULES["pooled"].at())
    assert found.passed
    assert found.numbers == {"w_max": 5.0, "largest": 5.0, "beyond": 0, "clipped": 0}
    for factor in (0.9, 1.1):
        ranges_times(factor)
        assert not whole_range(TABLE, RULES["pooled"].at()).passed


def test_an_average_at_alpha_1_clips(ranges_times: Patch) -> None:
    samples = [MagnitudeTable.of(np.array([m, 0.5], np.float16)) for m in (1, 4, 2)]
    found = average_clips(samples, merge(samples), RULES["ema"].at())
    assert found.passed
    w_max = 0.99 * (0.99 * 1 + 0.01 * 4) + 0.01 * 2
    assert found.numbers["w_max"] == pytest.approx(w_max)
    assert found.numbers["first_weight"] == pytest.approx(0.99**2)
    assert found.numbers["beyond"] == 2  # 4 and 2
    assert "0.99^2 = 98 %" in found.text
    assert "4 in sample 2, weighs 0.99 %" in found.text
    ranges_times(1.001)
    assert not average_clips(samples, merge(samples), RULES["ema"].at()).passed


@given(st.lists(st.floats(0, 2.0**15, width=16), min_size=1, max_size=300))
def test_an_average_of_any_maxima_is_its_weighted_mean(maxima: list[float]) -> None:
    samples = [MagnitudeTable.of(np.array([m], np.float16)) for m in maxima]
    found = average_clips(samples, merge(samples), RULES["ema"].at())
    assert found.passed, found.text
    w_max, largest = found.numbers["w_max"], found.numbers["largest"]
    assert w_max is not None
    assert largest == max(maxima)
    assert w_max <= max(maxima) * (1 + 1e-6)
    assert found.numbers["beyond"] == sum(m > w_max for m in maxima)


def test_equal_maxima_clip_nothing() -> None:
    samples = [MagnitudeTable.of(np.array([2, -1], np.float16))] * 5
    found = average_clips(samples, merge(samples), RULES["ema"].at())
    assert found.passed
    assert found.numbers["beyond"] == 0
    assert "the maxima are equal" in found.text
    zeros = [MagnitudeTable.of(np.zeros(2, np.float16))] * 2
    assert average_clips(zeros, merge(zeros), RULES["ema"].at()).passed


@pytest.mark.parametrize("wrong_row", [(103.010857, "103.0109", "0.8111"), (103.01, "103.0100", "0.8111")])
def test_the_worked_example_tells_one_rank_from_the_other(
    wrong_row: tuple[float, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {**checks.EXAMPLE_RANKS, 0.99: wrong_row}
    monkeypatch.setattr(checks, "EXAMPLE_RANKS", wrong)
    _, found = checks.worked_example()
    assert not found.passed
    assert found.numbers == {"wrong": 1}
    assert "Found instead at alpha 0.99: 103.01, 103.010857" in found.text


def test_a_table_of_nan_alone_has_a_yardstick() -> None:
    table = MagnitudeTable.of(np.array([np.nan], np.float16))
    yardstick = Yardstick(table, 0.99)
    assert math.isnan(yardstick.limit)
    (row,) = sweep("ema", RULES["ema"].at(), [table], [0.5], yardstick).rows
    assert (row.beyond, row.clipped, row.mse, row.mse_inliers) == (None, None, None, None)
