"""Methods of checkpoints that other libraries made, whose method is known from how they were called."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from commands import Command
from hqq_files import hqq, in_runs
from hqq_files import opened as hqq_opened
from peer_truth import folder, needs_fixtures, opened
from safetensors.torch import load_file, save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import UsageError
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.method.answers import Methods, methods_of
from qinspect.inspector.method.judge import Method
from qinspect.inspector.progress import unseen

pytestmark = needs_fixtures
RTN, GPTQ = {Method.NEAREST}, {Method.ERROR_FEEDBACK}
AWQ, CLIPPED_AWQ = {Method.SMOOTHED, Method.NEAREST}, {Method.SMOOTHED, Method.SEARCHED}
"""o_proj has no norm before it, and no factors where heads are shared; AutoAWQ clips scales too."""


def base(name: str) -> Format:
    return format_of(open_checkpoint(folder(name)))


def found(name: str, of: str) -> Methods:
    return methods_of(base(of), opened(name), unseen)


def quantized(m: Methods) -> set[Method]:
    return {w.judged.method for w in m.weights if w.evidence is not None}


@pytest.mark.parametrize(
    ("name", "of", "methods"),
    [
        ("ct_w4a16_g128", "base_llama", RTN),
        ("ct_w4a16_asym_g32", "base_llama1", RTN),
        ("ct_fp8_block", "base_llama_ragged", RTN),
        ("ct_int8_w8a8", "base_llama", RTN),
        ("ct_mxfp4", "base_llama1", RTN),
        ("ct_mxfp8", "base_llama1", RTN),
        ("ct_mixed_three", "base_llama", RTN),
        ("ct_mamba2_fp8", "base_mamba2", RTN),
        ("modelopt_nvfp4", "base_llama", RTN),
        ("modelopt_mxfp4", "base_llama1", RTN),
        ("modelopt_fp8_block", "base_llama_blk", {Method.NEAREST, Method.LARGER}),
        ("modelopt_gptoss_nvfp4", "base_gptoss", RTN),
        ("modelopt_nemotronh_mixed", "base_nemotronh", RTN),
        ("autoround_gptq_g32", "base_llama1", RTN),
        ("gptqmodel_gguf_q4k", "base_llama1", RTN),
        ("gptqmodel_fp8_block", "base_llama_blk", RTN),
        ("gguf_q4_0", "base_llama1", RTN),
        ("gguf_q8_0", "base_llama1", RTN),
        ("gptq_v1_sym_g32", "base_llama", GPTQ),
        ("gptq_v1_descact_g32", "base_llama", GPTQ),
        ("gptq_v1_asym_g32", "base_llama_pos", GPTQ),
        ("gptq_v1_3bit_g32", "base_llama1", GPTQ),
        ("gptq_v2_asym_g128", "base_llama1", GPTQ),
        ("autoawq_gemm_g32", "base_llama", CLIPPED_AWQ),
        ("awq_gemm_g128_bias", "base_llama1", CLIPPED_AWQ),
        ("ct_awq_w4a16_asym", "base_llama", AWQ),
        ("modelopt_int4_awq", "base_llama1", {Method.SMOOTHED}),
        ("modelopt_nvfp4_awq", "base_llama1", {Method.SMOOTHED}),
        ("modelopt_int8_sq", "base_llama1", {Method.SMOOTHED}),
        ("modelopt_nvfp4_svd", "base_llama1", {Method.LOW_RANK}),
        ("modelopt_nvfp4_4o6", "base_llama", {Method.FOUR_OVER_SIX}),
        ("modelopt_nvfp4_mse", "base_llama1", {Method.SEARCHED}),
        ("bnb_nf4", "base_llama1", RTN),
        ("bnb_fp4", "base_llama1", RTN),
        ("bnb_int8", "base_llama1", RTN),
        ("bnb_nf4_fused_experts", "base_qwen3moe", RTN),
        ("mlx_affine_4bit_g64", "base_llama1", RTN),
        ("mlx_mixed_3_5_6_8", "base_llama", RTN),
        ("hqq_safetensors_2bit_g32", "base_llama1", {Method.FITTED_ZEROS}),
        ("hqq_qmodel_4bit_g64", "base_llama", {Method.FITTED_ZEROS}),
        ("hqq_safetensors_8bit_g128", "base_llama1", RTN),  # its zero points are stored to half a step
    ],
)
def test_the_method_is_told(name: str, of: str, methods: set[Method]) -> None:
    m = found(name, of)
    assert quantized(m) == methods
    assert {w.judged.method for w in m.weights if w.evidence is None} <= {Method.COPIED, Method.CAST, Method.CHANGED}


def test_groups_of_rows_that_take_turns_are_not_judged() -> None:
    """HQQ along axis 0; where the group is the whole column it is."""
    m = found("hqq_safetensors_4bit_g64_axis0", "base_llama1")
    told = {w.role.split(".")[-2]: w.judged.method for w in m.weights if w.element == "uint4"}
    fitted = dict.fromkeys(("k_proj", "v_proj"), Method.FITTED_ZEROS)
    assert told == dict.fromkeys(told, Method.NOT_KNOWN) | fitted


def test_zero_points_of_the_extremes_are_not_fitted(tmp_path: Path) -> None:
    """The layout of HQQ and its own rules, without the search: zero points as they come, and whole ones."""
    of = load_file(folder("base_llama1") / "model.safetensors")
    weights = {n: t.float().numpy() for n, t in of.items() if n.endswith("_proj.weight")}
    for whole in (False, True):
        tensors: dict[str, np.ndarray] = {}
        for name, x in weights.items():
            grouped = x.reshape(-1, 64)
            low, high = grouped.min(1, keepdims=True), grouped.max(1, keepdims=True)
            step = (high - low) / 15
            zero = np.rint(-low / step) if whole else -low / step
            made = hqq(4, (len(x), x.shape[1]))
            kept = {"scale": step.astype(ml_dtypes.bfloat16), "zero": zero.astype(ml_dtypes.bfloat16)}
            kept["W_q"] = in_runs(np.clip(np.rint(grouped / step + zero), 0, 15).astype(np.int64), 4)
            module = name.removesuffix(".weight")
            tensors |= {f"{module}.{last}": t for last, t in (made.tensors | kept).items()}
        m = methods_of(base("base_llama1"), hqq_opened(tmp_path / str(whole), tensors), unseen)
        assert quantized(m) == RTN


@pytest.mark.parametrize(
    ("names", "method"),
    [
        (("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl"), Method.SEARCHED),  # with an importance matrix
        (("q8_0", "mxfp4"), Method.NEAREST),
    ],
)
def test_scales_that_llama_cpp_searches(names: tuple[str, ...], method: Method) -> None:
    """Near it: Q4_K whose scales are those of the extremes (gptqmodel_gguf_q4k, above)."""
    of = folder("gguf_every_type_2026")
    m = methods_of(format_of(open_checkpoint(of / "original.safetensors")), opened("gguf_every_type_2026"), unseen)
    told = {w.role: w.judged for w in m.weights}
    for name in names:
        judged = told[f"blk.0.{name}.weight"]
        assert judged.method is method, name
        assert "of codes are the nearest" in judged.said


def test_scales_that_are_searched_for_a_whole_model() -> None:
    m = found("gguf_iq_imatrix", "base_llama256")
    told = {w.role: w.judged for w in m.weights}
    assert told["lm_head.weight"].method is Method.SEARCHED  # Q5_K
    assert told["layers.0.self_attn.o_proj.weight"].method is Method.SEARCHED  # IQ4_NL
    assert told["layers.0.self_attn.q_proj.weight"].method is Method.NOT_KNOWN  # a codebook of vectors


def test_the_norm_that_took_the_inverse() -> None:
    m = found("ct_awq_w4a16_asym", "base_llama")
    by = {i.by: i.of for i in m.inverses}
    assert by["layers.0.input_layernorm.weight"] == tuple(f"layers.0.self_attn.{x}_proj.weight" for x in "kqv")
    changed = {w.role for w in m.weights if w.judged.method is Method.CHANGED}
    assert by.keys() == changed
    assert not found("gptq_v1_sym_g32", "base_llama").inverses


def test_another_base() -> None:
    m = found("gguf_llamacpp_q4_k_m", "base_llama256")
    assert quantized(m) == {Method.UNRELATED}


def test_without_a_config_and_under_other_names(tmp_path: Path) -> None:
    of = folder("ct_w4a16_g128") / "model" / "model.safetensors"
    save_file({f"module.{k}": t for k, t in load_file(of).items()}, tmp_path / "model.safetensors")
    m = methods_of(base("base_llama"), format_of(open_checkpoint(tmp_path)), unseen)
    assert quantized(m) == RTN


def test_a_base_that_is_quantized() -> None:
    with pytest.raises(UsageError, match="the base is quantized itself"):
        methods_of(opened("ct_nvfp4"), opened("ct_w4a16_g128"), unseen)


def test_no_weight_in_both(tmp_path: Path) -> None:
    save_file({"another.weight": torch.ones(3, 5)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="no weight of the checkpoint has a partner"):
        methods_of(format_of(open_checkpoint(tmp_path)), opened("ct_w4a16_g128"), unseen)


def test_the_command(capsys: pytest.CaptureFixture[str], source_root: Path) -> None:
    command = Command("whence", capsys, source_root, "method")
    words = (folder("gptq_v1_sym_g32") / "model", "--base", folder("base_llama"))
    content = command.json(*words)
    assert content["methods"] == {"error feedback (GPTQ)": 14, "copied": 7}
    by_role = {w["role"]: w for w in content["weights"]}
    e = by_role["layers.0.mlp.gate_proj.weight"]["evidence"]
    assert (e["codes"], e["rows"], e["scales"]["rule"]) == (256 * 128, 256, "amax / 7.5")
    assert e["scales"]["at_rule"] == e["scales"]["cells"] == 256 * 4
    text, _ = command(*words)
    assert "VERDICT  14 quantized weights: error feedback (GPTQ); 7 other tensors: copied." in text


def test_one_of_run_and_base(capsys: pytest.CaptureFixture[str], source_root: Path) -> None:
    command = Command("whence", capsys, source_root, "method")
    assert "one of --run and --base" in command.error(folder("ct_nvfp4") / "model")
    assert "not by both" in command.error(folder("ct_nvfp4") / "model", "--run", "x", "--base", "y")
