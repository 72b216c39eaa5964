"""llama.cpp's rules, in docs/loaders.md C1 to C12: of GGUF its loader's, of other files its converter's."""

from __future__ import annotations

import re

from qinspect.inspector.loaders.engine import Engine, Found
from qinspect.inspector.loaders.finding import listed, whole
from qinspect.inspector.loaders.statement import Deed, Effect, Mark, Says
from qinspect.inspector.loaders.stored import FP8, Stored
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, OF_INPUTS, View

LLAMA_CPP = Engine(
    "llama.cpp", "llama.cpp", "0c1e57098", "0c1e57098 of 2026-10-01",
    knows={
        "gguf": None, MODELOPT: frozenset({*FP8, Stored.NVFP4}),
        COMPRESSED: frozenset({Stored.NVFP4, Stored.PACKED_INT}),
        "fp8": frozenset(FP8), "gptq": frozenset({Stored.GPTQ}), "awq": None, "bitsandbytes": None, "quark": None,
    },
)  # fmt: skip
_LOADER = "src/llama-model-loader.cpp done_getting_tensors"
_SLOTS = "src/llama-model.cpp load_tensors"
_BASE = "conversion/base.py"
_NVFP4 = "conversion/base.py _generate_nvfp4_tensors"
_OTHER_METHODS = ("awq", "bitsandbytes", "quark")

_LAYER = re.compile(r"blk\.\d{1,9}\.(.+)")
_WITH_SLOT = frozenset((
    *("attn_q", "attn_k", "attn_v", "attn_output", "attn_qkv", "attn_gate"),
    *(f"ffn_{name}{of}" for name in ("gate", "up", "down") for of in ("", "_exps", "_shexp")),
    *("ssm_in", "ssm_out", "ssm_alpha", "ssm_beta", "nextn.eh_proj", "nextn.shared_head_head"),
))  # fmt: skip
_PASSES_FEW = ("eagle3", "gemma3n", "gemma4-assistant", "mimo2")


def _with(view: View, last: str) -> list[str]:
    """Modules that have a weight and this beside it."""
    return [m for m, entries in view.modules.items() if last in entries and "weight" in entries] if view.is_gguf else []


def _dtype(view: View, module: str) -> str:
    form = view.form(module, "weight")
    return form[0].name if form else ""


def _has_slot(view: View, module: str) -> bool:
    found = _LAYER.fullmatch(module)
    if found:
        return found[1] in _WITH_SLOT
    return module == "output" and _dtype(view, module) == "nvfp4"


@LLAMA_CPP.rule(
    "C1", "GGUF: a `.scale` or `.input_scale` that no slot asks for, such as that of token_embd",
    "refuses the file: wrong number of tensors", Effect.REFUSED, Says.REFUSES, _LOADER,
)  # fmt: skip
def without_slot(view: View) -> Found | None:
    """By the list of C3."""
    scaled = dict.fromkeys([*_with(view, "scale"), *_with(view, "input_scale")])
    return listed([m for m in scaled if not _has_slot(view, m)], len(scaled), "scaled tensor")


@LLAMA_CPP.rule(
    "C3", "GGUF: an NVFP4 tensor without `.scale`", "multiplies by 1 where no scale is stored", Effect.WRONG_CONSTANT,
    Says.SILENT, _SLOTS,
)  # fmt: skip
def without_scale(view: View) -> Found | None:
    """Blocks of a converted checkpoint are made for a scale of all."""
    if not view.is_gguf or view.incomplete:
        return None
    fp4 = [m for m in view.modules if _dtype(view, m) == "nvfp4"]
    said = "too large by about 1e4 where blocks come from a checkpoint with two scales, right where they were made so"
    return listed([m for m in fp4 if not view.has(m, "scale")], len(fp4), "tensor", (said,))


@LLAMA_CPP.rule(
    "C4", "GGUF: `.scale`", "multiplies the product by the scale, in float32", Effect.UNCHANGED, Says.UNKNOWN,
    "src/llama-graph.cpp build_lora_mm",
)  # fmt: skip
def multiplied(view: View) -> Found | None:
    """Of any type of weight."""
    scaled = _with(view, "scale")
    return listed([m for m in scaled if _has_slot(view, m)], len(scaled), "scaled tensor")


@LLAMA_CPP.rule(
    "C5", "GGUF: `.scale` in an architecture whose graph does not pass some of them",
    "does not use the scales of some projections", Effect.WRONG_CONSTANT, Says.SILENT, "src/ (by a pattern of names)",
    mark=Mark.UNCERTAIN,
)  # fmt: skip
def not_passed(view: View) -> Found | None:
    """Which ones was not followed."""
    name = view.checkpoint.metadata.get("general.architecture", "")
    scaled = _with(view, "scale") if name in _PASSES_FEW else []
    why = f"of {name} it is not known which"
    return Found(scaled, len(scaled), "scaled tensor", adds=(why,), known=False) if scaled else None


@LLAMA_CPP.rule(
    "C6", "GGUF: `.input_scale`", "loads scales of inputs and uses none of them", Effect.UNCHANGED, Says.SILENT,
    "search over src/", deed=Deed.DROPS,
)  # fmt: skip
def inputs_unused(view: View) -> Found | None:
    """In no graph."""
    found = _with(view, "input_scale")
    return listed(found, len(found), "tensor")


@LLAMA_CPP.rule(
    "C8", "GGUF: a type that it does not have", "refuses the file and names the tensor", Effect.REFUSED, Says.REFUSES,
    "ggml/src/gguf.cpp",
)  # fmt: skip
def unknown_type(view: View) -> Found | None:
    """Those of ik_llama.cpp, or of a later release."""
    found = [m for m in view.modules if _dtype(view, m).startswith("ggml_")] if view.is_gguf else []
    return listed(found, len(view.modules), "tensor")


