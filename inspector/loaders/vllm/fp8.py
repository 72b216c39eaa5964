"""FP8 with one scale, and in blocks (vLLM)."""

from __future__ import annotations

from qinspect.inspector.loaders.cost import fp8_activations, powers_of_two
from qinspect.inspector.loaders.engine import Match
from qinspect.inspector.loaders.fp8_shapes import (
    block_scales_so,
    is_block,
    last_is_missing,
    ragged_inputs,
    ragged_shards,
    some_lack,
)
from qinspect.inspector.loaders.matching import lacking, listed, one_for_all, rounded_to_largest, whole
from qinspect.inspector.loaders.statement import Cost, Deed, Effect, Says
from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, View
from qinspect.inspector.loaders.vllm.engine import DEEPGEMM, MARLIN, VLLM
from qinspect.inspector.siblings import Siblings, all_experts

_REQUANTIZE = "Q/utils/w8a8_utils.py requantize_with_max_scale, per_tensor_dequantize"
_EXPERTS = "Q/utils/fp8_utils.py process_fp8_*_moe; Q/modelopt.py ModelOptFp8MoEMethod"
_SMALL = 1e-4
_METHODS = (MODELOPT, COMPRESSED, "fp8")
_BLOCKS = ("fp8", COMPRESSED)


def _groups(view: View, experts: bool = False) -> list[Siblings[str]]:
    if view.method not in _METHODS:
        return []
    return view.groups_so(Stored.FP8_TENSOR, Stored.CODES, experts=experts)


@VLLM.rule(
    "V20", "FP8 with one scale, linear: fused shards with different `weight_scale`",
    "rounds fused shards again to the largest scale of them", Effect.REQUANTIZED, Says.SILENT, _REQUANTIZE,
)  # fmt: skip
def largest_for_all(view: View) -> Match | None:
    """Nothing changes where the scales are apart by a power of two."""
    found = rounded_to_largest(view, _groups(view))
    if found is None or not found.modules:
        return found
    small = sum((view.step(m, "weight_scale") or 1) < _SMALL for m in found.modules)
    said = f"of {small} with a scale below 1e-4 small codes lose bits on the way, which is through float16"
    return Match(found.modules, found.of, found.noun, found.n, found.factors, found.worst, found.cost,
                 (*found.adds, *([said] if small else [])))  # fmt: skip


@VLLM.rule(
    "V21", "the same, the last shard without a `weight_scale`",
    "takes fused shards for one that was fused on disk: the largest of the scales that are there for all",
    Effect.WRONG_CONSTANT, Says.UNKNOWN, f"{_REQUANTIZE}; FP8_SCALE_SENTINEL",
)  # fmt: skip
def last_missing(view: View) -> Match | None:
    """The last one's own scale is not in the file, so by how much it is wrong cannot be said."""
    found, of = last_is_missing(view, _groups(view))
    return listed(found, of, "fused shard", ("by how much is not known: the scale is not in the file",))


@VLLM.rule(
    "V21", "FP8 with one scale, linear: no `weight_scale` in a module, or in any of fused shards",
    "leaves the sentinel -3.4e38 where a scale should be", Effect.DEFAULT, Says.SILENT,
    f"{_REQUANTIZE}; FP8_SCALE_SENTINEL",
)  # fmt: skip
def all_missing(view: View) -> Match | None:
    """Fused shards of which one has a scale are V21's other case."""
    if view.incomplete or view.method not in _METHODS or is_block(view):
        return None
    fused = {m: g for g in view.groups for m in g.members}
    codes = [m for m in view.linears_so(Stored.CODES) if view.form(m, "weight") and _is_fp8(view, m)]
    found = [m for m in codes if not (g := fused.get(m)) or not any(view.has(x, "weight_scale") for x in g.members)]
    return listed(found, len(view.linears_so(Stored.CODES, Stored.FP8_TENSOR)))


def _is_fp8(view: View, module: str) -> bool:
    form = view.form(module, "weight")
    return form is not None and form[0].name.startswith("float8_e4m3")


