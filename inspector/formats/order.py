"""The order in which a forward pass meets the modules of a model, by their names: those of a file are in the order of
dtypes or of letters."""

from __future__ import annotations

from functools import lru_cache

from qinspect.inspector.text import natural_key

_FIRST = ("embed", "embeddings", "embed_tokens", "word_embeddings", "wte", "wpe", "tok_embeddings")
_LAST = ("norm", "norm_f", "final_layernorm", "ln_f", "lm_head", "output", "score")
_INSIDE = {
    name: rank
    for rank, names in enumerate(
        (
            ("input_layernorm", "ln_1", "attn_norm"),
            ("self_attn", "attn", "attention", "linear_attn", "mixer", "self_attention"),
            ("in_proj", "q_proj", "q_a_proj", "qkv_proj", "query_key_value", "in_proj_qkvz", "c_attn"),
            ("q_b_proj",),
            ("k_proj", "kv_a_proj_with_mqa", "in_proj_ba"),
            ("v_proj", "kv_b_proj"),
            ("conv1d",),
            ("x_proj",),
            ("dt_proj",),
            ("o_proj", "out_proj", "dense"),
            ("post_attention_layernorm", "ln_2", "ffn_norm"),
            ("mlp", "block_sparse_moe", "feed_forward", "ffn"),
            ("gate", "router"),
            ("gate_proj", "w1", "gate_up_proj", "fc1", "c_fc"),
            ("up_proj", "w3"),
            ("down_proj", "w2", "fc2", "c_proj"),
        )
    )
    for name in names
}


def forward_key(module: str) -> list[str]:
    """Sort key of a module or entry: embeddings first, the layers in their order, in each what it runs first, the head
    last; what has no known place by its natural order."""
    return list(map(_placed, module.split(".")))


@lru_cache(4096)  # few parts occur in 20,000 names
def _placed(part: str) -> str:
    if part in _FIRST:
        return f"\0{natural_key(part)}"
    rank = _INSIDE.get(part)
    if rank is not None:
        return f"\1{rank:03d}"
    return f"\3{part}" if part in _LAST else f"\2{natural_key(part)}"
