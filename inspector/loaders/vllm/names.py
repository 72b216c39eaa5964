"""Names, unknown entries, missing entries (vLLM)."""

from __future__ import annotations

from qinspect.inspector.loaders.engine import Found
from qinspect.inspector.loaders.finding import listed, whole
from qinspect.inspector.loaders.groups import expert_layer
from qinspect.inspector.loaders.left_out import (
    Leaves,
    beyond_last_layer,
    by_exact_name,
    by_name_or_expression,
    by_part_of_name,
    halves,
    means,
    plain_units,
    units,
)
from qinspect.inspector.loaders.statement import Deed, Effect, Says
from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, OF_INPUTS, View
from qinspect.inspector.loaders.vllm.engine import VLLM

_OWN_LOADER = ("DeepseekV2", "DeepseekV3")
_AUTOMATIC = "where the model has the automatic loader, as about 210 of 290 have; what the others do is not known"
_THEN = "their scales then have no parameter, as V1 and V2 say"
_LOADERS = "vllm/model_executor/models/utils.py AutoWeightsLoader; Q/base_config.py"
_SCALES = ("weight_scale", "weight_scale_2", "weight_scale_inv", "weight_global_scale", *OF_INPUTS)


def leaves(view: View) -> Leaves:
    """Which modules the method takes as not quantized, by the lists of the settings."""
    if view.method == MODELOPT:
        return by_part_of_name(view.left_out)
    if view.method == COMPRESSED:
        return by_name_or_expression(view.left_out)
    return by_exact_name(view.listed("ignored_layers") or view.listed("modules_to_not_convert"))


def taken_as_plain(view: View) -> list[str]:
    """Quantized modules in the file for which the engine makes a plain layer."""
    if view.method not in (MODELOPT, COMPRESSED, "fp8"):
        return []
    left = plain_units(view, leaves(view))
    if view.method != MODELOPT or not view.layer_algorithms:
        return left
    absent = [m for unit, modules in units(view).items() if not named(view, unit) for m in modules]
    return list(dict.fromkeys((*left, *absent)))


def named(view: View, unit: str) -> bool:
    """Whether `quantized_layers` has an entry for what is asked for: of experts any that begins so."""
    names = view.layer_algorithms
    return unit in names or (unit.endswith(".experts") and any(n.startswith(unit) for n in names))


def _without_place(view: View) -> list[str]:
    """Modules with entries that the engine has no parameter for."""
    scaled = [m for m in taken_as_plain(view) if view.has(m, *_SCALES)]
    factors = view.with_entry("pre_quant_scale") if view.method == MODELOPT else []
    return list(dict.fromkeys((*scaled, *factors)))


@VLLM.rule(
    "V1", "entries of quantization for which the model has no parameter, and a model with the automatic loader",
    "has no parameter for entries of quantization: ValueError", Effect.REFUSED, Says.REFUSES, _LOADERS,
)  # fmt: skip
def no_parameter(view: View) -> Found | None:
    """Scales of modules that are taken as not quantized, and factors that no class knows."""
    if view.is_of(*_OWN_LOADER):
        return None
    return listed(_without_place(view), len(view.quantized), adds=(_AUTOMATIC,))


@VLLM.rule(
    "V1", "`g_idx` and zero points of a cache, which no parameter takes",
    "drops entries that it has no parameter for", Effect.UNCHANGED, Says.SILENT, _LOADERS, deed=Deed.DROPS,
)  # fmt: skip
def dropped(view: View) -> Found | None:
    """Entries whose names end in words that are skipped."""
    if view.method not in VLLM.knows:
        return None
    found = view.with_entry("g_idx", "k_zero_point", "v_zero_point", "q_zero_point")
    return listed(found, len(view.modules))


@VLLM.rule(
    "V2", "the same in a model with a loader of its own (DeepSeek V2 and V3)",
    "has no parameter for entries of quantization: KeyError", Effect.REFUSED, Says.REFUSES,
    "vllm/model_executor/models/deepseek_v2.py load_weights",
)  # fmt: skip
def no_parameter_of_own_loader(view: View) -> Found | None:
    """As `no_parameter`."""
    return listed(_without_place(view), len(view.quantized)) if view.is_of(*_OWN_LOADER) else None


