"""Each rule of vLLM fires where it should, and not beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from loader_cases import Cases, check_both, check_complete, rules, statements
from loader_files import (
    Model,
    blocks,
    comfy,
    compressed,
    ct_cache,
    ct_nvfp4,
    ct_nvfp4_experts,
    dense,
    expert,
    experts,
    fine_grained,
    fp4_factor,
    fp8,
    fp8_block,
    gptoss,
    gptq_model,
    mo_fp8,
    mo_fp8_experts,
    modelopt,
    nvfp4,
    nvfp4_experts,
    static_fp8,
    with_cache,
)

from qinspect.inspector.loaders.view import View

ATTENTION = "model.layers.0.self_attn"


def ct_fp8(scales: str = "F32") -> Model:
    made = dense(compressed(weights={"num_bits": 8, "type": "float", "strategy": "tensor"}), fp8)
    if scales == "BF16":
        for name in [n for n in made.entries if n.endswith("weight_scale")]:
            made.number(name, 0.5, 1, dtype="BF16")
    return made


def mixed(**layers: str) -> Model:
    said = {f"model.layers.0.mlp.{name}": {"quant_algo": algo} for name, algo in layers.items()}
    model = modelopt("MIXED_PRECISION", quantized_layers=said)
    for name in ("gate_proj", "up_proj", "down_proj"):
        fp8(model, f"model.layers.0.mlp.{name}")
    return model


def mixed_experts(second: str) -> Model:
    said = {expert("up_proj", 0): {"quant_algo": "NVFP4"}, expert("up_proj", 1): {"quant_algo": second}}
    return experts(modelopt("MIXED_PRECISION", quantized_layers=said), fp4_factor)


def excluding(pattern: str) -> Model:
    model = modelopt("NVFP4", ignore=[pattern])
    for layer in (1, 10):
        fp4_factor(model, f"model.layers.{layer}.mlp.up_proj")
    return model.drop("layers.1.mlp.up_proj.weight_scale").drop("layers.1.mlp.up_proj.weight_scale_2").drop(
        "layers.1.mlp.up_proj.input_scale").put("model.layers.1.mlp.up_proj.weight", "BF16", 32, 32)  # fmt: skip


def only_side(**said: object) -> Model:
    model = dense(Model(), fp4_factor)
    full = {"quant_algo": "NVFP4", "group_size": 16, "kv_cache_quant_algo": None, "exclude_modules": [], **said}
    model.files["hf_quant_config.json"] = {"quantization": {k: v for k, v in full.items() if v is not ...}}
    return model


def awq(**said: object) -> Model:
    model = Model({"quant_method": "awq", "bits": 4, "group_size": 128, **said})
    for module in ("lm_head", "model.layers.0.mlp.up_proj"):
        model.put(f"{module}.qweight", "I32", 128, 4).put(f"{module}.scales", "F16", 1, 32)
    return model


def deepseek(model: Model) -> Model:
    model.config["architectures"] = ["DeepseekV3ForCausalLM"]
    return model


def cold(value: float) -> Model:
    return ct_nvfp4_experts().set(f"{expert('up_proj', 1)}.input_global_scale", value)


def of_groups(*inputs: object) -> Model:
    groups = {
        f"g{i}": {"targets": ["Linear"], "weights": {}, "input_activations": said} for i, said in enumerate(inputs)
    }
    return nvfp4().say(config_groups=groups)


def widths(columns: int) -> Model:
    return modelopt("FP8_PB_WO").put("a.weight", "F8_E4M3", 256, columns).put("a.weight_scale", "F32", 2, 1, 1, 1)


def targeting(*targets: str) -> Model:
    return ct_nvfp4().say(config_groups={"group_0": {"targets": list(targets), "weights": None}})


def _odd(name: str) -> Model:
    model = fine_grained()
    for each in ("gate_proj", "up_proj"):
        fp8_block(model, f"model.layers.0.mlp.{each}", rows=192 if each == name else 256)
    return model


def _stacked() -> Model:
    base = "model.layers.0.mlp.experts.gate_up_proj"
    model = modelopt().put(base, "U8", 2, 16, 32).put(f"{base}_weight_scale", "F8_E4M3", 2, 2, 32)
    return model.number(f"{base}_weight_scale_2", 0.5)


CASES: Cases = {
    "cache.both_missing": (lambda: nvfp4().say(kv_cache_quant_algo="FP8"), lambda: with_cache(nvfp4())),
    "cache.stored_ones": (lambda: with_cache(nvfp4(), 1.0, 1.0), lambda: with_cache(nvfp4(), 1.0, 0.5)),
    "cache.only_k": (lambda: with_cache(nvfp4(), v=None), lambda: with_cache(nvfp4())),
    "cache.only_v": (lambda: with_cache(nvfp4(), k=None), lambda: with_cache(nvfp4(), v=None)),
    "cache.not_single": (
        lambda: with_cache(nvfp4()).number(f"{ATTENTION}.k_proj.k_scale", 0.5, 2), lambda: ct_cache("attn_head"),
    ),
    "cache.compressed_missing": (lambda: ct_cache().drop("v_scale"), ct_cache),
    "cache.per_head": (lambda: ct_cache("attn_head"), ct_cache),
    "cache.other_scheme": (lambda: ct_cache(type="int"), ct_cache),
    "cache.other_cache": (lambda: nvfp4().say(kv_cache_quant_algo="NVFP4"), lambda: with_cache(nvfp4())),
    "cache.no_scale_of_q": (
        lambda: with_cache(nvfp4()), lambda: with_cache(nvfp4()).number(f"{ATTENTION}.q_proj.q_scale", 0.5),
    ),
    "cache.not_quantized": (lambda: with_cache(nvfp4(), algorithm=None), lambda: with_cache(nvfp4())),
    "fp8.largest_for_all": (lambda: mo_fp8().set("up_proj.weight_scale", 0.3), mo_fp8),
    "fp8.last_missing": (
        lambda: mo_fp8().drop("v_proj.weight_scale"), lambda: mo_fp8().drop("q_proj.weight_scale"),
    ),
    "fp8.all_missing": (lambda: mo_fp8().drop("o_proj.weight_scale"), lambda: mo_fp8().drop("v_proj.weight_scale")),
    "fp8.largest_of_inputs": (lambda: mo_fp8().set("up_proj.input_scale", 0.1), mo_fp8),
    "fp8.input_missing": (
        lambda: static_fp8().drop("o_proj.input_scale"),
        lambda: static_fp8().drop("o_proj.input_scale").say(activation_scheme="dynamic"),
    ),
    "fp8.without_fp8_hardware": (ct_fp8, lambda: ct_fp8("BF16")),
    "fp8.larger_of_expert": (
        lambda: mo_fp8_experts().set(f"{expert('up_proj', 1)}.weight_scale", 0.3),
        lambda: mo_fp8_experts().set("experts.1.down_proj.weight_scale", 0.3),
    ),
    "fp8.expert_missing": (lambda: mo_fp8_experts().drop("experts.1.up_proj.input_scale"), mo_fp8_experts),
    "fp8.padded": (lambda: widths(128), lambda: dense(modelopt("FP8"), fp8)),
    "fp8.odd_width": (lambda: widths(192), lambda: widths(256)),
    "fp8.to_powers_of_two": (blocks, lambda: blocks(dtype="F8_E8M0")),
    "fp8.powers_kept": (lambda: blocks(dtype="F8_E8M0"), blocks),
    "fp8.odd_shards": (lambda: _odd("gate_proj"), lambda: _odd("up_proj")),
    "fp8.block_scales_missing": (
        lambda: blocks().drop("o_proj.weight_scale_inv"),
        lambda: experts(fine_grained(), fp8_block).drop("experts.1.up_proj.weight_scale_inv"),
    ),
    "fp8.block_scales_of_experts_missing": (
        lambda: experts(fine_grained(), fp8_block).drop("experts.1.up_proj.weight_scale_inv"),
        lambda: blocks().drop("o_proj.weight_scale_inv"),
    ),
    "integers.actorder": (
        lambda: compressed(False, {"num_bits": 4, "type": "int", "actorder": "group"}),
        lambda: compressed(False, {"num_bits": 4, "type": "int", "actorder": "weight"}),
    ),
    "integers.desc_act": (lambda: gptq_model(desc_act=True), lambda: gptq_model(desc_act=True, group_size=-1)),
    "integers.desc_act_of_one_group": (
        lambda: gptq_model(desc_act=True, group_size=-1), lambda: gptq_model(group_size=-1),
    ),
    "integers.other_integers": (lambda: gptq_model(dynamic={"+:.*up.*": {"bits": 3}}), lambda: gptq_model(bits=8)),
    "integers.zeros_unused": (gptq_model, lambda: gptq_model().drop("qzeros")),
    "integers.quantized_by_header": (gptq_model, lambda: gptq_model(modules_in_block_to_quantize=[["mlp.up_proj"]])),
    "integers.first_pattern": (lambda: gptq_model(dynamic={"-:.*up.*": {}}), lambda: gptq_model(dynamic={})),
    "integers.awq": (awq, lambda: awq(bits=8)),
    "integers.awq_of_other_bits": (lambda: awq(bits=8), awq),
    "integers.awq_head": (awq, lambda: awq(lm_head=True)),
    "integers.body_not_read": (gptoss, gptq_model),
    "integers.experts_vanish": (lambda: gptoss().drop("down_proj_scales"), gptoss),
    "integers.not_built_in": (lambda: Model({"quant_method": "bitsandbytes"}).put("a.weight", "U8", 8, 1), gptq_model),
    "names.no_parameter": (
        lambda: nvfp4().put("model.layers.0.mlp.up_proj.pre_quant_scale", "BF16", 32),
        lambda: deepseek(nvfp4().put("model.layers.0.mlp.up_proj.pre_quant_scale", "BF16", 32)),
    ),
    "names.dropped": (gptq_model, lambda: gptq_model().drop("g_idx")),
    "names.no_parameter_of_own_loader": (lambda: deepseek(blocks().say(ignored_layers=["model.layers.0.mlp.up_proj"])),
                                         lambda: deepseek(blocks())),
    "names.layers_behind": (
        lambda: deepseek(blocks().put("model.layers.2.eh_proj.weight", "BF16", 8, 8)),
        lambda: deepseek(blocks().put("model.layers.1.eh_proj.weight", "BF16", 8, 8)),
    ),
    "names.not_checked": (lambda: nvfp4().drop("up_proj.input_scale"), nvfp4),
    "names.part_of_name": (lambda: excluding("model.layers.1*"), lambda: excluding("model.layers.1.*")),
    "names.half_left_out": (
        lambda: ct_nvfp4().say(ignore=["model.layers.0.mlp.up_proj"]),
        lambda: ct_nvfp4().say(ignore=["re:.*mlp.(up|gate)_proj"]),
    ),
    "names.attention_group": (lambda: targeting("LlamaAttention"), lambda: targeting("LlamaAttention", "Linear")),
    "names.absent_from_layers": (
        lambda: mixed(gate_proj="FP8", up_proj="FP8"), lambda: mixed(gate_proj="FP8", up_proj="FP8", down_proj="FP8"),
    ),
    "names.two_algorithms": (
        lambda: mixed(gate_proj="FP8", up_proj="NVFP4"),
        lambda: mixed(gate_proj="FP8", up_proj="FP8", down_proj="NVFP4"),
    ),
    "names.experts_of_two": (lambda: mixed_experts("FP8"), lambda: mixed_experts("NVFP4")),
    "names.unknown_of_layer": (lambda: mixed(up_proj="W4A8"), lambda: mixed(up_proj="mxfp8")),
    "names.renamed": (lambda: with_cache(nvfp4()), nvfp4),
    "names.without_layer": (
        lambda: nvfp4().number("model.layers.2.self_attn.k_proj.k_scale", 1.0),
        lambda: nvfp4().number("model.layers.1.self_attn.k_proj.k_scale", 1.0),
    ),
    "names.to_fnuz": (nvfp4, gptq_model),
    "nvfp4.largest_for_all": (
        lambda: nvfp4().set("up_proj.weight_scale_2", 0.25), lambda: ct_nvfp4().set("up_proj.weight_global_scale", 4.0),
    ),
    "nvfp4.smallest_for_all": (
        lambda: ct_nvfp4().set("up_proj.weight_global_scale", 4.0),
        lambda: ct_nvfp4(False).set("up_proj.weight_global_scale", 4.0),
    ),
    "nvfp4.shards_of_w4a16": (
        lambda: ct_nvfp4(False).set("up_proj.weight_global_scale", 4.0),
        lambda: ct_nvfp4().set("up_proj.weight_global_scale", 4.0),
    ),
    "nvfp4.gate_for_up": (
        lambda: nvfp4_experts().set("experts.1.up_proj.weight_scale_2", 0.25),
        lambda: nvfp4_experts().set("experts.1.down_proj.weight_scale_2", 0.25),
    ),
    "nvfp4.no_block_scales": (
        lambda: nvfp4().put("model.layers.1.mlp.up_proj.weight", "BF16", 32, 32),
        lambda: nvfp4().put("model.layers.1.mlp.up_proj.weight", "BF16", 32, 32).say(ignore=["model.layers.1*"]),
    ),
    "nvfp4.block_scales_not_written": (
        lambda: ct_nvfp4().drop("o_proj.weight_scale"), lambda: ct_nvfp4().drop("o_proj.input_global_scale"),
    ),
    "nvfp4.outer_not_written": (lambda: nvfp4().drop("o_proj.weight_scale_2"), nvfp4),
    "nvfp4.input_not_written": (
        lambda: ct_nvfp4_experts().drop("experts.1.up_proj.input_global_scale"), lambda: ct_nvfp4_experts(False),
    ),
    "nvfp4.largest_of_layer": (
        lambda: nvfp4_experts().set("experts.1.up_proj.input_scale", 0.5),
        lambda: nvfp4().set("up_proj.input_scale", 0.5),
    ),
    "nvfp4.larger_of_two": (
        lambda: nvfp4_experts().set("experts.1.up_proj.input_scale", 0.5),
        lambda: nvfp4_experts().set("experts.1.down_proj.input_scale", 0.5),
    ),
    "nvfp4.largest_emulated": (lambda: nvfp4_experts().set("experts.1.up_proj.input_scale", 0.5), nvfp4_experts),
    "nvfp4.inputs_ignored": (nvfp4_experts, lambda: ct_nvfp4_experts(False)),
    "nvfp4.never_observed": (lambda: cold(0.0), lambda: cold(0.1)),
    "nvfp4.smallest_of_inputs": (
        lambda: ct_nvfp4().set("up_proj.input_global_scale", 8.0),
        lambda: ct_nvfp4().set("down_proj.input_global_scale", 8.0),
    ),
    "nvfp4.without_fp4_hardware": (nvfp4, mo_fp8),
    "nvfp4.weights_only": (lambda: of_groups(None, None), lambda: of_groups(None, {"num_bits": 4})),
    "nvfp4.input_scales_dropped": (lambda: nvfp4().say(quant_algo="W4A16_NVFP4"), nvfp4),
    "nvfp4.stacked": (_stacked, nvfp4_experts),
    "refusals.algorithm": (lambda: nvfp4().say(quant_algo="nvfp4_awq"), lambda: nvfp4().say(quant_algo="nvfp4")),
    "refusals.sparsity": (
        lambda: compressed(sparsity_config={"sparsity_structure": "2:4"}),
        lambda: compressed(sparsity_config={"sparsity_structure": "0:0"}),
    ),
    "refusals.lacks_settings": (lambda: only_side(group_size=...), only_side),
    "refusals.activation_scheme": (lambda: blocks().say(activation_scheme="static"), static_fp8),
    "refusals.inverse": (lambda: blocks().say(weight_scale_semantics="inverse"), blocks),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_rule_of_vllm(name: str, tmp_path: Path) -> None:
    check_both("vllm", name, CASES, tmp_path)


def test_every_rule_of_vllm_has_a_case() -> None:
    check_complete("vllm", CASES)


@pytest.mark.parametrize(("value", "n"), [(0.0, 1), (1e-42, 1), (float("nan"), 1), (3e-5, 1), (-3.6e24, 0), (0.01, 0)])
def test_only_what_wins_the_maximum_breaks_a_layer(value: float, n: int, tmp_path: Path) -> None:
    """One over it, in float32: a denormal is infinite, a negative number never the largest."""
    found = rules("vllm")["nvfp4.never_observed"].check(View(cold(value).opened(tmp_path)))
    assert (0 if found is None else len(found.modules)) == n


def test_nothing_is_said_of_another_kind_of_file(tmp_path: Path) -> None:
    (only,) = statements(comfy(), tmp_path, "vllm")
    assert (only.known, only.effect) == (False, None)
