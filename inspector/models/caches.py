"""The KV cache of a transformers model: the keys and values that its attention sees, shown and exchanged.

A forward of a whole text has no cache. What attention is given are the same tensors, keys after their rotary embedding,
that engines write into theirs (vLLM: `reshape_and_cache` behind the rotary embedding), so they are taken there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor

_NAME = "qinspect_caches"
_OWNER = "_qinspect_cache"
POINTS = ("k_cache", "v_cache")
Shown = Callable[[str, Tensor], Tensor | None]


def show_caches(model: Any, shown: Shown) -> bool:
    """From now on `<attention>:k_cache` and `:v_cache`, [batch, heads, length, width], are shown. Whether they can be:
    the model must leave attention to a registered function, as most of transformers do, and cache what it is given;
    multi-head latent attention caches something else."""
    try:
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    except ImportError:  # a library from before
        return False
    before = getattr(model.config, "_attn_implementation", None)
    if before == _NAME:
        return True
    modules = {n: m for n, m in model.named_modules() if _is_attention(m)}
    if not modules or not isinstance(before, str) or before not in ALL_MASK_ATTENTION_FUNCTIONS:
        return False
    functions = {n: _function(ALL_ATTENTION_FUNCTIONS, before, m) for n, m in modules.items()}
    if None in functions.values():
        return False
    ALL_ATTENTION_FUNCTIONS.register(_NAME, _run)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, ALL_MASK_ATTENTION_FUNCTIONS[before])
    model.set_attn_implementation(_NAME)
    if any(m.config._attn_implementation != _NAME for m in modules.values()):
        model.set_attn_implementation(before)
        return False
    for name, module in modules.items():
        setattr(module, _OWNER, (name, functions[name], shown))
    return True


def _run(module: Any, query: Tensor, key: Tensor, value: Tensor, *given: Any, **named: Any) -> Any:
    """The model's own attention over what goes on in the place of its keys and values."""
    name, function, shown = getattr(module, _OWNER)
    other_key, other_value = shown(f"{name}:k_cache", key), shown(f"{name}:v_cache", value)
    keys, values = key if other_key is None else other_key, value if other_value is None else other_value
    return function(module, query, keys, values, *given, **named)


def _is_attention(module: Any) -> bool:
    """One of its own keys and values: `kv_b_proj` makes them of what is cached instead."""
    projections = all(hasattr(module, p) for p in ("k_proj", "v_proj")) or hasattr(module, "qkv_proj")
    return projections and hasattr(module, "config") and not hasattr(module, "kv_b_proj")


def _function(registered: Any, implementation: str, module: Any) -> Any:
    """What runs its attention now; the eager one is of the model's own file."""
    if implementation in registered:
        return registered[implementation]
    return getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
