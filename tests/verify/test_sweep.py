"""The table of `qinspect verify` against numpy, torch and Quamba's own observers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distribution_cases import DTYPES, patterns
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.observers import RULES
from qinspect.inspector.verify.activations import (
    OUTLIER_EVERY,
    OUTLIER_FACTOR,
    SYNTHETIC_VALUES,
    count_on_cpu,
    synthetic,
    synthetic_sample,
    table_of,
)
from qinspect.inspector.verify.checks import EXAMPLE, EXAMPLE_RANKS, worked_example
from qinspect.inspector.verify.saved import read_saved, tensors_of
from qinspect.inspector.verify.sweep import Sweep, Yardstick, sweep

ALPHAS = [0.5, 0.99, 0.9995, 0.99999, 1.0]
STREAMS = Path(__file__).parent.parent / "data" / "observers"
QUAMBA = json.loads((STREAMS / "expected.json").read_text())


def of(tables: Sequence[MagnitudeTable], alphas: Sequence[float] = ALPHAS, bits: int = 8) -> tuple[Sweep, Sweep]:
    pooled = merge(tables, 1 << 25)
    yardstick = Yardstick(pooled, 0.99)
    averaged = sweep("ema", RULES["ema"].at(bits=bits), tables, alphas, yardstick)
    return averaged, sweep("pooled", RULES["pooled"].at(bits=bits), [pooled], alphas, yardstick)


def quantized(x: NDArray[np.float32], scale: np.float32, q_max: int) -> NDArray[np.float64]:
    codes = np.clip(np.rint(x / scale), -q_max, q_max).astype(np.float32)
    restored: NDArray[np.float64] = (codes * scale).astype(np.float64)
    return restored


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [8, 4])
def test_every_cell_is_that_of_the_values_themselves(dtype: str, bits: int) -> None:
    arrays = [synthetic_sample(3, i, np.dtype(DTYPES[dtype])).astype(np.float32) for i in range(3)]
    tables = synthetic(3, 3, np.dtype(DTYPES[dtype]), count_on_cpu(0)).tables
    x, q_max = np.concatenate(arrays), (1 << (bits - 1)) - 1
    inlier = np.abs(x) <= np.quantile(np.abs(x).astype(np.float64), 0.99)
    averaged, one_batch = of(tables, bits=bits)
    for a, e, o in zip(ALPHAS, averaged.rows, one_batch.rows, strict=True):
        average = torch.tensor(0.0)
        for i, sample in enumerate(arrays):
            found = torch.quantile(torch.from_numpy(np.abs(sample)), a)
            average = found if not i else average + 0.01 * (found - average)
        np.testing.assert_array_max_ulp(np.float32(e.w_max.low), np.float32(average), maxulp=2)
        assert np.float32(o.w_max.low) == np.float32(np.quantile(np.abs(x).astype(np.float64), a))
        for row in (e, o):
            assert row.w_max.low == row.w_max.high
            scale = np.float32(row.w_max.low) / np.float32(q_max)
            assert row.scale.low == row.scale.high == scale
            assert row.beyond == (np.abs(x) > float(row.w_max.low)).sum()
            assert row.clipped == (np.abs(np.rint(x / scale)) > q_max).sum()
            error = (x - quantized(x, scale, q_max)) ** 2
            assert row.mse == pytest.approx(error.mean(dtype=np.float64), rel=1e-6)
            assert row.mse_inliers == pytest.approx(error[inlier].mean(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("stream", QUAMBA)
def test_a_saved_stream_has_the_scales_of_quambas_observer_to_the_bit(stream: str) -> None:
    path = str(STREAMS / "streams.safetensors")
    found = read_saved(path, tensors_of(path, f"{stream}.*"), count_on_cpu(0))
    assert len(found.tables) == QUAMBA[stream]["samples"]
    expected = QUAMBA[stream]["percentile_ema"]
    alphas = sorted(map(float, expected))
    rows = of(found.tables, alphas)[0].rows
    by_alpha = {float(a): e for a, e in expected.items()}
    assert [(float(r.w_max.low), float(r.scale.low)) for r in rows] == [
        (by_alpha[a]["w_max"], by_alpha[a]["scale"]) for a in alphas
    ]


def test_the_worked_example_is_numpys_and_torchs() -> None:
    x = np.array(EXAMPLE, np.float64)
    rows, check = worked_example()
    assert check.passed
    assert [r.row.alpha for r in rows] == list(EXAMPLE_RANKS)
    for r in rows:
        a = r.row.alpha
        assert r.w_max_float64 == np.quantile(x, a)
        live = torch.quantile(torch.tensor(EXAMPLE, dtype=torch.float32), a).item()
        np.testing.assert_array_max_ulp(np.float32(r.w_max_float32), np.float32(live), maxulp=1)
        error = (x - np.clip(np.rint(x / (np.quantile(x, a) / 127)), -127, 127) * np.quantile(x, a) / 127) ** 2
        assert r.row.mse == pytest.approx(error.mean(), rel=1e-5)
        assert r.row.mse_inliers == pytest.approx(error[:99].mean(), rel=1e-5)
    # 500 is beyond 499.603, and less than half a step beyond: it rounds to the last code
    assert [(r.row.beyond, r.row.clipped) for r in rows] == [(1, 1), (1, 0), (0, 0)]


def test_synthetic_samples_follow_the_recipe() -> None:
    x = synthetic_sample(7, 2, np.dtype(np.float64))
    assert x.size == SYNTHETIC_VALUES
    rng = np.random.default_rng((7, 2))
    u = 2 ** (rng.standard_normal() / 2) * rng.standard_normal(SYNTHETIC_VALUES)
    factor = x / (u / (1 + np.exp(-u)))
    outliers = np.flatnonzero(~np.isclose(factor, 1.0))
    np.testing.assert_allclose(factor[outliers], OUTLIER_FACTOR)
    n_blocks = SYNTHETIC_VALUES // OUTLIER_EVERY
    assert (outliers // OUTLIER_EVERY).tolist() == list(range(n_blocks))
    assert synthetic(3, 7, np.dtype(np.float16), count_on_cpu(0)).tables[2].n == SYNTHETIC_VALUES
    different = synthetic_sample(8, 2, np.dtype(np.float64))
    assert not np.array_equal(x, different)


@given(st.lists(patterns("float32", finite=False, max_size=40), min_size=1, max_size=4))
def test_chunks_are_counted_as_the_whole(chunks: list[NDArray[Any]]) -> None:
    together = MagnitudeTable.of(np.concatenate(chunks))
    found = table_of(chunks, count_on_cpu(0))
    assert found.exact
    np.testing.assert_array_equal(found.magnitudes, together.magnitudes)
    np.testing.assert_array_equal(found.counts, together.counts)
    assert (found.n_inf, found.n_nan) == (together.n_inf, together.n_nan)


def test_more_float32_values_than_are_kept_exactly_give_an_interval_that_holds_the_truth() -> None:
    arrays = [synthetic_sample(0, i, np.dtype(np.float32)) for i in range(3)]
    exact = of([count_on_cpu(0)(x) for x in arrays])
    bounded = of([count_on_cpu(1 << 30)(x) for x in arrays])
    for known, interval in zip(exact, bounded, strict=True):
        for k, i in zip(known.rows, interval.rows, strict=True):
            assert i.w_max.low <= k.w_max.low <= i.w_max.high <= i.w_max.low * (1 + 2**-10)
            assert i.scale.low <= k.scale.low <= i.scale.high
            assert i.mse == pytest.approx(k.mse, rel=0.01)
    assert not any(row.w_max.low == row.w_max.high for row in bounded[0].rows[:-1])
    last = bounded[1].rows[-1]
    assert last.w_max.low == last.w_max.high == max(float(np.abs(x).max()) for x in arrays)
    assert last.beyond == last.clipped == 0
