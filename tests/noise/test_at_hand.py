"""Checkpoints find the run that made them, and say so; a run of something else is not taken for it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from commands import Command
from noise_cases import ALPHAS, MIN_MAX, at_hand, checkpoint, samples, scales

from qinspect.inspector.calibration.layout import TABLES
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.cli import main
from qinspect.inspector.compare import compare
from qinspect.inspector.formats import format_of
from qinspect.inspector.noise.repeats import repeats_named
from qinspect.inspector.noise.sources import Sources, sources_of
from qinspect.inspector.provenance import declared_alpha


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "state"))
    return at_hand(tmp_path / "state", tmp_path / "out")


@pytest.fixture
def diff(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("diff", capsys, source_root)


def test_two_alphas_of_one_pass(diff: Command, made: list[Path]) -> None:
    found = diff.json(*made, code=1)
    assert (found["noise"]["run"], found["noise"]["run_at_hand"]) == ("mine", True)
    assert (found["noise"]["same_data"], found["noise"]["same_order"]) == (True, True)
    for scale in found["scales"]:
        assert [(b["floor"], b["origin"]) for b in scale["bands"]] == [
            ("repeat", "one pass"), ("order", "resampled"), ("data", "resampled"),
        ]  # fmt: skip
        assert scale["bands"][0]["high_percent"] == 0
        assert scale["bands"][1]["from"] == 24
    assert found["effect"]["kind"] == "effective"
    assert [d["alpha"] for d in found["effect"]["declared"]] == [str(a) for a in ALPHAS]
    assert "rule-of-thumb" not in {r["rule"] for r in found["reasons"]}
    text = " ".join(diff(*made, code=1)[0].split())
    assert "both models come from one pass, the run mine" in text
    assert "the run at hand mine" in text
    assert f"next {found['next']}" in text


def test_one_of_the_run_and_one_on_other_samples(diff: Command, made: list[Path], tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "other", scales(samples(seed=2), ALPHAS[0]))
    found = diff.json(made[0], other, "--only", "all", code=1)
    assert found["noise"]["same_data"] is False
    assert found["effect"]["kind"] in ("within-noise", "not-as-declared")  # one in twenty is beyond
    bands = {s["role"]: s["bands"] for s in found["scales"] if s["kind"] == "activation"}
    assert [(b["floor"], b["origin"]) for b in bands.pop(MIN_MAX)] == [
        ("data", "resampled"), ("repeat", "measured elsewhere"),
    ]  # fmt: skip
    assert bands
    for found_bands in bands.values():
        assert [b["floor"] for b in found_bands] == ["data", "order", "repeat"]
        assert found_bands[0]["p"] is not None


def test_a_run_that_does_not_give_the_scales_is_not_at_hand(diff: Command, made: list[Path], tmp_path: Path) -> None:
    others = [checkpoint(tmp_path / str(i), scales(samples(seed=2), alpha)) for i, alpha in enumerate(ALPHAS)]
    assert diff.json(*others, code=1)["noise"]["run"] is None


def test_a_named_run_is_used_whatever_it_made(diff: Command, made: list[Path], tmp_path: Path) -> None:
    others = [checkpoint(tmp_path / str(i), scales(samples(seed=2), alpha)) for i, alpha in enumerate(ALPHAS)]
    noise = diff.json(*others, "--run", "mine", code=1)["noise"]
    assert (noise["run"], noise["run_at_hand"], noise["same_order"]) == ("mine", False, True)


def test_damaged_tables_of_a_run_at_hand_are_left_out_and_of_a_named_one_an_error(
    diff: Command, made: list[Path], tmp_path: Path
) -> None:
    tables = next((tmp_path / "state").rglob(TABLES))
    content = bytearray(tables.read_bytes())
    content[-4000:] = bytes(4000)
    tables.write_bytes(content)
    assert diff.json(*made, code=1)["noise"]["run"] is None
    assert str(tables) in diff(*made, "--run", "mine", code=2)[1]


def test_repeats_on_the_command_line(diff: Command, made: list[Path], tmp_path: Path) -> None:
    repeats = []
    for i, factor in enumerate((1.0, 1.002, 0.998)):
        found = {n: s * (1 if n == MIN_MAX else factor) for n, s in scales(samples(), ALPHAS[0]).items()}
        repeats.append(checkpoint(tmp_path / f"repeat{i}", found))
    close = {n: s * (1 if n == MIN_MAX else 1.001) for n, s in scales(samples(), ALPHAS[0]).items()}
    b = checkpoint(tmp_path / "b", close)
    found = diff.json(made[0], b, "--noise", *repeats, code=1)
    assert found["effect"]["kind"] == "within-noise"
    for scale in found["scales"]:
        assert (scale["bands"][0]["origin"], scale["bands"][0]["from"]) == ("repeats", 3)
        assert scale["bands"][0]["high_percent"] > 0.5  # t of 2 degrees of freedom, 4.3, times 0.2 % sqrt(2)
    assert "3 repeats on the same samples" in " ".join(diff(made[0], b, "--noise", *repeats, code=1)[0].split())
    assert "at least two" in diff(made[0], b, "--noise", repeats[0], code=2)[1]


def test_repeats_without_a_min_max_point_are_not_said_to_be_of_the_same_samples(tmp_path: Path) -> None:
    found = {n: s for n, s in scales(samples(), ALPHAS[0]).items() if n != MIN_MAX}
    models = [str(checkpoint(tmp_path / str(k), {n: s * k for n, s in found.items()})) for k in (1.0, 1.002, 0.998)]
    a, b = (format_of(open_checkpoint(m)) for m in models[:2])
    compared = compare(a, b, sources=Sources(repeats_named(models, None)))
    assert "2 scales by 3 repeats whose samples no min-max point tells apart" in "; ".join(compared.noise.sources)


def test_noise_is_that_of_two_models(made: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(made[0]), "--run", "mine"]) == 2
    assert "two models beside --noise or --run" in capsys.readouterr().err


@pytest.mark.parametrize("alphas", [[True], [math.nan], [10**400], ["0.5"], [0.5, 0.6], 7, None])
def test_a_hostile_provenance_declares_nothing(tmp_path: Path, alphas: object) -> None:
    path = checkpoint(tmp_path / "x", scales(samples(), 0.99))
    config = json.loads((path / "config.json").read_text())
    config["provenance"] = {"requested": {"alphas": alphas}, "effective": {"alpha": {"p": True, "q": [1]}}, "data": 1}
    (path / "config.json").write_text(json.dumps(config))
    fmt = format_of(open_checkpoint(path))
    assert declared_alpha(fmt) is None
    assert sources_of(fmt, fmt).run is None


def test_one_pass_without_a_min_max_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "state"))
    a, b = (format_of(open_checkpoint(p)) for p in at_hand(tmp_path / "state", tmp_path / "out", fixed=False))
    c = compare(a, b, sources=sources_of(a, b))
    assert c.noise.same_data
    assert c.effect is not None
    assert c.effect.kind == "effective"
    assert "both models come from one pass: the repeat floor applies" in next(
        r.text for r in c.reasons if r.rule == "noise-bands"
    )
