"""Scales of projections in one against those of their parts: the rows of each are compared, one number is not cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from modelopt_files import config as modelopt
from modelopt_files import int8, nvfp4, per_channel, per_tensor
from packed_weights import Weight, awq_gemm, gptq, weight
from safetensors.torch import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.compare import Comparison, ScalePair, Status, compare
from qinspect.inspector.formats import Format

Tensors = dict[str, torch.Tensor]
MLP, ATTENTION = "model.layers.0.mlp", "model.layers.0.self_attn"
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64, "head_dim": 16}
QKV = {"q_proj": (0, 64), "k_proj": (64, 96), "v_proj": (96, 128)}
HALVES = {"gate_proj": (0, 64), "up_proj": (64, 128)}
V2 = {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"}


def saved(to: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, object]) -> Format:
    to.mkdir(parents=True)
    save_file({k: t.clone() for k, t in tensors.items()}, to / "model.safetensors")
    (to / "config.json").write_text(json.dumps(dict(config)))
    return open_model(str(to))


def rows_of(w: Weight, start: int, stop: int) -> Weight:
    return Weight(w.codes[start:stop], w.zeros[start:stop], w.scales[start:stop], w.group_of)


def in_words(layers: Mapping[str, Weight], awq: bool = False) -> Tensors:
    """Of AWQ or of GPTQ v2, whose scales lie [groups, out] and whose zero points share words."""
    found: Tensors = {}
    for module, w in layers.items():
        made = awq_gemm(w) if awq else gptq(w, 4, False)
        found |= {f"{module}.{k}": t for k, t in made.items()}
    return found


def by_role(c: Comparison) -> dict[str, ScalePair]:
    return {p.role.removeprefix("layers.0."): p for p in c.scales}


@pytest.mark.parametrize("awq", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("at", "whole", "parts"), [(ATTENTION, "qkv_proj", QKV), (MLP, "gate_up_proj", HALVES)])
def test_scales_and_zero_points_of_groups(
    awq: bool, swapped: bool, at: str, whole: str, parts: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    w = weight(4, 128, 64, 32, seed=3)
    scales = w.scales.copy()
    first, last = list(parts.values())[-1]
    scales[first + 2, 1] *= 2
    changed = Weight(w.codes, w.zeros, scales, w.group_of)
    config = {**HEADS, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32} if awq else V2}
    one = saved(tmp_path / "one", in_words({f"{at}.{whole}": w}, awq), config)
    several = saved(
        tmp_path / "several", in_words({f"{at}.{n}": rows_of(changed, *rows) for n, rows in parts.items()}, awq), config
    )
    c = compare(several, one) if swapped else compare(one, several)
    pairs = by_role(c)
    name = at.rpartition(".")[2]
    assert set(pairs) == {f"{name}.{n}.weight{end}" for n in parts for end in ("", "#zero_point")}
    assert {p.joined for p in pairs.values()} == {"B" if swapped else "A"}
    *same, other = parts
    assert {pairs[f"{name}.{n}.weight"].status for n in same} == {Status.EQUAL}
    assert {pairs[f"{name}.{n}.weight#zero_point"].status for n in parts} == {Status.EQUAL}
    differs = pairs[f"{name}.{other}.weight"]
    assert differs.status is Status.DIFFERENT
    assert differs.difference is not None
    assert (differs.difference.n_changed, differs.difference.where) == (1, (2, 1))
    assert differs.difference.largest == pytest.approx(-50 if swapped else 100)
    model = "B" if swapped else "A"
    assert f"{model}: rows {first} to {last} of the scale of {at}.{whole}.weight" in differs.note
    assert {w.status for w in c.weights} == {Status.EQUAL}


@pytest.mark.parametrize("how", [per_channel, int8])
def test_scales_of_channels(how, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tensors, _ = how(128, 64)
    tensors = {k: t for k, t in tensors.items() if k in ("weight", "weight_scale")}
    algorithm = "W8A8_SQ_PER_CHANNEL" if how is int8 else "FP8_PER_CHANNEL_PER_TOKEN"
    one = {f"{MLP}.gate_up_proj.{k}": t for k, t in tensors.items()}
    several = {f"{MLP}.{n}.{k}": t[a:b] for n, (a, b) in HALVES.items() for k, t in tensors.items()}
    c = compare(saved(tmp_path / "a", one, modelopt(algorithm)), saved(tmp_path / "b", several, modelopt(algorithm)))
    assert {p.status for p in c.scales} == {Status.EQUAL}
    assert c.headline.rule == "same-values"
    assert c.same


def test_one_number_for_all_parts_is_said_and_not_compared(tmp_path: Path) -> None:
    """Of the tensor; and that of the scales of NVFP4, whose own scales are compared."""
    tensors, _ = per_tensor(128, 64)
    tensors = {k: t for k, t in tensors.items() if k in ("weight", "weight_scale")}
    one = {f"{MLP}.gate_up_proj.{k}": t for k, t in tensors.items()}
    several = {f"{MLP}.{n}.{k}": t[a:b] if t.dim() else t for n, (a, b) in HALVES.items() for k, t in tensors.items()}
    c = compare(saved(tmp_path / "a", one, modelopt("FP8")), saved(tmp_path / "b", several, modelopt("FP8")))
    assert {p.status for p in c.scales} == {Status.SCHEME}
    note = f"A has one scale for all of {MLP}.gate_up_proj.weight, the other model one for each part of it"
    assert {p.note for p in c.scales} == {note}
    assert {p.difference for p in c.scales} == {None}
    tensors, _ = nvfp4(128, 64)
    one = {f"{MLP}.gate_up_proj.{k}": t for k, t in tensors.items()}
    several = {
        f"{MLP}.{n}.{k}": t[a:b] if t.dim() == 2 else t for n, (a, b) in HALVES.items() for k, t in tensors.items()
    }
    c = compare(saved(tmp_path / "c", one, modelopt("NVFP4")), saved(tmp_path / "d", several, modelopt("NVFP4")))
    pairs = by_role(c)
    assert {pairs[f"mlp.{n}.weight"].status for n in HALVES} == {Status.EQUAL}
    assert {pairs[f"mlp.{n}.weight#global"].status for n in HALVES} == {Status.SCHEME}


def fp8_blocks(rows: int, columns: int, block: int) -> Tensors:
    g = torch.Generator().manual_seed(1)
    return {
        "weight": torch.randn(rows, columns, generator=g).to(torch.float8_e4m3fn),
        "weight_scale_inv": torch.rand(-(-rows // block), -(-columns // block), generator=g) * 0.1 + 0.01,
    }


FP8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 32]}}


@pytest.mark.parametrize(("half", "status"), [(64, Status.EQUAL), (48, Status.SCHEME)])
def test_blocks_that_hold_rows_of_one_part_or_of_two(half: int, status: Status, tmp_path: Path) -> None:
    whole = fp8_blocks(2 * half, 64, 32)
    n = -(-half // 32)
    blocks = whole["weight_scale_inv"]
    parts = {"gate_proj": (0, blocks[:n]), "up_proj": (half, blocks[-n:])}
    several = {}
    for name, (start, scale) in parts.items():
        several[f"{MLP}.{name}.weight"] = whole["weight"][start : start + half]
        several[f"{MLP}.{name}.weight_scale_inv"] = scale
    one = {f"{MLP}.gate_up_proj.{k}": t for k, t in whole.items()}
    c = compare(saved(tmp_path / "a", one, FP8), saved(tmp_path / "b", several, FP8))
    assert {p.status for p in c.scales} == {status}
    if status is Status.SCHEME:
        assert all("is one for 32 rows" in p.note and "of two parts" in p.note for p in c.scales)


def test_what_has_no_scale_in_the_other_model_stays_one(tmp_path: Path) -> None:
    one = {f"{MLP}.gate_up_proj.{k}": t for k, t in fp8_blocks(128, 64, 32).items()}
    plain = {f"{MLP}.{n}.weight": torch.zeros(64, 64, dtype=torch.bfloat16) for n in HALVES}
    c = compare(saved(tmp_path / "a", one, FP8), saved(tmp_path / "b", plain, {}))
    assert [(p.role, p.status) for p in c.scales] == [("layers.0.mlp.gate_up_proj.weight", Status.ONLY_A)]
    assert c.headline.rule == "one-quantized"


def test_a_part_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """NaN among the scales is a number that no scale should be, in the rows of one part alone."""
    whole = fp8_blocks(128, 64, 32)
    several = {
        f"{MLP}.{n}.{k}": t[a : a + len(t) // 2]
        for n, part in (("gate_proj", 0), ("up_proj", 1))
        for k, t in whole.items()
        for a in (part * len(t) // 2,)
    }
    bad = whole["weight_scale_inv"].clone()
    bad[3, 1] = float("nan")
    one = {f"{MLP}.gate_up_proj.weight": whole["weight"], f"{MLP}.gate_up_proj.weight_scale_inv": bad}
    c = compare(saved(tmp_path / "a", one, FP8), saved(tmp_path / "b", several, FP8))
    pairs = by_role(c)
    assert pairs["mlp.gate_proj.weight"].faults_a is None
    assert pairs["mlp.up_proj.weight"].faults_a is not None
    assert pairs["mlp.up_proj.weight"].status is Status.DIFFERENT


def test_input_scales_are_those_of_what_goes_into_all_parts(tmp_path: Path) -> None:
    tensors, _ = per_tensor(128, 64)
    assert "input_scale" in tensors
    one = {f"{MLP}.gate_up_proj.{k}": t for k, t in tensors.items()}
    several = {f"{MLP}.{n}.{k}": t[a:b] if t.dim() else t for n, (a, b) in HALVES.items() for k, t in tensors.items()}
    several[f"{MLP}.up_proj.input_scale"] = tensors["input_scale"] * 2
    c = compare(saved(tmp_path / "a", one, modelopt("FP8")), saved(tmp_path / "b", several, modelopt("FP8")))
    pairs = by_role(c)
    assert pairs["mlp.gate_proj:input"].status is Status.EQUAL
    assert pairs["mlp.up_proj:input"].status is Status.DIFFERENT
    assert pairs["mlp.up_proj:input"].difference is not None
    assert np.isclose(pairs["mlp.up_proj:input"].difference.largest, 100)


def test_one_number_for_all_experts_of_a_stack_against_one_for_each(tmp_path: Path) -> None:
    """Of the scales, and of what goes in; the scales themselves are each expert's own in both."""
    module, codes = "model.layers.0.mlp.experts", [nvfp4(8, 32, seed=e)[0] for e in range(3)]
    shared = {"weight_scale_2": codes[0]["weight_scale_2"], "input_scale": torch.tensor(0.5)}
    stack = {"weight": torch.stack([t["weight"] for t in codes])}
    stack["weight_scale"] = torch.stack([t["weight_scale"].view(torch.uint8) for t in codes]).view(torch.float8_e4m3fn)
    one = {f"{module}.down_proj": stack["weight"], f"{module}.down_proj_weight_scale": stack["weight_scale"]}
    one |= {f"{module}.down_proj_{k}": t for k, t in shared.items()}
    several = {f"{module}.{e}.down_proj.{k}": t for e, own in enumerate(codes) for k, t in {**own, **shared}.items()}
    # [E, out, in / 2]: the scales show which axis is which
    c = compare(saved(tmp_path / "a", one, modelopt("NVFP4")), saved(tmp_path / "b", several, modelopt("NVFP4")))
    pairs = by_role(c)
    at = "mlp.experts"
    assert {pairs[f"{at}.{e}.down_proj.weight"].status for e in range(3)} <= {Status.IDENTICAL, Status.EQUAL}
    assert {pairs[f"{at}.{e}.down_proj.weight#global"].status for e in range(3)} == {Status.SCHEME}
    assert {pairs[f"{at}.{e}.down_proj:input"].status for e in range(3)} == {Status.SCHEME}
    note = pairs[f"{at}.1.down_proj.weight#global"].note
    assert (
        note == "A has one global scale for all experts of layers.0.mlp.experts.down_proj, the other model one for each"
    )
    assert [p for p in c.scales if p.status in (Status.ONLY_A, Status.ONLY_B)] == []
    assert {w.status for w in c.weights} <= {Status.IDENTICAL, Status.EQUAL}


