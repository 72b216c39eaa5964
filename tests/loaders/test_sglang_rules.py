"""Each rule of SGLang fires where it should, and not beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from loader_cases import Cases, check_both, check_complete, statements
from loader_files import (
    Model,
    blocks,
    compressed,
    ct_cache,
    ct_nvfp4,
    ct_nvfp4_experts,
    dense,
    expert,
    experts,
    fp4_factor,
    fp8,
    gptq_model,
    mo_fp8,
    mo_fp8_experts,
    modelopt,
    nvfp4,
    nvfp4_experts,
    static_fp8,
    with_cache,
)

UP = f"{expert('up_proj', 1)}"


def weights_only() -> Model:
    return dense(modelopt("W4A16_NVFP4"), fp4_factor, inputs=None)


def latent(*left_out: str) -> Model:
    model = modelopt("FP8", ignore=list(left_out))
    for name in ("q_a_proj", "kv_a_proj_with_mqa"):
        fp8(model, f"model.layers.0.self_attn.{name}")
    return model


CASES: Cases = {
    "names.skipped": (
        lambda: nvfp4().say(ignore=["up_proj"]), lambda: nvfp4().say(ignore=["model.layers.1*"]),
    ),
    "names.renamed": (blocks, lambda: dense(modelopt("FP8"), fp8)),
    "names.renamed_caches": (lambda: with_cache(nvfp4()), nvfp4),
    "names.caches_filled": (lambda: with_cache(nvfp4(), 0.0, 0.0), lambda: with_cache(nvfp4())),
    "names.only_k": (lambda: with_cache(nvfp4(), v=None), lambda: with_cache(nvfp4())),
    "names.only_v": (lambda: with_cache(nvfp4(), k=None), lambda: with_cache(nvfp4(), v=None)),
    "names.cache_scheme": (lambda: ct_cache("attn_head"), ct_cache),
    "weights.largest_fp8": (lambda: mo_fp8().set("up_proj.weight_scale", 0.3), mo_fp8),
    "weights.fp8_missing": (
        lambda: static_fp8().drop("o_proj.input_scale"),
        lambda: static_fp8().drop("o_proj.input_scale").say(activation_scheme="dynamic"),
    ),
    "weights.fp8_experts": (lambda: mo_fp8_experts().drop("experts.1.up_proj.input_scale"), mo_fp8_experts),
    "nvfp4.linear_inputs": (lambda: nvfp4().drop("up_proj.input_scale"), weights_only),
    "nvfp4.linear_outer": (lambda: nvfp4().drop("up_proj.weight_scale_2"), nvfp4),
    "nvfp4.largest_for_all": (
        lambda: nvfp4().set("up_proj.weight_scale_2", 0.25), lambda: weights_only().set("up_proj.weight_scale_2", 0.25),
    ),
    "nvfp4.largest_for_all_w4a16": (
        lambda: weights_only().set("up_proj.weight_scale_2", 0.25), lambda: nvfp4().set("up_proj.weight_scale_2", 0.25),
    ),
    "nvfp4.algorithm": (lambda: nvfp4().say(quant_algo="NVFP4_SVD"), lambda: nvfp4().say(quant_algo="NVFP4_AWQ")),
    "nvfp4.other_algorithm": (lambda: nvfp4().say(quant_algo="W4A8"), mo_fp8),
    "nvfp4.factors": (
        lambda: nvfp4().say(quant_algo="NVFP4_AWQ").put("model.layers.0.mlp.up_proj.pre_quant_scale", "BF16", 32),
        lambda: nvfp4().say(quant_algo="NVFP4_AWQ"),
    ),
    "nvfp4.gate_for_up_marlin": (
        lambda: nvfp4_experts().set(f"{UP}.weight_scale_2", 0.25), lambda: nvfp4().set("up_proj.weight_scale_2", 0.25),
    ),
    "nvfp4.both_kept": (lambda: nvfp4_experts().set(f"{UP}.weight_scale_2", 0.25), nvfp4_experts),
    "nvfp4.gate_for_up": (lambda: nvfp4_experts().set(f"{UP}.weight_scale_2", 0.25), nvfp4_experts),
    "nvfp4.expert_inputs": (
        lambda: nvfp4_experts().drop(f"{UP}.input_scale"),
        lambda: experts(modelopt("W4A16_NVFP4"), fp4_factor, inputs=None),
    ),
    "nvfp4.last_read": (
        lambda: nvfp4_experts().set(f"{UP}.input_scale", 0.5),
        lambda: nvfp4_experts().set("experts.1.down_proj.input_scale", 0.5),
    ),
    "nvfp4.smallest_for_all": (
        lambda: ct_nvfp4().set("up_proj.weight_global_scale", 4.0),
        lambda: ct_nvfp4(False).set("up_proj.weight_global_scale", 4.0),
    ),
    "nvfp4.smallest_of_inputs": (lambda: ct_nvfp4().set("up_proj.input_global_scale", 8.0), ct_nvfp4),
    "nvfp4.gate_for_up_compressed": (
        lambda: ct_nvfp4_experts().set(f"{UP}.weight_global_scale", 4.0), ct_nvfp4_experts,
    ),
    "nvfp4.largest_of_inputs": (
        lambda: ct_nvfp4_experts().set(f"{UP}.input_global_scale", 8.0),
        lambda: ct_nvfp4().set("up_proj.input_global_scale", 8.0),
    ),
    "nvfp4.unequal_w4a16": (
        lambda: ct_nvfp4(False).set("up_proj.weight_global_scale", 4.0), lambda: ct_nvfp4(False),
    ),
    "nvfp4.marlin": (nvfp4, mo_fp8),
    "weights.to_powers_of_two": (blocks, lambda: blocks().say(weight_block_size=[64, 128])),
    "names.excluded": (nvfp4, lambda: nvfp4().say(ignore=[])),
    "names.half_excluded": (
        lambda: latent("model.layers.0.self_attn.q_a_proj"), lambda: latent("model.layers.0.self_attn.o_proj"),
    ),
    "weights.inverse": (lambda: blocks().say(weight_scale_semantics="inverse"), blocks),
    "weights.gptq_bits": (lambda: gptq_model(bits=5), lambda: gptq_model(bits=3)),
    "weights.gptq_format": (lambda: gptq_model(checkpoint_format="gptq"), gptq_model),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_rule_of_sglang(name: str, tmp_path: Path) -> None:
    check_both("sglang", name, CASES, tmp_path)


def test_every_rule_of_sglang_has_a_case() -> None:
    check_complete("sglang", CASES)


@pytest.mark.parametrize(
    ("backend", "expected"), [("marlin", "warns once"), ("trtllm", "not known"), ("others", "silent")]
)
def test_a_backend_leaves_out_what_others_do(backend: str, expected: str, tmp_path: Path) -> None:
    model = nvfp4_experts().set(f"{UP}.weight_scale_2", 0.25)
    of_pairs = [s for s in statements(model, tmp_path, "sglang", backend) if s.rule == "G13"]
    assert [(str(s.says), s.n, s.of) for s in of_pairs] == [(expected, 1, 3)]
    assert (of_pairs[0].effect == "E0") == (backend == "trtllm")


def test_kinds_of_modules_that_were_not_read_are_named(tmp_path: Path) -> None:
    model = dense(compressed(), fp8)
    (unknown,) = [s for s in statements(model, tmp_path, "sglang") if not s.known]
    assert (unknown.n, unknown.of, unknown.rule) == (7, 7, "")
    assert "FP8, one scale" in unknown.does
