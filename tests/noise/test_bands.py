"""Noise bands hold what chance really does: activations whose making is known, scales by torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whence_cases import Samples, calibration, checkpoint, ema, name, pooled, scales_of, streams

from qinspect.inspector.compare import compare
from qinspect.inspector.errors import UnknownRun, UsageError
from qinspect.inspector.noise.band import ONE_PASS, REPEAT, SAMPLES, Band, place_of
from qinspect.inspector.noise.bands import ComparedScale, noise_of
from qinspect.inspector.noise.repeats import Repeat, floor_of, repeats_named, spread_band
from qinspect.inspector.noise.resampled import Resampling
from qinspect.inspector.noise.sources import NOTHING, Sources, one_pass, sources_of
from qinspect.inspector.provenance import claimed_alpha


def percent(a: float, b: float) -> float:
    return 100 * (b / a - 1)


def repeat(value: float | list[float], role: str = "p", min_max: bool = False, place: str = "x") -> Repeat:
    return Repeat(place, Path(place), {role: np.asarray(value, np.float64)}, frozenset([role] if min_max else []))


def test_repeats_that_are_alike_in_float64_leave_its_rounding() -> None:
    """Scales outside of tensors are Python floats, on no grid of 16 or 32 bits."""
    assert float(np.float32(0.1)) != 0.1
    band = spread_band([repeat(0.1), repeat(0.1)], "repeat", "p", 1.0)
    assert band is not None
    assert 0 < band.high < 1e-12
    assert band.p is not None
    assert band.p < 1e-12


def test_a_repeat_whose_min_max_scale_cannot_be_read_says_nothing_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qinspect.inspector.errors import BrokenFile
    from qinspect.inspector.formats.families.native import NativeFormat

    for n in ("a", "b", "c"):
        checkpoint(tmp_path / n, {name(0): 0.1}, {name(1): 0.2})
    read = NativeFormat.values

    def values(self: NativeFormat, record: Any) -> Any:
        if self.checkpoint.path.name == "a" and record.role == name(1):
            raise BrokenFile("is damaged", file=self.checkpoint.path, key=record.key)
        return read(self, record)

    monkeypatch.setattr(NativeFormat, "values", values)
    repeats = repeats_named([str(tmp_path / n) for n in ("a", "b", "c")], None)
    assert [sorted(r.min_max) for r in repeats] == [[], [name(1)], [name(1)]]
    assert floor_of(repeats) == "repeat"


def test_a_folder_may_claim_what_is_no_alpha(tmp_path: Path) -> None:
    assert claimed_alpha(tmp_path / "pa-1.5") is None
    assert claimed_alpha(tmp_path / "pa-1.0") == "1.0"
    assert claimed_alpha(tmp_path / "pa-0.9995") == "0.9995"


# --- resampled: what the band says is what happens ---


@pytest.mark.parametrize("how", [ema, pooled], ids=["ema", "pooled"])
def test_bands_hold_nineteen_of_twenty_differences_that_chance_makes(
    tmp_path: Path, how: Callable[[Samples, float], float]
) -> None:
    held: dict[str, list[bool]] = {"order": [], "data": [], "both others": []}
    for seed in range(60):
        ours, second, third = (streams(seed + 1000 * k, 1, 24, "float16", 256)[name(0)] for k in range(3))
        alpha = (0.9, 0.99, 0.999)[seed % 3]
        run = calibration(tmp_path / str(seed), {name(0): ours}, recipe="quamba" if how is ema else "percentile")
        resampling = Resampling(run)
        a, b, c = (how(samples, alpha) for samples in (ours, second, third))
        bands = {x.floor: x for x in resampling.bands(name(0), a, percent(a, b))}
        held["data"].append(percent(a, b) in bands["data"])
        others = {x.floor: x for x in resampling.bands(name(0), b, percent(b, c))}
        held["both others"].append(percent(b, c) in others["data"])
        if "order" in bands:
            shuffled = [ours[i] for i in np.random.default_rng(seed).permutation(len(ours))]
            held["order"].append(percent(a, how(shuffled, alpha)) in bands["order"])
        assert all(x.n == 24 and x.confidence == 0.95 for x in bands.values())
        run.close()
    assert bool(held["order"]) == (how is ema)
    assert [len(held[k]) for k in ("data", "both others")] == [60, 60]
    for found in filter(None, held.values()):
        # of 60 at 95 %, fewer than 51 come once in 500 times; seeds are fixed
        assert sum(found) >= 51, held


def test_p_and_band_say_the_same(tmp_path: Path) -> None:
    run = calibration(tmp_path / "c", streams(1, 1, 24, "float16", 256))
    resampling = Resampling(run)
    a = ema(streams(1, 1, 24, "float16", 256)[name(0)], 0.99)
    for moved in (0.0, 5.0, 40.0, 150.0, 900.0, -60.0):
        for band in resampling.bands(name(0), a, moved):
            assert band.p is not None
            assert (band.p > 0.05) == (moved in band)
            assert 0 < band.p <= 1
    assert [b.p for b in resampling.bands(name(0), a, None)] == [None, None]


def test_points_without_tables_of_samples_have_no_resampled_band(tmp_path: Path) -> None:
    run = calibration(tmp_path / "c", streams(1, 2, 8, "float16", 64), keep_samples=False)
    resampling = Resampling(run)
    assert list(resampling.bands(name(0), 0.1, 0.0)) == []
    assert list(resampling.bands("layers.9.nowhere:input", 0.1, 0.0)) == []


def test_a_scale_out_of_reach_takes_the_nearest_alpha(tmp_path: Path) -> None:
    run = calibration(tmp_path / "c", streams(1, 1, 16, "float16", 64))
    for scale in (1e-9, 1e9):
        assert len(list(Resampling(run).bands(name(0), scale, 0.0))) == 2


# --- repeats ---


@given(st.integers(2, 6), st.integers(0, 10_000))
@settings(max_examples=25)
def test_the_spread_of_repeats_is_a_prediction_interval(k: int, seed: int) -> None:
    """Of two new repeats, 95 % differ by less: checked on 400 of a known normal spread."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(100):
        logs = 0.01 * rng.standard_normal(k + 2)
        band = spread_band([repeat(math.exp(x)) for x in logs[:k]], "repeat", "p", 0.0)
        assert band is not None
        held += percent(math.exp(logs[-2]), math.exp(logs[-1])) in band
    assert held >= 83  # 95 expected; fewer come less than once in 10^6 times


