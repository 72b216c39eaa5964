"""`qinspect alpha`: text, JSON and CSV say the same; what Quamba's own checkpoint holds lies where Quamba was told."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import whence_cases as cases
from commands import Command

from qinspect.inspector.alpha.sweep.grid_file import FILE
from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings

if TYPE_CHECKING:
    from conftest import Quamba

STREAMS = cases.streams(8, 4, 6, "float16")
NAMES = tuple(STREAMS)


@pytest.fixture
def alpha(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("alpha", capsys, source_root)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.calibration(tmp_path_factory.mktemp("alpha") / "run", STREAMS).folder


def test_the_numbers_are_those_of_torch(alpha: Command, run: Path) -> None:
    found = alpha.json(run, "--alpha", "0.9995")
    assert (found["rule"], found["alpha"], found["bits"]) == ("ema", 0.9995, 8)
    assert "ema 0.01" in found["notation"]
    for p in found["points"]:
        assert np.float32(p["bits"]["8"]["scale"]) == np.float32(cases.ema(STREAMS[p["point"]], 0.9995))
        assert p["samples"] == 6
        assert p["bits"]["8"]["loss_db"] == pytest.approx(
            p["bits"]["8"]["optimum_db"] - p["bits"]["8"]["sqnr_db"], abs=1e-4
        )
    assert (run / FILE).exists()


@pytest.mark.parametrize("words", [("--alpha", "0.99937123"), ("--rule", "mse", "--bits", "4"), ("--rule", "max")])
def test_text_json_and_csv_say_the_same(alpha: Command, run: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    found = alpha.json(run, *words)
    text, err = alpha(run, *words)
    assert err == ""
    bits = str(found["bits"])
    lines = {line.split()[0]: line for line in text.splitlines() if ":input " in line and line.startswith("  layers")}
    (content, _), out = alpha(run, *words, "--csv", "-"), tmp_path / "points.csv"
    rows = {r["point"]: r for r in csv.DictReader(io.StringIO(content))}
    _, said = alpha(run, *words, "--csv", out)
    assert out.read_text() == content
    assert said == f"qinspect: 4 points in {out}\n"
    for p in found["points"]:
        assert f"{p['bits'][bits]['scale']:.6g}" in lines[p["point"]]
        for of in ("8", "4"):
            assert f"{p['bits'][of]['sqnr_db']:.2f}" in lines[p["point"]]
            assert float(rows[p["point"]][f"sqnr_db_{of}"]) == p["bits"][of]["sqnr_db"]
            assert float(rows[p["point"]][f"scale_{of}"]) == p["bits"][of]["scale"]
    first = next(b for b in found["best"][bits] if b["what"] in ("all", "rule"))
    line = next(line for line in text.splitlines() if line.strip().startswith(first["label"]))
    assert f"{first['mean_db']:.2f}" in line


def test_the_best_of_every_kind(alpha: Command, run: Path) -> None:
    text, _ = alpha(run, "--best")
    found = alpha.json(run)
    for bits in ("8", "4"):
        assert f"BEST, {bits} bits, ema: least mean loss" in text
        kinds = [b for b in found["best"][bits] if b["what"] == "kind"]
        assert {b["label"] for b in kinds} == {"mixer.x_conv_out:input", "mixer.ssm_state_act:input"}
        for b in kinds:
            assert f"{b['alpha']:.9g}" in text
    assert "clipped" not in text


@pytest.mark.parametrize("columns", ["80", "120", "200"])
def test_a_terminal_of_any_width_is_kept(
    alpha: Command, run: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setattr("qinspect.inspector.alpha.cli.terminal_width", lambda: int(columns))
    text, _ = alpha(run, "--point", "layers.1.*")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= int(columns)
    assert "lost" in plain


def test_one_point_is_told_exactly_by_every_rule(alpha: Command, run: Path, tmp_path: Path) -> None:
    made = cases.checkpoint(tmp_path / "made", cases.scales_of(STREAMS, cases.ema, 0.99937123)).checkpoint.path
    text, _ = alpha(run, "--point", NAMES[0], "--alpha", "0.9", "--checkpoint", made)
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert float(rows["ema"][3]) == pytest.approx(cases.ema(STREAMS[NAMES[0]], 0.9), rel=1e-5)
    low, high = float(rows["ema"][-3]), float(rows["ema"][-1])
    assert low <= 0.99937123 <= high + 1e-8
    assert high - low < 1e-6
    assert {"pooled", "max", "mean", "mse", "entropy", "absmax"} <= set(rows)


def test_a_checkpoints_scales_lie_where_they_were_made(alpha: Command, run: Path, tmp_path: Path) -> None:
    scales = cases.scales_of(STREAMS, cases.ema, 0.99937123)
    scales |= {NAMES[2]: cases.largest(STREAMS[NAMES[2]]), NAMES[3]: 99.0}
    made = cases.checkpoint(tmp_path / "made", scales).checkpoint.path
    found = alpha.json(run, "--checkpoint", made)
    for p in found["points"][:2]:
        low, high = p["stored"]["alpha"]
        assert low <= 0.99937123 <= high
    assert [p["stored"]["min_max"] for p in found["points"]] == [False, False, True, False]
    assert (found["points"][3]["stored"]["alpha"], found["points"][3]["stored"]["beyond"]) == (None, "above 1")
    text, _ = alpha(run, "--checkpoint", made)
    assert "above 1" in text
    assert text.count("largest |x|") == 1
    assert "lies at" in text


def test_quambas_own_scales_lie_at_the_alpha_that_it_was_given(
    alpha: Command, quamba: Quamba, source_root: Path, tmp_path: Path
) -> None:
    data = source_root / "tests" / "data" / "models"
    settings = Settings(
        str(data / "base_mamba1" / "mamba-tiny"), data=str(data / "calibration_tokens.json"), device="cpu"
    )
    calibrate(settings, tmp_path / "run")
    for name, given in (("m1_w8a8_pa0.9995", 0.9995), ("m1_w8a8_pa0.99999", 0.99999)):
        found = alpha.json(tmp_path / "run", "--checkpoint", quamba(name))
        percentile = [p for p in found["points"] if p["reached"]]
        assert len(percentile) == 4
        for p in percentile:
            low, high = p["stored"]["alpha"]
            assert low * (1 - 1e-6) <= given <= high * (1 + 1e-6)


def test_only_sums_are_marked(alpha: Command, tmp_path: Path) -> None:
    folder = cases.calibration(tmp_path / "run", STREAMS, keep_samples=False).folder
    text, _ = alpha(folder, "--rule", "ema")
    assert "* the pooled rule answers: at 4 points only the sum of all samples was kept." in text
    assert all("  *  " in line for line in text.splitlines() if line.startswith("  layers"))
    found = alpha.json(folder, "--rule", "ema")
    assert {p["pooled_instead"] for p in found["points"]} == {"only the sum of all samples was kept"}
    assert {p["pooled_instead"] for p in alpha.json(folder, "--rule", "pooled")["points"]} == {""}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--alpha", "0.4"), "expected a number from 0.5 to 1; found 0.4"),
        (("--alpha", "nan"), "expected a number from 0.5 to 1"),
        (("--rule", "mse", "--alpha", "0.9"), "the rule mse has no alpha"),
        (("--point", "nothing*"), "no observation point has this name"),
        (("--csv", "-", "--json"), "--json and --csv exclude each other"),
        (("--csv", "/nowhere/x.csv"), "/nowhere/x.csv: cannot be written"),
    ],
)
def test_what_is_wrong_is_said(alpha: Command, run: Path, words: tuple[str, ...], said: str) -> None:
    _, err = alpha(run, *words, code=2)
    assert said in err
    assert err.count("\n") == 1


def test_a_checkpoint_of_another_model_is_refused(alpha: Command, run: Path, quamba: Quamba) -> None:
    _, err = alpha(run, "--checkpoint", quamba("m2_w8a8_pa0.9995"), code=2)
    assert "belong to no point of the run" in err


def test_no_torch_and_no_screen_is_imported(run: Path) -> None:
    program = (
        "import sys; from qinspect.inspector.cli import main\n"
        "assert main(sys.argv[1:]) == 0; print(sorted({'torch', 'textual', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "alpha", str(run)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
