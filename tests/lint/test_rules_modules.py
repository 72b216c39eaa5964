"""Rules about modules as a whole: those that nobody understands, and those that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from broken_codes import GPTQ, INT4, MODELOPT, Tensors, found_by, fp8, gptq, linted, model, nvfp4

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