def test_two_repeats_know_little() -> None:
    values = [1.0, 1.01, 0.995, 1.002, 1.004, 0.999]
    width = {}
    for k in (2, 3, 6):
        band = spread_band([repeat(v) for v in values[:k]], "repeat", "p", 3.0)
        assert band is not None
        assert band.n == k
        width[k] = band.high
    assert width[2] > 4 * width[6]


def test_repeats_that_are_alike_leave_a_step_of_their_grid() -> None:
    half, single = float(np.float16(0.0123)), 0.0123456789
    of_half = spread_band([repeat(half)] * 4, "repeat", "p", 0.01)
    of_single = spread_band([repeat(float(np.float32(single)))] * 4, "repeat", "p", 0.01)
    assert of_half is not None
    assert of_single is not None
    assert 0.03 < of_half.high < 0.2  # a step of float16 is 0.05 to 0.1 %
    assert of_single.high < 1e-4
    assert of_single.p is not None
    assert of_single.p < 1e-6


def test_of_a_tensor_the_largest_cell_counts() -> None:
    calm, wild = [1.0, 1.0], [1.0, 2.0]
    band = spread_band([repeat(calm), repeat(wild), repeat(calm)], "repeat", "p", 10.0)
    one = spread_band([repeat(1.0), repeat(2.0), repeat(1.0)], "repeat", "p", 10.0)
    assert band is not None
    assert one is not None
    assert band.high > one.high  # Bonferroni over two cells
    assert 10.0 in band


def test_what_no_two_repeats_hold_has_no_band() -> None:
    assert spread_band([repeat(1.0), repeat(1.0, role="q")], "repeat", "p", 0.0) is None
    assert spread_band([repeat(1.0), repeat(-1.0)], "repeat", "p", 0.0) is None
    assert spread_band([repeat(1.0), repeat([1.0, 1.0])], "repeat", "p", 0.0) is None


def test_min_max_points_tell_what_repeats_differ_by() -> None:
    assert floor_of([repeat(1.0, min_max=True), repeat(1.0, min_max=True)]) == "repeat"
    assert floor_of([repeat(1.0, min_max=True), repeat(1.1, min_max=True)]) == "data"


