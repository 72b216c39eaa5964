"""Scales replayed from tables: Quamba's own to the bit, every reducer by its definition, one notation."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distribution_cases import silu
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.distribution import MagnitudeTable, mse_optimal_scale
from qinspect.inspector.observers import (
    Absmax,
    Arithmetic,
    Ema,
    EntropyOptimal,
    MseOptimal,
    Quantile,
    Rule,
    group_tables,
    grouped,
    quamba_absmax,
    quamba_percentile,
)

FOLDER = Path(__file__).parent.parent / "data" / "observers"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
ALPHAS = [(stream, alpha) for stream, e in EXPECTED.items() for alpha in e["percentile_ema"]]
ARITHMETIC: dict[str, Arithmetic] = {"x_fp16": "float16", "x_bf16": "bfloat16", "state_fp32": "float32"}


@pytest.fixture(scope="module")
def streams() -> dict[str, list[NDArray[Any]]]:
    """Samples of each stream, in order."""
    checkpoint = open_checkpoint(FOLDER / "streams.safetensors")
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in EXPECTED}
    for name in sorted(checkpoint.entries):
        tensor = checkpoint.tensor(name)
        assert tensor is not None
        found[name.split(".")[0]].append(tensor.read())
    return found


@pytest.fixture(scope="module")
def tables(streams: dict[str, list[NDArray[Any]]]) -> dict[str, list[MagnitudeTable]]:
    return {name: [MagnitudeTable.of(x) for x in samples] for name, samples in streams.items()}


def test_the_streams_are_whole(streams: dict[str, list[NDArray[Any]]]) -> None:
    assert {name: len(s) for name, s in streams.items()} == {name: e["samples"] for name, e in EXPECTED.items()}


def test_every_sample_is_exact_the_float32_ones_as_lists(tables: dict[str, list[MagnitudeTable]]) -> None:
    assert all(t.exact for samples in tables.values() for t in samples)
    dtypes = {name: {t.dtype for t in samples} for name, samples in tables.items()}
    assert dtypes == {"x_fp16": {"float16"}, "x_bf16": {"bfloat16"}, "state_fp32": {"float32"}}


@pytest.mark.parametrize(("stream", "alpha"), ALPHAS)
def test_the_percentile_observer_to_the_bit(stream: str, alpha: str, tables: dict[str, list[MagnitudeTable]]) -> None:
    expected = EXPECTED[stream]["percentile_ema"][alpha]
    rule = quamba_percentile(float(alpha))
    assert rule.w_max(tables[stream]) == expected["w_max"]
    assert rule.scale(tables[stream]) == expected["scale"]
    found = rule.alpha_of(tables[stream], expected["scale"])
    assert found is not None
    assert found.attained
    assert float(alpha) in found
    assert found.high - found.low < 3e-6


@pytest.mark.parametrize("stream", EXPECTED)
def test_the_min_max_observers_to_the_bit(
    stream: str, streams: dict[str, list[NDArray[Any]]], tables: dict[str, list[MagnitudeTable]]
) -> None:
    rule, expected = quamba_absmax(ARITHMETIC[stream]), EXPECTED[stream]
    assert rule.w_max(tables[stream]) == expected["absmax"]["w_max"]
    assert rule.scale(tables[stream]) == expected["absmax"]["scale"]
    n_groups = expected["ssd_group_absmax"]["groups"]
    per_sample = [group_tables(x, n_groups) for x in streams[stream]]
    groups = [[sample[g] for sample in per_sample] for g in range(n_groups)]
    assert grouped(rule, groups).tolist() == expected["ssd_group_absmax"]["scale"]


def test_all_alphas_at_once_are_each_alone(tables: dict[str, list[MagnitudeTable]]) -> None:
    alphas = [0.0, 0.5, 0.9995, 1.0]
    for rule in (quamba_percentile(0.1), Rule(Quantile(0.1), "pooled"), Rule(Quantile(0.1, "float64"), "mean")):
        together = rule.scales_at(tables["x_bf16"], np.array(alphas))
        rank = rule.statistic.rank if isinstance(rule.statistic, Quantile) else "float32"
        alone = [Rule(Quantile(a, rank), rule.reducer).scale(tables["x_bf16"]) for a in alphas]
        assert together.tolist() == alone


@pytest.mark.parametrize(("stream", "percent"), [("x_fp16", 150), ("x_bf16", 30), ("state_fp32", 145)])
def test_pooled_samples_have_another_scale(stream: str, percent: int, tables: dict[str, list[MagnitudeTable]]) -> None:
    pooled = Rule(Quantile(0.9995), "pooled").scale(tables[stream])
    assert round(100 * (pooled / quamba_percentile(0.9995).scale(tables[stream]) - 1)) == percent


def test_an_alpha_of_one_is_no_maximum_where_a_moving_average_follows(tables: dict[str, list[MagnitudeTable]]) -> None:
    samples = tables["x_fp16"]
    assert quamba_percentile(1.0).w_max(samples) < Rule(Quantile(1.0), "max").w_max(samples)
    assert Rule(Quantile(1.0), "max").w_max(samples) == Rule(Absmax(), "max").w_max(samples)


def whole(samples: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([x.reshape(-1) for x in samples])


def test_reducers_by_their_definitions() -> None:
    arrays = [silu(3000 + i, "float16", i) for i in range(6)]
    samples = [MagnitudeTable.of(x) for x in arrays]
    each = np.array([t.quantile(0.99) for t in samples])
    assert Rule(Quantile(0.99), "max").w_max(samples) == each.max()
    assert Rule(Quantile(0.99), "mean").w_max(samples) == np.float32(each.mean(dtype=np.float64))
    pooled = MagnitudeTable.of(whole(arrays))
    assert Rule(Quantile(0.99), "pooled").w_max(samples) == pooled.quantile(0.99)
    assert Rule(MseOptimal(), "pooled").w_max(samples) == np.float32(mse_optimal_scale(pooled).w_max)
    assert Rule(EntropyOptimal(), "max").w_max(samples) > 0
    average = each[0]
    for w in each[1:]:
        average = average + np.float32(0.1) * (w - average)
    assert Rule(Quantile(0.99), Ema(0.1)).w_max(samples) == average


def test_scales_have_a_floor_and_the_grid_of_their_dtype() -> None:
    zeros = [MagnitudeTable.of(np.zeros(4, np.float16))]
    assert quamba_percentile(0.5).scale(zeros) == np.float32(1e-6)
    assert quamba_absmax("float16").w_max(zeros) == np.float16(1e-5)
    ones = [MagnitudeTable.of(np.ones(4, np.float16))]
    assert quamba_absmax("float16").scale(ones) == np.float16(1 / 127)
    assert quamba_absmax("float32").scale(ones) == np.float32(1) / np.float32(127)


def test_nan_reaches_the_scale_as_in_torch() -> None:
    broken = [MagnitudeTable.of(np.array([1, np.nan], np.float16))]
    assert math.isnan(quamba_absmax("float16").scale(broken))
    assert math.isnan(quamba_percentile(0.5).scale(broken))


def test_bounded_tables_give_an_interval() -> None:
    arrays = [silu(70_000, "float32", i) for i in range(3)]
    samples = [MagnitudeTable.of(x) for x in arrays]
    assert not any(t.exact for t in samples)
    low, high = quamba_percentile(0.999).scale_bounds(samples)
    values = [np.sort(np.abs(x)) for x in arrays]
    exact = [MagnitudeTable("float32", *np.unique(v, return_counts=True)) for v in values]
    truth = quamba_percentile(0.999).scale(exact)
    assert low <= truth <= high <= low * (1 + 2**-11)
    alphas = quamba_percentile(0.5).alpha_of(samples, truth)
    assert alphas is not None
    assert 0.999 in alphas
    assert alphas.high - alphas.low < 1e-4
    maximum = quamba_absmax("float32").scale_bounds(samples)
    assert maximum.low == maximum.high == np.float32(max(v[-1] for v in values)) / np.float32(127)
    assert {float(b) for b in quamba_percentile(0.999).scale_bounds(exact)} == {truth}
    with pytest.raises(ValueError, match="has no bounds"):
        Rule(MseOptimal(), "pooled").scale_bounds(samples)
    with pytest.raises(ValueError, match="quantile_bounds"):
        quamba_percentile(0.5).scale(samples)


def test_what_has_no_answer_is_refused() -> None:
    table = MagnitudeTable.of(np.ones(3, np.float16))
    with pytest.raises(ValueError, match="seen nothing"):
        quamba_percentile(0.5).scale([])
    with pytest.raises(ValueError, match="no values"):
        quamba_absmax("float16").scale([MagnitudeTable.of(np.ones(0, np.float16))])
    with pytest.raises(ValueError, match="has no alpha"):
        quamba_absmax("float16").alpha_of([table], 1.0)
    with pytest.raises(ValueError, match="does not divide"):
        group_tables(np.ones((2, 5)), 2)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (quamba_percentile(0.9995), "quantile(|x|, 0.9995, linear) ∘ ema 0.01 ∘ map(w_max/127, clamp 1e-6)"),
        (
            quamba_absmax("float16"),
            "absmax(|x|, clamp 1e-5) ∘ max ∘ map(w_max/127 in float16, clamp 1e-6)",
        ),
        (
            Rule(Quantile(0.99999, "float64"), "pooled", bits=4, clamp=0.0),
            "quantile(|x|, 0.99999, linear, float64 rank) ∘ pooled ∘ map(w_max/7)",
        ),
        (Rule(MseOptimal(4), "pooled", 4), "mse(|x|, 4 bits, half-even) ∘ pooled ∘ map(w_max/7, clamp 1e-6)"),
        (Rule(EntropyOptimal(), "mean"), "entropy(|x|, 8 bits, 2048 bins) ∘ mean ∘ map(w_max/127, clamp 1e-6)"),
        (Rule(Absmax(), Ema(0.1)), "absmax(|x|) ∘ ema 0.1 ∘ map(w_max/127, clamp 1e-6)"),
    ],
)
def test_a_rule_says_what_it_is(rule: Rule, text: str) -> None:
    assert str(rule) == text
