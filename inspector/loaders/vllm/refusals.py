"""Settings that end the loading (vLLM)."""

from __future__ import annotations

from qinspect.inspector.loaders.engine import Found
from qinspect.inspector.loaders.finding import inverse_scales, whole
from qinspect.inspector.loaders.fp8_shapes import is_block
from qinspect.inspector.loaders.statement import Effect, Says
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, View
from qinspect.inspector.loaders.vllm.engine import VLLM

_ALGORITHMS = (
    "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4", "MXFP8", "MIXED_PRECISION",
)  # fmt: skip


@VLLM.rule(
    "V40", f"ModelOpt `quant_algo` not one of {', '.join(_ALGORITHMS)}", "refuses the algorithm: ValueError",
    Effect.REFUSED, Says.REFUSES, "Q/modelopt.py QUANT_ALGOS",
)  # fmt: skip
def algorithm(view: View) -> Found | None:
    """Letters may be small or large."""
    unknown = view.method == MODELOPT and view.algorithm not in ("", *_ALGORITHMS)
    return whole(unknown, f"quant_algo is {view.algorithm}")


@VLLM.rule(
    "V43", "compressed-tensors with 2:4 sparsity", "refuses 2:4 sparsity", Effect.REFUSED, Says.REFUSES,
    "Q/compressed_tensors/compressed_tensors.py",
)  # fmt: skip
def sparsity(view: View) -> Found | None:
    """By the structure that the settings name."""
    said = view.settings.get("sparsity_config")
    return whole(view.method == COMPRESSED and isinstance(said, dict) and said.get("sparsity_structure") == "2:4")


_NEEDED = ("group_size", "kv_cache_quant_algo", "exclude_modules")


@VLLM.rule(
    "V43", "ModelOpt NVFP4 by hf_quant_config.json alone, without " + ", ".join(f"`{n}`" for n in _NEEDED),
    "refuses hf_quant_config.json without what NVFP4 needs: ValueError", Effect.REFUSED, Says.REFUSES,
    "Q/modelopt.py _from_config",
)  # fmt: skip
def lacks_settings(view: View) -> Found | None:
    """Where config.json has the settings, those are read."""
    if view.method != MODELOPT or view.settings or view.algorithm != "NVFP4":
        return None
    missing = [n for n in _NEEDED if n not in view.side]
    return whole(missing, f"missing: {', '.join(missing)}")


@VLLM.rule(
    "V53", "`fp8` without `activation_scheme`, or `static` with blocks",
    "refuses the scheme of activations: ValueError", Effect.REFUSED, Says.REFUSES, "Q/fp8.py",
)  # fmt: skip
def activation_scheme(view: View) -> Found | None:
    """By config.json."""
    if view.method != "fp8":
        return None
    said = view.settings.get("activation_scheme")
    if said is None:
        return whole(True, "activation_scheme is missing")
    return whole(said == "static" and is_block(view), "activation_scheme is static, and there are blocks")


@VLLM.rule(
    "V53", "`fp8` with `weight_scale_semantics: inverse`",
    "multiplies by scales that are stored as one over them: if it loads, values are wrong by their square",
    Effect.WRONG_CONSTANT, Says.UNKNOWN, "search for the name",
)  # fmt: skip
def inverse(view: View) -> Found | None:
    """The word is read nowhere."""
    return inverse_scales(view)
