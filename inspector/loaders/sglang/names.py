"""Names, ignore lists, and scales of the KV cache (SGLang)."""

from __future__ import annotations

from qinspect.inspector.loaders.caches import caches_of
from qinspect.inspector.loaders.engine import Found
from qinspect.inspector.loaders.finding import listed, whole
from qinspect.inspector.loaders.left_out import by_whole_name_or_part, plain_units
from qinspect.inspector.loaders.sglang.engine import SGLANG
from qinspect.inspector.loaders.statement import Deed, Effect, Says
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, View

_LLAMA = "sglang/srt/models/llama.py, qwen2.py load_weights"
_CACHE = "S/kv_cache.py"
_MLA = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")


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
    return listed(
        [m for m in plain if view.has(m, "weight_scale", "weight_scale_2", "input_scale")], len(view.quantized)
    )


@SGLANG.rule(
    "G2", "Llama: `activation_scale`, `weight_scale_inv`", "renames them to input_scale and weight_scale",
    Effect.UNCHANGED, Says.UNKNOWN, "sglang/srt/model_loader/auto_loader.py", deed=Deed.RENAMES,
)  # fmt: skip
def renamed(view: View) -> Found | None:
    """By the last part of the name."""
    return (
        listed(view.with_entry("activation_scale", "weight_scale_inv"), len(view.modules))
        if view.is_of("Llama")
        else None
    )


@SGLANG.rule(
    "G3", "scales of the KV cache under the names of savers",
    "renames scales of the KV cache to its own; of one without a place it warns and drops it", Effect.UNCHANGED,
    Says.UNKNOWN, "sglang/srt/model_loader/weight_utils.py", deed=Deed.RENAMES,
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
    "G4", "an FP8 cache: only a scale of k", "takes k's scale for v", Effect.DEFAULT, Says.UNKNOWN, _CACHE,
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
    "G20", "a ModelOpt exclude list",
    "matches patterns of the exclude list with whole names, or with one part of them", Effect.UNCHANGED, Says.UNKNOWN,
    "S/modelopt_quant.py is_layer_excluded",
)  # fmt: skip
def excluded(view: View) -> Found | None:
    """So `layers.1` is no part of `layers.10`."""
    return whole(view.method == MODELOPT and view.left_out)


@SGLANG.rule(
    "G20", "a ModelOpt exclude list with one shard of a fused layer (`q_a_proj`, `kv_a_proj_with_mqa`, ...)",
    "takes a fused layer as not quantized where one of its shards is left out", None, Says.UNKNOWN,
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
