"""`qinspect alpha --dual`: two steps and a selector are what they do to the values, one by one."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import whence_cases as cases
from commands import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qinspect.inspector.alpha.dual import dual_point, surface
from qinspect.inspector.alpha.dual.modes import MODES, measured
from qinspect.inspector.distribution import MagnitudeTable, dual_scale

Values = NDArray[np.float32]
STREAMS = cases.streams(3, 4, 3, "float16")
NAMES = tuple(STREAMS)


@pytest.fixture
def dual(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("alpha", capsys, source_root, "dual")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.calibration(tmp_path_factory.mktemp("dual") / "run", STREAMS).folder


def all_of(name: str) -> Values:
    return np.concatenate(list(STREAMS[name])).astype(np.float32)


def decibels(x: Values, made: NDArray[np.float64]) -> float:
    signal, noise = (x.astype(np.float64) ** 2).sum(), ((x - made) ** 2).sum()
    return 10 * math.log10(signal / noise)


# --- the author's rules, written for one value ---


def to(y: float, step: float, limit: float = math.inf) -> float:
    return min(round(float(np.float32(y) / np.float32(step))), limit) * step


def mode_5_3(y: float, s: float, most: float) -> float:
    return to(y, s) if round(float(np.float32(y) / np.float32(s))) <= 127 else to(y, max(most / 127, s), 127)


def mode_5_4(y: float, s: float, _: float) -> float:
    return to(y, s / 4) if round(float(np.float32(y) / np.float32(s))) < 32 else to(y, s, 127)


def mode_5_6(y: float, s: float, _: float) -> float:
    if y <= 8 * s:
        return to(y, s / 4)
    k = max(0, min(255, math.floor(math.log2((y - 8 * s) / (s / 4)))))
    return 8 * s + 2.0**k * s / 4


def mode_5_7(y: float, s: float, _: float) -> float:
    if y <= 15.875 * s:
        return to(y, s / 4, 63)
    return to(y, s, 143) if y <= 145 * s else 143 * s + to(y - 143 * s, 4 * s, 63)


def mode_6_3(y: float, s: float, _: float) -> float:
    return to(y, s / 2) if round(float(np.float32(y) / np.float32(s))) < 64 else to(y, s, 127)


ONE_BY_ONE: dict[str, Callable[[float, float, float], float]] = {
    "5-3": mode_5_3, "5-4": mode_5_4, "5-6": mode_5_6, "5-7": mode_5_7, "6-3": mode_6_3,
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES, ids=lambda m: m.name)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), wide=st.sampled_from([0.3, 1.0, 4.0, 30.0]))
def test_a_mode_is_what_it_does_to_each_value(mode: object, seed: int, wide: float) -> None:
    (mode,) = [m for m in MODES if m is mode]
    rng = np.random.default_rng(seed)
    x = (rng.standard_t(3, 300) * wide).astype(np.float16).astype(np.float32)
    s = 2.0**-6  # exact halves are halves in float32 too
    found = measured(MagnitudeTable.of(x.astype(np.float16)), mode, s)
    most = float(np.abs(x).max())
    made = np.array([math.copysign(ONE_BY_ONE[mode.name](abs(y), s, most), y) for y in x.tolist()])
    assert found.sqnr_db == pytest.approx(decibels(x, made), abs=2e-3)
    assert found.to_zero == pytest.approx(float(((made == 0) & (x != 0)).mean()))
    assert mode.of(np.abs(x), np.float32(s), np.float32(most)).max() <= max(mode.top * s, most)


def test_bits_are_those_of_all_numbers_that_a_rule_names() -> None:
    """5-7 is said to have 253 levels in 8 bits: per sign it has 255."""
    assert {m.name: (m.magnitudes, m.bits) for m in MODES} == {
        "5-3": (255, 9), "5-4": (223, 9), "5-6": (289, 10), "5-7": (255, 9), "6-3": (192, 9),
    }  # fmt: skip
    every: Values = (np.arange(0, 400 * 64) / 64).astype(np.float32)
    for mode in MODES:
        if mode.top < math.inf:
            assert len(np.unique(mode.of(every, np.float32(1), np.float32(400)))) == mode.magnitudes


# --- the notes ---


def test_a_multiplier_of_2025_deletes_the_outliers() -> None:
    """What the notes measured 19 % with: every value whose code at s is from 128 to 1012 becomes 0."""
    s = 2.0**-7
    codes = np.concatenate([np.arange(0, 128), np.arange(128, 1013)]).astype(np.float32)
    found = dual_scale(MagnitudeTable.of(codes * np.float32(s)), s, 2025.0, bits=8)
    assert found.dead == found.flagged == pytest.approx(885 / 1013)
    assert dual_scale(MagnitudeTable.of(codes * np.float32(s)), s, 8.0, bits=8).dead == 0


def test_a_threshold_at_p99_is_far_from_the_best() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1.2, 1 << 16)
    y = x / (1 + np.exp(-x))
    y[::1600] *= 40
    point = dual_point("p", MagnitudeTable.of(y.astype(np.float16)), 0.9995, 0.02)
    assert point.best is not None
    of_p99 = max(f.found.sqnr_db for f in point.fixed if f.threshold == 0.99 and f.found is not None)
    assert point.best.sqnr_db > of_p99 + 1
    assert point.int8 > point.best.sqnr_db > point.int4
    at_max = next(f.found for f in point.fixed if (f.threshold, f.multiplier) == (0.99, None))
    assert at_max is not None
    assert at_max.multiplier > 15
    assert at_max.dead > 0.5 * at_max.flagged  # just above the threshold nothing is left


# --- the surface ---


def test_the_surface_is_what_each_pair_does() -> None:
    x = all_of(NAMES[0])
    found = surface(MagnitudeTable.of(x.astype(np.float16)), (0.9, 0.99, 1.0), (1.0, 4.0, 50.0))
    assert found.sqnr_db.shape == (3, 3)
    for i, t in enumerate(found.thresholds):
        s = np.float32(np.quantile(np.abs(x).astype(np.float64), t) / 7)
        for j, m in enumerate(found.multipliers):
            q = np.rint(np.abs(x) / s)
            wide = np.float32(s * np.float32(m))
            flagged = q > 7
            made = np.where(flagged, np.minimum(np.rint(np.abs(x) / wide), 7) * wide, q * s)
            assert found.sqnr_db[i, j] == pytest.approx(decibels(np.abs(x), made.astype(np.float64)), abs=1e-3)
            assert found.flagged[i, j] == pytest.approx(flagged.mean())
            assert found.dead[i, j] == pytest.approx((flagged & (made == 0)).mean())
    assert found.sqnr_db[found.best] == found.sqnr_db.max()


def test_points_without_values_have_no_numbers() -> None:
    zeros = MagnitudeTable.of(np.zeros(16, np.float16))
    point = dual_point("p", zeros, 0.9995, 0.02)
    assert point.best is None
    assert math.isnan(point.lost_db)
    assert np.isnan(surface(zeros).sqnr_db).all()
    assert surface(zeros).best == (0, 0)


# --- the command ---


def test_text_json_and_csv_say_the_same(dual: Command, run: Path) -> None:
    found = dual.json(run, "--dual")
    lost = [p["lost_db"] for p in found["points"]]
    assert lost == sorted(lost, reverse=True)
    assert {p["point"] for p in found["points"]} == set(NAMES)
    assert found["surface"] is None
    text, err = dual(run, "--dual")
    assert err == ""
    rows = {r["point"]: r for r in csv.DictReader(io.StringIO(dual(run, "--dual", "--csv", "-")[0]))}
    for p in found["points"]:
        line = next(line for line in text.splitlines() if line.startswith(f"  {p['point']} "))
        assert f"{p['best']['sqnr_db']:.2f}" in line
        assert float(rows[p["point"]]["sqnr_db"]) == p["best"]["sqnr_db"]
        assert p["best"]["multiplier"] <= found["most_multiplier"]
        x = all_of(p["point"])
        s, m = np.float32(p["best"]["scale"]), p["best"]["multiplier"]
        wide = np.float32(float(s) * m)
        q = np.rint(np.abs(x) / s)
        made = np.where(q > 7, np.minimum(np.rint(np.abs(x) / wide), 7) * wide, q * s)
        assert p["best"]["sqnr_db"] == pytest.approx(decibels(np.abs(x), made.astype(np.float64)), abs=1e-3)


def test_one_point_has_its_surface_and_the_modes(dual: Command, run: Path) -> None:
    found = dual.json(run, "--dual", "--point", NAMES[0])
    assert found["surface"]["thresholds"][-1] == 1
    text, _ = dual(run, "--dual", "--point", NAMES[0])
    best = max(x for row in found["surface"]["sqnr_db"] for x in row if x is not None)
    assert f">{best:6.2f}" in text
    for mode in found["points"][0]["modes"]:
        assert any(
            line.split()[:1] == [mode["mode"]] and f"{mode['sqnr_db']:.2f}" in line for line in text.splitlines()
        )


def test_what_does_not_go_together_is_refused(dual: Command, run: Path) -> None:
    assert "--rule" in dual.error(run, "--dual", "--rule", "max")
    assert "--bits 4" in dual.error(run, "--dual", "--bits", "4")
    assert "no scales of this alpha" in dual.error(run, "--dual", "--alpha", "0.77")
    assert "no observation point" in dual.error(run, "--dual", "--point", "nothing")