@VLLM.rule(
    "V2", "layers beyond `num_hidden_layers` in a DeepSeek model (MTP)", "skips the layers behind the last", None,
    Says.SILENT, "vllm/model_executor/models/deepseek_v2.py load_weights", deed=Deed.DROPS,
)  # fmt: skip
def layers_behind(view: View) -> Found | None:
    """Those of multi-token prediction."""
    return listed(beyond_last_layer(view, view.modules), len(view.modules)) if view.is_of(*_OWN_LOADER) else None


@VLLM.rule(
    "V3", "a quantized module without a scale that its class has a parameter for",
    "does not check for missing scales", None, Says.SILENT,
    "vllm/model_executor/model_loader/default_loader.py load_weights, track_weights_loading",
)  # fmt: skip
def not_checked(view: View) -> Found | None:
    """What stands in their place, other rules say."""
    if view.incomplete or view.method not in (MODELOPT, COMPRESSED, "fp8"):
        return None
    return listed([m for m in view.quantized if _lacks(view, m)], len(view.quantized))


def _lacks(view: View, module: str) -> bool:
    kind = view.quantized[module]
    if kind is Stored.CODES:
        return True
    if kind is not Stored.NVFP4:
        return False
    outer = not view.has(module, "weight_scale_2", "weight_global_scale")
    return (
        outer or not view.has(module, "weight_scale") or (wants_input_scale(view) and not view.has(module, *OF_INPUTS))
    )


def wants_input_scale(view: View) -> bool:
    """Whether FP4 modules have a stored scale of their inputs by the settings."""
    if view.method == MODELOPT:
        return view.algorithm != "W4A16_NVFP4" and view.quantizes_inputs is not False
    return view.quantizes_inputs is True


@VLLM.rule(
    "V63", "a ModelOpt exclude list of which a part is a part of other names: `layers.1` of `layers.10`",
    "takes modules as not quantized because a name in the exclude list is a part of theirs", Effect.REFUSED,
    Says.REFUSES, "Q/modelopt.py",
)  # fmt: skip
def part_of_name(view: View) -> Found | None:
    """Its scales then have no parameter."""
    if view.method != MODELOPT:
        return None
    caught, meant = by_part_of_name(view.left_out), means(view.left_out)
    found = [m for unit, ms in units(view).items() if caught(unit) and not meant(unit) for m in ms]
    return listed(found, len(view.quantized), adds=(_THEN,))


@VLLM.rule(
    "V62", "an ignore list that names some shards of a fused layer and not the others",
    "refuses fused layers of which some shards are left out and others not: ValueError", Effect.REFUSED, Says.REFUSES,
    "Q/compressed_tensors/; Q/fp8.py",
)  # fmt: skip
def half_left_out(view: View) -> Found | None:
    """Of compressed-tensors and fp8."""
    if view.method not in (COMPRESSED, "fp8"):
        return None
    return listed(halves(view, leaves(view)), len(view.quantized))


@VLLM.rule(
    "V62", "compressed-tensors: a group whose only target ends in `Attention`",
    "skips groups whose only target is an attention", Effect.UNCHANGED, Says.WARNS, "Q/compressed_tensors/",
)  # fmt: skip
def attention_group(view: View) -> Found | None:
    """Its scales are those of the KV cache (V10, V11)."""
    said = [g.get("targets") for g in view.groups_said] if view.method == COMPRESSED else []
    alone = [t[0] for t in said if isinstance(t, list) and len(t) == 1 and isinstance(t[0], str)]
    return whole(any(t.endswith("Attention") for t in alone))


@VLLM.rule(
    "V42", "MIXED_PRECISION: a quantized module that `quantized_layers` does not name",
    "takes modules that quantized_layers does not name as not quantized", Effect.REFUSED, Says.REFUSES,
    "Q/modelopt.py ModelOptMixedPrecisionConfig",
)  # fmt: skip
def absent_from_layers(view: View) -> Found | None:
    """Its scales then have no parameter."""
    if view.method != MODELOPT or not view.layer_algorithms:
        return None
    found = [m for unit, ms in units(view).items() if not named(view, unit) for m in ms]
    return listed(found, len(view.quantized), adds=(_THEN,))