@VLLM.rule(
    "V22", "FP8 with one scale, linear: fused shards with different `input_scale`",
    "takes the largest input scale of fused shards", Effect.ACTIVATIONS, Says.WARNS,
    "Q/modelopt.py KFp8StaticTensor; compressed_tensors_w8a8_fp8.py",
)  # fmt: skip
def largest_of_inputs(view: View) -> Match | None:
    """Too large costs only what underflows. Only of ModelOpt there is a warning."""
    found = one_for_all(view, _groups(view), "input_scale", max, fp8_activations)
    if found is None or view.method == MODELOPT or not found.modules:
        return found
    return Match(found.modules, found.of, found.noun, found.n, found.factors, found.worst, found.cost,
                 (*found.adds, f"of {view.method} it is silent"))  # fmt: skip


def _static(view: View) -> bool:
    """Whether activations have stored scales by the settings."""
    if view.method == "fp8":
        return view.settings.get("activation_scheme") == "static"
    if view.method == MODELOPT:
        return view.algorithm == "FP8"
    said = (g.get("input_activations") for g in view.groups_said)
    return any(isinstance(inputs, dict) and inputs.get("dynamic") is False for inputs in said)


@VLLM.rule(
    "V22", "FP8 with stored activation scales, linear: no `input_scale`",
    "leaves the sentinel -3.4e38 where an input scale should be, or takes the others' largest in fused shards",
    Effect.DEFAULT, Says.SILENT, "Q/modelopt.py KFp8StaticTensor; compressed_tensors_w8a8_fp8.py",
)  # fmt: skip
def input_missing(view: View) -> Match | None:
    """By the settings they should be there."""
    linears = view.linears_so(Stored.FP8_TENSOR) if view.method in _METHODS and _static(view) else []
    return lacking(view, linears, "input_scale")


@VLLM.rule(
    "V23", "compressed-tensors FP8 without FP8 hardware (W8A16 through Marlin)",
    "keeps a scale a row, cast to the model's dtype, and does not use input scales", Effect.WRONG_CONSTANT,
    Says.UNKNOWN, "compressed_tensors_w8a16_fp8.py; Q/utils/marlin_utils_fp8.py", backends=(MARLIN,),
)  # fmt: skip
def without_fp8_hardware(view: View) -> Match | None:
    """At most half a step of bfloat16: 2^-8. Nothing, where scales are bfloat16 already."""
    kinds = (Stored.FP8_TENSOR, Stored.FP8_CHANNEL, Stored.FP8_BLOCK)
    modules = view.stored_so(*kinds) if view.method == COMPRESSED else []
    wide = [m for m in modules if (form := view.form(m, "weight_scale")) and form[0].name == "float32"]
    return listed(wide, len(modules), adds=("off by 0.4 % at most in bfloat16",), cost=lambda: Cost(None, 2**-8))


@VLLM.rule(
    "V24", "FP8 experts with one scale: gate and up differ",
    "rounds gate and up again to the larger scale of the two", Effect.REQUANTIZED, Says.UNKNOWN, _EXPERTS,
)  # fmt: skip
def larger_of_expert(view: View) -> Match | None:
    """Per expert."""
    return rounded_to_largest(view, _groups(view, experts=True))


@VLLM.rule(
    "V24", "FP8 experts with one scale: a `weight_scale` or a stored `input_scale` is missing",
    "fills 1.0, which then is the largest of the layer's input scales", Effect.DEFAULT, Says.INFORMS, _EXPERTS,
    deed=Deed.CHANGES,
)  # fmt: skip
def expert_missing(view: View) -> Match | None:
    """1.0 is larger than nearly every scale."""
    if view.method not in (MODELOPT, COMPRESSED) or is_block(view):
        return None
    experts = view.experts_so(Stored.FP8_TENSOR, Stored.CODES)
    lasts = ("weight_scale", "input_scale") if _static(view) else ("weight_scale",)
    return listed(some_lack(view, experts, lasts), len(experts), "expert projection")


@VLLM.rule(
    "V43", "ModelOpt FP8_PB_WO", "drops the extra dimensions of block scales and pads outputs with zeros",
    Effect.UNCHANGED, Says.UNKNOWN, "Q/modelopt.py KFp8Block128",
)  # fmt: skip
def padded(view: View) -> Match | None:
    """Scales of four dimensions."""
    return whole(view.method == MODELOPT and view.algorithm == "FP8_PB_WO")


