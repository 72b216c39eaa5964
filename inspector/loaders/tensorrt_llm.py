"""TensorRT-LLM's rules (PyTorch backend), in docs/loaders.md L1 to L11."""

from __future__ import annotations

from qinspect.inspector.loaders.caches import caches_of
from qinspect.inspector.loaders.cost import fp4_activations, fp8_activations
from qinspect.inspector.loaders.engine import Engine, Found
from qinspect.inspector.loaders.finding import listed, one_for_all, one_of_layer, rounded_to_largest, whole
from qinspect.inspector.loaders.fp8_shapes import block_of
from qinspect.inspector.loaders.groups import Group
from qinspect.inspector.loaders.statement import Deed, Effect, Mark, Says
from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import MODELOPT, View

TRTLLM_GEN, CUTLASS = "trtllm-gen", "cutlass"

TENSORRT_LLM = Engine(
    "tensorrt-llm", "TensorRT-LLM", "00bbf71e",
    "linear.py at 00bbf71e; fused_moe/quantization.py of 2026, commit not known; T/ is tensorrt_llm/_torch/modules/",
    knows={
        MODELOPT: frozenset({Stored.NVFP4, Stored.FP8_TENSOR, Stored.FP8_BLOCK}), "fp8": frozenset({Stored.FP8_BLOCK}),
    },
    backends=(TRTLLM_GEN, CUTLASS),
)  # fmt: skip
_FP8 = "T/linear.py FP8QDQLinearMethod.rescale_fused_weights"
_FP4 = "T/linear.py NVFP4LinearMethod.load_weight_scales"
_MOE = "T/fused_moe/quantization.py _reconcile_and_compute_alphas"
_FACTOR = "weight_scale_2"


def _groups(view: View, kind: Stored, experts: bool = False) -> list[Group]:
    return view.groups_so(kind, experts=experts) if view.method == MODELOPT else []


@TENSORRT_LLM.rule(
    "L1", "FP8 with one scale: fused shards with different `weight_scale`",
    "rounds fused shards again to the largest scale of them, by way of the model's dtype", Effect.REQUANTIZED,
    Says.UNKNOWN, _FP8,
)  # fmt: skip
def largest_fp8(view: View) -> Found | None:
    """Every shard goes through bfloat16 and back, also where scales are equal; then it comes back unchanged."""
    return rounded_to_largest(view, _groups(view, Stored.FP8_TENSOR))


@TENSORRT_LLM.rule(
    "L1", "FP8 with one scale: fused shards, one of them without a `weight_scale`",
    "leaves memory that nothing was written to in the maximum of their scales", Effect.DEFAULT, Says.UNKNOWN, _FP8,
)  # fmt: skip
def shard_missing(view: View) -> Found | None:
    """At least one of them has a scale."""
    if view.method != MODELOPT or view.algorithm != "FP8":
        return None
    groups = view.groups_so(Stored.FP8_TENSOR, Stored.CODES, experts=False)
    found = [m for g in groups for m in g.present if not view.has(m, "weight_scale")]
    return None if view.incomplete else listed(found, sum(len(g.present) for g in groups), "fused shard")


@TENSORRT_LLM.rule(
    "L1", "FP8 with one scale: fused shards with different `input_scale`",
    "takes the largest input scale of fused shards", Effect.ACTIVATIONS, Says.UNKNOWN, _FP8,
)  # fmt: skip
def largest_input(view: View) -> Found | None:
    """Too large costs only what underflows."""
    return one_for_all(view, _groups(view, Stored.FP8_TENSOR), "input_scale", max, fp8_activations)


@TENSORRT_LLM.rule(
    "L1", "FP8 with one scale, linear: no `input_scale`",
    "quantizes activations dynamically where no scale is stored", Effect.UNCHANGED, Says.UNKNOWN, _FP8,
)  # fmt: skip
def dynamic_fp8(view: View) -> Found | None:
    """Instead of a default."""
    linears = view.linears_so(Stored.FP8_TENSOR) if view.method == MODELOPT else []
    return listed(view.lacking(linears, "input_scale"), len(linears))


@TENSORRT_LLM.rule(
    "L3", "NVFP4, linear: fused shards whose `weight_scale_2` or `input_scale` are not exactly equal",
    "refuses fused shards of different scales: AssertionError", Effect.REFUSED, Says.REFUSES, _FP4,
)  # fmt: skip
def unequal(view: View) -> Found | None:
    """To the bit."""
    groups = _groups(view, Stored.NVFP4)
    found = [g for g in groups if any(_differ(view, g, last) for last in (_FACTOR, "input_scale"))]
    noun = "pair" if {g.kind for g in groups} == {"gate/up"} else "fused group"
    return Found([m for g in found for m in g.present], len(groups), noun, len(found)) if found else None


