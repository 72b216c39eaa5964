"""FP4 in blocks under two scales (SGLang)."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.loaders.cost import fp4_activations
from qinspect.inspector.loaders.engine import Match
from qinspect.inspector.loaders.matching import first_of, lacking, listed, one_for_all, one_of_layer, whole
from qinspect.inspector.loaders.sglang.engine import MARLIN, MEGAMOE, OTHERS, SGLANG, TRTLLM
from qinspect.inspector.loaders.statement import Deed, Effect, Mark, Says
from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, View
from qinspect.inspector.siblings import Siblings

_LINEAR = "S/modelopt_quant.py ModelOptFp4LinearMethod"
_EXPERTS = "S/modelopt_quant.py ModelOptNvFp4FusedMoEMethod"
_W4A4 = "S/compressed_tensors/compressed_tensors_w4a4_nvfp4.py, compressed_tensors_w4a4_nvfp4_moe.py"
_ACCEPTED = ("FP8", "NVFP4", "NVFP4_AWQ", "W4A16_NVFP4")
_FACTOR, _DIVISOR = "weight_scale_2", "weight_global_scale"


def _groups(view: View, method: str, experts: bool = False) -> list[Siblings[str]]:
    return view.groups_so(Stored.NVFP4, experts=experts) if view.method == method else []


def _fp4(view: View, method: str = MODELOPT) -> list[str]:
    return view.stored_so(Stored.NVFP4) if view.method == method else []


@SGLANG.rule(
    "G11", "ModelOpt NVFP4, linear: no `input_scale`", "fills 1.0 for the input scale", Effect.DEFAULT, Says.SILENT,
    _LINEAR, deed=Deed.FILLS,
)  # fmt: skip
def linear_inputs(view: View) -> Match | None:
    """Not where activations stay in 16 bits."""
    linears = view.linears_so(Stored.NVFP4) if view.method == MODELOPT and _w4a4(view) else []
    return lacking(view, linears, "input_scale")


def _w4a4(view: View) -> bool:
    return view.algorithm != "W4A16_NVFP4"


@SGLANG.rule(
    "G11", "ModelOpt NVFP4, linear: no `weight_scale_2`",
    "leaves memory that nothing was written to where the outer scale of the weight should be", Effect.DEFAULT,
    Says.SILENT, _LINEAR,
)  # fmt: skip
def linear_outer(view: View) -> Match | None:
    """Of linear modules."""
    linears = view.linears_so(Stored.NVFP4) if view.method == MODELOPT else []
    return lacking(view, linears, _FACTOR)


@SGLANG.rule(
    "G11", "ModelOpt NVFP4, linear: fused shards with different `weight_scale_2`",
    "takes the largest scale for all fused shards, which makes the others too large", Effect.WRONG_CONSTANT,
    Says.SILENT, _LINEAR,
)  # fmt: skip
def largest_for_all(view: View) -> Match | None:
    """Silent with FP4 activations."""
    return one_for_all(view, _groups(view, MODELOPT), _FACTOR, max, None) if _w4a4(view) else None


@SGLANG.rule(
    "G11", "the same with activations in 16 bits",
    "takes the largest scale for all fused shards, which makes the others too large", Effect.WRONG_CONSTANT,
    Says.WARNS, _LINEAR,
)  # fmt: skip
def largest_for_all_w4a16(view: View) -> Match | None:
    """W4A16_NVFP4."""
    return None if _w4a4(view) else one_for_all(view, _groups(view, MODELOPT), _FACTOR, max, None)


@SGLANG.rule(
    "G12", f"ModelOpt `quant_algo`, FP4 in it, not one of {', '.join(_ACCEPTED)}", "refuses the algorithm",
    Effect.REFUSED, Says.REFUSES, "S/modelopt_quant.py ModelOptFp4Config",
)  # fmt: skip
def algorithm(view: View) -> Match | None:
    """By the one config that was read, which has FP4."""
    bad = view.method == MODELOPT and "NVFP4" in view.algorithm and view.algorithm not in _ACCEPTED
    return whole(bad, f"quant_algo is {view.algorithm}")


@SGLANG.rule(
    "G12", "ModelOpt: other algorithms without FP4", "is not known to take the algorithm", None, Says.UNKNOWN,
    "S/modelopt_quant.py ModelOptFp4Config", deed=Deed.UNKNOWN, mark=Mark.UNCERTAIN,
)  # fmt: skip
def other_algorithm(view: View) -> Match | None:
    """Other configs were not read."""
    other = view.method == MODELOPT and view.algorithm and "NVFP4" not in view.algorithm and view.algorithm != "FP8"
    return Match(adds=(f"quant_algo is {view.algorithm}",), known=False) if other else None


@SGLANG.rule(
    "G12", "NVFP4_AWQ", "reads pre_quant_scale, and fills 1.0 where there is none", Effect.UNCHANGED, Says.UNKNOWN,
    "S/modelopt_quant.py ModelOptFp4Config",
)  # fmt: skip
def factors(view: View) -> Match | None:
    """Where it is folded into the norms, none is stored."""
    if view.method != MODELOPT or view.algorithm != "NVFP4_AWQ":
        return None
    return listed(view.with_entry("pre_quant_scale"), len(view.quantized))


@SGLANG.rule(
    "G13", "ModelOpt NVFP4 experts: gate and up have different outer scales, Marlin", "takes gate's scale for up",
    Effect.WRONG_CONSTANT, Says.WARNS_ONCE,
    "S/modelopt_quant.py _compute_gemm1_alphas, process_weights_after_loading", backends=(MARLIN,),
)  # fmt: skip
def gate_for_up_marlin(view: View) -> Match | None:
    """As vLLM."""
    return one_for_all(view, _groups(view, MODELOPT, experts=True), _FACTOR, first_of, None)


@SGLANG.rule(
    "G13", "the same with TRT-LLM's kernel, or mega-MoE", "keeps both scales, gate's and up's", Effect.UNCHANGED,
    Says.UNKNOWN, "S/modelopt_quant.py _compute_gemm1_alphas", backends=(TRTLLM, MEGAMOE),
)  # fmt: skip
def both_kept(view: View) -> Match | None:
    """With a clamp limit the block scales of the smaller half are rounded once more."""
    found = gate_for_up_marlin(view)
    if found is None or not found.modules:
        return found
    said = "with a clamp limit the block scales of the smaller half are rounded once more"
    return Match(found.modules, found.of, found.noun, found.n, adds=(said,))


@SGLANG.rule(
    "G13", "the same with other backends", "takes gate's scale for up", Effect.WRONG_CONSTANT, Says.SILENT,
    "S/modelopt_quant.py _compute_gemm1_alphas, process_weights_after_loading", backends=(OTHERS,),
)  # fmt: skip
def gate_for_up(view: View) -> Match | None:
    """Without a warning."""
    return gate_for_up_marlin(view)


@SGLANG.rule(
    "G14", "ModelOpt NVFP4 experts: no `input_scale`",
    "fills 1.0, which then is the largest input scale of the layer", Effect.ACTIVATIONS, Says.UNKNOWN, _EXPERTS,
)  # fmt: skip
def expert_inputs(view: View) -> Match | None:
    """Too large costs nothing up to 4,096 times: the scales of blocks make up for it."""
    experts = view.experts_so(Stored.NVFP4) if view.method == MODELOPT and _w4a4(view) else []
    found = view.lacking(experts, "input_scale")
    if not found:
        return None
    steps = [s for m in experts if (s := view.step(m, "input_scale")) is not None]
    factor = max(1.0, 1 / min(steps)) if steps else 1.0
    adds = ("all experts of their layers get it",)
    return listed(found, len(experts), "expert projection", adds, lambda: fp4_activations(factor))


@SGLANG.rule(
    "G15", "ModelOpt NVFP4 experts: gate and up have different input scales",
    "takes the input scale that is read last for gate and up", Effect.ACTIVATIONS, Says.SILENT,
    "sglang/srt/layers/moe/fused_moe_triton/layer.py weight_loader",
)  # fmt: skip
def last_read(view: View) -> Match | None:
    """Which is last, the order of the files decides; the worst case is that of the smaller one."""
    groups = _groups(view, MODELOPT, experts=True) if _w4a4(view) else []
    found = one_for_all(view, groups, "input_scale", min, fp4_activations)
    if found is None or not found.modules:
        return found
    said = "counted as if the smaller one came last"
    return Match(
        found.modules, found.of, found.noun, found.n, found.factors, found.worst, found.cost, (*found.adds, said)
    )


@SGLANG.rule(
    "G16", "compressed-tensors NVFP4 W4A4, linear: fused shards with different `weight_global_scale`",
    "takes the smallest scale for all fused shards (the largest divisor), which makes the others too small",
    Effect.WRONG_CONSTANT, Says.SILENT, _W4A4,
)  # fmt: skip
def smallest_for_all(view: View) -> Match | None:
    """As vLLM, without a warning."""
    groups = _groups(view, COMPRESSED) if view.quantizes_inputs else []
    return one_for_all(view, groups, _DIVISOR, min, None, inverted=True)


@SGLANG.rule(
    "G16", "the same: different `input_global_scale`",
    "takes the smallest input scale for all fused shards (the largest divisor), which cuts off large activations",
    Effect.ACTIVATIONS, Says.SILENT, _W4A4,
)  # fmt: skip
def smallest_of_inputs(view: View) -> Match | None:
    """The harmful direction."""
    groups = _groups(view, COMPRESSED) if view.quantizes_inputs else []
    return one_for_all(view, groups, "input_global_scale", min, fp4_activations, inverted=True)


@SGLANG.rule(
    "G16", "compressed-tensors NVFP4 W4A4 experts: gate and up have different outer scales",
    "takes gate's scale for up", Effect.WRONG_CONSTANT, Says.WARNS, _W4A4,
)  # fmt: skip
def gate_for_up_compressed(view: View) -> Match | None:
    """Gate's divisor."""
    groups = _groups(view, COMPRESSED, experts=True) if view.quantizes_inputs else []
    return one_for_all(view, groups, _DIVISOR, first_of, None, inverted=True)


