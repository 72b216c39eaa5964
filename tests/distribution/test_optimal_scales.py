"""Scales that minimise something: against dense search, and against the method written as its loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from distribution_cases import KINDS, magnitudes, silu
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable, entropy_optimal_scale, mse, mse_optimal_scale


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_no_scale_of_a_dense_search_has_much_less_error(kind: str, bits: int) -> None:
    table = MagnitudeTable.of(KINDS[kind](30_000, "bfloat16", 0))
    found = mse_optimal_scale(table, bits)
    limit = 2 ** (bits - 1) - 1
    assert found.w_max == pytest.approx(found.scale * limit)
    assert found.loss == mse(table, found.scale, bits)
    dense = mse(table, table.absmax / limit * np.geomspace(2**-12, 1, 5000), bits)
    assert found.loss <= dense.min() * 1.01 + 1e-30
    assert 0 < found.w_max <= table.absmax * (1 + 1e-6)


def test_the_least_error_is_known_for_values_on_a_grid() -> None:
    table = MagnitudeTable.of(np.arange(128, dtype=np.float16) * 2)
    found = mse_optimal_scale(table)
    assert (found.scale, found.loss) == (2.0, 0.0)


def by_loops(values: NDArray[np.float32], bins: int, levels: int) -> tuple[float, float]:
    """Migacz' method as its slides have it. Returns (threshold, divergence), the largest threshold among equals."""
    absmax = float(values[-1])
    histogram = np.histogram(values.astype(np.float64), np.linspace(0, absmax, bins + 1))[0].astype(float)
    best = (math.inf, 0)
    for i in range(levels, bins + 1):
        p = histogram[:i].copy()
        p[-1] += histogram[i:].sum()
        q = np.zeros(i)
        for level in range(levels):
            part = slice(level * i // levels, (level + 1) * i // levels)
            used = p[part] > 0
            q[part] = np.where(used, histogram[:i][part].sum() / max(used.sum(), 1), 0)
        if q.sum() == 0 or (q[p > 0] == 0).any():
            continue
        p, q = p / p.sum(), q / q.sum()
        divergence = float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())
        if divergence <= best[0]:
            best = (divergence, i)
    return best[1] * absmax / bins, best[0]


@pytest.mark.parametrize("kind", ["silu", "gaussian", "zeros", "wide"])
def test_the_entropy_scale_is_that_of_the_loops(kind: str) -> None:
    x = KINDS[kind](20_000, "float16", 0)
    found = entropy_optimal_scale(MagnitudeTable.of(x), bits=6, bins=300)
    threshold, divergence = by_loops(magnitudes(x), 300, 32)
    assert found.loss == pytest.approx(divergence, rel=1e-9, abs=1e-12)
    assert found.w_max == pytest.approx(threshold)
    assert found.scale == np.float32(found.w_max / 31)


@pytest.mark.parametrize("x", [np.zeros(0, np.float16), np.zeros(5, np.float16), np.array([np.nan], np.float16)])
def test_where_there_is_nothing_but_zero_there_is_no_scale(x: NDArray[np.float16]) -> None:
    table = MagnitudeTable.of(x)
    assert math.isnan(mse_optimal_scale(table).scale)
    assert math.isnan(entropy_optimal_scale(table).scale)


def test_entropy_clips_rare_outliers() -> None:
    x = silu(100_000, "float16")
    x[0] = 300
    assert entropy_optimal_scale(MagnitudeTable.of(x)).w_max < 100
