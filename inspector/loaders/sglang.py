"""SGLang's rules, in docs/loaders.md G1 to G23."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.loaders.caches import caches_of
from qinspect.inspector.loaders.cost import fp4_activations, powers_of_two, requantized
from qinspect.inspector.loaders.engine import Engine, Found
from qinspect.inspector.loaders.finding import first_of, lacking, listed, one_for_all, one_of_layer, whole
from qinspect.inspector.loaders.fp8_shapes import block_of, block_scales_so, is_block
from qinspect.inspector.loaders.gptq import settings_of
from qinspect.inspector.loaders.groups import Group
from qinspect.inspector.loaders.left_out import by_whole_name_or_part, plain_units
from qinspect.inspector.loaders.statement import Deed, Effect, Mark, Says
from qinspect.inspector.loaders.stored import FP8, Stored
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, View

_S = "sglang/srt/layers/quantization/"
MARLIN, TRTLLM, MEGAMOE, OTHERS, DEEPGEMM = "marlin", "trtllm", "mega-moe", "others", "deepgemm"

SGLANG = Engine(
    "sglang", "SGLang", "0.5.23", f"wheel of 0.5.23; S/ is {_S}",
    knows={
        MODELOPT: frozenset({*FP8, Stored.NVFP4, Stored.CODES}), COMPRESSED: frozenset({Stored.NVFP4}),
        "fp8": frozenset({*FP8, Stored.CODES}), "gptq": frozenset({Stored.GPTQ}),
    },
    backends=(MARLIN, TRTLLM, MEGAMOE, OTHERS, DEEPGEMM),
)  # fmt: skip
_LLAMA = "sglang/srt/models/llama.py, qwen2.py load_weights"
_CACHE = "S/kv_cache.py"
_MODELOPT = "S/modelopt_quant.py"
_LINEAR = "S/modelopt_quant.py ModelOptFp4LinearMethod"
_EXPERTS = "S/modelopt_quant.py ModelOptNvFp4FusedMoEMethod"
_W4A4 = "S/compressed_tensors/compressed_tensors_w4a4_nvfp4.py, compressed_tensors_w4a4_nvfp4_moe.py"
_ACCEPTED = ("FP8", "NVFP4", "NVFP4_AWQ", "W4A16_NVFP4")
_FACTOR, _DIVISOR = "weight_scale_2", "weight_global_scale"


def _groups(view: View, method: str, experts: bool = False) -> list[Group]:
    return view.groups_so(Stored.NVFP4, experts=experts) if view.method == method else []


def _fp4(view: View, method: str = MODELOPT) -> list[str]:
    return view.stored_so(Stored.NVFP4) if view.method == method else []


@SGLANG.rule(
    "G1", "Llama and Qwen2: entries of quantization for which the model has no parameter",
    "skips entries of fused layers that it has no parameter for, and warns of others", None, Says.SILENT, _LLAMA,
    deed=Deed.DROPS,
)  # fmt: skip
def skipped(view: View) -> Found | None:
    """Scales of modules that are taken as not quantized."""
    if view.method != MODELOPT or not view.is_of("Llama", "Qwen2"):
        return None
    plain = plain_units(view, by_whole_name_or_part(view.left_out))
    return listed([m for m in plain if view.has(m, "weight_scale", _FACTOR, "input_scale")], len(view.quantized))


@SGLANG.rule(
    "G2", "Llama: `activation_scale`, `weight_scale_inv`", "renames them to input_scale and weight_scale",
    Effect.UNCHANGED, Says.SILENT, "sglang/srt/model_loader/auto_loader.py", deed=Deed.RENAMES,
)  # fmt: skip
def renamed(view: View) -> Found | None:
    """By the last part of the name."""
    return listed(view.with_entry("activation_scale", "weight_scale_inv"), len(view.modules)) if view.is_of("Llama") else None


@SGLANG.rule(
    "G3", "scales of the KV cache under the names of savers",
    "renames scales of the KV cache to its own; of one without a place it warns and drops it", Effect.UNCHANGED,
    Says.SILENT, "sglang/srt/model_loader/weight_utils.py", deed=Deed.RENAMES,
)  # fmt: skip
def renamed_caches(view: View) -> Found | None:
    """`k_proj.k_scale`, `output_scale`, `kv_scale`."""
    if view.method not in SGLANG.knows:
        return None
    projections = [m for m in view.with_entry("output_scale") if m.endswith((".k_proj", ".v_proj"))]
    return listed([*view.with_entry("k_scale", "v_scale", "kv_scale"), *projections], len(view.modules))


@SGLANG.rule(
    "G4", "an FP8 cache: scales of k and v missing, or not positive", "fills 1.0 for k and v", Effect.DEFAULT,
    Says.UNKNOWN, _CACHE, deed=Deed.FILLS,
)  # fmt: skip
def caches_filled(view: View) -> Found | None:
    """vLLM asserts where it is 0."""
    caches = caches_of(view) if _has_cache(view) else []
    missing = [c.module for c in caches if not c.has_k and not c.has_v and not view.incomplete]
    bad = [c.module for c in caches if c.k is not None and c.v is not None and c.k <= 0 and c.v <= 0]
    return listed([*missing, *bad], len(caches), "attention")


def _has_cache(view: View) -> bool:
    return view.method in (MODELOPT, "fp8") and view.cache == "FP8"


@SGLANG.rule(
    "G4", "an FP8 cache: only a scale of k", "takes k's scale for v", Effect.DEFAULT, Says.SILENT, _CACHE,
    deed=Deed.FILLS,
)  # fmt: skip
def only_k(view: View) -> Found | None:
    """Of each attention."""
    caches = caches_of(view) if _has_cache(view) else []
    found = [c.module for c in caches if c.has_k and not c.has_v]
    return None if view.incomplete else listed(found, len(caches), "attention")


@SGLANG.rule(
    "G4", "an FP8 cache: only a scale of v, or one that is no single number",
    "refuses a scale of v without one of k, and scales that are no single number: AssertionError", Effect.REFUSED,
    Says.REFUSES, _CACHE,
)  # fmt: skip
def only_v(view: View) -> Found | None:
    """Of each attention."""
    caches = caches_of(view) if _has_cache(view) else []
    only = [c.module for c in caches if c.has_v and not c.has_k and not view.incomplete]
    return listed([*only, *(c.module for c in caches if c.largest > 1)], len(caches), "attention")


@SGLANG.rule(
    "G5", "compressed-tensors: a cache scheme that is not static, symmetric FP8 with one scale",
    "refuses the scheme of the KV cache", Effect.REFUSED, Says.REFUSES,
    "S/compressed_tensors/compressed_tensors.py is_supported_scheme",
)  # fmt: skip
def cache_scheme(view: View) -> Found | None:
    """No `attn_head` either."""
    said = view.cache_scheme if view.method == COMPRESSED else {}
    good = view.cache == "FP8" and said.get("symmetric") is not False and said.get("dynamic") in (False, None)
    return whole(said and not (good and said.get("strategy") in ("tensor", None)))


@SGLANG.rule(
    "G10", "FP8 with one scale: fused shards with different `weight_scale`",
    "rounds fused shards again to the largest scale of them", Effect.REQUANTIZED, Says.SILENT, _MODELOPT,
)  # fmt: skip
def largest_fp8(view: View) -> Found | None:
    """Nothing changes where the scales are apart by a power of two."""
    groups = view.groups_so(Stored.FP8_TENSOR, experts=False) if view.method in (MODELOPT, "fp8") else []
    return one_for_all(view, groups, "weight_scale", max, requantized)


@SGLANG.rule(
    "G10", "FP8 with one scale: no `weight_scale`, or in linear modules no `input_scale`",
    "leaves the sentinel -3.4e38 where a scale should be", Effect.DEFAULT, Says.SILENT, _MODELOPT,
)  # fmt: skip
def fp8_missing(view: View) -> Found | None:
    """Of inputs, where the settings say that their scales are stored."""
    if view.method not in (MODELOPT, "fp8") or is_block(view) or view.algorithm == "FP8_PB_WO":
        return None
    codes = [m for m in view.stored_so(Stored.CODES) if _is_fp8(view, m)]
    linears = view.linears_so(Stored.FP8_TENSOR) if _static(view) else []
    return listed([*view.lacking(codes, "weight_scale"), *view.lacking(linears, "input_scale")], len(view.quantized))


def _is_fp8(view: View, module: str) -> bool:
    form = view.form(module, "weight")
    return form is not None and form[0].name.startswith("float8")


def _static(view: View) -> bool:
    return view.settings.get("activation_scheme") == "static" if view.method == "fp8" else view.algorithm == "FP8"


@SGLANG.rule(
    "G10", "FP8 experts: no `input_scale`", "fills 1.0, of which then the largest of the layer is taken", Effect.DEFAULT,
    Says.SILENT, _MODELOPT, deed=Deed.CHANGES,
)  # fmt: skip
def fp8_experts(view: View) -> Found | None:
    """Where the settings say that their scales are stored."""
    experts = view.experts_so(Stored.FP8_TENSOR) if view.method in (MODELOPT, "fp8") and _static(view) else []
    return lacking(view, experts, "input_scale")


@SGLANG.rule(
    "G11", "ModelOpt NVFP4, linear: no `input_scale`", "fills 1.0 for the input scale", Effect.DEFAULT, Says.SILENT, _LINEAR,
    deed=Deed.FILLS,
)  # fmt: skip
def linear_inputs(view: View) -> Found | None:
    """Not where activations stay in 16 bits."""
    linears = view.linears_so(Stored.NVFP4) if view.method == MODELOPT and _w4a4(view) else []
    return lacking(view, linears, "input_scale")


def _w4a4(view: View) -> bool:
    return view.algorithm != "W4A16_NVFP4"


@SGLANG.rule(
    "G11", "ModelOpt NVFP4, linear: no `weight_scale_2`",
    "leaves memory that nothing was written to where the outer scale of the weight should be", Effect.DEFAULT, Says.SILENT,
    _LINEAR,
)  # fmt: skip
def linear_outer(view: View) -> Found | None:
    """Of linear modules."""
    linears = view.linears_so(Stored.NVFP4) if view.method == MODELOPT else []
    return lacking(view, linears, _FACTOR)


@SGLANG.rule(
    "G11", "ModelOpt NVFP4, linear: fused shards with different `weight_scale_2`",
    "takes the largest scale for all fused shards, which makes the others too large", Effect.WRONG_CONSTANT, Says.SILENT,
    _LINEAR,
)  # fmt: skip
def largest_for_all(view: View) -> Found | None:
    """Silent with FP4 activations."""
    return one_for_all(view, _groups(view, MODELOPT), _FACTOR, max, None) if _w4a4(view) else None


@SGLANG.rule(
    "G11", "the same with activations in 16 bits",
    "takes the largest scale for all fused shards, which makes the others too large", Effect.WRONG_CONSTANT, Says.WARNS,
    _LINEAR,
)  # fmt: skip
def largest_for_all_w4a16(view: View) -> Found | None:
    """W4A16_NVFP4."""
    return None if _w4a4(view) else one_for_all(view, _groups(view, MODELOPT), _FACTOR, max, None)


@SGLANG.rule(
    "G12", f"ModelOpt `quant_algo`, FP4 in it, not one of {', '.join(_ACCEPTED)}", "refuses the algorithm",
    Effect.REFUSED, Says.REFUSES, "S/modelopt_quant.py ModelOptFp4Config",
)  # fmt: skip
def algorithm(view: View) -> Found | None:
    """By the one config that was read, which has FP4."""
    bad = view.method == MODELOPT and "NVFP4" in view.algorithm and view.algorithm not in _ACCEPTED
    return whole(bad, f"quant_algo is {view.algorithm}")


@SGLANG.rule(
    "G12", "ModelOpt: other algorithms without FP4", "is not known to take the algorithm", None, Says.UNKNOWN,
    "S/modelopt_quant.py ModelOptFp4Config", deed=Deed.UNKNOWN, mark=Mark.UNCERTAIN,
)  # fmt: skip
def other_algorithm(view: View) -> Found | None:
    """Other configs were not read."""
    other = view.method == MODELOPT and view.algorithm and "NVFP4" not in view.algorithm and view.algorithm != "FP8"
    return Found(adds=(f"quant_algo is {view.algorithm}",), known=False) if other else None


@SGLANG.rule(
    "G12", "NVFP4_AWQ", "reads pre_quant_scale, and fills 1.0 where there is none", Effect.UNCHANGED, Says.SILENT,
    "S/modelopt_quant.py ModelOptFp4Config",
)  # fmt: skip
def factors(view: View) -> Found | None:
    """Where it is folded into the norms, none is stored."""
    if view.method != MODELOPT or view.algorithm != "NVFP4_AWQ":
        return None
    return listed(view.with_entry("pre_quant_scale"), len(view.quantized))


@SGLANG.rule(
    "G13", "ModelOpt NVFP4 experts: gate and up have different outer scales, Marlin", "takes gate's scale for up",
    Effect.WRONG_CONSTANT, Says.WARNS_ONCE, "S/modelopt_quant.py _compute_gemm1_alphas, process_weights_after_loading",
    backends=(MARLIN,),
)  # fmt: skip
def gate_for_up_marlin(view: View) -> Found | None:
    """As vLLM."""
    return one_for_all(view, _groups(view, MODELOPT, experts=True), _FACTOR, first_of, None)


@SGLANG.rule(
    "G13", "the same with TRT-LLM's kernel, or mega-MoE", "keeps both scales, gate's and up's", Effect.UNCHANGED,
    Says.SILENT, "S/modelopt_quant.py _compute_gemm1_alphas", backends=(TRTLLM, MEGAMOE),
)  # fmt: skip
def both_kept(view: View) -> Found | None:
    """With a clamp limit the block scales of the smaller half are rounded once more."""
    found = gate_for_up_marlin(view)
    if found is None or not found.modules:
        return found
    said = "with a clamp limit the block scales of the smaller half are rounded once more"
    return Found(found.modules, found.of, found.noun, found.n, adds=(said,))


@SGLANG.rule(
    "G13", "the same with other backends", "takes gate's scale for up", Effect.WRONG_CONSTANT, Says.SILENT,
    "S/modelopt_quant.py _compute_gemm1_alphas, process_weights_after_loading", backends=(OTHERS,),
)  # fmt: skip
def gate_for_up(view: View) -> Found | None:
    """Without a warning."""
    return gate_for_up_marlin(view)


@SGLANG.rule(
    "G14", "ModelOpt NVFP4 experts: no `input_scale`", "fills 1.0, which then is the largest input scale of the layer",
    Effect.ACTIVATIONS, Says.SILENT, _EXPERTS,
)  # fmt: skip
def expert_inputs(view: View) -> Found | None:
    """Too large costs nothing up to 4,096 times: the scales of blocks make up for it."""
    experts = view.experts_so(Stored.NVFP4) if view.method == MODELOPT and _w4a4(view) else []
    found = view.lacking(experts, "input_scale")
    if not found:
        return None
    steps = [s for m in experts if (s := view.step(m, "input_scale")) is not None]
    cost = fp4_activations(max(1.0, 1 / min(steps)) if steps else 1.0)
    return listed(found, len(experts), "expert projection", ("all experts of their layers get it",), cost)


@SGLANG.rule(
    "G15", "ModelOpt NVFP4 experts: gate and up have different input scales",
    "takes the input scale that is read last for gate and up", Effect.ACTIVATIONS, Says.SILENT,
    "sglang/srt/layers/moe/fused_moe_triton/layer.py weight_loader",
)  # fmt: skip
def last_read(view: View) -> Found | None:
    """Which is last, the order of the files decides; the worst case is that of the smaller one."""
    groups = _groups(view, MODELOPT, experts=True) if _w4a4(view) else []
    found = one_for_all(view, groups, "input_scale", min, fp4_activations)
    if found is None or not found.modules:
        return found
    said = "counted as if the smaller one came last"
    return Found(found.modules, found.of, found.noun, found.n, found.factors, found.worst, found.cost, (*found.adds, said))


@SGLANG.rule(
    "G16", "compressed-tensors NVFP4 W4A4, linear: fused shards with different `weight_global_scale`",
    "takes the smallest scale for all fused shards (the largest divisor), which makes the others too small",
    Effect.WRONG_CONSTANT, Says.SILENT, _W4A4,
)  # fmt: skip
def smallest_for_all(view: View) -> Found | None:
    """As vLLM, without a warning."""
    groups = _groups(view, COMPRESSED) if view.quantizes_inputs else []
    return one_for_all(view, groups, _DIVISOR, min, None, inverted=True)


@SGLANG.rule(
    "G16", "the same: different `input_global_scale`",
    "takes the smallest input scale for all fused shards (the largest divisor), which cuts off large activations",
    Effect.ACTIVATIONS, Says.SILENT, _W4A4,
)  # fmt: skip
def smallest_of_inputs(view: View) -> Found | None:
    """The harmful direction."""
    groups = _groups(view, COMPRESSED) if view.quantizes_inputs else []
    return one_for_all(view, groups, "input_global_scale", min, fp4_activations, inverted=True)


@SGLANG.rule(
    "G16", "compressed-tensors NVFP4 W4A4 experts: gate and up have different outer scales", "takes gate's scale for up",
    Effect.WRONG_CONSTANT, Says.WARNS, _W4A4,
)  # fmt: skip
def gate_for_up_compressed(view: View) -> Found | None:
    """Gate's divisor."""
    groups = _groups(view, COMPRESSED, experts=True) if view.quantizes_inputs else []
    return one_for_all(view, groups, _DIVISOR, first_of, None, inverted=True)


