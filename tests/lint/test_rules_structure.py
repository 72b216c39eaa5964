"""Rules of structure: what is taken out of a checkpoint, cut, or put into it is named, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from broken_codes import (
    DATA,
    FP8,
    GPTQ,
    INT4,
    MODELOPT,
    Tensors,
    edited,
    found_by,
    fp8,
    gptq,
    int4,
    linted,
    model,
    nvfp4,
    opened,
    saved,
)
from peer_truth import ROOT, needs_fixtures

from qinspect.inspector.finding import Severity

UP = "model.layers.1.mlp.up_proj"
KINDS: dict[str, tuple[Callable[[torch.Tensor], Tensors], dict[str, Any], str, str]] = {
    "nvfp4": (nvfp4, MODELOPT, "weight", "weight_scale"),
    "int4": (int4, INT4, "weight_packed", "weight_scale"),
    "fp8": (fp8, FP8, "weight", "weight_scale_inv"),
    "gptq": (gptq, GPTQ, "qweight", "scales"),
}


def codes_of(folder: Path) -> list[str]:
    return [f.rule.code for f in linted(folder, "H").findings]


@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_that_is_missing(tmp_path: Path, kind: str) -> None:
    make, config, _, scale = KINDS[kind]
    folder = model(tmp_path, make, config, change=lambda t: t.pop(f"{UP}.{scale}"))
    (finding,) = linted(folder, "H").findings
    assert (finding.rule.code, finding.severity) == ("H02", Severity.ERROR)
    assert [p.key.removesuffix(f".{scale}").removesuffix(".weight") for p in finding.places] == [UP]
    assert finding.found.text == "1 weight of 8 is stored in codes without all its scales"


@pytest.mark.parametrize("kind", KINDS)
def test_codes_that_are_missing(tmp_path: Path, kind: str) -> None:
    make, config, codes, _ = KINDS[kind]
    (finding,) = linted(model(tmp_path, make, config, change=lambda t: t.pop(f"{UP}.{codes}")), "H").findings
    assert (finding.rule.code, finding.severity) == ("H03", Severity.ERROR)
    assert len(finding.places) == 1
    assert UP in finding.places[0].key


@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_of_another_shape(tmp_path: Path, kind: str) -> None:
    make, config, _, scale = KINDS[kind]

    def cut(tensors: Tensors) -> None:
        tensors[f"{UP}.{scale}"] = tensors[f"{UP}.{scale}"][..., :-1]

    found = linted(model(tmp_path, make, config, change=cut), "H").findings
    if kind == "int4":  # one group of 256 is what the shape says, and no other layer
        assert [(f.rule.code, len(f.places)) for f in found] == [("H07", 1)]
        assert "where others have" in found[0].places[0].text
    else:
        (finding,) = found
        assert (finding.rule.code, finding.severity) == ("H01", Severity.ERROR)
        assert "expected" in finding.places[0].text


def test_the_outer_scale_is_missing(tmp_path: Path) -> None:
    folder = model(tmp_path, nvfp4, MODELOPT, change=lambda t: t.pop(f"{UP}.weight_scale_2"))
    (finding,) = found_by(folder, "H02")
    assert [p.key for p in finding.places] == [f"{UP}.weight_scale_2"]


def test_zero_points_of_all_weights_but_one(tmp_path: Path) -> None:
    asymmetric = json.loads(json.dumps(INT4).replace('"symmetric": true', '"symmetric": false'))

    def with_points(weight: torch.Tensor) -> Tensors:
        return {**int4(weight), "weight_zero_point": torch.zeros(64, 2, dtype=torch.int8)}

    lost = model(tmp_path / "x", with_points, asymmetric, change=lambda t: t.pop(f"{UP}.weight_zero_point"))
    (finding,) = found_by(lost, "H08")
    assert [p.key for p in finding.places] == ["layers.1.mlp.up_proj.weight"]
    assert "zero is taken as code 8" in finding.places[0].text
    assert not found_by(model(tmp_path / "all", with_points, asymmetric), "H08")


def test_a_scale_over_powers_of_two(tmp_path: Path) -> None:
    """MXFP4 that was converted from NVFP4, and kept its outer scale."""

    def mxfp4(weight: torch.Tensor) -> Tensors:
        made = nvfp4(weight)
        return {"weight_packed": made["weight"], "weight_scale": torch.full((64, 8), 120, dtype=torch.uint8)}

    config = {
        "quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
            "num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": 32,
            "scale_dtype": "torch.uint8"}}},
    }  # fmt: skip
    stray = {f"{UP}.weight_global_scale": torch.tensor([300.0])}
    (finding,) = found_by(model(tmp_path / "x", mxfp4, config, change=lambda t: t.update(stray)), "H06")
    assert [p.key for p in finding.places] == [f"{UP}.weight_global_scale"]
    assert "over powers of two" in finding.places[0].text
    assert not found_by(model(tmp_path / "sound", mxfp4, config), "H06")


def test_a_scale_that_no_format_knows(tmp_path: Path) -> None:
    stray = {f"{UP}.weight_scale_inv": torch.tensor([300.0])}
    (finding,) = found_by(model(tmp_path, nvfp4, MODELOPT, change=lambda t: t.update(stray)), "H06")
    assert [p.key for p in finding.places] == list(stray)


def test_other_names_with_scale_in_them_are_let_be(tmp_path: Path) -> None:
    plain = {
        "model.layers.0.mlp.layer_scale": torch.ones(64),
        "model.norm.scale": torch.ones(64),
        "model.layers.1.self_attn.logit_scale": torch.ones(1),
        "model.layers.1.self_attn.k_scale": torch.ones(1),
    }
    assert not linted(model(tmp_path, nvfp4, MODELOPT, plain=plain), "H").findings


def test_the_last_group_is_shorter(tmp_path: Path) -> None:
    def ragged(_: torch.Tensor) -> Tensors:
        codes, scale = torch.zeros(64, 200).to(torch.float8_e4m3fn), torch.rand(1, 4) + 0.001
        return {"weight": codes, "weight_scale_inv": scale}

    tiles = found_by(model(tmp_path / "tiles", ragged, FP8), "H04")
    assert [f.severity for f in tiles] == [Severity.NOTE]
    assert tiles[0].places[0].text == "[64, 200] in per-block 64x64: 8 columns in the last"
    assert not found_by(model(tmp_path / "whole", fp8, FP8), "H04")

    def groups(weight: torch.Tensor) -> Tensors:
        made = int4(weight)
        return {
            **made,
            "weight_packed": made["weight_packed"][:, :25],
            "weight_shape": torch.tensor([64, 200]),
        }

    (finding,) = found_by(model(tmp_path / "groups", groups, INT4), "H04")
    assert finding.severity is Severity.WARNING
    assert finding.places[0].text.endswith("72 columns in the last")


def written_gguf(path: Path, with_scale: tuple[str, ...]) -> Path:
    """Two tensors in NVFP4, as llama.cpp converts them, with the scales of those named."""
    writer = gguf.GGUFWriter(path, "llama")
    blocks = np.random.default_rng(0).integers(0, 120, (64, 4 * 36), np.uint8)
    for name in ("blk.0.ffn_up", "blk.0.ffn_down"):
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.NVFP4)
        if name in with_scale:
            writer.add_tensor(f"{name}.scale", np.array([1e-4], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.skipif(not hasattr(gguf.GGMLQuantizationType, "NVFP4"), reason="this release of gguf has no NVFP4")
def test_no_scale_over_the_blocks_of_a_file(tmp_path: Path) -> None:
    both = ("blk.0.ffn_up", "blk.0.ffn_down")
    assert not found_by(written_gguf(tmp_path / "both.gguf", both), "H05")
    (one,) = found_by(written_gguf(tmp_path / "one.gguf", both[:1]), "H05")
    assert one.severity is Severity.ERROR
    assert len(one.places) == 1
    assert "down_proj" in one.places[0].key
    (none,) = found_by(written_gguf(tmp_path / "none.gguf", ()), "H05")
    assert none.severity is Severity.WARNING


def test_float8_without_any_scale(tmp_path: Path) -> None:
    codes = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn)
    tensors = {"blocks.0.attn.weight": codes, "blocks.0.attn.bias": torch.zeros(64)}
    (note,) = found_by(saved(tmp_path / "cast", tensors, {}), "H02")
    assert note.severity is Severity.NOTE
    plain = saved(tmp_path / "plain", {"a.weight": torch.zeros(64, 64)}, {})
    assert not linted(plain, "H").findings
    assert linted(plain, "H").n_looked == 0


def test_groups_by_columns_are_the_same_groups(tmp_path: Path) -> None:
    """Whether an entry says which column is in which group makes no other kind of layer."""
    reordered = {**GPTQ, "desc_act": True}

    def shuffled(tensors: Tensors) -> None:
        order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
        tensors[f"{UP}.g_idx"] = tensors[f"{UP}.g_idx"][order]

    assert not linted(model(tmp_path, gptq, reordered, change=shuffled), "H").findings


@needs_fixtures
@pytest.mark.parametrize(
    "name", sorted(p.name for p in Path(ROOT or ".").glob("*") if (p / "model").is_dir() and ROOT), ids=str
)
def test_every_family_says_what_is_missing(tmp_path: Path, name: str) -> None:
    """One scale and one tensor of codes taken out of each checkpoint of the set."""
    source = Path(ROOT) / name / "model"
    if not any(source.glob("*.safetensors")):
        pytest.skip("is no safetensors")
    fmt = opened(source)
    weights = [w for w in fmt.weights() if len(w.shape) == 2 and w.slice is None]
    keys = {r.role: r.key for r in fmt.scales()}
    if not weights or keys.get(weights[0].scale_roles[0]) == weights[0].codes_key:
        pytest.skip("has no weight with a scale of its own")
    weight = weights[len(weights) // 2]
    scale = keys[weight.scale_roles[0]]
    before = set(codes_of(source))
    assert set(codes_of(edited(source, tmp_path / "a", lambda t: t.pop(scale)))) - before == {"H02"}
    assert set(codes_of(edited(source, tmp_path / "b", lambda t: t.pop(weight.codes_key)))) - before == {"H03"}


def test_there_is_data_of_libraries() -> None:
    assert sum(1 for _ in DATA.glob("*/model/config.json")) >= 8
