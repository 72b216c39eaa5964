"""FP4 in blocks under two scales (vLLM)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from qinspect.inspector.loaders.cost import MARGIN_OF_BLOCKS, fp4_activations
from qinspect.inspector.loaders.engine import Found
from qinspect.inspector.loaders.finding import first_of, lacking, listed, one_for_all, one_of_layer, whole
from qinspect.inspector.loaders.groups import Group, expert_layer
from qinspect.inspector.loaders.left_out import not_left_out
from qinspect.inspector.loaders.statement import Deed, Effect, Mark, Says
from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import COMPRESSED, FLOAT32_BEYOND, MODELOPT, OF_INPUTS, View
from qinspect.inspector.loaders.vllm.engine import CUTLASS, EMULATION, FLASHINFER, HUMMING, MARLIN, VLLM
from qinspect.inspector.loaders.vllm.names import leaves, wants_input_scale
from qinspect.inspector.text import some

_LINEAR = "Q/modelopt.py KNvfp4Static"
_COMPRESSED = "Q/compressed_tensors/schemes/compressed_tensors_w4a4_nvfp4.py"
_EXPERTS = "Q/modelopt.py ModelOptNvFp4FusedMoE; compressed_tensors_moe_w4a4_nvfp4.py"
_INPUTS = "Q/utils/flashinfer_fp4_moe.py; vllm/model_executor/layers/fused_moe/oracle/nvfp4.py"
_DIVISOR, _FACTOR = "weight_global_scale", "weight_scale_2"


def _outer(view: View) -> tuple[str, bool]:
    """The name of the outer scale, and whether it is one over it."""
    return (_DIVISOR, True) if view.method == COMPRESSED else (_FACTOR, False)


def _input(view: View) -> tuple[str, bool]:
    return ("input_global_scale", True) if view.method == COMPRESSED else ("input_scale", False)


def _both(view: View) -> bool:
    return view.method in (MODELOPT, COMPRESSED)


@VLLM.rule(
    "V30", "ModelOpt NVFP4, linear: fused shards with different `weight_scale_2`",
    "takes the largest scale for all fused shards, which makes the others too large", Effect.WRONG_CONSTANT,
    Says.WARNS_ONCE, _LINEAR,
)  # fmt: skip
def largest_for_all(view: View) -> Found | None:
    """Block scales are kept."""
    groups = view.groups_so(Stored.NVFP4, experts=False) if view.method == MODELOPT else []
    return one_for_all(view, groups, _FACTOR, max, None)


@VLLM.rule(
    "V31", "compressed-tensors NVFP4 W4A4, linear: fused shards with different `weight_global_scale`",
    "takes the smallest scale for all fused shards (the largest divisor), which makes the others too small",
    Effect.WRONG_CONSTANT, Says.WARNS_ONCE, _COMPRESSED,
)  # fmt: skip
def smallest_for_all(view: View) -> Found | None:
    """The opposite direction to V30."""
    return one_for_all(view, _compressed(view, inputs=True), _DIVISOR, min, None, inverted=True)


def _compressed(view: View, inputs: bool) -> list[Group]:
    """Fused linear modules whose inputs are quantized by the settings, or are not."""
    if view.method != COMPRESSED or (view.quantizes_inputs is True) != inputs:
        return []
    return view.groups_so(Stored.NVFP4, experts=False)


@VLLM.rule(
    "V31", "the same with activations in 16 bits", "is not known to take one scale for all fused shards", None,
    Says.UNKNOWN, "", deed=Deed.UNKNOWN, mark=Mark.UNCERTAIN,
)  # fmt: skip
def shards_of_w4a16(view: View) -> Found | None:
    """That scheme's file was not read."""
    found = one_for_all(view, _compressed(view, inputs=False), _DIVISOR, min, None, inverted=True)
    if found is None or not found.modules:
        return None
    adds = ("their scales differ; what W4A16 does with that was not read",)
    return Found(found.modules, found.of, found.noun, found.n, adds=adds, known=False)


@VLLM.rule(
    "V32", "NVFP4 experts: gate and up have different outer scales", "takes gate's scale for up",
    Effect.WRONG_CONSTANT, Says.WARNS_ONCE, _EXPERTS,
)  # fmt: skip
def gate_for_up(view: View) -> Found | None:
    """Once per process, so the count of bad experts is not in the log."""
    groups = view.groups_so(Stored.NVFP4, experts=True) if _both(view) else []
    last, inverted = _outer(view)
    return one_for_all(view, groups, last, first_of, None, inverted)


