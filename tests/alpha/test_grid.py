"""Numbers of the grid against numpy and torch on the values, and against the exact distribution one scale at a time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import whence_cases as cases
from distribution_cases import DTYPES, SIXTEEN_BIT, patterns
from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.alpha.sweep.alphas import ALPHAS, THUMB, nearest, on_grid, stretched
from qinspect.inspector.alpha.sweep.best import best, best_of_point
from qinspect.inspector.alpha.sweep.build import at_alpha, build
from qinspect.inspector.alpha.sweep.grid import Grid
from qinspect.inspector.alpha.sweep.kinds import matrix
from qinspect.inspector.alpha.sweep.measure import Gauges
from qinspect.inspector.alpha.sweep.one import ExactPoint, default_rule
from qinspect.inspector.alpha.sweep.rules import BITS, SWEPT, WITHOUT
from qinspect.inspector.calibration.layout import TABLES
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.distribution import (
    MagnitudeTable,
    beyond,
    coverage,
    mse_optimal_scale,
    sqnr_db,
    write_distributions,
)
from qinspect.inspector.roles import place

STREAMS = cases.streams(5, 4, 12, "float16")
NAMES = tuple(STREAMS)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    return cases.calibration(tmp_path_factory.mktemp("grid") / "run", STREAMS)


@pytest.fixture(scope="module")
def grid(calibration: Calibration) -> Grid:
    return build(calibration)


# --- the alphas ---


def test_the_grid_has_the_round_alphas_and_stretches_near_one() -> None:
    assert len(ALPHAS) == 600
    assert ALPHAS[0] == 0.5
    assert ALPHAS[-1] == 1
    assert list(ALPHAS) == sorted(set(ALPHAS))
    for alpha in (*THUMB, 0.95, 0.98, 0.995, 0.998, 0.99998, 0.9999999):
        assert alpha in ALPHAS
    left = np.array([stretched(a) for a in ALPHAS[:-1]])
    assert np.abs(np.diff(left) - (7 - left[0]) / 598).max() < 0.0065  # even steps, to a rounding to three digits
    assert all(len(repr(a)) <= 12 for a in ALPHAS)


@given(st.floats(0, 1))
def test_the_nearest_alpha_is_the_nearest_where_it_stretches(alpha: float) -> None:
    found = nearest(alpha)
    if alpha < 0.5:
        assert found == 0
    elif alpha < ALPHAS[-2]:
        distances = [abs(stretched(a) - stretched(alpha)) for a in ALPHAS[:-1]]
        assert distances[found] == pytest.approx(min(distances), abs=1e-9)
    assert all(nearest(a) == i == on_grid(a) for i, a in enumerate(ALPHAS))
    assert nearest(1 - 1e-9) == 599
    assert on_grid(0.99937001) is None


# --- many scales at once ---


@settings(max_examples=60)
@given(st.sampled_from(SIXTEEN_BIT).flatmap(patterns), st.sampled_from((2, 4, 5, 8)), st.data())
def test_many_scales_at_once_are_one_after_another(x: np.ndarray, bits: int, data: st.DataObject) -> None:
    table = MagnitudeTable.of(x, x.dtype.name)
    top = max(table.largest, 1e-6)
    factors = data.draw(st.lists(st.floats(1e-3, 2), min_size=1, max_size=6))
    limit = 2 ** (bits - 1) - 1
    scales = np.clip(np.array(factors) * top / limit, 1e-6, 3e38 / limit).astype(np.float32)
    w_max = scales * limit
    found = Gauges(table).at(w_max, scales, bits)
    np.testing.assert_array_equal(found.beyond, beyond(table, w_max))
    np.testing.assert_allclose(found.clipped, 1 - coverage(table, scales, bits), atol=1e-15)
    exact = sqnr_db(table, scales, bits)
    small = exact < 100  # below, what is lost is in the last digits of the sums
    np.testing.assert_allclose(found.sqnr_db[small], exact[small], atol=1e-3)
    assert (found.sqnr_db[exact > 140] > 100).all()


def test_no_scale_and_no_values_have_no_numbers() -> None:
    table = MagnitudeTable.of(np.array([1, 2, 3], np.float16))
    found = Gauges(table).at(np.array([np.nan, np.inf, 0, 3]), np.array([np.nan, np.inf, 0, 0.013], np.float32), 8)
    assert np.isnan(found.sqnr_db[:3]).all()
    assert np.isnan(found.clipped[:3]).all()
    assert np.isfinite(found.sqnr_db[3])
    empty = MagnitudeTable.of(np.zeros(0, np.float16))
    assert np.isnan(Gauges(empty).at(np.array([1.0]), np.array([1.0], np.float32), 8).clipped).all()


# --- the rules ---


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.999, 0.9995, 0.99999, 1.0])
def test_scales_are_those_of_torch_and_numpy(grid: Grid, alpha: float) -> None:
    i = on_grid(alpha)
    assert i is not None
    for p, name in enumerate(NAMES):
        x = STREAMS[name]
        quantiles = [torch.quantile(torch.from_numpy(s.astype(np.float32)).abs(), alpha) for s in x]
        expected = {
            "ema": cases.ema(x, alpha),
            "pooled": cases.pooled(x, alpha),
            "max": float(torch.stack(quantiles).max() / 127),
            "mean": float(torch.stack(quantiles).double().mean().float() / 127),
            "absmax": cases.largest(x),
        }
        for rule, scale in expected.items():
            assert np.float32(grid.at(rule, i).scale[0, p]) == np.float32(scale), rule


def test_clipping_and_error_are_those_of_the_values(grid: Grid) -> None:
    i = nearest(0.999)
    for rule in SWEPT:
        n = grid.at(rule, i)
        for p, name in enumerate(NAMES):
            x = np.concatenate(list(STREAMS[name])).astype(np.float64)
            for b, bits in enumerate(BITS):
                limit = 2 ** (bits - 1) - 1
                codes = np.rint(np.abs(x) / n.scale[b, p])
                lost = np.mean((np.abs(x) - np.minimum(codes, limit) * n.scale[b, p]) ** 2)
                assert n.sqnr_db[b, p] == pytest.approx(10 * math.log10(np.mean(x * x) / lost), abs=1e-3)
                assert n.clipped[b, p] == pytest.approx(np.mean(codes > limit), abs=1e-7)
                assert n.beyond[b, p] == pytest.approx(np.mean(np.abs(x) > n.w_max[b, p]), abs=1e-7)


def test_nothing_is_better_than_the_optimum(grid: Grid, calibration: Calibration) -> None:
    for bits in BITS:
        for rule in SWEPT:
            assert (grid.loss(rule, bits) >= 0).all()
        b = BITS.index(bits)
        for p, name in enumerate(NAMES):
            refined = mse_optimal_scale(calibration.pooled(name), bits)
            signal = np.mean(np.concatenate(list(STREAMS[name])).astype(np.float64) ** 2)
            assert grid.optimum_db[b, p] >= 10 * math.log10(signal / refined.loss) - 1e-3


def test_an_alpha_in_between_is_exact(grid: Grid, calibration: Calibration) -> None:
    alpha = 0.99937123
    found = at_alpha(calibration, grid, alpha)
    for p, name in enumerate(NAMES):
        assert found.at("ema", 0).scale[0, p] == cases.ema(STREAMS[name], alpha)
        exact = ExactPoint.read(calibration, grid.points[p])
        reading = exact.at("ema", alpha, 8)
        assert reading.scale == cases.ema(STREAMS[name], alpha)
        assert reading.sqnr_db.middle == pytest.approx(found.at("ema", 0).sqnr_db[0, p], abs=1e-4)
        solved = exact.alphas_of("ema", reading.scale, 8)
        assert solved is not None
        assert alpha in solved


def test_only_sums_are_answered_by_the_pooled_rule_and_it_is_said(tmp_path: Path) -> None:
    calibration = cases.calibration(tmp_path / "run", STREAMS, keep_samples=False)
    grid = build(calibration)
    assert {p.pooled_instead for p in grid.points} == {"only the sum of all samples was kept"}
    ema, pooled = grid.at("ema", 200), grid.at("pooled", 200)
    assert ema.instead.all()
    assert not pooled.instead.any()
    np.testing.assert_array_equal(ema.scale, pooled.scale)
    assert not grid.at("absmax", 0).instead.any()
    exact = ExactPoint.read(calibration, grid.points[0])
    assert exact.at("ema", 0.999, 8) == exact.at("pooled", 0.999, 8)


def test_odd_points_have_what_they_can_have(tmp_path: Path) -> None:
    odd: dict[str, cases.Samples] = {
        "layers.0.zeros:input": [np.zeros(50, np.float16)] * 2,
        "layers.0.nan:input": [np.array([1, np.nan, 2], np.float16)] * 2,
        "layers.0.inf:input": [np.array([1, np.inf, 2], np.float16)] * 2,
        "layers.0.ones:input": [np.ones(50, np.float16)] * 2,
        "layers.0.float:input": [np.random.default_rng(i).standard_normal(3000).astype(np.float32) for i in range(2)],
    }
    calibration = cases.calibration(tmp_path / "run", odd)
    grid = build(calibration)
    n = grid.at("ema", 599)
    zeros, nan, inf, ones, floats = range(5)
    assert n.scale[0, zeros] == np.float32(1e-6)
    assert np.isnan(n.sqnr_db[0, zeros])
    assert np.isnan(n.scale[:, [nan, inf]]).all()
    assert n.sqnr_db[0, ones] > 100
    assert n.clipped[0, floats] == 0
    told = best(grid, "ema", 8)
    assert told
    assert told[0].n == 2
    assert all(math.isfinite(f.mean_db) for f in told if f.what in ("all", "kind", "point"))
    assert json.dumps([f.mean_db for f in told])


def test_tables_that_are_not_exact_give_upper_bounds(tmp_path: Path) -> None:
    x = {"layers.0.p:input": [np.random.default_rng(0).standard_normal(70_000).astype(np.float32)]}
    calibration = cases.calibration(tmp_path / "run", x)
    grid = build(calibration)
    assert not grid.points[0].exact
    values = np.abs(x["layers.0.p:input"][0].astype(np.float64))
    for alpha in (0.9, 0.999, 1.0):
        true = np.quantile(values, alpha)
        assert true <= grid.at("pooled", nearest(alpha)).w_max[0, 0] * (1 + 1e-6) <= true * 1.001


@pytest.mark.parametrize(("recipe", "rule"), [("quamba", "ema"), ("percentile", "pooled"), ("minmax", "pooled")])
def test_the_rule_to_begin_with_is_the_recipes(calibration: Calibration, recipe: str, rule: str) -> None:
    before = calibration.recipe
    calibration.recipe = recipe
    try:
        assert default_rule(calibration) == rule
    finally:
        calibration.recipe = before


# --- the best, and where scales lie ---


@pytest.mark.parametrize("bits", BITS)
def test_the_best_alphas_are_those_of_a_search(grid: Grid, bits: int) -> None:
    b = BITS.index(bits)
    loss = np.array([[grid.optimum_db[b, p] - grid.at("ema", i).sqnr_db[b, p] for i in range(600)] for p in range(4)])
    np.testing.assert_array_equal(grid.loss("ema", bits), np.maximum(loss, 0))
    told = {f.what if f.what in ("all", "point") else f.label: f for f in best(grid, "ema", bits, (0.9995, 0.12345))}
    for label, rows in {"all": [0, 1, 2, 3], "mixer.x_conv_out:input": [0, 2]}.items():
        mean = loss[rows].mean(axis=0)
        f = told[label]
        assert f.alpha == ALPHAS[int(np.flatnonzero(mean == mean.min())[-1])]
        assert f.mean_db == pytest.approx(mean.min())
        assert f.n == len(rows)
        at = on_grid(f.alpha)
        assert (f.worst_db, f.worst) == (loss[rows][:, at].max(), NAMES[rows[int(loss[rows][:, at].argmax())]])
    assert told["point"].mean_db == pytest.approx(loss.min(axis=1).mean())
    assert told["as given"].mean_db == pytest.approx(loss[:, on_grid(0.9995)].mean())
    assert told["nearest to the given 0.12345"].alpha == 0.5
    assert {c.name for c in WITHOUT} <= set(told)
    assert told["mse"].worst_db == 0
    each = best_of_point(grid, "ema", bits)
    assert [loss[p, i] == loss[p].min() for p, i in enumerate(each)] == [True] * 4


def test_stored_scales_lie_where_they_were_made(grid: Grid) -> None:
    for p, name in enumerate(NAMES):
        for alpha in (0.9, 0.9995, 1.0):
            low, high = grid.bracket("ema", p, cases.ema(STREAMS[name], alpha), 8) or (math.nan, math.nan)
            assert low <= alpha <= high
        between = grid.bracket("ema", p, cases.ema(STREAMS[name], 0.99937123), 8)
        assert between is not None
        assert between[0] <= 0.99937123 <= between[1]
        assert nearest(between[1]) - nearest(between[0]) <= 1
        assert grid.bracket("ema", p, 2 * cases.ema(STREAMS[name], 1.0), 8) is None
        assert grid.bracket("ema", p, cases.ema(STREAMS[name], 0.4), 8) is None


def test_a_scale_that_was_clamped_is_of_all_alphas_that_are(tmp_path: Path) -> None:
    """The least scale is 1e-6: a range of 127e-6."""
    small, large = np.full(60, 1e-4, np.float16), np.full(4, 1e-2, np.float16)
    of = {NAMES[0]: [np.append(small, large)] * 3, NAMES[1]: [small] * 3}
    grid = build(cases.calibration(tmp_path / "run", of))
    low, high = grid.bracket("ema", 0, 1e-6, 8) or (math.nan, math.nan)
    assert low == 0.5
    assert cases.ema(of[NAMES[0]], high) == np.float32(1e-6) < cases.ema(of[NAMES[0]], ALPHAS[nearest(high) + 1])
    assert grid.bracket("pooled", 1, float(np.float32(1e-6)), 8) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layers.3.mixer.x_proj:input", (3, "mixer.x_proj:input")),
        ("model.layers.12.self_attn.q_proj:input", (12, "self_attn.q_proj:input")),
        ("transformer.h.0.mlp:output", (0, "mlp:output")),
        ("lm_head:input", (None, "lm_head:input")),
        ("layers.2.experts.5.up:input", (2, "experts.5.up:input")),
    ],
)
def test_a_point_has_a_layer_and_a_kind(name: str, expected: tuple[int | None, str]) -> None:
    assert place(name) == expected


def test_the_whole_model_is_layers_by_kinds() -> None:
    names = ("layers.1.a:input", "layers.0.b:input", "layers.0.a:input", "head:input")
    m = matrix(names, np.array([1.0, 2.0, math.nan, 4.0]))
    assert (m.layers, m.kinds) == ((0, 1, None), ("a:input", "b:input", "head:input"))
    np.testing.assert_array_equal(m.points, [[2, 1, -1], [0, -1, -1], [-1, -1, 3]])
    np.testing.assert_array_equal(m.values, [[math.nan, 2, math.nan], [1, math.nan, math.nan], [math.nan, math.nan, 4]])


def test_dtypes_of_points_are_known() -> None:
    assert {SWEPT["absmax"].at(1.0, 8, dtype).arithmetic for dtype in DTYPES} == set(DTYPES)


def test_a_scale_of_bounded_tables_is_given_by_the_alpha_that_made_it(tmp_path: Path) -> None:
    """Ranges are upper bounds there; what gives a stored scale is sought between both."""
    rng = np.random.default_rng(0)
    samples = [rng.standard_t(3, 300).astype(np.float32) for _ in range(3)]
    run = cases.calibration(tmp_path / "run", {NAMES[0]: samples})
    tables = [MagnitudeTable.of(x).coarse() for x in samples]
    assert not any(t.exact for t in tables)
    write_distributions(run.folder / TABLES, {NAMES[0]: tables})
    run = Calibration(run.folder)
    exact = ExactPoint.read(run, build(run).points[0])
    for rule, how in (("ema", cases.ema), ("pooled", cases.pooled)):
        for alpha in (0.9, 0.99):
            stored = how(samples, alpha)
            found = exact.alphas_of(rule, stored, 8)
            assert found is not None
            assert found.low < alpha < found.high
            assert exact.at(rule, alpha, 8).scale >= np.float32(stored)
