"""`qinspect experts`: what it prints, and JSON by its schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from commands import Command
from modelopt_files import Tensors, config, named, nvfp4, saved
from peer_truth import folder, needs_fixtures

PAGE = Path(__file__).parents[2] / "docs" / "experts.md"
SESSION = re.compile(r"^```\n\$ qinspect experts ([^\n]*)\n(.*?)\n```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def experts(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("experts", capsys, source_root)


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    """Two layers of three experts; expert 1 of the second has no input scale and expert 2 none that is finite."""
    tensors: Tensors = {}
    for layer in (2, 5):
        for e in range(3):
            made = nvfp4(16, 64, seed=e)[0]
            made["input_scale"] = torch.tensor(0.01 + e / 1000)
            tensors |= named(f"model.layers.{layer}.mlp.experts.{e}.up_proj", made)
    del tensors["model.layers.5.mlp.experts.1.up_proj.input_scale"]
    tensors["model.layers.5.mlp.experts.2.up_proj.input_scale"] = torch.tensor(float("inf"))
    saved(tmp_path / "m", tensors, config("NVFP4"))
    return tmp_path / "m"


def test_a_line_for_each_layer(experts: Command, mixture: Path) -> None:
    out, err = experts(mixture)
    assert err == ""
    assert "6 experts in 2 layers: 1 missing, 1 not finite, 4 sound" in out
    first, second = (line for line in out.splitlines() if line.startswith("layers."))
    assert first.split()[:4] == ["layers.2.mlp", "3", "3", "sound"]
    assert second.endswith("expert 1: up_proj:input missing")


def test_a_line_for_each_expert_of_a_layer(experts: Command, mixture: Path) -> None:
    out, _ = experts(mixture, "--layer", "5")
    rows = [line.split() for line in out.splitlines() if re.match(r" +\d  ", line)]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[1][1] == rows[1][-1] == "missing"
    assert rows[2][-1] == "inf"


def test_a_layer_without_experts_is_an_error_that_names_those_with(experts: Command, mixture: Path) -> None:
    assert "expected 2, 5; found 4" in experts.error(mixture, "--layer", "4")


def test_json(experts: Command, mixture: Path) -> None:
    found = experts.json(mixture)
    assert found["states"] == {"sound": 4, "missing": 1, "not finite": 1}
    broken = found["layers"][1]
    assert [(e["expert"], e["state"], e["value"]) for e in broken["experts"]] == [
        (0, "sound", pytest.approx(0.01)),
        (1, "missing", None),
        (2, "not finite", None),
    ]
    assert [len(s["states"]) for s in broken["scales"]] == [3, 3, 3]
    assert experts.json(mixture, "--fast")["experts"] == 6


def test_a_model_without_experts(experts: Command, tmp_path: Path) -> None:
    saved(tmp_path, named("model.layers.0.mlp.up_proj", nvfp4(16, 64)[0]), config("NVFP4"))
    out, _ = experts(tmp_path)
    assert "no scale in it is an expert's" in out
    assert experts.json(tmp_path)["layers"] == []


@needs_fixtures
@pytest.mark.parametrize(("words", "printed"), SESSION.findall(PAGE.read_text(encoding="utf-8")))
def test_the_page_shows_what_is_printed(
    experts: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, printed: str
) -> None:
    (tmp_path / "moe-nvfp4").symlink_to(folder("ct_qwen3moe_nvfp4_cold_experts") / "model")
    monkeypatch.chdir(tmp_path)
    out, _ = experts(*words.split())
    assert out.rstrip() == printed