@VLLM.rule(
    "V33", "ModelOpt NVFP4, linear: no `weight_scale`, as where a layer that nothing leaves out is BF16 on disk",
    "finds the sentinel NaN where a block scale should be: RuntimeError", Effect.REFUSED, Says.REFUSES, _LINEAR,
)  # fmt: skip
def no_block_scales(view: View) -> Found | None:
    """Of linear modules."""
    if view.method != MODELOPT or view.algorithm not in ("NVFP4", "W4A16_NVFP4"):
        return None
    fp4 = [m for m in view.linears_so(Stored.NVFP4, Stored.CODES) if not view.has(m, "weight_scale")]
    plain = [m for m in not_left_out(view, leaves(view)) if not expert_layer(m)]
    return None if view.incomplete else listed([*fp4, *plain], len(view.linears_so(Stored.NVFP4)) + len(plain))


@VLLM.rule(
    "V33", "compressed-tensors NVFP4, linear: no `weight_scale`",
    "leaves memory that nothing was written to where a block scale should be", Effect.DEFAULT, Says.SILENT,
    _COMPRESSED,
)  # fmt: skip
def block_scales_not_written(view: View) -> Found | None:
    """Of linear modules."""
    fp4 = view.linears_so(Stored.NVFP4) if view.method == COMPRESSED else []
    return lacking(view, fp4, "weight_scale")


@VLLM.rule(
    "V34", "NVFP4: no outer scale of the weight",
    "leaves memory that nothing was written to where the outer scale of the weight should be", Effect.DEFAULT,
    Says.SILENT, f"{_LINEAR}; {_EXPERTS}", changed_lately=True,
)  # fmt: skip
def outer_not_written(view: View) -> Found | None:
    """Of linear modules and experts."""
    fp4 = view.stored_so(Stored.NVFP4) if _both(view) else []
    return lacking(view, fp4, _outer(view)[0])


@VLLM.rule(
    "V34", "NVFP4 with stored activation scales: an input scale is missing",
    "leaves memory that nothing was written to where an input scale should be", Effect.DEFAULT, Says.SILENT,
    f"{_LINEAR}; {_EXPERTS}", changed_lately=True,
)  # fmt: skip
def input_not_written(view: View) -> Found | None:
    """Which experts' is read depends on the backend (V35)."""
    fp4 = view.stored_so(Stored.NVFP4) if _both(view) and wants_input_scale(view) else []
    missing = view.lacking(fp4, *OF_INPUTS)
    experts = [m for m in missing if expert_layer(m)]
    spoilt = some(len({expert_layer(m) for m in experts}), "layer")
    adds = (f"with flashinfer that spoils {spoilt} of experts", "Marlin and Humming do not read it")
    return listed(missing, len(fp4), adds=adds if experts else ())


def _inputs_of_experts(view: View) -> list[str]:
    return view.experts_so(Stored.NVFP4) if _both(view) and wants_input_scale(view) else []


@VLLM.rule(
    "V35", "NVFP4 experts: input scales differ, flashinfer (trtllm, cutlass, cutedsl, b12x)",
    "takes the largest input scale of all experts of the layer", Effect.ACTIVATIONS, Says.UNKNOWN, _INPUTS,
    backends=(FLASHINFER,),
)  # fmt: skip
def largest_of_layer(view: View) -> Found | None:
    """Too large by up to 4,096 costs nothing: the scales of blocks make up for it."""
    last, inverted = _input(view)
    return one_of_layer(view, last, _inputs_of_experts(view), fp4_activations, inverted)


@VLLM.rule(
    "V35", "NVFP4 experts: input scales of gate and up differ, vLLM's own CUTLASS",
    "takes the larger input scale of gate and up for both", Effect.ACTIVATIONS, Says.UNKNOWN, _INPUTS,
    backends=(CUTLASS,),
)  # fmt: skip
def larger_of_two(view: View) -> Found | None:
    """Per expert."""
    if not _inputs_of_experts(view):
        return None
    last, inverted = _input(view)
    return one_for_all(view, view.groups_so(Stored.NVFP4, experts=True), last, max, fp4_activations, inverted)


@VLLM.rule(
    "V35", "NVFP4 experts: input scales differ, emulation",
    "takes the largest input scale of all experts of the layer", Effect.ACTIVATIONS, Says.WARNS, _INPUTS,
    backends=(EMULATION,),
)  # fmt: skip
def largest_emulated(view: View) -> Found | None:
    """As with flashinfer."""
    return largest_of_layer(view)


@VLLM.rule(
    "V35", "NVFP4 experts with input scales, Marlin or Humming", "does not use the input scales of experts",
    Effect.UNCHANGED, Says.UNKNOWN, _INPUTS, deed=Deed.DROPS, backends=(MARLIN, HUMMING),
)  # fmt: skip
def inputs_ignored(view: View) -> Found | None:
    """Activations stay in 16 bits."""
    experts = _inputs_of_experts(view)
    return listed([m for m in experts if view.has(m, *OF_INPUTS)], len(experts), "expert projection")


