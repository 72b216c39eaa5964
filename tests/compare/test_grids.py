"""Scales of one weight that lie over it otherwise in A and in B: said as that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peer_truth import needs_fixtures, opened
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Status, compare
from qinspect.inspector.formats import format_of
from qinspect.inspector.formats.element import integer, small_float, unsigned
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, cells, channels, flat_blocks, groups, segments_of, tiles
from qinspect.inspector.formats.words import shared_by, stored_as

FP8 = small_float("float8_e4m3fn")


def of_fp8(place: Path, strategy: str, scale: torch.Tensor, args: dict[str, object]) -> Path:
    """One linear, as compressed-tensors writes it."""
    place.mkdir()
    weights = {"num_bits": 8, "type": "float", "strategy": strategy, "symmetric": True, **args}
    config = {
        "quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": [],
    }  # fmt: skip
    (place / "config.json").write_text(json.dumps({"quantization_config": config}))
    codes = torch.ones(256, 128).to(torch.float8_e4m3fn)
    save_file({"layers.0.q_proj.weight": codes, "layers.0.q_proj.weight_scale": scale}, place / "model.safetensors")
    return place


FORMS: dict[str, tuple[str, torch.Tensor, dict[str, object]]] = {
    "tensor": ("for the whole weight", torch.ones(1), {}),
    "channel": ("per channel", torch.ones(256, 1), {}),
    "block": ("per block of 128x128", torch.ones(2, 1), {"block_structure": [128, 128]}),
}


@pytest.mark.parametrize("of_b", FORMS)
@pytest.mark.parametrize("of_a", FORMS)
def test_how_many_elements_share_a_scale_is_said(tmp_path: Path, of_a: str, of_b: str) -> None:
    (said_a, scale_a, args_a), (said_b, scale_b, args_b) = FORMS[of_a], FORMS[of_b]
    a, b = of_fp8(tmp_path / "a", of_a, scale_a, args_a), of_fp8(tmp_path / "b", of_b, scale_b, args_b)
    (pair,) = compare(format_of(open_checkpoint(a)), format_of(open_checkpoint(b))).scales
    if of_a == of_b:
        assert (pair.status, pair.note) == (Status.IDENTICAL, "")
        return
    assert pair.status is Status.SCHEME
    assert pair.note == f"float8_e4m3fn: one scale {said_a} in A, one {said_b} in B"


@needs_fixtures
def test_of_groups_of_other_sizes() -> None:
    c = compare(opened("ct_w4a16_asym_g32"), opened("ct_awq_w4a16_asym"))
    notes = {p.role: p.note for p in c.scales if p.a and p.b}
    assert notes["layers.0.mlp.up_proj.weight"] == "uint4: one scale per group of 32 in A, one per group of 128 in B"
    zeros = notes["layers.0.mlp.up_proj.weight#zero_point"]
    assert zeros == "uint4: one zero point per group of 32 in A, one per group of 128 in B"


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (PER_TENSOR, "one for the whole tensor"), (channels(), "one per channel"), (groups(32), "one per group of 32"),
        (tiles(128, 128), "one per block of 128x128"), (flat_blocks(64), "one per 64 elements in a row"),
        (segments_of("z", "x"), "one per segment (z, x)"), (segments_of("x"), "one for x"),
        (cells("head", "channel"), "one per head and channel"),
    ],
)  # fmt: skip
def test_every_grid_has_words(grid: Grid, said: str) -> None:
    assert shared_by(grid) == said


def test_what_is_stored_has_a_short_name() -> None:
    fp4 = small_float("float4_e2m1fn")
    assert stored_as(fp4, groups(16), "") == "NVFP4"
    assert stored_as(fp4, groups(32), "") == "MXFP4"
    assert stored_as(fp4, groups(64), "") == "FP4 g64"
    assert [stored_as(FP8, g, "") for g in (PER_TENSOR, channels(), tiles(128, 64), groups(32))] == [
        "FP8", "FP8 ch", "FP8 128x64", "MXFP8",
    ]  # fmt: skip
    assert stored_as(small_float("float8_e5m2"), PER_TENSOR, "") == "FP8 e5m2"
    assert stored_as(unsigned(4), groups(128), "") == stored_as(integer(4), groups(128), "") == "int4 g128"
    assert stored_as(integer(8), channels(), "") == "int8"
    assert stored_as(unsigned(4), groups(32), "Q4_K") == "Q4_K"