@LLAMA_CPP.rule(
    "C10", "converter, NVFP4: an outer scale or an input scale is missing", "writes 1.0 for scales that are missing",
    Effect.DEFAULT, Says.UNKNOWN, _NVFP4, deed=Deed.CHANGES,
)  # fmt: skip
def converted_without(view: View) -> Found | None:
    """Of the weight it matters: that of inputs is not used (C6)."""
    fp4 = view.stored_so(Stored.NVFP4) if view.method in (MODELOPT, COMPRESSED) else []
    outer = view.lacking(fp4, "weight_scale_2", "weight_global_scale")
    return listed(outer, len(fp4))


@LLAMA_CPP.rule(
    "C10", "converter, NVFP4: an input scale is missing",
    "writes 1.0 for input scales that are missing, and uses none", Effect.UNCHANGED, Says.UNKNOWN, _NVFP4,
    deed=Deed.FILLS,
)  # fmt: skip
def converted_without_inputs(view: View) -> Found | None:
    """Files of W4A16 have none."""
    fp4 = view.stored_so(Stored.NVFP4) if view.method in (MODELOPT, COMPRESSED) else []
    return listed(view.lacking(fp4, *OF_INPUTS), len(fp4))


@LLAMA_CPP.rule(
    "C10", "converter, NVFP4 of compressed-tensors", "inverts outer scales and renames them", Effect.UNCHANGED,
    Says.UNKNOWN, _NVFP4, deed=Deed.RENAMES,
)  # fmt: skip
def inverted(view: View) -> Found | None:
    """Which are divisors there."""
    fp4 = view.stored_so(Stored.NVFP4) if view.method == COMPRESSED else []
    return listed([m for m in fp4 if view.has(m, "weight_global_scale")], len(fp4))


@LLAMA_CPP.rule(
    "C11", "converter: scales of the KV cache", "deletes scales of the KV cache", Effect.UNCHANGED, Says.SILENT,
    _BASE, deed=Deed.DROPS,
)  # fmt: skip
def caches(view: View) -> Found | None:
    """`k_scale`, `v_scale`."""
    known = not view.is_gguf and view.method in LLAMA_CPP.knows
    return listed(view.with_entry("k_scale", "v_scale") if known else [], len(view.modules))


@LLAMA_CPP.rule(
    "C11", "converter: FP8", "turns FP8 into bfloat16, or Q8_0 on request, each projection by its own scale",
    Effect.UNCHANGED, Says.UNKNOWN, _BASE,
)  # fmt: skip
def fp8(view: View) -> Found | None:
    """And deletes scales of inputs."""
    known = (MODELOPT, "fp8")
    modules = view.stored_so(*FP8) if view.method in known else []
    inputs = any(view.has(m, "input_scale") for m in modules)
    return listed(modules, len(view.quantized), adds=("input scales are deleted",) if inputs else ())


@LLAMA_CPP.rule(
    "C12", "converter, packed integers of compressed-tensors: groups in another order",
    "does not read the order of groups: values are those of other groups", Effect.WRONG_CONSTANT, Says.UNKNOWN, _BASE,
)  # fmt: skip
def order_unread(view: View) -> Found | None:
    """`weight_g_idx`."""
    found = view.with_entry("weight_g_idx") if view.method == COMPRESSED else []
    return listed(found, len(view.quantized), adds=("by how much is not known: weights are not read",))


@LLAMA_CPP.rule(
    "C12",
    "converter, compressed-tensors: several groups that are not NVFP4, or packed other than integers in groups",
    "refuses the settings: NotImplementedError", Effect.REFUSED, Says.REFUSES, _BASE,
)  # fmt: skip
def other_groups(view: View) -> Found | None:
    """By `config_groups`."""
    if view.method != COMPRESSED or not view.groups_said:
        return None
    weights = [w for g in view.groups_said if isinstance(w := g.get("weights"), dict)]
    others = [w for w in weights if not (w.get("type") == "float" and w.get("num_bits") == 4)]
    packed = bool(view.stored_so(Stored.PACKED_INT))
    odd = packed and any(w.get("type") != "int" or w.get("strategy") != "group" for w in others)
    return whole(len(others) > 1 or odd)


@LLAMA_CPP.rule(
    "C12", "converter, GPTQ without `g_idx`", "needs g_idx of each module: KeyError", Effect.REFUSED, Says.REFUSES,
    _BASE,
)  # fmt: skip
def no_g_idx(view: View) -> Found | None:
    """Files of AutoRound have none."""
    modules = view.stored_so(Stored.GPTQ) if view.method == "gptq" else []
    return listed(view.lacking(modules, "g_idx"), len(modules))


@LLAMA_CPP.rule(
    "C12", "converter, GPTQ", "reads checkpoint_format, zero points and g_idx", Effect.UNCHANGED, Says.UNKNOWN, _BASE,
)  # fmt: skip
def gptq(view: View) -> Found | None:
    """Each with its order and offset."""
    modules = view.stored_so(Stored.GPTQ) if view.method == "gptq" else []
    return listed([m for m in modules if view.has(m, "g_idx")], len(modules))


@LLAMA_CPP.rule(
    "C12", "converter: another `quant_method`", "refuses the method: NotImplementedError", Effect.REFUSED,
    Says.REFUSES, _BASE,
)  # fmt: skip
def other_method(view: View) -> Found | None:
    """Those that are known not to be there; of mxfp4 and bitnet it was not read."""
    return whole(not view.is_gguf and view.method in _OTHER_METHODS, f"quant_method is {view.method}")