@VLLM.rule(
    "V42", "MIXED_PRECISION: fused shards with two algorithms", "refuses fused shards of two algorithms: ValueError",
    Effect.REFUSED, Says.REFUSES, "Q/modelopt.py ModelOptMixedPrecisionConfig",
)  # fmt: skip
def two_algorithms(view: View) -> Found | None:
    """q, k and v, or gate and up."""
    said = view.layer_algorithms
    groups = [g for g in view.groups if not g.layer] if view.method == MODELOPT and said else []
    found = [m for g in groups if len({said.get(m) for m in g.present}) > 1 for m in g.present]
    return listed(found, len(view.quantized))


@VLLM.rule(
    "V42", "MIXED_PRECISION: experts of a layer with several algorithms",
    "gives all experts of a layer the algorithm of the first entry that begins with their name",
    Effect.WRONG_CONSTANT, Says.UNKNOWN, "Q/modelopt.py ModelOptMixedPrecisionConfig",
)  # fmt: skip
def experts_of_two(view: View) -> Found | None:
    """What becomes of the values is no single factor."""
    if view.method != MODELOPT or not view.layer_algorithms:
        return None
    algorithms: dict[str, list[str]] = {}
    for name, algorithm in view.layer_algorithms.items():
        layer = expert_layer(name) or expert_layer(f"{name}.w1")
        if layer:
            algorithms.setdefault(layer, []).append(algorithm)
    mixed = [layer for layer, said in algorithms.items() if len(set(said)) > 1]
    return listed(mixed, len(algorithms), "layer", adds=("what the other experts then hold is not known",))


_KNOWN_OF_LAYER = frozenset({"FP8", "NVFP4", "W4A16_NVFP4", "MXFP8", "FP8_PB_WO", "FP8_PER_CHANNEL_PER_TOKEN"})


@VLLM.rule(
    "V42", "MIXED_PRECISION: a linear module with an algorithm that is not known",
    "takes linear modules of an unknown algorithm as not quantized", None, Says.SILENT,
    "Q/modelopt.py ModelOptMixedPrecisionConfig", deed=Deed.CHANGES,
)  # fmt: skip
def unknown_of_layer(view: View) -> Found | None:
    """By the words of V40."""
    if view.method != MODELOPT:
        return None
    found = [n for n, a in view.layer_algorithms.items() if a not in _KNOWN_OF_LAYER and n in view.quantized]
    return listed(found, len(view.layer_algorithms), adds=(_THEN,))


@VLLM.rule(
    "V4", "scales of the KV cache under the names of savers", "renames scales of the KV cache to its own",
    Effect.UNCHANGED, Says.UNKNOWN,
    "Q/base_config.py get_cache_scale_mapper; vllm/model_executor/model_loader/weight_utils.py "
    "maybe_remap_kv_scale_name", deed=Deed.RENAMES,
)  # fmt: skip
def renamed(view: View) -> Found | None:
    """`k_proj.k_scale`, `self_attn.k_scale`, `qkv_proj.k_scale`, `kv_scale`, ..."""
    if view.method not in VLLM.knows:
        return None
    lasts = ("k_scale", "v_scale", "q_scale", "kv_scale", *(("output_scale",) if view.method == "fp8" else ()))
    return listed(view.with_entry(*lasts), len(view.modules))


@VLLM.rule(
    "V6", "a scale of the KV cache in a layer beyond `num_hidden_layers`",
    "drops scales of the KV cache for which the model has no layer", None, Says.WARNS_ONCE,
    "vllm/model_executor/model_loader/weight_utils.py maybe_remap_kv_scale_name", deed=Deed.DROPS,
)  # fmt: skip
def without_layer(view: View) -> Found | None:
    """By number; whether another layer has attention the header does not say."""
    if view.method not in VLLM.knows:
        return None
    scaled = view.with_entry("k_scale", "v_scale", "kv_scale")
    return listed(beyond_last_layer(view, scaled), len(scaled), adds=("automatic loaders say nothing",))


@VLLM.rule(
    "V61", "float8_e4m3fn on AMD hardware that has fnuz", "turns -0 into 0 and doubles all scales", Effect.UNCHANGED,
    Says.UNKNOWN, "Q/utils/w8a8_utils.py normalize_e4m3fn_to_e4m3fnuz", backends=("rocm-fnuz",),
)  # fmt: skip
def to_fnuz(view: View) -> Found | None:
    """The values stay."""
    return whole(any(form and form[0].name == "float8_e4m3fn" for form in view.forms.values()) and view.method)