def test_two_stacks_with_one_number_each_pair_as_they_are(tmp_path: Path) -> None:
    module = "model.layers.0.mlp.experts"
    own = [nvfp4(8, 32, seed=e)[0] for e in range(2)]
    tensors = {
        f"{module}.down_proj": torch.stack([t["weight"] for t in own]),
        f"{module}.down_proj_weight_scale": torch.stack([t["weight_scale"].view(torch.uint8) for t in own]).view(
            torch.float8_e4m3fn
        ),
        f"{module}.down_proj_weight_scale_2": own[0]["weight_scale_2"],
    }
    a, b = (saved(tmp_path / n, tensors, modelopt("NVFP4")) for n in "ab")
    assert {p.status for p in compare(a, b).scales} == {Status.IDENTICAL}


def test_one_scale_of_fp8_for_all_experts(tmp_path: Path) -> None:
    module, g = "model.layers.0.mlp.experts", torch.Generator().manual_seed(2)
    codes = torch.randn(3, 8, 32, generator=g).to(torch.float8_e4m3fn)
    one = {f"{module}.down_proj": codes, f"{module}.down_proj_weight_scale": torch.tensor(0.5)}
    several = {f"{module}.{e}.down_proj.weight": codes[e] for e in range(3)}
    several |= {f"{module}.{e}.down_proj.weight_scale": torch.tensor(0.5) for e in range(3)}
    c = compare(saved(tmp_path / "a", one, modelopt("FP8")), saved(tmp_path / "b", several, modelopt("FP8")))
    assert {p.status for p in c.scales} == {Status.SCHEME}
    assert {p.role for p in c.scales} == {f"layers.0.mlp.experts.{e}.down_proj.weight" for e in range(3)}