def _differ(view: View, group: Group, last: str) -> bool:
    found = [n for m in group.present if (n := view.number(m, last)) is not None]
    return len(found) > 1 and any(n != found[0] for n in found)


@TENSORRT_LLM.rule(
    "L3", "NVFP4, linear: no `input_scale`", "quantizes activations dynamically where no scale is stored",
    Effect.UNCHANGED, Says.UNKNOWN, _FP4,
)  # fmt: skip
def dynamic_fp4(view: View) -> Found | None:
    """Instead of a default."""
    linears = view.linears_so(Stored.NVFP4) if view.method == MODELOPT else []
    return listed(view.lacking(linears, "input_scale"), len(linears))


@TENSORRT_LLM.rule(
    "L5", "NVFP4 experts: gate and up have different `weight_scale_2`, CUTLASS",
    "takes the larger scale of gate and up for both, which makes the other too large", Effect.WRONG_CONSTANT,
    Says.WARNS, _MOE, backends=(CUTLASS,), changed_lately=True,
)  # fmt: skip
def larger_of_two(view: View) -> Found | None:
    """Block scales are kept. Older releases assert that they are equal."""
    return one_for_all(view, _groups(view, Stored.NVFP4, experts=True), _FACTOR, max, None)


@TENSORRT_LLM.rule(
    "L5", "the same with trtllm-gen, from September 2026 on", "keeps both scales, gate's and up's", Effect.UNCHANGED,
    Says.UNKNOWN, "TensorRT-LLM PR#18772", backends=(TRTLLM_GEN,), mark=Mark.THREAD, changed_lately=True,
)  # fmt: skip
def both_kept(view: View) -> Found | None:
    """Before, as with CUTLASS."""
    found = larger_of_two(view)
    if found is None or not found.modules:
        return found
    return Found(found.modules, found.of, found.noun, found.n, adds=("before September 2026 as with cutlass",))


@TENSORRT_LLM.rule(
    "L5", "NVFP4 experts: input scales differ", "takes the largest input scale of all experts of the layer",
    Effect.ACTIVATIONS, Says.UNKNOWN, _MOE,
)  # fmt: skip
def largest_of_layer(view: View) -> Found | None:
    """Too large by up to 4,096 costs nothing."""
    experts = view.experts_so(Stored.NVFP4) if view.method == MODELOPT else []
    return one_of_layer(view, "input_scale", experts, fp4_activations)


@TENSORRT_LLM.rule(
    "L7", "NVFP4 experts: no `weight_scale_2`", "leaves 1.0 where the outer scale of an expert should be",
    Effect.DEFAULT, Says.UNKNOWN, _MOE,
)  # fmt: skip
def expert_missing(view: View) -> Found | None:
    """The value that memory begins with, in the copy that was read."""
    experts = view.experts_so(Stored.NVFP4) if view.method == MODELOPT else []
    return listed(view.lacking(experts, _FACTOR), len(experts), "expert projection")


@TENSORRT_LLM.rule(
    "L7", "NVFP4 experts: no `input_scale`", "leaves an expert without an input scale out, or ends with a KeyError",
    None, Says.UNKNOWN, _MOE, mark=Mark.UNCERTAIN, deed=Deed.CHANGES,
)  # fmt: skip
def expert_input_missing(view: View) -> Found | None:
    """Which of the two was not followed."""
    experts = view.experts_so(Stored.NVFP4) if view.method == MODELOPT and view.algorithm != "W4A16_NVFP4" else []
    missing = view.lacking(experts, "input_scale")
    why = "which of the two is not known"
    return Found(missing, len(experts), "expert projection", adds=(why,), known=False) if missing else None


_CACHE = "T/linear.py load_kv_scales"


@TENSORRT_LLM.rule(
    "L9", "scales of k and v", "reads the largest scale of k and of v of each fused layer", Effect.UNCHANGED,
    Says.UNKNOWN, _CACHE,
)  # fmt: skip
def caches(view: View) -> Found | None:
    """Its source says that they serve the NVFP4 cache; TRTLLM_LOAD_KV_SCALES=0 leaves them out."""
    found = caches_of(view) if view.method in TENSORRT_LLM.knows else []
    both = [c.module for c in found if c.has_k and c.has_v]
    return listed(both, len(found), "attention", ("not with TRTLLM_LOAD_KV_SCALES=0",))


@TENSORRT_LLM.rule(
    "L9", "only a scale of k", "refuses a scale of k without one of v: AssertionError", Effect.REFUSED, Says.REFUSES,
    _CACHE,
)  # fmt: skip
def only_k(view: View) -> Found | None:
    """Only one of v is ignored."""
    found = caches_of(view) if view.method in TENSORRT_LLM.knows and not view.incomplete else []
    return listed([c.module for c in found if c.has_k and not c.has_v], len(found), "attention")


