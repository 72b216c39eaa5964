"""Each rule of TensorRT-LLM, transformers, llama.cpp and ComfyUI fires where it should, and not beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from gguf_files import ID, GgufFile, Stored, plain
from gguf_files import LLAMA as LLAMA_GGUF
from loader_cases import Cases, check_both, check_complete
from loader_files import (
    Model,
    blocks,
    comfy,
    comfy_old,
    compressed,
    ct_nvfp4_experts,
    dense,
    expert,
    fine_grained,
    fp4_factor,
    fp8_block,
    gptq_model,
    mo_fp8,
    modelopt,
    nvfp4,
    nvfp4_experts,
    static_fp8,
    with_cache,
)

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.loaders import statements_of

UP = expert("up_proj", 1)
FACTOR = "pre_quant_scale"


def factors(*modules: str, model: Callable[[], Model] = nvfp4) -> Model:
    made = model()
    for module in modules:
        made.put(f"{module}.{FACTOR}", "BF16", 32)
    return made


def stacked() -> Model:
    base = "model.layers.0.mlp.experts.gate_up_proj"
    return modelopt().put(base, "U8", 2, 16, 32).number(f"{base}_weight_scale_2", 0.5)


TENSORRT_LLM: Cases = {
    "tensorrt_llm.largest_fp8": (lambda: mo_fp8().set("up_proj.weight_scale", 0.3), mo_fp8),
    "tensorrt_llm.shard_missing": (
        lambda: mo_fp8().drop("q_proj.weight_scale"), lambda: mo_fp8().drop("o_proj.weight_scale"),
    ),
    "tensorrt_llm.largest_input": (lambda: mo_fp8().set("up_proj.input_scale", 0.1), mo_fp8),
    "tensorrt_llm.dynamic_fp8": (lambda: mo_fp8(inputs=None), mo_fp8),
    "tensorrt_llm.unequal": (
        lambda: nvfp4().set("up_proj.input_scale", 0.5), lambda: nvfp4().set("down_proj.input_scale", 0.5),
    ),
    "tensorrt_llm.dynamic_fp4": (lambda: dense(modelopt(), fp4_factor, inputs=None), nvfp4),
    "tensorrt_llm.larger_of_two": (
        lambda: nvfp4_experts().set(f"{UP}.weight_scale_2", 0.25), lambda: nvfp4().set("up_proj.weight_scale_2", 0.25),
    ),
    "tensorrt_llm.both_kept": (lambda: nvfp4_experts().set(f"{UP}.weight_scale_2", 0.25), nvfp4_experts),
    "tensorrt_llm.largest_of_layer": (lambda: nvfp4_experts().set(f"{UP}.input_scale", 0.5), nvfp4_experts),
    "tensorrt_llm.expert_missing": (lambda: nvfp4_experts().drop(f"{UP}.weight_scale_2"), nvfp4_experts),
    "tensorrt_llm.expert_input_missing": (lambda: nvfp4_experts().drop(f"{UP}.input_scale"), nvfp4_experts),
    "tensorrt_llm.caches": (lambda: with_cache(nvfp4()), lambda: with_cache(nvfp4(), v=None)),
    "tensorrt_llm.only_k": (lambda: with_cache(nvfp4(), v=None), lambda: with_cache(nvfp4(), k=None)),
    "tensorrt_llm.caches_filled": (lambda: with_cache(nvfp4(), k=None), lambda: with_cache(nvfp4())),
    "tensorrt_llm.block_scales": (blocks, lambda: blocks().say(weight_block_size=[64, 64])),
    "tensorrt_llm.other_blocks": (lambda: blocks().say(weight_block_size=[64, 64]), blocks),
    "tensorrt_llm.factors": (
        lambda: factors("model.layers.0.self_attn.o_proj"), lambda: factors("model.layers.0.self_attn.q_proj"),
    ),
    "tensorrt_llm.factors_unread": (
        lambda: factors("model.layers.0.self_attn.q_proj"), lambda: factors("model.layers.0.self_attn.o_proj"),
    ),
    "tensorrt_llm.factors_of_some": (
        lambda: factors(UP, model=nvfp4_experts),
        lambda: factors(*(expert(p, e) for p in ("gate_proj", "up_proj") for e in range(3)), model=nvfp4_experts),
    ),
    "tensorrt_llm.stacked": (stacked, nvfp4_experts),
}  # fmt: skip


def ragged(rows: int) -> Model:
    model = fine_grained()
    fp8_block(model, "model.layers.0.mlp.up_proj", rows=rows)
    return model


TRANSFORMERS: Cases = {
    "transformers.codes_for_weights": (mo_fp8, static_fp8),
    "transformers.packed_for_weights": (nvfp4, lambda: dense(compressed(), fp4_factor)),
    "transformers.made_anew": (
        lambda: Model({"quant_method": "exl3"}).put("a.trellis", "I32", 4, 4), gptq_model,
    ),
    "transformers.no_method": (lambda: Model({"bits": 4}), lambda: Model({"bits": 4, "load_in_4bit": True})),
    "transformers.nvfp4": (lambda: Model({"quant_method": "nvfp4"}), nvfp4),
    "transformers.renamed": (
        lambda: fine_grained().put("a.weight", "F8_E4M3", 128, 128).put("a.scale", "F8_E8M0", 1, 1), blocks,
    ),
    "transformers.bytes_of_scales": (
        lambda: blocks(dtype="U8").say(scale_fmt="ue8m0"), lambda: blocks(dtype="F8_E8M0").say(scale_fmt="ue8m0"),
    ),
    "transformers.ragged": (lambda: ragged(257), lambda: ragged(256)),
    "transformers.other_blocks": (lambda: ragged(224), lambda: ragged(96)),
    "transformers.activations_dropped": (lambda: blocks().number("a.activation_scale", 1.0), blocks),
    "transformers.unscaled": (lambda: blocks().drop("up_proj.weight_scale_inv"), blocks),
    "transformers.one_missing": (
        lambda: static_fp8().drop("up_proj.weight_scale"), lambda: blocks().drop("up_proj.weight_scale_inv"),
    ),
    "transformers.blocks_missing": (
        lambda: blocks().drop("up_proj.weight_scale_inv"), lambda: static_fp8().drop("up_proj.weight_scale"),
    ),
    "transformers.left_out": (lambda: blocks().say(modules_to_not_convert=["lm_head"]), blocks),
    "transformers.inverse": (lambda: blocks().say(weight_scale_semantics="inverse"), blocks),
    "transformers.each_its_own": (lambda: static_fp8().set("up_proj.weight_scale", 0.25), static_fp8),
}  # fmt: skip

BLOCK = bytes(36)


def gguf(tmp_path: Path, *more: Stored, architecture: str = "llama", base: str = "blk.0.ffn_up") -> Format:
    kv = {**LLAMA_GGUF, "general.architecture": (8, architecture)}
    path = tmp_path / "model.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(GgufFile([Stored(f"{base}.weight", ID["nvfp4"], [1, 64], BLOCK), *more], kv)))
    return format_of(open_checkpoint(path))


def scaled(base: str = "blk.0.ffn_up", last: str = "scale") -> Stored:
    return plain(f"{base}.{last}", [2.0])


def packed(**weights: object) -> Model:
    model = compressed(False, {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, **weights})
    return model.put("a.weight_packed", "I32", 32, 4).put("a.weight_scale", "BF16", 32, 1)


def quark() -> Model:
    return Model({"quant_method": "quark"}).put("a.weight", "I8", 8, 8).put("a.weight_scale", "BF16")


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Cases:
    def of(*more: Stored, architecture: str = "llama", base: str = "blk.0.ffn_up") -> Callable[[], Format]:
        return lambda: gguf(tmp_path / "gguf", *more, architecture=architecture, base=base)

    unknown = Stored("blk.0.ffn_down.weight", 139, [2, 32], bytes(40))
    return {
        "llama_cpp.without_slot": (of(scaled("token_embd"), base="token_embd"), of(scaled())),
        "llama_cpp.without_scale": (of(), of(scaled())),
        "llama_cpp.multiplied": (of(scaled()), of()),
        "llama_cpp.not_passed": (of(scaled(), architecture="gemma3n"), of(scaled())),
        "llama_cpp.inputs_unused": (of(scaled(last="input_scale")), of(scaled())),
        "llama_cpp.unknown_type": (of(unknown), of()),
        "llama_cpp.converted_without": (lambda: nvfp4().drop("up_proj.weight_scale_2"), nvfp4),
        "llama_cpp.converted_without_inputs": (lambda: nvfp4().drop("up_proj.input_scale"), nvfp4),
        "llama_cpp.inverted": (ct_nvfp4_experts, nvfp4_experts),
        "llama_cpp.caches": (lambda: with_cache(nvfp4()), nvfp4),
        "llama_cpp.fp8": (mo_fp8, nvfp4),
        "llama_cpp.order_unread": (lambda: packed().put("a.weight_g_idx", "I32", 32), packed),
        "llama_cpp.other_groups": (lambda: packed(strategy="channel"), packed),
        "llama_cpp.no_g_idx": (lambda: gptq_model().drop("g_idx"), gptq_model),
        "llama_cpp.gptq": (gptq_model, lambda: gptq_model().drop("g_idx")),
        "llama_cpp.other_method": (quark, packed),
    }


def header(*layers: str, model: Callable[[], Model] = comfy_old) -> Model:
    made = model()
    made.metadata["_quantization_metadata"] = json.dumps({"layers": {n: {"format": "float8_e4m3fn"} for n in layers}})
    return made


COMFYUI: Cases = {
    "comfyui.mixed": (comfy, comfy_old),
    "comfyui.names_apart": (lambda: header("model.blocks.0.lin"), lambda: header("blocks.0.lin")),
    "comfyui.header_wins": (lambda: header("blocks.0.lin"), lambda: header("blocks.0.lin", model=comfy)),
    "comfyui.renamed": (comfy_old, lambda: comfy_old(marker="other.")),
    "comfyui.ones_dropped": (lambda: comfy_old().set("blocks.1.lin.scale_input", 1.0), comfy_old),
    "comfyui.full_precision": (lambda: comfy_old().put("scaled_fp8", "F8_E4M3", 2), comfy_old),
    "comfyui.e5m2": (lambda: comfy_old(dtype="F8_E5M2"), comfy_old),
    "comfyui.marker_elsewhere": (
        lambda: comfy_old("model.diffusion_model.", marker=""), lambda: comfy_old("model.diffusion_model."),
    ),
    "comfyui.unmarked_fp8": (lambda: comfy().drop("blocks.1.lin.comfy_quant"), comfy),
    "comfyui.unmarked_codes": (lambda: comfy("nvfp4").drop("blocks.1.lin.comfy_quant"), lambda: comfy("nvfp4")),
    "comfyui.fp8_without_scale": (
        lambda: comfy().drop("blocks.1.lin.weight_scale"), lambda: comfy("nvfp4").drop("blocks.1.lin.weight_scale"),
    ),
    "comfyui.others_without_scale": (
        lambda: comfy("nvfp4").drop("blocks.1.lin.weight_scale_2"), lambda: comfy().drop("blocks.1.lin.weight_scale"),
    ),
    "comfyui.order_unchecked": (lambda: comfy("nvfp4"), comfy),
    "comfyui.inputs": (comfy, lambda: comfy("nvfp4")),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORRT_LLM)
def test_a_rule_of_tensorrt_llm(name: str, tmp_path: Path) -> None:
    check_both("tensorrt-llm", name, TENSORRT_LLM, tmp_path)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_rule_of_transformers(name: str, tmp_path: Path) -> None:
    check_both("transformers", name, TRANSFORMERS, tmp_path)


def test_the_rules_of_llama_cpp(llama_cpp: Cases, tmp_path: Path) -> None:
    check_complete("llama.cpp", llama_cpp)
    for name in llama_cpp:
        check_both("llama.cpp", name, llama_cpp, tmp_path / name)


@pytest.mark.parametrize("name", COMFYUI)
def test_a_rule_of_comfyui(name: str, tmp_path: Path) -> None:
    check_both("comfyui", name, COMFYUI, tmp_path)


def test_every_rule_has_a_case() -> None:
    check_complete("tensorrt-llm", TENSORRT_LLM)
    check_complete("transformers", TRANSFORMERS)
    check_complete("comfyui", COMFYUI)


def test_where_nothing_is_found_no_cost_is_simulated(tmp_path: Path) -> None:
    fmt = Model().put("model.layers.0.mlp.up_proj.weight", "BF16", 32, 32).opened(tmp_path)
    with patch("qinspect.inspector.loaders.cost._normal", side_effect=AssertionError("simulated")):
        assert statements_of(fmt).engines


def test_the_header_of_comfyui_is_read_once_for_all_layers(tmp_path: Path) -> None:
    fmt = header("blocks.0.lin", "blocks.1.lin", "blocks.2.lin").opened(tmp_path)
    with patch("qinspect.inspector.loaders.comfyui.json.loads", side_effect=json.loads) as read:
        statements_of(fmt, ["comfyui"])
    assert sum("layers" in str(call.args[0]) for call in read.call_args_list) == 1


def test_a_layer_that_is_marked_twice_is_one_layer(tmp_path: Path) -> None:
    fmt = header("blocks.0.lin", "blocks.1.lin", model=comfy).opened(tmp_path)
    said = next(s for s in statements_of(fmt, ["comfyui"]).statements if s.rule == "U1")
    assert said.n <= said.of