@SGLANG.rule(
    "G16", "the same: input scales differ", "takes the largest input scale of the layer (the smallest divisor)",
    Effect.ACTIVATIONS, Says.UNKNOWN, _W4A4,
)  # fmt: skip
def largest_of_inputs(view: View) -> Match | None:
    """The harmless direction."""
    experts = view.experts_so(Stored.NVFP4) if view.method == COMPRESSED and view.quantizes_inputs else []
    return one_of_layer(view, "input_global_scale", experts, fp4_activations, inverted=True)


@SGLANG.rule(
    "G17", "compressed-tensors NVFP4 A16: fused shards, or gate and up of experts, with different outer scales",
    "refuses outer scales that differ: ValueError, which names the experts", Effect.REFUSED, Says.REFUSES,
    "S/compressed_tensors/compressed_tensors_w4a16_nvfp4.py, compressed_tensors_w4a16_nvfp4_moe.py",
)  # fmt: skip
def unequal_w4a16(view: View) -> Match | None:
    """Where activations are not quantized."""
    if view.method != COMPRESSED or view.quantizes_inputs is not False:
        return None
    groups: Sequence[Siblings[str]] = [*_groups(view, COMPRESSED), *_groups(view, COMPRESSED, experts=True)]
    found = one_for_all(view, groups, _DIVISOR, min, None, inverted=True)
    return (
        None
        if found is None
        else Match(found.modules, found.of, found.noun, found.n, adds=found.adds, known=found.known)
    )


@SGLANG.rule(
    "G18", "NVFP4 through Marlin", "does not lift block scales before it turns them into Marlin's", None,
    Says.UNKNOWN, "S/marlin_utils_fp4.py", mark=Mark.UNCERTAIN, deed=Deed.CHANGES, backends=(MARLIN,),
)  # fmt: skip
def marlin(view: View) -> Match | None:
    """What scales below 2^-6 become was not followed."""
    modules = [*_fp4(view), *_fp4(view, COMPRESSED)]
    why = "what becomes of block scales below 2^-6 is not known"
    return Match(modules, len(modules), "module", adds=(why,), known=False) if modules else None
