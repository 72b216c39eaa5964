"""Rules over weights that an engine loads as one, and over experts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx_files
import pytest
import torch
from broken_scales import FUSED, codes, fp8, linted, nvfp4, of_rule, put, scaled
from modelopt_files import Tensors
from peer_truth import ROOT, folder, needs_fixtures, opened

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import format_of
from qinspect.inspector.lint.check import Lint, lint
from qinspect.inspector.lint.subject import Subject

EXPERT = "model.layers.1.mlp.experts.2"
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


# --- unequal scales ---


def test_unequal_globals_are_counted_by_kind(tmp_path: Path) -> None:
    found = of_rule(linted(nvfp4(tmp_path, fused=False, n_layers=2, n_experts=4)), "G01")
    assert sorted(f.found.text.split(" have ")[0] for f in found) == [
        "2 of 2 q/k/v groups",
        "8 of 8 gate/up pairs of experts",
    ]
    for f in found:
        numbers = f.found.numbers
        assert 1 < (numbers["median"] or 0) <= (numbers["p99"] or 0) <= (numbers["worst"] or 0)


def test_one_pair_of_experts(tmp_path: Path) -> None:
    (found,) = of_rule(linted(nvfp4(tmp_path, scaled(f"{EXPERT}.up_proj.weight_scale_2", 10))), "G01")
    (place,) = found.places
    assert place.key == "layers.1.mlp.experts.2"
    assert place.text.startswith("10.0x: gate_proj ")
    assert (found.found.numbers["groups"], found.found.numbers["of"]) == (1, 8)


def test_equal_globals_and_projections_that_are_not_loaded_as_one(tmp_path: Path) -> None:
    assert not of_rule(linted(nvfp4(tmp_path / "sound")), "G01")
    assert not of_rule(linted(nvfp4(tmp_path / "down", scaled(f"{EXPERT}.down_proj.weight_scale_2", 10))), "G01")


def test_scales_of_fp8_are_rounded_again(tmp_path: Path) -> None:
    found = of_rule(linted(fp8(tmp_path)), "G02")
    assert {f.severity for f in found} == {Severity.NOTE}
    assert len(found) == 2
    for f in found:
        before, after = f.found.numbers["error"], f.found.numbers["rounded_again"]
        assert before is not None
        assert after is not None
        assert 0.02 < before < after < 0.06


def test_powers_of_two_apart_nothing_is_lost(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for names in FUSED:
            inside = "self_attn" if "q_proj" in names else "mlp"
            for layer in range(4):
                first, *others = (f"model.layers.{layer}.{inside}.{n}.weight_scale" for n in names)
                for i, other in enumerate(others):
                    tensors[other] = tensors[first] * 2.0 ** (i + 1)

    for found in of_rule(linted(fp8(tmp_path, edit)), "G02"):
        assert found.found.text.endswith("an engine that takes the largest loses next to nothing")


def test_unequal_input_scales(tmp_path: Path) -> None:
    (found,) = of_rule(linted(fp8(tmp_path, scaled("model.layers.2.self_attn.k_proj.input_scale", 3))), "G03")
    assert found.found.text.startswith("1 of 4 q/k/v groups have unequal input scales")
    assert not of_rule(linted(fp8(tmp_path / "o", scaled("model.layers.2.self_attn.o_proj.input_scale", 3))), "G03")


def test_files_of_engines_that_keep_each_are_a_note(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {}
    for i, name in enumerate(FUSED[1]):
        made = mlx_files.floats("nvfp4", seed=i, whole=1.0 + i)
        tensors |= mlx_files.of_module(made, f"model.layers.0.mlp.{name}")
    fmt = mlx_files.opened(tmp_path, tensors, {"mode": "nvfp4", "group_size": 16, "bits": 4})
    (found,) = of_rule(linted(fmt), "G01")
    assert found.severity is Severity.NOTE


def test_what_engines_make_of_it_is_in_the_sentence(tmp_path: Path) -> None:
    asked: list[str] = []

    def engines(modules: Sequence[str]) -> str:
        asked.extend(modules)
        return "vLLM takes gate's"

    fmt = nvfp4(tmp_path, scaled(f"{EXPERT}.up_proj.weight_scale_2", 10))
    (found,) = of_rule(lint([("A", Subject(fmt, engines=engines))]), "G01")
    assert found.found.text.endswith("; vLLM takes gate's")
    assert asked == ["layers.1.mlp.experts.2.gate_proj", "layers.1.mlp.experts.2.up_proj"]


def test_groups_with_a_broken_scale_are_left_to_its_rule(tmp_path: Path) -> None:
    found = linted(nvfp4(tmp_path, put(math.nan, f"{EXPERT}.up_proj.weight_scale_2")))
    assert not of_rule(found, "G01")
    (outcome,) = [o for o in found.outcomes if o.rule.code == "G01"]
    assert outcome.checked is not None
    assert outcome.checked.n_left == 1


# --- experts ---


def _without(*keys: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        for key in keys:
            del tensors[key]

    return edit


def test_an_expert_without_an_input_scale(tmp_path: Path) -> None:
    (found,) = of_rule(linted(nvfp4(tmp_path, _without(f"{EXPERT}.up_proj.input_scale"))), "G04")
    assert found.severity is Severity.ERROR
    assert [(p.key, p.text) for p in found.places] == [("layers.1.mlp.experts.2", "no up_proj:input")]


def test_an_expert_that_is_not_quantized(tmp_path: Path) -> None:
    """Engines load all experts of a layer as one: such a one has no place."""

    def edit(tensors: Tensors) -> None:
        for projection in PROJECTIONS:
            for last in ("weight_scale", "weight_scale_2", "input_scale"):
                del tensors[f"{EXPERT}.{projection}.{last}"]
            tensors[f"{EXPERT}.{projection}.weight"] = torch.ones(16, 64).bfloat16()

    (found,) = of_rule(linted(nvfp4(tmp_path, edit)), "G04")
    assert [p.key for p in found.places] == ["layers.1.mlp.experts.2"]
    assert "no gate_proj.weight#global" in found.places[0].text


def test_no_expert_has_an_input_scale_by_design(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for name in [n for n in tensors if n.endswith("input_scale")]:
            del tensors[name]

    assert "G04" not in codes(linted(nvfp4(tmp_path, edit)))


def test_a_dense_layer_lacks_no_expert(tmp_path: Path) -> None:
    found = linted(fp8(tmp_path, _without("model.layers.0.mlp.up_proj.input_scale")))
    assert "G04" not in codes(found)
    (outcome,) = [o for o in found.outcomes if o.rule.code == "G04"]
    assert outcome.checked is not None
    assert outcome.checked.n == 0


@pytest.mark.parametrize("value", [0.0, -3e-25, math.inf, math.nan, 3.8e28, 1e-30])
def test_an_input_scale_that_no_calibration_makes(tmp_path: Path, value: float) -> None:
    (found,) = of_rule(linted(nvfp4(tmp_path, put(value, f"{EXPERT}.down_proj.input_scale"))), "G05")
    assert found.severity is Severity.ERROR
    assert [p.key for p in found.places] == ["layers.1.mlp.experts.2"]


def test_one_expert_has_the_default(tmp_path: Path) -> None:
    (found,) = of_rule(linted(nvfp4(tmp_path, put(1.0, f"{EXPERT}.down_proj.input_scale"))), "G05")
    assert found.severity is Severity.WARNING
    assert "a default" in found.found.text


@pytest.mark.parametrize(
    ("projection", "factor", "fires"),
    [
        ("gate_proj", 1 / 40, True), ("gate_proj", 1 / 1.5, False), ("down_proj", 1 / 1000, True),
        ("down_proj", 1 / 8, False), ("gate_proj", 500, False), ("gate_proj", 1e5, True),
    ],
)  # fmt: skip
def test_a_quiet_expert_is_told_and_a_loud_one_does_no_harm_in_fp4(
    tmp_path: Path, projection: str, factor: float, fires: bool
) -> None:
    """The median of four is between the second and the third: factors are far from limits."""
    found = of_rule(linted(nvfp4(tmp_path, scaled(f"{EXPERT}.{projection}.input_scale", factor))), "G05")
    assert bool(found) == fires
    assert {f.severity for f in found} <= {Severity.WARNING}


def test_a_dead_expert(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        tensors[f"{EXPERT}.up_proj.weight_scale"].view(torch.uint8)[:] = 0

    (found,) = of_rule(linted(nvfp4(tmp_path / "dead", edit)), "G06")
    assert [p.key for p in found.places] == ["layers.1.mlp.experts.2"]

    def one_row(tensors: Tensors) -> None:
        tensors[f"{EXPERT}.up_proj.weight_scale"].view(torch.uint8)[0] = 0

    assert not of_rule(linted(nvfp4(tmp_path / "row", one_row)), "G06")


# --- checkpoints of the libraries ---


def _of(name: str) -> Lint:
    return linted(opened(name))


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "fires", "errors"),
    [
        ("ct_nvfp4_unfused_globals", {"G01"}, set()), ("ct_qwen3moe_nvfp4_cold_experts", {"G05", "S01"}, {"G05"}),
        ("ct_qwen3moe_no_input_scale", {"G04"}, {"G04"}), ("modelopt_qwen3moe_cold_experts", set(), set()),
        ("modelopt_qwen3moe_inputscale1_kvcast", {"S04"}, set()), ("modelopt_qwen3moe_nvfp4", set(), set()),
        ("ct_qwen3moe_nvfp4", set(), set()), ("modelopt_gptoss_nvfp4", set(), set()), ("ct_nvfp4", set(), set()),
        ("modelopt_fp8", {"G02"}, set()), ("mlx_nvfp4_global", {"G01"}, set()),
    ],
)  # fmt: skip
def test_what_fires_on_checkpoints_of_libraries(name: str, fires: set[str], errors: set[str]) -> None:
    found = _of(name)
    told = codes(found) - {"D06"}  # bits of embeddings too
    assert fires <= told
    assert errors <= {f.rule.code for f in found.at_least(Severity.ERROR)}
    if not errors:
        assert not found.at_least(Severity.ERROR)
    if not fires:
        assert not told


@needs_fixtures
def test_one_who_saw_no_token_is_named() -> None:
    text = (folder("ct_qwen3moe_nvfp4_cold_experts") / "PROVENANCE.md").read_text(encoding="utf-8")
    cold = json.loads(text.split("Experts ")[1].split(" saw no token")[0])
    found = of_rule(_of("ct_qwen3moe_nvfp4_cold_experts"), "G05")
    named = {int(p.key.rpartition(".")[2]) for f in found for p in f.places}
    assert named == set(cold)


BROKEN = {"ct_qwen3moe_nvfp4_cold_experts": {"S01", "S02", "G05"}, "ct_qwen3moe_no_input_scale": {"G04"}}
"""Fixtures that are broken, and the errors that are true of them. No other has one by these rules."""


def _fixtures() -> list[Path]:
    return sorted(Path(ROOT).glob("*/model")) if ROOT else []


@needs_fixtures
@pytest.mark.parametrize("place", _fixtures(), ids=lambda p: p.parent.name)
def test_no_error_is_said_of_a_sound_checkpoint(place: Path) -> None:
    ggufs = sorted(place.glob("*.gguf"))
    try:
        fmt = format_of(open_checkpoint(ggufs[0] if ggufs else place))
    except QinspectError as e:
        pytest.skip(f"is not opened: {e}")
    errors = {f.rule.code for f in linted(fmt).at_least(Severity.ERROR) if f.rule.code[0] in "SG"}
    assert errors == BROKEN.get(place.parent.name, set())
