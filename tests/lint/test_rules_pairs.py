"""What lint says of a checkpoint beside another one, or beside a calibration of its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from broken_files import of_rule
from quamba_files import State, folder_of, load_state, save_state, set_point_mamba1
from whence_cases import calibration, checkpoint, ema, largest, name, scales_of, streams

from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.cli import main
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.lint.check import Lint, lint
from qinspect.inspector.lint.subject import Subject

if TYPE_CHECKING:
    from conftest import Quamba, Run

X, STATE, OUT = "x_proj:input", "ssm_state_act:input", "out_proj:input"
ALL_UP = {(layer, point): 1.5 for layer in (0, 1) for point in (X, STATE)}


def opened(path: Path) -> Format:
    return format_of(open_checkpoint(path))


def of_pair(a: Path, b: Path, fast: bool = False) -> Lint:
    return lint([("A", Subject(opened(a), opened(b), fast=fast))])


def of_run(fmt: Format, run: Calibration) -> Lint:
    return lint([("A", Subject(fmt, None, run))])


def said(found: Lint) -> set[tuple[str, str]]:
    return {(f.rule.code, f.severity.value) for f in found.findings if f.rule.code.startswith("P")}


def looked_at(found: Lint, code: str) -> int:
    return next(o.checked.n if o.checked else 0 for o in found.outcomes if o.rule.code == code)


def saved(
    folder: Path, change: Mapping[tuple[int, str], float] | None = None, name: str = "m1_w8a8_pa0.9995", flip: str = ""
) -> Path:
    """A checkpoint of Quamba with scales multiplied, and a code changed."""
    state, config = load_state(name)
    for (layer, point), factor in (change or {}).items():
        set_point_mamba1(state, layer, point, factor)
    if flip:
        flipped(state, flip)
    return save_state(folder, state, config)


def flipped(state: State, key: str) -> None:
    state[key][0, 0] ^= 1


# --- P01, P02 ---


def test_alpha_that_took_effect_is_no_finding(quamba: Quamba) -> None:
    found = of_pair(quamba("m1_w8a8_pa0.9995"), quamba("m1_w8a8_pa0.99999"))
    assert not said(found)
    assert [looked_at(found, code) for code in ("P01", "P02", "P03")] == [1, 4, 18]


def test_alpha_that_head_groups_ignore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [saved(tmp_path / f"pa-{a}", name="m2_w4a8_gh_pa0.9995") for a in ("0.9995", "0.99999")]
    found = of_pair(pair[0], pair[1])
    assert said(found) == {("P01", "error")}
    (one,) = of_rule(found, "P01")
    assert "0.9995 and 0.99999" in one.found.text
    assert "did not take effect" in one.found.text
    assert main(["lint", *map(str, pair)]) == 1
    assert "P01 dead-parameter: error" in capsys.readouterr().out


def test_the_same_alpha_twice_is_no_dead_parameter(tmp_path: Path) -> None:
    found = of_pair(saved(tmp_path / "pa-0.9995"), saved(tmp_path / "copy" / "pa-0.9995"))
    assert not said(found)


@pytest.mark.parametrize(
    ("change", "names", "expected"),
    [
        ({(0, X): 1.5, (1, X): 0.5}, ("pa-0.9995", "pa-0.99999"), {("P02", "error")}),
        ({**ALL_UP, (1, OUT): 1.5}, ("pa-0.9995", "pa-0.99999"), {("P02", "error")}),
        (ALL_UP, ("pa-0.9995", "copy/pa-0.9995"), {("P02", "error")}),
        (ALL_UP, ("pa-0.99999", "pa-0.9995"), {("P02", "error")}),
        (ALL_UP, ("pa-0.9995", "pa-0.99999"), set()),
        ({(0, X): 1.5, (1, X): 0.5}, ("one", "two"), {("P02", "note")}),  # nobody said that it was alpha
        ({(0, X): 1.00001, (1, X): 0.99999}, ("pa-0.9995", "pa-0.99999"), {("P02", "note")}),  # within noise
    ],
)
def test_scales_that_alpha_did_not_move(
    change: Mapping[tuple[int, str], float], names: tuple[str, str], expected: set[tuple[str, str]], tmp_path: Path
) -> None:
    found = of_pair(saved(tmp_path / names[0]), saved(tmp_path / names[1], change))
    assert said(found) == expected


def test_places_are_the_scales_that_moved(tmp_path: Path) -> None:
    change = {(0, X): 1.5, (1, X): 0.5}
    (one,) = of_rule(of_pair(saved(tmp_path / "pa-0.9995"), saved(tmp_path / "pa-0.99999", change)), "P02")
    assert {p.key for p in one.places} == {"layers.0.mixer.x_proj:input", "layers.1.mixer.x_proj:input"}
    assert {p.text.partition(",")[0] for p in one.places} == {"up", "down"}


# --- P03 ---

CODES = "backbone.layers.0.mixer.out_proj.weight"


def test_codes_that_an_activation_setting_cannot_reach(tmp_path: Path) -> None:
    found = of_pair(saved(tmp_path / "pa-0.9995"), saved(tmp_path / "pa-0.99999", ALL_UP, flip=CODES))
    assert said(found) == {("P03", "warning")}
    (one,) = of_rule(found, "P03")
    assert "1 of 18 weights" in one.found.text
    assert [p.key for p in one.places] == ["layers.0.mixer.out_proj.weight"]


def test_codes_of_two_models_may_differ(tmp_path: Path) -> None:
    assert not said(of_pair(saved(tmp_path / "one"), saved(tmp_path / "two", flip=CODES)))


def test_fast_reads_no_pair(tmp_path: Path) -> None:
    found = of_pair(saved(tmp_path / "pa-0.9995"), saved(tmp_path / "pa-0.99999", flip=CODES), fast=True)
    assert not said(found)
    assert {o.rule.code for o in found.outcomes if o.skipped == "left out by --fast"} >= {"P01", "P02", "P03"}


# --- P04, P05, P06 ---


def test_a_run_confirms_what_the_folder_claims(quamba: Quamba, run_of: Run) -> None:
    run = Calibration(run_of("base_mamba1"))
    for fixture in ("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"):
        found = of_run(opened(quamba(fixture)), run)
        assert said(found) == {("P06", "warning")}  # 64 samples: the first has more than half
        assert looked_at(found, "P04") == 1
        assert looked_at(found, "P05") > 4
    (one,) = of_rule(found, "P06")
    assert "the first of 64 samples has 53%" in one.found.text


def test_another_alpha_than_the_folder_claims(tmp_path: Path, run_of: Run) -> None:
    state, config = load_state("m1_w8a8_pa0.9995")
    fmt = opened(save_state(tmp_path / "pa-0.99", state, config))
    found = of_run(fmt, Calibration(run_of("base_mamba1")))
    assert ("P04", "warning") in said(found)
    (one,) = of_rule(found, "P04")
    assert "0.99 (directory name)" in one.found.text
    assert "0.9995" in one.found.text


def test_a_pair_beside_a_run_has_the_noise_of_its_samples(quamba: Quamba, run_of: Run, tmp_path: Path) -> None:
    a, b = (opened(quamba(f"m1_w8a8_pa{alpha}")) for alpha in ("0.9995", "0.99999"))
    subject = Subject(a, b, Calibration(run_of("base_mamba1")))
    assert "resampled" in {band.origin for bands in subject.comparison.noise.bands.values() for band in bands}
    assert said(lint([("A", subject)])) == {("P06", "warning")}
    stranger = calibration(tmp_path / "run", streams(1, 2, 4, "float16", 64))
    assert not said(lint([("A", Subject(a, b, stranger))]))


def test_differences_that_other_samples_make(tmp_path: Path) -> None:
    """Scales of the run, and nearly those: half a percent is what other samples do, twenty times is not."""
    of = streams(2, 4, 64, "float16")
    run, own = calibration(tmp_path / "run", of), scales_of(of, ema, 0.999)
    a = checkpoint(tmp_path / "a-pa-0.999", own)
    little = checkpoint(tmp_path / "b-pa-0.999", {n: s * (20 if n == name(0) else 1.005) for n, s in own.items()})
    (one,) = of_rule(lint([("A", Subject(a, little, run))]), "P07")
    assert {p.key for p in one.places} == {name(p) for p in (1, 2, 3)}
    assert one.found.text.startswith("3 of 4 activation scales")
    much = checkpoint(tmp_path / "c-pa-0.999", {n: s * 20 for n, s in own.items()})
    assert not of_rule(lint([("A", Subject(a, much, run))]), "P07")
    assert "P07" not in {f.rule.code for f in lint([("A", Subject(a, little))]).findings}


def test_a_run_of_another_model_is_not_asked(quamba: Quamba, tmp_path: Path) -> None:
    run = calibration(tmp_path / "run", streams(1, 2, 4, "float16", 64))
    found = of_run(opened(folder_of("m1_w8a8_pa0.9995")), run)
    assert not said(found)
    assert {o.rule.code for o in found.outcomes if "no point of the run" in o.skipped} == {"P04", "P05", "P06"}


@pytest.mark.parametrize(("factor", "finds"), [(1.0, False), (0.7, False), (0.05, True)])
def test_scales_that_clip_far_more_than_alpha(factor: float, finds: bool, tmp_path: Path) -> None:
    """A quantile of 0.999, and fractions of it; the truth by numpy."""
    of = streams(2, 2, 64, "float16")
    scales = {n: s * factor for n, s in scales_of(of, ema, 0.999).items()}
    fmt = checkpoint(tmp_path / "pa-0.999", scales)
    found = of_run(fmt, calibration(tmp_path / "run", of))
    assert bool(of_rule(found, "P05")) == finds
    if finds:
        values = np.abs(np.concatenate(list(of[name(0)])).astype(np.float32))
        clipped = float((np.rint(values / np.float32(scales[name(0)])) > 127).mean())
        by_role = {p.key: p.weight for f in of_rule(found, "P05") for p in f.places}
        assert by_role[name(0)] == pytest.approx(clipped, rel=1e-6)


def test_a_maximum_clips_nothing(tmp_path: Path) -> None:
    of = streams(3, 2, 8, "float16", 256)
    fmt = checkpoint(tmp_path / "m", {}, scales_of(of, largest, 1.0))
    run = calibration(tmp_path / "run", of)
    assert not said(of_run(fmt, run))
    half = checkpoint(tmp_path / "n", {}, {n: s / 4 for n, s in scales_of(of, largest, 1.0).items()})
    (one,) = of_rule(of_run(half, run), "P05")
    assert "expected none: it is a maximum" in one.found.text


@pytest.mark.parametrize(("n", "finds"), [(128, True), (400, False)])
def test_the_weight_of_the_first_sample(n: int, finds: bool, tmp_path: Path) -> None:
    of = streams(4, 1, n, "float16", 16)
    fmt = checkpoint(tmp_path / "m", scales_of(of, ema, 0.9))
    found = of_rule(of_run(fmt, calibration(tmp_path / "run", of)), "P06")
    assert bool(found) == finds
    if finds:
        assert found[0].severity is Severity.WARNING
        assert found[0].places[0].weight == pytest.approx(0.99**127)
        assert "28%" in found[0].found.text
