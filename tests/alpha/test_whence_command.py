"""`qinspect whence` on checkpoints of Quamba's own, by a calibration of the model that they were made from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from commands import Command
from quamba_files import load_state, save_state, set_point_mamba1

if TYPE_CHECKING:
    from conftest import Quamba, Run

PRECISION = 3e-6
"""How far the ends of an interval may be from the alpha that Quamba was given. Its calibration of these models and ours
differ by less than 0.01 % at most points, and by 0.02 % at one; 0.2 %, two steps of a float16, is the widest tolerance,
and these tables turn it into less than this."""


@pytest.fixture
def whence(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("whence", capsys, source_root)


@pytest.mark.parametrize(
    ("base", "name", "alpha"),
    [
        ("base_mamba1", "m1_w8a8_pa0.9995", 0.9995),
        ("base_mamba1", "m1_w8a8_pa0.99999", 0.99999),
        ("base_mamba2", "m2_w8a8_pa0.9995", 0.9995),
    ],
)
def test_quambas_alpha_is_found(
    whence: Command, quamba: Quamba, run_of: Run, base: str, name: str, alpha: float
) -> None:
    found = whence.json(quamba(name), "--run", run_of(base))
    v = found["verdict"]
    assert (v["kind"], v["rule"], v["too_wide"]) == ("recovered", "ema", False)
    low, high = v["alpha"]
    assert low <= np.float32(alpha) <= high
    assert alpha - PRECISION <= low <= high <= alpha + PRECISION
    assert v["tolerance"] <= 2e-3
    assert found["same_data"] is True
    assert [p["samples"] for p in found["points"]] == [64] * 4
    assert {r["name"] for r in found["rules"] if r["refuted"]} == {"pooled", "pooled-float32", "mean", "max"}
    ema = next(r for r in found["rules"] if r["name"] == "ema")
    for which in ("other_order", "other_samples"):  # the truth is also in what chance leaves, which is wider
        low_by_chance, high_by_chance = ema[which]["alpha"]
        assert low_by_chance < low <= high < high_by_chance


@pytest.mark.parametrize("name", ["m2_w4a8_gh_pa0.9995", "m2_w4a8_gh_perm"])
def test_head_groups_cannot_depend_on_alpha(whence: Command, quamba: Quamba, run_of: Run, name: str) -> None:
    found = whence.json(quamba(name), "--run", run_of("base_mamba2"))
    assert (found["verdict"]["kind"], found["verdict"]["alpha"], found["points"]) == ("no-alpha", None, [])
    assert found["verdict"]["text"].startswith("No scale can depend on alpha: 23 of 23 scales of activations")
    (grouped,) = found["not_asked"]
    assert grouped["why"] == "one scale a group: min-max, no alpha"
    assert {role.rpartition(".")[2] for role in grouped["roles"]} >= {"x_conv_out:input", "ssm_state_act:input"}


def test_without_activation_scales(whence: Command, quamba: Quamba, run_of: Run) -> None:
    v = whence.json(quamba("m2_w4a16"), "--run", run_of("base_mamba2"))["verdict"]
    assert v["kind"] == "no-alpha"
    assert "no activation scale" in v["text"]


def test_a_changed_checkpoint_of_quambas_fits_no_rule(whence: Command, tmp_path: Path, run_of: Run) -> None:
    state, config = load_state("m1_w8a8_pa0.9995")
    for layer, factors in enumerate(((0.4, 1.9), (1.3, 0.7))):
        for point, factor in zip(("x_proj:input", "ssm_state_act:input"), factors, strict=True):
            set_point_mamba1(state, layer, point, factor)
    v = whence.json(save_state(tmp_path / "c", state, config), "--run", run_of("base_mamba1"))["verdict"]
    assert (v["kind"], v["rule"], v["alpha"]) == ("no-rule", None, None)
    assert v["text"].startswith("No rule fits: no alpha gives all 4 scales")
    assert "Other samples do not explain it" in v["text"]


def test_text_and_json_say_the_same(whence: Command, quamba: Quamba, run_of: Run) -> None:
    words = (quamba("m1_w8a8_pa0.9995"), "--run", run_of("base_mamba1"))
    found, (text, err) = whence.json(*words), whence(*words)
    assert err == ""
    flat = " ".join(text.split())
    assert f"VERDICT {found['verdict']['text']} [recovered]" in flat
    for sentence in found["verdict"]["evidence"]:
        assert sentence in flat
    assert f"SCALES, by ema: {found['rules'][0]['notation']}" in flat
    rows = {line.split()[0]: line.split() for line in text.splitlines() if ":input " in line}
    for p in found["points"]:
        low, high = next(i for i in p["fits"]["ema"]["within"] if i)
        assert rows[p["role"]][1:6] == [f"{p['stored']:.6g}", "64", f"{low:.8f}", "..", f"{high:.8f}"]


def test_a_folder_that_is_no_calibration(whence: Command, quamba: Quamba, tmp_path: Path) -> None:
    out, err = whence(quamba("m2_w4a16"), "--run", tmp_path, code=2)
    assert (out, err.count("\n")) == ("", 1)
    assert "calibration.json: there is no finished calibration" in err


def test_a_run_that_is_not_there(
    whence: Command, quamba: Quamba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path))
    out, err = whence(quamba("m2_w4a16"), "--run", "nothing-called-so", code=2)
    assert (out, err.count("\n")) == ("", 1)
    assert "no run is called nothing-called-so; expected a run, or a folder with calibration.json" in err


def test_a_run_of_another_model(whence: Command, quamba: Quamba, run_of: Run) -> None:
    _, err = whence(quamba("m1_w8a8_pa0.9995"), "--run", run_of("base_mamba2"), code=2)
    assert "belong to no point of the run" in err
    assert "Calibrate the model that the checkpoint was made from" in err


def test_torch_is_not_imported(quamba: Quamba, run_of: Run) -> None:
    program = (
        "import sys; from qinspect.inspector.cli import main\n"
        "assert main(sys.argv[1:]) == 0; print(sorted({'torch', 'textual', 'transformers'} & set(sys.modules)))"
    )
    words = ["whence", quamba("m1_w8a8_pa0.9995"), "--run", run_of("base_mamba1")]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