@SGLANG.rule(
    "G16", "the same: input scales differ", "takes the largest input scale of the layer (the smallest divisor)",
    Effect.ACTIVATIONS, Says.SILENT, _W4A4,
)  # fmt: skip
def largest_of_inputs(view: View) -> Found | None:
    """The harmless direction."""
    experts = view.experts_so(Stored.NVFP4) if view.method == COMPRESSED and view.quantizes_inputs else []
    return one_of_layer(view, "input_global_scale", experts, fp4_activations, inverted=True)


@SGLANG.rule(
    "G17", "compressed-tensors NVFP4 A16: fused shards, or gate and up of experts, with different outer scales",
    "refuses outer scales that differ: ValueError, which names the experts", Effect.REFUSED, Says.REFUSES,
    "S/compressed_tensors/compressed_tensors_w4a16_nvfp4.py, compressed_tensors_w4a16_nvfp4_moe.py",
)  # fmt: skip
def unequal_w4a16(view: View) -> Found | None:
    """Where activations are not quantized."""
    if view.method != COMPRESSED or view.quantizes_inputs is not False:
        return None
    groups: Sequence[Group] = [*_groups(view, COMPRESSED), *_groups(view, COMPRESSED, experts=True)]
    found = one_for_all(view, groups, _DIVISOR, min, None, inverted=True)
    return None if found is None else Found(found.modules, found.of, found.noun, found.n, adds=found.adds, known=found.known)


