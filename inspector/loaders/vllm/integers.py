"""Integers in groups, MXFP4 and formats that are not built in (vLLM)."""

from __future__ import annotations

from qinspect.inspector.loaders.engine import Found
from qinspect.inspector.loaders.finding import listed, whole
from qinspect.inspector.loaders.gptq import reorders, settings_of
from qinspect.inspector.loaders.statement import Deed, Effect, Says
from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import COMPRESSED, View
from qinspect.inspector.loaders.vllm.engine import VLLM

_GPTQ = "Q/auto_gptq.py; kernels/linear/mixed_precision/marlin.py"


@VLLM.rule(
    "V54", "compressed-tensors `actorder: group` or dynamic", "refuses groups of inputs in another order: ValueError",
    Effect.REFUSED, Says.REFUSES, "Q/compressed_tensors/compressed_tensors.py", changed_lately=True,
)  # fmt: skip
def actorder(view: View) -> Found | None:
    """`weight` and `static` are in the order of the inputs."""
    said = [(g.get("weights") or {}) for g in view.groups_said] if view.method == COMPRESSED else []
    return whole(any(isinstance(w, dict) and str(w.get("actorder")).lower() in ("group", "dynamic") for w in said))


@VLLM.rule(
    "V54", "GPTQ `desc_act: true` with groups, also in `dynamic`", "refuses desc_act with groups: ValueError",
    Effect.REFUSED, Says.REFUSES, "Q/utils/gptq_utils.py", changed_lately=True,
)  # fmt: skip
def desc_act(view: View) -> Found | None:
    """With one group for all inputs it is taken as false."""
    return whole(view.method == "gptq" and any(reorders(s) and s.group_size != -1 for s in settings_of(view)))


@VLLM.rule(
    "V54", "GPTQ `desc_act: true` with one group for all inputs", "takes desc_act as false", Effect.UNCHANGED,
    Says.UNKNOWN, "Q/utils/gptq_utils.py",
)  # fmt: skip
def desc_act_of_one_group(view: View) -> Found | None:
    """The order of the inputs does nothing then."""
    return whole(view.method == "gptq" and any(reorders(s) and s.group_size == -1 for s in settings_of(view)))


@VLLM.rule(
    "V55", "GPTQ of other than 4 or 8 bits, or asymmetric",
    "refuses other than 4 or 8 bits, and zero points: ValueError", Effect.REFUSED, Says.REFUSES, _GPTQ,
)  # fmt: skip
def other_integers(view: View) -> Found | None:
    """By the settings, those of `dynamic` too."""
    if view.method != "gptq":
        return None
    said = settings_of(view)
    bits = sorted({s.bits for s in said if s.bits is not None and s.bits not in (4, 8)})
    zeros = any(s.symmetric is False for s in said)
    adds = [*([f"{', '.join(map(str, bits))} bits"] if bits else []), *(["sym: false"] if zeros else [])]
    return whole(adds, *adds)


@VLLM.rule(
    "V55", "GPTQ: stored zero points", "does not use the stored zero points: 8 is assumed of 4 bits, 128 of 8", None,
    Says.SILENT, _GPTQ, deed=Deed.DROPS,
)  # fmt: skip
def zeros_unused(view: View) -> Found | None:
    """So it does not matter whether they are stored less one."""
    modules = [m for m in view.stored_so(Stored.GPTQ) if view.has(m, "qzeros")] if view.method == "gptq" else []
    adds = ("no change where 8 (or 128) is stored, as symmetric files have; else values are off by (z - 8) * scale",)
    return listed(modules, len(modules), adds=adds)


@VLLM.rule(
    "V56", "GPTQ without `modules_in_block_to_quantize`",
    "takes for quantized what has a tensor that is not of floats", Effect.UNCHANGED, Says.UNKNOWN,
    "Q/auto_gptq.py maybe_update_config, is_layer_gptq_quantized",
)  # fmt: skip
def quantized_by_header(view: View) -> Found | None:
    """By the headers of safetensors."""
    return whole(view.method == "gptq" and not view.settings.get("modules_in_block_to_quantize"))


@VLLM.rule(
    "V56", "GPTQ with `dynamic`", "takes the first pattern of `dynamic` that fits from the beginning of a name",
    Effect.UNCHANGED, Says.UNKNOWN, "Q/utils/gptq_utils.py get_dynamic_override",
)  # fmt: skip
def first_pattern(view: View) -> Found | None:
    """Others are not looked at."""
    dynamic = view.settings.get("dynamic")
    return whole(view.method == "gptq" and isinstance(dynamic, dict) and dynamic)


@VLLM.rule(
    "V57", "AWQ", "repacks codes", Effect.UNCHANGED, Says.UNKNOWN, "Q/auto_awq.py",
)  # fmt: skip
def awq(view: View) -> Found | None:
    """Of 4 bits; the head only with `lm_head: true`."""
    return whole(view.method == "awq" and _bits(view) in (4, None))


@VLLM.rule(
    "V57", "AWQ of other than 4 bits", "refuses AWQ of other than 4 bits", Effect.REFUSED, Says.REFUSES,
    "Q/auto_awq.py",
)  # fmt: skip
def awq_of_other_bits(view: View) -> Found | None:
    """By the settings."""
    return whole(view.method == "awq" and _bits(view) not in (4, None))


@VLLM.rule(
    "V57", "AWQ: the head is quantized, and `lm_head` is not true in the settings",
    "makes a plain head, for which the file has no weight", Effect.DEFAULT, Says.SILENT, "Q/auto_awq.py",
)  # fmt: skip
def awq_head(view: View) -> Found | None:
    """Its codes then have no parameter."""
    head = [m for m in view.stored_so(Stored.GPTQ) if m.rpartition(".")[2] == "lm_head"]
    adds = ("its codes then have no parameter (V1)",)
    return listed(head if view.method == "awq" and view.settings.get("lm_head") is not True else [], 1, adds=adds)


def _bits(view: View) -> int | None:
    found = view.settings.get("bits", view.settings.get("w_bit"))
    return found if type(found) is int else None


@VLLM.rule(
    "V58", "`mxfp4`: modules outside of experts",
    "does not read the settings: all but experts is taken as not quantized", Effect.UNCHANGED, Says.SILENT,
    "Q/mxfp4.py",
)  # fmt: skip
def body_not_read(view: View) -> Found | None:
    """`modules_to_not_convert` too."""
    return whole(view.method == "mxfp4")


@VLLM.rule(
    "V58", "`mxfp4`: experts without blocks or without scales",
    "leaves 0 for missing blocks or scales: experts vanish", Effect.DEFAULT, Says.SILENT, "Q/mxfp4.py",
)  # fmt: skip
def experts_vanish(view: View) -> Found | None:
    """A byte of 0 is 2^-127."""
    if view.method != "mxfp4" or view.incomplete:
        return None
    modules = [m for m in view.modules if view.is_stacked(m)]
    found = [m for m in modules if not (view.has(m, "blocks") and view.has(m, "scales")) and not view.has(m, "weight")]
    return listed(found, len(modules))


@VLLM.rule(
    "V59", "GGUF, or bitsandbytes", "has no method for it built in: refused, unless a plug-in brings one",
    Effect.REFUSED, Says.REFUSES, "Q/__init__.py", changed_lately=True,
)  # fmt: skip
def not_built_in(view: View) -> Found | None:
    """By the kind of file, or by `quant_method`."""
    return whole(view.stored in ("gguf", "bitsandbytes"))
