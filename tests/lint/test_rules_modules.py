"""Rules about modules as a whole: those that nobody understands, and those that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import broken_scales
import pytest
from broken_codes import GPTQ, INT4, MODELOPT, Tensors, found_by, fp8, gptq, linted, model, normal, nvfp4

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.report import lint_text

AWQ: dict[str, Any] = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}


# --- nobody understands them ---


def test_an_entry_that_was_renamed_in_all_modules(tmp_path: Path) -> None:
    def rename(tensors: Tensors) -> None:
        for name in [n for n in tensors if n.endswith("weight_scale_2")]:
            tensors[f"{name}_of"] = tensors.pop(name)

    folder = model(tmp_path, nvfp4, MODELOPT, change=rename)
    (finding,) = found_by(folder, "H09")
    assert finding.severity is Severity.ERROR
    assert [p.key for p in finding.places] == ["model.layers.0.mlp.up_proj.weight_scale_2"]
    assert finding.found.text.startswith(
        "config.json says modelopt, and no module is as that library stores it, first "
    )
    assert "codes not looked at" in lint_text(linted(folder, ""), False, None)


def test_all_scales_are_lost(tmp_path: Path) -> None:
    def strip(tensors: Tensors) -> None:
        for name in [n for n in tensors if "scale" in n]:
            del tensors[name]

    folder = model(tmp_path, fp8, {"quant_method": "modelopt", "quant_algo": "FP8"}, change=strip)
    assert {f.rule.code for f in linted(folder, "").findings} == {"H09"}


@pytest.mark.parametrize(
    ("make", "config", "method", "really"),
    [
        (nvfp4, INT4, "compressed-tensors", "NVFP4"),
        (gptq, AWQ, "awq", "GPTQ W4"),
        (nvfp4, GPTQ, "gptq", "NVFP4"),
    ],
    ids=["another format", "another library", "another library that has no such entries"],
)
def test_the_config_of_another_model(
    make: Any, config: dict[str, Any], method: str, really: str, tmp_path: Path
) -> None:
    folder = model(tmp_path, make, config)
    (finding,) = [f for f in linted(folder, "").findings if f.severity is Severity.ERROR]
    assert finding.rule.code == "D01"
    assert f"config.json says quant_method {method}, by which no module can be read" in finding.found.text
    assert really in finding.found.text
    assert finding.found.numbers["weights"] == 8


def test_a_library_that_nobody_here_knows_is_not_accused(tmp_path: Path) -> None:
    folder = model(tmp_path, gptq, {"quant_method": "some-new-library"})
    assert not [f for f in linted(folder, "").findings if f.severity is Severity.ERROR]
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": {}}))
    assert not linted(folder, "H09", "D01").findings


def test_a_layer_of_another_library(tmp_path: Path) -> None:
    def mix(tensors: Tensors) -> None:
        for name in [n for n in tensors if "layers.3." in n]:
            del tensors[name]
        for last, tensor in gptq(normal(5)).items():
            tensors[f"model.layers.3.mlp.up_proj.{last}"] = tensor

    (finding,) = found_by(model(tmp_path, nvfp4, MODELOPT, change=mix), "H09")
    assert finding.severity is Severity.WARNING
    assert finding.found.text == "1 module of 7 holds codes of another format than the rest"
    assert [p.key for p in finding.places] == ["model.layers.3.mlp.up_proj.qweight"]


# --- they are not there ---


def without(part: str) -> broken_scales.Edit:
    """Take out all entries with this in their names."""

    def edit(tensors: Tensors) -> None:
        for name in [n for n in tensors if part in n]:
            del tensors[name]

    return edit


def missing(folder: Path, edit: broken_scales.Edit | None, n_layers: int = 3, n_experts: int = 4, **config: int) -> Any:
    """What H10 finds in a mixture after an edit. config: what config.json says besides."""
    broken_scales.nvfp4(folder, edit, n_layers, n_experts)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return [(f.severity, f.found.text, [p.key for p in f.places]) for f in found_by(folder, "H10")]


def test_an_expert_that_is_gone(tmp_path: Path) -> None:
    assert not missing(tmp_path / "sound", None, num_experts=4, num_hidden_layers=3)
    (between,) = missing(tmp_path / "between", without("layers.1.mlp.experts.2."))
    assert between == (
        Severity.ERROR, "1 expert of 12 has no tensor: by the numbers of the others", ["layers.1.mlp.experts.2"],
    )  # fmt: skip
    (last,) = missing(tmp_path / "last", without(".experts.3."), num_experts=4)
    assert last[1] == "3 experts of 12 have no tensor: config.json says num_experts 4"
    assert not missing(tmp_path / "nobody says how many", without(".experts.3."))


def test_a_layer_that_is_gone(tmp_path: Path) -> None:
    (between,) = missing(tmp_path / "between", without("layers.1."))
    assert between == (Severity.WARNING, "1 layer of 3 has no tensor: by the numbers of the others", ["layers.1"])
    (last,) = missing(tmp_path / "last", without("layers.2."), num_hidden_layers=3)
    assert last[1:] == ("1 layer of 3 has no tensor: config.json says num_hidden_layers 3", ["layers.2"])
    assert not missing(tmp_path / "more than is said", None, num_hidden_layers=2)  # a draft head is a layer more


def test_half_of_a_pair_that_is_gone(tmp_path: Path) -> None:
    ((severity, text, places),) = missing(tmp_path / "up", without("layers.1.mlp.experts.2.up_proj"))
    assert (severity, places) == (Severity.ERROR, ["layers.1.mlp.experts.2.up_proj"])
    assert text == "1 projection of 24 is missing beside the other half of a pair"
    ((_, _, places),) = missing(tmp_path / "gate", without("layers.1.mlp.experts.2.gate_proj"))
    assert places == ["layers.1.mlp.experts.2.gate_proj"]
    assert not missing(tmp_path / "a model without gates", without(".gate_proj"))


def test_an_expert_of_another_shape(tmp_path: Path) -> None:
    def cut(tensors: Tensors) -> None:
        for name in [n for n in tensors if "layers.1.mlp.experts.2.up_proj.weight" in n and tensors[n].dim() == 2]:
            tensors[name] = tensors[name][:8]

    (finding,) = broken_scales.of_rule(broken_scales.linted(broken_scales.nvfp4(tmp_path / "cut", cut)), "G07")
    assert finding.severity is Severity.ERROR
    assert [(p.key, p.text) for p in finding.places] == [
        ("layers.1.mlp.experts.2.up_proj.weight", "[8, 64], where most have [16, 64]")
    ]
    assert not broken_scales.of_rule(broken_scales.linted(broken_scales.nvfp4(tmp_path / "sound")), "G07")