@SGLANG.rule(
    "G18", "NVFP4 through Marlin", "does not lift block scales before it turns them into Marlin's", None, Says.SILENT,
    "S/marlin_utils_fp4.py", mark=Mark.UNCERTAIN, deed=Deed.CHANGES, backends=(MARLIN,),
)  # fmt: skip
def marlin(view: View) -> Found | None:
    """What scales below 2^-6 become was not followed."""
    modules = [*_fp4(view), *_fp4(view, COMPRESSED)]
    why = "what becomes of block scales below 2^-6 is not known"
    return Found(modules, len(modules), "module", adds=(why,), known=False) if modules else None


@SGLANG.rule(
    "G19", "FP8 in blocks of 128 x 128 with float32 scales, DeepGEMM",
    "makes block scales powers of two and rounds all weights again", Effect.POWERS_OF_TWO, Says.SILENT,
    "S/fp8_utils.py requant_block_scale_ue8m0_for_deepgemm", backends=(DEEPGEMM,),
)  # fmt: skip
def to_powers_of_two(view: View) -> Found | None:
    """Other blocks are left as they are."""
    if view.method != "fp8" or block_of(view) != (128, 128):
        return None
    modules = view.stored_so(Stored.FP8_BLOCK)
    return listed(block_scales_so(view, modules, "float32"), len(modules), cost=powers_of_two())