@VLLM.rule(
    "V43", "ModelOpt: an input width that is no multiple of the block (FP8_PB_WO 128, NVFP4 16, MXFP8 32)",
    "refuses input widths that are no multiple of the block: ValueError", Effect.REFUSED, Says.REFUSES,
    "Q/modelopt.py KFp8Block128",
)  # fmt: skip
def odd_width(view: View) -> Match | None:
    """Before it is cut over GPUs."""
    modules = list(view.quantized) if view.method == MODELOPT else []
    return listed(ragged_inputs(view, modules), len(modules))


@VLLM.rule(
    "V50", "block FP8 with float32 scales, DeepGEMM with UE8M0 scales (Blackwell class)",
    "makes block scales powers of two and rounds all weights again", Effect.POWERS_OF_TWO, Says.UNKNOWN,
    "Q/utils/fp8_utils.py deepgemm_post_process_fp8_weight_block", backends=(DEEPGEMM,),
)  # fmt: skip
def to_powers_of_two(view: View) -> Match | None:
    """Block scales are not read: where they are powers of two already nothing may change."""
    modules = view.stored_so(Stored.FP8_BLOCK) if view.method in _BLOCKS else []
    found = block_scales_so(view, modules, "float32", "bfloat16")
    said = str(view.settings.get("scale_fmt")).lower() == "ue8m0"
    adds = ("the settings say ue8m0: where scales are powers of two already, the rounding may change nothing",)
    return listed(found, len(modules), adds=adds if said else (), cost=powers_of_two)


@VLLM.rule(
    "V50", "block FP8 with E8M0 scales", "keeps block scales that are powers of two", Effect.UNCHANGED, Says.UNKNOWN,
    "Q/utils/fp8_utils.py deepgemm_post_process_fp8_weight_block", backends=(DEEPGEMM,),
)  # fmt: skip
def powers_kept(view: View) -> Match | None:
    """F8_E8M0, or their bytes."""
    modules = view.stored_so(Stored.FP8_BLOCK) if view.method in _BLOCKS else []
    return listed(block_scales_so(view, modules, "float8_e8m0fnu", "uint8"), len(modules))


@VLLM.rule(
    "V51", "block FP8: a fused shard, or the width of experts, that is no multiple of the block",
    "refuses shards that are no multiple of the block: ValueError", Effect.REFUSED, Says.REFUSES,
    "Q/utils/fp8_utils.py validate_fp8_block_shape",
)  # fmt: skip
def odd_shards(view: View) -> Match | None:
    """On one GPU; cut over several, more may be odd."""
    groups = [
        g for g in view.groups if all(view.quantized.get(m) is Stored.FP8_BLOCK or is_block(view) for m in g.members)
    ]
    found = ragged_shards(view, groups) if view.method in _BLOCKS else []
    return listed(
        found, sum(len(g.members) for g in groups), "fused shard", ("on one GPU; on several there may be more",)
    )


@VLLM.rule(
    "V52", "block FP8, linear: no scale", "leaves the sentinel -3.4e38 where block scales should be", Effect.DEFAULT,
    Says.SILENT, "Q/utils/fp8_utils.py",
)  # fmt: skip
def block_scales_missing(view: View) -> Match | None:
    """Told by the settings, as the scale is not there."""
    return _blocks_missing(view, experts=False)


@VLLM.rule(
    "V52", "block FP8, experts: no scale", "fills 1.0 where block scales should be", Effect.DEFAULT, Says.SILENT,
    "Q/utils/fp8_utils.py", deed=Deed.CHANGES,
)  # fmt: skip
def block_scales_of_experts_missing(view: View) -> Match | None:
    """As `block_scales_missing`."""
    return _blocks_missing(view, experts=True)


def _blocks_missing(view: View, experts: bool) -> Match | None:
    if view.method not in _BLOCKS or not is_block(view) or view.incomplete:
        return None
    codes = [m for m in view.stored_so(Stored.CODES) if bool(all_experts(m)) == experts and _is_fp8(view, m)]
    of = [m for m in view.stored_so(Stored.CODES, Stored.FP8_BLOCK) if bool(all_experts(m)) == experts]
    return listed(codes, len(of))
