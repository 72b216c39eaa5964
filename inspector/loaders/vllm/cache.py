"""Scales of the KV cache (vLLM)."""

from __future__ import annotations

from qinspect.inspector.loaders.caches import Cache, caches_of
from qinspect.inspector.loaders.engine import Found
from qinspect.inspector.loaders.finding import listed, whole
from qinspect.inspector.loaders.statement import Deed, Effect, Says
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT, View
from qinspect.inspector.loaders.vllm.engine import VLLM

_METHOD = "Q/kv_cache.py BaseKVCacheMethod"
_COMPRESSED = "Q/compressed_tensors/compressed_tensors.py CompressedTensorsKVCacheMethod"
_FP8 = "FP8"


def _caches(view: View, *methods: str) -> list[Cache]:
    """Of a cache that is FP8 by the settings."""
    return caches_of(view) if view.method in methods and view.cache == _FP8 else []


_COMMON = (MODELOPT, "fp8", "quark")


@VLLM.rule(
    "V7", "an FP8 cache without a scale of k and of v", "fills 1.0 for k and v", Effect.DEFAULT, Says.WARNS_ONCE,
    _METHOD, deed=Deed.FILLS,
)  # fmt: skip
def both_missing(view: View) -> Found | None:
    """By layers with q, k and v."""
    caches = _caches(view, *_COMMON)
    found = [c.module for c in caches if not c.has_k and not c.has_v]
    return None if view.incomplete else listed(found, len(caches), "attention")


@VLLM.rule(
    "V7", "scales of an FP8 cache that are stored, and 1.0",
    "warns of scales of 1.0 as if they were missing, though they are stored", Effect.UNCHANGED, Says.WARNS_ONCE,
    _METHOD,
)  # fmt: skip
def stored_ones(view: View) -> Found | None:
    """A stored 1.0 and the default cannot be told apart in the log."""
    caches = _caches(view, *_COMMON)
    return listed([c.module for c in caches if c.k == 1 and c.v == 1], len(caches), "attention")


@VLLM.rule(
    "V8", "only a scale of k", "takes k's scale for v", Effect.DEFAULT, Says.UNKNOWN, _METHOD, deed=Deed.FILLS,
)  # fmt: skip
def only_k(view: View) -> Found | None:
    """Of an FP8 cache."""
    caches = _caches(view, *_COMMON)
    found = [c.module for c in caches if c.has_k and not c.has_v]
    return None if view.incomplete else listed(found, len(caches), "attention")


@VLLM.rule(
    "V8", "only a scale of v, or a scale of k that is 0 or NaN",
    "refuses a scale of v without one of k, and a scale of k that is 0 or NaN: AssertionError", Effect.REFUSED,
    Says.REFUSES, _METHOD,
)  # fmt: skip
def only_v(view: View) -> Found | None:
    """Of an FP8 cache."""
    caches = _caches(view, *_COMMON)
    missing = [] if view.incomplete else [c.module for c in caches if c.has_v and not c.has_k]
    bad = [c.module for c in caches if c.k is not None and (c.k == 0 or c.k != c.k)]
    return listed([*missing, *bad], len(caches), "attention")


@VLLM.rule(
    "V9", "a scale of the cache with more than one element",
    "refuses scales of the cache that are no single number: ValueError", Effect.REFUSED, Says.REFUSES,
    "Q/kv_cache.py KVCacheScaleParameter",
)  # fmt: skip
def not_single(view: View) -> Found | None:
    """Only compressed-tensors may have one per head."""
    caches = caches_of(view) if view.method in _COMMON else []
    return listed([c.module for c in caches if c.largest > 1], len(caches), "attention")


@VLLM.rule(
    "V10", "compressed-tensors: a cache scheme, and a scale of k, v or q missing",
    "fills 1.0 for each that is missing", Effect.DEFAULT, Says.SILENT, _COMPRESSED, deed=Deed.FILLS,
)  # fmt: skip
def compressed_missing(view: View) -> Found | None:
    """q has one only where attention is quantized."""
    caches = _caches(view, COMPRESSED)
    found = [c.module for c in caches if not (c.has_k and c.has_v and c.has_q)]
    what = sorted({n for c in caches for n, has in zip("kvq", (c.has_k, c.has_v, c.has_q), strict=True) if not has})
    return None if view.incomplete else listed(found, len(caches), "attention", (f"missing: {', '.join(what)}",))


@VLLM.rule(
    "V11", "compressed-tensors: `strategy: attn_head`",
    "takes the largest scale of q in each group of heads, and drops zero points", Effect.ACTIVATIONS, Says.UNKNOWN,
    _COMPRESSED,
)  # fmt: skip
def per_head(view: View) -> Found | None:
    """Scales per head are kept for k and v; paths that take one number get the largest."""
    if view.method != COMPRESSED or view.cache_scheme.get("strategy") != "attn_head":
        return None
    caches = caches_of(view)
    return listed([c.module for c in caches if c.largest > 1], len(caches), "attention")


@VLLM.rule(
    "V12", "compressed-tensors: a cache scheme that is not FP8, or not symmetric",
    "refuses the scheme of the KV cache: NotImplementedError", Effect.REFUSED, Says.REFUSES,
    "Q/compressed_tensors/compressed_tensors.py validate_kv_cache_scheme",
)  # fmt: skip
def other_scheme(view: View) -> Found | None:
    """Whatever its scales are."""
    said = view.cache_scheme if view.method == COMPRESSED else {}
    return whole(said and (view.cache != _FP8 or said.get("symmetric") is False))


@VLLM.rule(
    "V12", "ModelOpt: a KV cache that is not FP8", "reads the KV cache as not quantized", None, Says.UNKNOWN,
    "Q/modelopt.py from_config", deed=Deed.DROPS,
)  # fmt: skip
def other_cache(view: View) -> Found | None:
    """NVFP4, INT8."""
    return whole(view.method == MODELOPT and view.cache not in ("", _FP8), f"the settings say {view.cache}")


@VLLM.rule(
    "V13", "an FP8 cache without a scale of q", "fills 1.0 for q, after a warning that says k's scale was taken",
    Effect.DEFAULT, Says.WARNS, _METHOD, deed=Deed.FILLS,
)  # fmt: skip
def no_scale_of_q(view: View) -> Found | None:
    """Files of these methods hardly ever have one."""
    caches = _caches(view, *_COMMON)
    found = [c.module for c in caches if not c.has_q]
    return None if view.incomplete else listed(found, len(caches), "attention")


@VLLM.rule(
    "V15", "scales of a cache that the settings do not quantize",
    "ignores stored scales of the KV cache and takes 1.0", None, Says.UNKNOWN, _METHOD, deed=Deed.DROPS,
)  # fmt: skip
def not_quantized(view: View) -> Found | None:
    """Unless the cache's dtype is asked for when it is served."""
    caches = caches_of(view) if view.method in (*_COMMON, COMPRESSED) and view.cache == "" else []
    found = [c.module for c in caches if c.has_k or c.has_v]
    return listed(found, len(caches), "attention", ("unless it is served with an FP8 cache",))