@SGLANG.rule(
    "G20", "a ModelOpt exclude list", "matches patterns of the exclude list with whole names, or with one part of them",
    Effect.UNCHANGED, Says.SILENT, "S/modelopt_quant.py is_layer_excluded",
)  # fmt: skip
def excluded(view: View) -> Found | None:
    """So `layers.1` is no part of `layers.10`."""
    return whole(view.method == MODELOPT and view.left_out)


_MLA = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")


@SGLANG.rule(
    "G20", "a ModelOpt exclude list with one shard of a fused layer (`q_a_proj`, `kv_a_proj_with_mqa`, ...)",
    "takes a fused layer as not quantized where one of its shards is left out", None, Says.SILENT,
    "S/modelopt_quant.py is_layer_excluded", deed=Deed.CHANGES,
)  # fmt: skip
def half_excluded(view: View) -> Found | None:
    """Of the projections that are looked for as a part of the fused name."""
    if view.method != MODELOPT:
        return None
    leaves = by_whole_name_or_part(view.left_out)
    named = [m for m in view.quantized if m.rpartition(".")[2] in _MLA and not leaves(m)]
    parents = {m.rpartition(".")[0] for m in view.modules if m.rpartition(".")[2] in _MLA and leaves(m)}
    found = [m for m in named if m.rpartition(".")[0] in parents]
    return listed(found, len(view.quantized), adds=("what becomes of their scales is G1",))


@SGLANG.rule(
    "G23", "GPTQ of other than 2, 3, 4 or 8 bits", "refuses GPTQ of other than 2, 3, 4 or 8 bits", Effect.REFUSED,
    Says.REFUSES, "S/gptq/gptq.py",
)  # fmt: skip
def gptq_bits(view: View) -> Found | None:
    """Marlin takes 4 and 8, symmetric."""
    bits = {s.bits for s in settings_of(view) if s.bits is not None} if view.method == "gptq" else set()
    return whole(bits - {2, 3, 4, 8}, f"{', '.join(map(str, sorted(bits)))} bits")


@SGLANG.rule(
    "G23", "GPTQ with `checkpoint_format`", "reads checkpoint_format", Effect.UNCHANGED, Says.SILENT, "S/gptq/gptq.py",
)  # fmt: skip
def gptq_format(view: View) -> Found | None:
    """What it does with zero points was not read."""
    return whole(view.method == "gptq" and isinstance(view.settings.get("checkpoint_format"), str))