@TENSORRT_LLM.rule(
    "L9", "a quantized cache without a scale of k", "fills 1.0 for k and v", Effect.DEFAULT, Says.UNKNOWN, _CACHE,
    deed=Deed.FILLS,
)  # fmt: skip
def caches_filled(view: View) -> Found | None:
    """Also where there is one of v."""
    wanted = view.method in TENSORRT_LLM.knows and view.cache and not view.incomplete
    found = caches_of(view) if wanted else []
    return listed([c.module for c in found if not c.has_k], len(found), "attention")


@TENSORRT_LLM.rule(
    "L10", "FP8 in blocks", "takes weight_scale_inv, or else weight_scale, as the same thing", Effect.UNCHANGED,
    Says.UNKNOWN, "T/linear.py FP8BlockScalesLinearMethod",
)  # fmt: skip
def block_scales(view: View) -> Found | None:
    """Of blocks of 128 x 128."""
    modules = view.stored_so(Stored.FP8_BLOCK) if view.method in TENSORRT_LLM.knows else []
    return listed(modules if block_of(view) in (None, (128, 128)) else [], len(modules))


@TENSORRT_LLM.rule(
    "L10", "FP8 in other blocks than 128 x 128", "takes blocks for 128 x 128", None, Says.UNKNOWN,
    "T/linear.py FP8BlockScalesLinearMethod", deed=Deed.CHANGES, mark=Mark.UNCERTAIN,
)  # fmt: skip
def other_blocks(view: View) -> Found | None:
    """Whether shapes that do not fit are refused was not followed."""
    block = block_of(view)
    modules = view.stored_so(Stored.FP8_BLOCK) if view.method in TENSORRT_LLM.knows else []
    if block in (None, (128, 128)) or not modules or block is None:
        return None
    why = f"the settings say {block[0]} x {block[1]}; whether that is refused is not known"
    return Found(modules, len(modules), "module", adds=(why,), known=False)


@TENSORRT_LLM.rule(
    "L11", "NVFP4, linear: `pre_quant_scale`", "reads pre_quant_scale, of gate and up gate's", Effect.UNCHANGED,
    Says.UNKNOWN, "T/linear.py NVFP4LinearMethod",
)  # fmt: skip
def factors(view: View) -> Found | None:
    """Not of q, k and v."""
    found = [m for m in _with_factors(view) if not m.endswith(_QKV)]
    return listed(found, len(view.quantized))


@TENSORRT_LLM.rule(
    "L11", "NVFP4: `pre_quant_scale` of q, k or v",
    "does not read pre_quant_scale of q, k and v: inputs are not scaled", Effect.WRONG_CONSTANT, Says.UNKNOWN,
    "T/linear.py NVFP4LinearMethod",
)  # fmt: skip
def factors_unread(view: View) -> Found | None:
    """Each input channel is wrong by its factor."""
    found = [m for m in _with_factors(view) if m.endswith(_QKV)]
    return listed(found, len(view.quantized), adds=("each input channel by its own factor, which is not read here",))


_QKV = (".q_proj", ".k_proj", ".v_proj")


def _with_factors(view: View) -> list[str]:
    if view.method != MODELOPT:
        return []
    return [m for m in view.linears_so(Stored.NVFP4) if view.has(m, "pre_quant_scale")]


@TENSORRT_LLM.rule(
    "L11", "NVFP4 experts: some have a `pre_quant_scale` of gate and up and others not",
    "refuses experts of which some lack pre_quant_scale: ValueError", Effect.REFUSED, Says.REFUSES,
    "T/fused_moe/quantization.py _finalize_pre_quant_scales",
)  # fmt: skip
def factors_of_some(view: View) -> Found | None:
    """Of gated experts."""
    groups = _groups(view, Stored.NVFP4, experts=True)
    each = [m for g in groups for m in g.present]
    have = [view.has(m, "pre_quant_scale") for m in each]
    lack = [m for m, has in zip(each, have, strict=True) if not has]
    return None if view.incomplete or not any(have) else listed(lack, len(each), "expert projection")


@TENSORRT_LLM.rule(
    "L5", "NVFP4 experts stacked in one entry", "is not known to read stacked experts", None, Says.UNKNOWN, _MOE,
    mark=Mark.UNCERTAIN, deed=Deed.UNKNOWN,
)  # fmt: skip
def stacked(view: View) -> Found | None:
    """Not read."""
    stacks = [m for m in view.stored_so(Stored.NVFP4) if view.is_stacked(m)] if view.method == MODELOPT else []
    return Found(adds=("not read in its source",), known=False) if whole(stacks) else None
