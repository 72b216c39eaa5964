"""FP8 and GPTQ (SGLang)."""

from __future__ import annotations

from qinspect.inspector.loaders.cost import powers_of_two
from qinspect.inspector.loaders.engine import Match
from qinspect.inspector.loaders.fp8_shapes import block_of, block_scales_so, is_block
from qinspect.inspector.loaders.gptq import settings_of
from qinspect.inspector.loaders.matching import inverse_scales, lacking, listed, rounded_to_largest, whole
from qinspect.inspector.loaders.sglang.engine import DEEPGEMM, SGLANG
from qinspect.inspector.loaders.statement import Deed, Effect, Says
from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import MODELOPT, View

_MODELOPT = "S/modelopt_quant.py"


@SGLANG.rule(
    "G10", "FP8 with one scale: fused shards with different `weight_scale`",
    "rounds fused shards again to the largest scale of them", Effect.REQUANTIZED, Says.UNKNOWN, _MODELOPT,
)  # fmt: skip
def largest_fp8(view: View) -> Match | None:
    """Nothing changes where the scales are apart by a power of two."""
    groups = view.groups_so(Stored.FP8_TENSOR, experts=False) if view.method in (MODELOPT, "fp8") else []
    return rounded_to_largest(view, groups)


@SGLANG.rule(
    "G10", "FP8 with one scale: no `weight_scale`, or in linear modules no `input_scale`",
    "leaves the sentinel -3.4e38 where a scale should be", Effect.DEFAULT, Says.UNKNOWN, _MODELOPT,
)  # fmt: skip
def fp8_missing(view: View) -> Match | None:
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
    "G10", "FP8 experts: no `input_scale`", "fills 1.0, of which then the largest of the layer is taken",
    Effect.DEFAULT, Says.UNKNOWN, _MODELOPT, deed=Deed.CHANGES,
)  # fmt: skip
def fp8_experts(view: View) -> Match | None:
    """Where the settings say that their scales are stored."""
    experts = view.experts_so(Stored.FP8_TENSOR) if view.method in (MODELOPT, "fp8") and _static(view) else []
    return lacking(view, experts, "input_scale")


@SGLANG.rule(
    "G19", "FP8 in blocks of 128 x 128 with float32 scales, DeepGEMM",
    "makes block scales powers of two and rounds all weights again", Effect.POWERS_OF_TWO, Says.UNKNOWN,
    "S/fp8_utils.py requant_block_scale_ue8m0_for_deepgemm", backends=(DEEPGEMM,),
)  # fmt: skip
def to_powers_of_two(view: View) -> Match | None:
    """Other blocks are left as they are."""
    if view.method != "fp8" or block_of(view) != (128, 128):
        return None
    modules = view.stored_so(Stored.FP8_BLOCK)
    return listed(block_scales_so(view, modules, "float32"), len(modules), cost=powers_of_two)


@SGLANG.rule(
    "V53", "`fp8` with `weight_scale_semantics: inverse`",
    "multiplies by scales that are stored as one over them: if it loads, values are wrong by their square",
    Effect.WRONG_CONSTANT, Says.UNKNOWN, "search for the name",
)  # fmt: skip
def inverse(view: View) -> Match | None:
    """The word is read nowhere."""
    return inverse_scales(view)


@SGLANG.rule(
    "G23", "GPTQ of other than 2, 3, 4 or 8 bits", "refuses GPTQ of other than 2, 3, 4 or 8 bits", Effect.REFUSED,
    Says.REFUSES, "S/gptq/gptq.py",
)  # fmt: skip
def gptq_bits(view: View) -> Match | None:
    """Marlin takes 4 and 8, symmetric."""
    bits = {s.bits for s in settings_of(view) if s.bits is not None} if view.method == "gptq" else set()
    return whole(bits - {2, 3, 4, 8}, f"{', '.join(map(str, sorted(bits)))} bits")


@SGLANG.rule(
    "G23", "GPTQ with `checkpoint_format`", "reads checkpoint_format", Effect.UNCHANGED, Says.UNKNOWN,
    "S/gptq/gptq.py",
)  # fmt: skip
def gptq_format(view: View) -> Match | None:
    """What it does with zero points was not read."""
    return whole(view.method == "gptq" and isinstance(view.settings.get("checkpoint_format"), str))