def test_repeats_by_name(tmp_path: Path) -> None:
    of = streams(3, 2, 8, "float16", 64)
    run = calibration(tmp_path / "run", of)
    fmt = checkpoint(tmp_path / "model", scales_of(of, ema, 0.99))
    names = [str(run.folder), str(fmt.checkpoint.path)]
    of_run, of_model = repeats_named(names, 0.99)
    assert set(of_run.scales) == set(of_model.scales) == set(of)
    for role in of:  # the run is asked at the alpha of the comparison, not at its own
        assert of_run.scales[role] == pytest.approx(of_model.scales[role], rel=1e-6)
    with pytest.raises(UsageError, match="not the same"):
        repeats_named(names[:1], None)
    with pytest.raises(UsageError, match="not the same"):
        repeats_named([names[0], names[0]], None)


def test_a_repeat_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path))
    with pytest.raises(UnknownRun, match="a checkpoint, a run, or a folder"):
        repeats_named(["nowhere-1", "nowhere-2"], None)


# --- which band applies ---


def scale(found: float | None = 1.0) -> ComparedScale:
    return ComparedScale("p", 0.5, found)


def test_without_a_source_the_measured_defaults_are_named() -> None:
    for same, applies in ((True, REPEAT), (False, SAMPLES), (None, SAMPLES)):
        noise = noise_of([scale()], same, None, NOTHING, False)
        assert noise.of("p") is applies
        assert noise.bands["p"][0] is applies
        assert {b.floor for b in noise.bands["p"]} == {"repeat", "data"}
        assert "measured on Quamba-130m" in noise.sources[-1]
        assert noise.of("elsewhere") is None


def test_repeats_come_before_the_defaults_and_one_pass_before_both() -> None:
    sources = Sources((repeat(1.0, place="x"), repeat(1.001, place="y"), repeat(0.999, place="z")))
    band = noise_of([scale()], True, None, sources, False).of("p")
    assert band is not None
    assert (band.origin, band.floor, band.n) == ("repeats", "repeat", 3)
    noise = noise_of([scale()], True, True, sources, True)
    assert noise.of("p") is ONE_PASS
    assert "from one pass" in noise.sources[0]


def test_repeats_on_the_same_samples_say_nothing_of_other_samples() -> None:
    sources = Sources((repeat(1.0, place="x"), repeat(1.001, place="y")))
    noise = noise_of([scale()], False, None, sources, False)
    assert noise.of("p") is SAMPLES
    assert [b.origin for b in noise.bands["p"]] == ["measured elsewhere", "repeats"]


def test_places() -> None:
    order = Band(-20, 25, "order", "resampled", 0.95, 8, 0.2)
    bands = (REPEAT, order, SAMPLES)
    found = [place_of(x, bands) for x in (0.001, 0.5, -25.0, 24.0, 26.0, math.nan)]
    assert found == ["repeat noise", "other order", "beyond noise", "other order", "beyond noise", ""]
    assert place_of(1.0, ()) == ""


# --- a run and the checkpoints of it ---


def test_both_of_one_pass(tmp_path: Path) -> None:
    of = streams(5, 4, 16, "float16", 256)
    run = calibration(tmp_path / "run", of)
    run.results[0].scales.update(scales_of(of, ema, 0.5))  # type: ignore[attr-defined]
    mine = checkpoint(tmp_path / "a", {n: float(s) for n, s in run.results[0].scales.items()})
    other = checkpoint(tmp_path / "b", scales_of(streams(6, 4, 16, "float16", 256), ema, 0.5))
    assert one_pass(run, mine)
    assert not one_pass(run, other)


def test_a_run_that_is_named_gives_the_bands_of_a_comparison(tmp_path: Path) -> None:
    of = streams(5, 4, 16, "float16", 256)
    run = calibration(tmp_path / "run", of)
    a = checkpoint(tmp_path / "a", scales_of(of, ema, 0.99))
    b = checkpoint(tmp_path / "b", scales_of(of, ema, 0.9999))
    sources = sources_of(a, b, run=str(run.folder))
    c = compare(a, b, sources=sources)
    sources.close()
    for p in c.scales:
        floors = {x.floor: x.origin for x in p.bands}
        if ":" in p.role:
            assert floors == {"order": "resampled", "data": "resampled", "repeat": "measured elsewhere"}
            assert p.bands[0].floor == "data"  # nothing without alpha tells that the data are the same
        else:
            assert p.bands == ()
    assert c.noise.same_data is None


def test_progress_can_cancel(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        if phase == "noise bands":
            raise Stop

    of = streams(5, 2, 4, "float16", 16)
    a, b = (checkpoint(tmp_path / n, scales_of(of, ema, alpha)) for n, alpha in (("a", 0.5), ("b", 0.9)))
    with pytest.raises(Stop):
        compare(a, b, progress=stop)