@VLLM.rule(
    "V36", "compressed-tensors NVFP4 experts: an `input_global_scale` of 0, NaN, or far below those of its layer",
    "takes one over an input scale that was never observed for the largest of the layer", Effect.ACTIVATIONS,
    Says.UNKNOWN, _EXPERTS, backends=(FLASHINFER, EMULATION),
)  # fmt: skip
def never_observed(view: View) -> Found | None:
    """Of an expert that saw no token, a calibration leaves whatever was in memory."""
    if view.method != COMPRESSED:
        return None
    layers: dict[str, dict[str, float]] = {}
    for module in view.experts_so(Stored.NVFP4):
        stored = view.number(module, "input_global_scale")
        if stored is not None:
            layers.setdefault(expert_layer(module), {})[module] = _one_over(stored)
    broken = [found for steps in layers.values() if (found := _far_above(steps))]
    said = f"activations of all experts break in {len(broken)} of {some(len(layers), 'layer')}"
    return listed([m for found in broken for m in found], sum(map(len, layers.values())), "expert projection", (said,))


def _far_above(steps: Mapping[str, float]) -> list[str]:
    """Of a layer, the scales that are no number, or so large that blocks of the others cannot make up for it."""
    sound = [s for s in steps.values() if 0 < s < math.inf]
    usual = median(sound) if sound else 1.0
    return [m for m, s in steps.items() if not s < MARGIN_OF_BLOCKS * usual]


def _one_over(stored: float) -> float:
    """In float32, as engines do: of a number below about 2.9e-39 it is infinite."""
    if math.isnan(stored):
        return math.nan
    found = 1 / stored if stored else math.inf
    return found if found < FLOAT32_BEYOND else math.inf


@VLLM.rule(
    "V37", "compressed-tensors NVFP4, linear: fused shards with different `input_global_scale`",
    "takes the smallest input scale for all fused shards (the largest divisor), which cuts off large activations",
    Effect.ACTIVATIONS, Says.WARNS, _COMPRESSED,
)  # fmt: skip
def smallest_of_inputs(view: View) -> Found | None:
    """The harmful direction."""
    groups = _compressed(view, inputs=True)
    return one_for_all(view, groups, "input_global_scale", min, fp4_activations, inverted=True)


@VLLM.rule(
    "V38", "NVFP4 through Marlin: no FP4 hardware, or only weights in FP4",
    "stores block scales as E5M3 without a sign", None, Says.UNKNOWN, "Q/utils/marlin_utils_fp4.py",
    backends=(MARLIN,),
)  # fmt: skip
def without_fp4_hardware(view: View) -> Found | None:
    """Block scales are not read, so how many vanish is not known."""
    fp4 = view.stored_so(Stored.NVFP4) if _both(view) else []
    half = str(view.config.get("torch_dtype") or view.config.get("dtype")) == "float16"
    said = (
        "exact, but in float16 blocks whose scale is below 2^-6 become 0" if half
        else "exact, but blocks whose scale is below 2^-6 once the largest is lifted to 224-448 become 0"
    )  # fmt: skip
    why = "how many is not known: block scales are not read here"
    return Found(fp4, len(fp4), "module", adds=(said, why), known=False) if fp4 else None


@VLLM.rule(
    "V39", "ModelOpt `NVFP4` with `input_activations` null in all groups",
    "serves it as W4A16_NVFP4, with activations in 16 bits", Effect.UNCHANGED, Says.UNKNOWN,
    "Q/modelopt.py ModelOptNvFp4Config",
)  # fmt: skip
def weights_only(view: View) -> Found | None:
    """Whatever the algorithm is called."""
    return whole(view.method == MODELOPT and view.algorithm == "NVFP4" and view.quantizes_inputs is False)


@VLLM.rule(
    "V39", "W4A16_NVFP4 with stored input scales", "drops stored input scales", Effect.UNCHANGED, Says.WARNS_ONCE,
    "Q/modelopt.py _DropInputScale", deed=Deed.DROPS,
)  # fmt: skip
def input_scales_dropped(view: View) -> Found | None:
    """They are read for nothing."""
    if view.method != MODELOPT or wants_input_scale(view):
        return None
    fp4 = view.stored_so(Stored.NVFP4)
    return listed([m for m in fp4 if view.has(m, *OF_INPUTS)], len(fp4))


@VLLM.rule(
    "V32", "NVFP4 experts whose gate and up are one stacked entry",
    "reads one outer scale for all experts of a layer", Effect.UNCHANGED, Says.UNKNOWN, "", mark=Mark.UNCERTAIN,
)  # fmt: skip
def stacked(view: View) -> Found | None:
    """How stacked FP4 experts of ModelOpt are loaded was not read."""
    found = [m for m in view.stored_so(Stored.NVFP4) if view.is_stacked(m)] if _both(view) else []
    why = "how stacked experts are loaded was not read"
    return Found(found, len(found), "stacked module", adds=(why,), known=False) if found else None
