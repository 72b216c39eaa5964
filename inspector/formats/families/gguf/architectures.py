"""What the originals call the tensors of each architecture that llama.cpp knows.

Only tensors whose numbers are the original's: not norms with one added (gemma, nemotron, qwen3next, qwen35, step35),
not q, k and v whose rows the converter sorts by heads (falcon, gptneox, bloom, plamo's q), not weights that it
transposes (gpt2), not what it cuts out of a tensor (gate and up of openelm). Of internlm2 q, k and v have names, since
they pair with the rows of its wqkv. The ends of names are those of the package `gguf` (`MODEL_TENSORS`,
`TensorNameMap`), against which tests hold this table.
"""

from __future__ import annotations

from typing import NamedTuple

Table = dict[str, str]
"""ggml's name without `blk.N.`, and without `.weight` or `.bias` where both may follow, to the original's."""


class Architecture(NamedTuple):
    """outside: tensors outside of layers. layers: what layers are called. inside: the tensors in them."""

    outside: Table
    layers: str
    inside: Table


def _without(table: Table, *ends: str) -> Table:
    return {k: v for k, v in table.items() if not k.endswith(ends)}


_OUTSIDE = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
_LLAMA = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.{e}.gate_proj",
    "ffn_up_exps": "mlp.experts.{e}.up_proj",
    "ffn_down_exps": "mlp.experts.{e}.down_proj",
}
_QWEN_SHARED = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
_SHARED = {
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
}
_LATENT = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
}
_CORRECTION = {"exp_probs_b.bias": "mlp.gate.e_score_correction_bias"}
_DEEPSEEK = {**_LLAMA, **_EXPERTS, **_LATENT, **_CORRECTION, **_SHARED}
_MIXTRAL = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.{e}.w1",
    "ffn_up_exps": "block_sparse_moe.experts.{e}.w3",
    "ffn_down_exps": "block_sparse_moe.experts.{e}.w2",
}
_POST_NORMS = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_GPT_OSS = {
    **_without(_LLAMA, "ffn_norm"),
    **_EXPERTS,
    "ffn_gate_inp": "mlp.router",
    "post_attention_norm": "post_attention_layernorm",
    "attn_sinks.weight": "self_attn.sinks",
    **{f"ffn_{n}_exps.bias": f"mlp.experts.{n}_proj_bias" for n in ("gate", "up", "down")},
}
_PHI3 = {**_without(_LLAMA, "ffn_gate"), "attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}
_PHI2 = {
    **_without(_LLAMA, "_norm", "ffn_gate"),
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attn.query_key_value",
    "attn_output": "self_attn.dense",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_GLM4 = {
    **_without(_LLAMA, "ffn_gate"),
    "ffn_up": "mlp.gate_up_proj",
    "post_attention_norm": "post_self_attn_layernorm",
    "post_ffw_norm": "post_mlp_layernorm",
}
_HUNYUAN = {**_LLAMA, "attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"}
_BITNET = {**_LLAMA, "attn_sub_norm": "self_attn.inner_attn_ln", "ffn_sub_norm": "mlp.ffn_layernorm"}
_LLAMA4 = {
    **_without(_LLAMA, "ffn_gate", "ffn_up", "ffn_down"),
    **{f"ffn_{n}": f"feed_forward.{n}_proj" for n in ("gate", "up", "down")},
    **{f"ffn_{n}_exps": f"feed_forward.experts.{{e}}.{n}_proj" for n in ("gate", "up", "down")},
    **{f"ffn_{n}_shexp": f"feed_forward.shared_expert.{n}_proj" for n in ("gate", "up", "down")},
    "ffn_gate_inp": "feed_forward.router",
}
_W123 = {"gate": "w1", "up": "w3", "down": "w2"}
_LFM2 = {
    "attn_norm": "operator_norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm",
    "attn_k_norm": "self_attn.k_layernorm",
    "shortconv.in_proj": "conv.in_proj",
    "shortconv.out_proj": "conv.out_proj",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3",
    "ffn_down": "feed_forward.w2",
}
_BAILING = {
    **_without(_LLAMA, "attn_q", "attn_k", "attn_v", "_q_norm", "_k_norm"),
    **_EXPERTS,
    **_SHARED,
    "attn_qkv": "attention.query_key_value",
    "attn_output": "attention.dense",
}
_BAILING_OUTSIDE = {**_OUTSIDE, "token_embd": "model.word_embeddings"}
_GPT_H = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_GPT_OUTSIDE = {
    "token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f",
    "output": "lm_head",
}  # fmt: skip
_GPT2 = {f"{k}.bias": f"{v}.bias" for k, v in _GPT_H.items()} | {
    f"{k}.weight": f"{v}.weight" for k, v in _GPT_H.items() if k.endswith("norm")
}
_NEOX = {
    "attn_norm": "input_layernorm",
    "attn_output": "attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
_BERT = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}
_MAMBA_OUTSIDE = {"token_embd": "backbone.embeddings", "output": "lm_head", "output_norm": "backbone.norm_f"}
_MAMBA = {
    "attn_norm": "norm",
    "ssm_in": "mixer.in_proj",
    "ssm_conv1d": "mixer.conv1d",
    "ssm_x": "mixer.x_proj",
    "ssm_dt": "mixer.dt_proj",
    "ssm_d": "mixer.D",
    "ssm_out": "mixer.out_proj",
}
_MAMBA2 = {**_MAMBA, "ssm_dt.bias": "mixer.dt_bias", "ssm_norm": "mixer.norm"}
_JAMBA = {
    **_without(_LLAMA, "_norm", "ffn_gate", "ffn_up", "ffn_down"),
    **{k: v.replace("mixer.", "mamba.") for k, v in _MAMBA.items()},
    **{f"ffn_{n}": f"feed_forward.{n}_proj" for n in ("gate", "up", "down")},
    **{f"ffn_{n}_exps": f"feed_forward.experts.{{e}}.{n}_proj" for n in ("gate", "up", "down")},
    "ffn_gate_inp": "feed_forward.router",
    "attn_norm": "input_layernorm",
    "ffn_norm": "pre_ff_layernorm",
    "ssm_dt_norm": "mamba.dt_layernorm",
    "ssm_b_norm": "mamba.b_layernorm",
    "ssm_c_norm": "mamba.c_layernorm",
}
_GRANITE_HYBRID = {**_LLAMA, **{k: v.replace("mixer.", "mamba.") for k, v in _MAMBA2.items() if k != "attn_norm"}}
_NEMOTRON_H = {
    **_MAMBA2,
    "attn_q": "mixer.q_proj",
    "attn_k": "mixer.k_proj",
    "attn_v": "mixer.v_proj",
    "attn_output": "mixer.o_proj",
    "ffn_up": "mixer.up_proj",
    "ffn_down": "mixer.down_proj",
    "ffn_gate_inp": "mixer.gate",
    "exp_probs_b.bias": "mixer.gate.e_score_correction_bias",
    "ffn_up_exps": "mixer.experts.{e}.up_proj",
    "ffn_down_exps": "mixer.experts.{e}.down_proj",
    "ffn_up_shexp": "mixer.shared_experts.up_proj",
    "ffn_down_shexp": "mixer.shared_experts.down_proj",
}
_BERT_BY_LAYERS = {
    "attn_qkv": "attn.Wqkv", "attn_output": "attn.out_proj", "attn_output_norm": "norm1", "layer_output_norm": "norm2",
    "ffn_down": "mlp.fc2",
}  # fmt: skip
_BERT_OUTSIDE = {
    "token_embd": "embeddings.word_embeddings", "token_types": "embeddings.token_type_embeddings",
    "token_embd_norm": "emb_ln",
}  # fmt: skip
_GEMMA_4 = {**_LLAMA, **_POST_NORMS, "ffn_norm": "pre_feedforward_layernorm"}
_ARCTIC = {
    **_LLAMA,
    **_MIXTRAL,
    "ffn_norm": "residual_layernorm",
    "ffn_norm_exps": "post_attention_layernorm",
    **{f"ffn_{n}": f"residual_mlp.{w}" for n, w in _W123.items()},
}
_KIMI_LINEAR = {
    **_LLAMA,
    **_without(_LATENT, "_kv_b"),
    "ffn_gate_inp": "block_sparse_moe.gate",
    "exp_probs_b.bias": "block_sparse_moe.gate.e_score_correction_bias",
    **{f"ffn_{n}_exps": f"block_sparse_moe.experts.{{e}}.{w}" for n, w in _W123.items()},
    **{f"ffn_{n}_shexp": f"block_sparse_moe.shared_experts.{n}_proj" for n in ("gate", "up", "down")},
    **{f"ssm_{n}": f"self_attn.{n}_proj" for n in ("f_a", "f_b", "g_a", "g_b")},
    "ssm_beta": "self_attn.b_proj",
    "ssm_norm": "self_attn.o_norm",
    "ssm_dt.bias": "self_attn.dt_bias",
}
_COGVLM = {
    **_without(_LLAMA, "attn_q", "attn_k", "attn_v", "attn_output", "_q_norm", "_k_norm"),
    "attn_qkv": "self_attn.language_expert_query_key_value",
    "attn_output": "self_attn.language_expert_dense",
    **{f"ffn_{n}": f"mlp.language_mlp.{n}_proj" for n in ("gate", "up", "down")},
    "vis_attn_qkv": "self_attn.vision_expert_query_key_value",
    "vis_attn_output": "self_attn.vision_expert_dense",
    **{f"vis_{n}": f"mlp.vision_mlp.{n}_proj" for n in ("gate", "up", "down")},
}
_NORM_PLUS_ONE = {k: v for k, v in _OUTSIDE.items() if k != "output_norm"}


def _like_llama(inside: Table, outside: Table = _OUTSIDE, layers: str = "model.layers") -> Architecture:
    return Architecture(outside, layers, inside)


ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(
        ("llama", "llama-embed", "deci", "baichuan", "orion", "xverse", "minicpm", "mistral3", "granite", "smollm3",
         "arcee", "qwen2", "qwen2vl", "qwen3", "qwen3vl", "dream", "ernie4_5", "olmo", "command-r", "cohere2",
         "pangu-embedded", "paddleocr", "maincoder", "jais2", "eurobert"), _like_llama(_LLAMA),
    ),
    "chameleon": _like_llama(_without(_LLAMA, "_q_norm", "_k_norm")),  # the converter sorts these by heads
    "stablelm": _like_llama(_without(_LLAMA, "_q_norm", "_k_norm")),  # and stacks those of heads
    **dict.fromkeys(("olmoe", "qwen3moe", "qwen3vlmoe", "rnd1", "llada-moe"), _like_llama({**_LLAMA, **_EXPERTS})),
    "qwen2moe": _like_llama({**_LLAMA, **_EXPERTS, **_QWEN_SHARED}),
    **dict.fromkeys(("deepseek", "dots1", "exaone-moe", "deepseek2", "deepseek2-ocr", "mistral4"),
                    _like_llama(_DEEPSEEK)),
    "glm4moe": _like_llama({**_without(_DEEPSEEK, "ffn_norm"), "post_attention_norm": "post_attention_layernorm"}),
    "glm4": _like_llama(_GLM4),
    **dict.fromkeys(("minicpm3", "plm"), _like_llama({**_LLAMA, **_LATENT})),
    **dict.fromkeys(("olmo2", "exaone4"), _like_llama({**_without(_LLAMA, "attn_norm", "ffn_norm"), **_POST_NORMS})),
    "seed_oss": _like_llama({**_without(_LLAMA, "ffn_norm"), "post_attention_norm": "post_attention_layernorm"}),
    "minimax-m2": _like_llama({**_LLAMA, **_MIXTRAL, "exp_probs_b.bias": "block_sparse_moe.e_score_correction_bias"}),
    "phimoe": _like_llama({**_LLAMA, **_MIXTRAL}),
    "phi3": _like_llama(_PHI3),
    "phi2": _like_llama(_PHI2, {**_OUTSIDE, "output_norm": "model.final_layernorm"}),
    "gpt-oss": _like_llama(_GPT_OSS),
    **dict.fromkeys(("hunyuan-dense", "hunyuan_vl"), _like_llama(_HUNYUAN)),
    "hunyuan-moe": _like_llama(
        {**_HUNYUAN, **_EXPERTS, "ffn_gate_inp": "mlp.gate.wg",
         **{f"ffn_{n}_shexp": f"mlp.shared_mlp.{n}_proj" for n in ("gate", "up", "down")}},
    ),
    "ernie4_5-moe": _like_llama({**_LLAMA, **_EXPERTS, **_SHARED}),
    "apertus": _like_llama({**_LLAMA, "attn_norm": "attention_layernorm", "ffn_norm": "feedforward_layernorm"}),
    "bitnet": _like_llama(_BITNET),
    "llama4": _like_llama(_LLAMA4),
    "starcoder2": _like_llama({**_LLAMA, "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}),
    "lfm2moe": _like_llama(
        {**_LFM2, **{f"ffn_{n}_exps": f"feed_forward.experts.{{e}}.{w}" for n, w in _W123.items()},
         "ffn_gate_inp": "feed_forward.gate", "exp_probs_b.bias": "feed_forward.expert_bias"},
        {**_OUTSIDE, "token_embd_norm": "model.embedding_norm"},
    ),
    "afmoe": _like_llama(
        {**_DEEPSEEK, "attn_gate": "self_attn.gate_proj", "post_attention_norm": "post_attention_layernorm",
         "ffn_norm": "pre_mlp_layernorm", "post_ffw_norm": "post_mlp_layernorm", "ffn_gate_inp": "mlp.router.gate",
         "exp_probs_b.bias": "mlp.expert_bias"},
    ),
    "grovemoe": _like_llama(
        {**_LLAMA, **_EXPERTS,
         **{f"ffn_{n}_chexps": f"mlp.chunk_experts.{{e}}.{n}_proj" for n in ("gate", "up", "down")}},
    ),
    "smallthinker": _like_llama(
        {**_LLAMA, "ffn_gate_inp": "block_sparse_moe.primary_router",
         **{f"ffn_{n}_exps": f"block_sparse_moe.experts.{{e}}.{n}" for n in ("gate", "up", "down")}},
    ),
    "mimo2": _like_llama(
        {**_LLAMA, **_EXPERTS, **_CORRECTION, "attn_sinks.weight": "self_attn.attention_sink_bias"}
    ),
    "glm-dsa": _like_llama(_DEEPSEEK),
    "llada": Architecture(
        {"token_embd": "model.transformer.wte", "output": "model.transformer.ff_out",
         "output_norm": "model.transformer.ln_f"}, "model.transformer.blocks",
        {"attn_norm": "attn_norm", "attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj",
         "attn_output": "attn_out", "ffn_norm": "ff_norm", "ffn_gate": "ff_proj", "ffn_up": "up_proj",
         "ffn_down": "ff_out"},
    ),
    "codeshell": Architecture(_GPT_OUTSIDE, "transformer.h", _GPT_H),
    "lfm2": _like_llama(_LFM2, {**_OUTSIDE, "token_embd_norm": "model.embedding_norm"}),
    **dict.fromkeys(
        ("gemma", "gemma2", "gemma3", "gemma-embedding"),
        _like_llama(_without(_LLAMA, "norm"), {"token_embd": "model.embed_tokens"}),
    ),
    "nemotron": _like_llama(_without(_LLAMA, "norm"), _NORM_PLUS_ONE),
    "qwen35": _like_llama(_without(_LLAMA, "norm"), _NORM_PLUS_ONE),
    **dict.fromkeys(
        ("qwen3next", "qwen35moe"),
        _like_llama({**_without(_LLAMA, "norm"), **_EXPERTS, **_QWEN_SHARED}, _NORM_PLUS_ONE),
    ),
    "bailingmoe": _like_llama(_without(_BAILING, "attn_qkv"), _BAILING_OUTSIDE),
    "bailingmoe2": _like_llama(
        {**_BAILING, "attn_q_norm": "attention.query_layernorm", "attn_k_norm": "attention.key_layernorm"},
        _BAILING_OUTSIDE,
    ),
    "internlm2": Architecture(
        {"token_embd": "model.tok_embeddings", "output": "output", "output_norm": "model.norm"}, "model.layers",
        {**{f"attn_{n}": f"attention.w{n}" for n in "qkv"},
         "attn_norm": "attention_norm", "attn_output": "attention.wo", "ffn_norm": "ffn_norm",
         "ffn_gate": "feed_forward.w1", "ffn_up": "feed_forward.w3", "ffn_down": "feed_forward.w2"},
    ),
    "qwen": Architecture(
        _GPT_OUTSIDE, "transformer.h",
        {**_without(_GPT_H, "ffn_up"), "ffn_gate": "mlp.w2", "ffn_up": "mlp.w1"},
    ),
    "exaone": Architecture(
        _GPT_OUTSIDE, "transformer.h",
        {"attn_norm": "ln_1", "ffn_norm": "ln_2", "attn_output": "attn.attention.out_proj", "ffn_gate": "mlp.c_fc_0",
         "ffn_up": "mlp.c_fc_1", "ffn_down": "mlp.c_proj",
         **{f"attn_{n}": f"attn.attention.{n}_proj" for n in ("q", "k", "v")}},
    ),
    "starcoder": Architecture(_GPT_OUTSIDE, "transformer.h", _GPT_H),
    "gpt2": Architecture(_GPT_OUTSIDE, "transformer.h", _GPT2),
    "gptneox": Architecture(
        {"token_embd": "gpt_neox.embed_in", "output": "embed_out", "output_norm": "gpt_neox.final_layer_norm"},
        "gpt_neox.layers", _NEOX,
    ),
    "bloom": Architecture(
        {"token_embd": "transformer.word_embeddings", "token_embd_norm": "transformer.word_embeddings_layernorm",
         "output_norm": "transformer.ln_f", "output": "lm_head"}, "transformer.h",
        {**_NEOX, "attn_output": "self_attention.dense"},
    ),
    "falcon": Architecture(
        {"token_embd": "transformer.word_embeddings", "output_norm": "transformer.ln_f", "output": "lm_head"},
        "transformer.h",
        {**_without(_NEOX, "norm"), "attn_output": "self_attention.dense"},
    ),
    "mpt": Architecture(
        {"token_embd": "transformer.wte", "output_norm": "transformer.norm_f"}, "transformer.blocks",
        {"attn_norm": "norm_1", "attn_qkv": "attn.Wqkv", "attn_output": "attn.out_proj", "ffn_norm": "norm_2",
         "ffn_up": "ffn.up_proj", "ffn_down": "ffn.down_proj"},
    ),
    "chatglm": Architecture(
        {"token_embd": "transformer.embedding.word_embeddings", "output": "transformer.output_layer",
         "output_norm": "transformer.encoder.final_layernorm"}, "transformer.encoder.layers",
        {**_NEOX, "attn_qkv": "self_attention.query_key_value", "attn_output": "self_attention.dense"},
    ),
    "bert": Architecture(
        {"token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
         "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm"},
        "encoder.layer", _BERT,
    ),
    "modern-bert": Architecture(
        {"token_embd": "embeddings.tok_embeddings", "token_embd_norm": "embeddings.norm", "output_norm": "final_norm"},
        "layers",
        {"attn_norm": "attn_norm", "attn_qkv": "attn.Wqkv", "attn_output": "attn.Wo", "ffn_norm": "mlp_norm",
         "ffn_up": "mlp.Wi", "ffn_down": "mlp.Wo"},
    ),
    "nomic-bert": Architecture(
        _BERT_OUTSIDE, "encoder.layers", {**_BERT_BY_LAYERS, "ffn_up": "mlp.fc11", "ffn_gate": "mlp.fc12"},
    ),
    "nomic-bert-moe": Architecture(
        _BERT_OUTSIDE, "encoder.layers", {**_BERT_BY_LAYERS, "ffn_up": "mlp.fc1", "ffn_gate_inp": "mlp.router.layer"},
    ),
    "jina-bert-v3": Architecture(
        _BERT_OUTSIDE, "encoder.layers",
        {**_BERT_BY_LAYERS, "attn_qkv": "mixer.Wqkv", "attn_output": "mixer.out_proj", "ffn_up": "mlp.fc1"},
    ),
    "neo-bert": Architecture(
        {"token_embd": "encoder", "enc.output_norm": "layer_norm"}, "transformer_encoder",
        {"attn_norm": "attention_norm", "attn_qkv": "qkv", "attn_output": "wo", "ffn_norm": "ffn_norm",
         "ffn_up": "ffn.w12", "ffn_down": "ffn.w3"},
    ),
    **dict.fromkeys(("gemma3n", "gemma4"), _like_llama(_GEMMA_4)),
    "step35": _like_llama(
        {**_without(_LLAMA, "norm"), "attn_gate": "self_attn.g_proj",
         **{f"ffn_{n}_shexp": f"share_expert.{n}_proj" for n in ("gate", "up", "down")}},
        _NORM_PLUS_ONE,
    ),
    "arctic": _like_llama(_ARCTIC),
    "kimi-linear": _like_llama(_KIMI_LINEAR),
    "cogvlm": _like_llama(_COGVLM),
    "plamo": Architecture(
        _OUTSIDE, "model.layers.layers",
        {**_without(_LLAMA, "attn_q", "attn_output", "_norm"), "attn_norm": "norm"},
    ),
    "refact": Architecture(
        _without(_GPT_OUTSIDE, "position_embd", "output_norm"), "transformer.h",
        {"attn_norm": "ln_1", "attn_output": "attn.c_proj", "ffn_norm": "ln_2", "ffn_down": "mlp.c_proj"},
    ),
    "openelm": Architecture(
        {"token_embd": "transformer.token_embeddings", "output_norm": "transformer.norm"}, "transformer.layers",
        {"attn_norm": "attn_norm", "attn_qkv": "attn.qkv_proj", "attn_q_norm": "attn.q_norm",
         "attn_k_norm": "attn.k_norm", "attn_output": "attn.out_proj", "ffn_norm": "ffn_norm",
         "ffn_down": "ffn.proj_2"},
    ),
    "dbrx": Architecture(
        {"token_embd": "transformer.wte", "output_norm": "transformer.norm_f", "output": "lm_head"},
        "transformer.blocks",
        {"attn_norm": "norm_attn_norm.norm_1", "attn_qkv": "norm_attn_norm.attn.Wqkv",
         "attn_output": "norm_attn_norm.attn.out_proj", "attn_output_norm": "norm_attn_norm.norm_2",
         "ffn_gate_inp": "ffn.router.layer"},
    ),
    "mamba": Architecture(_MAMBA_OUTSIDE, "backbone.layers", _MAMBA),
    "mamba2": Architecture(_MAMBA_OUTSIDE, "backbone.layers", _MAMBA2),
    "jamba": _like_llama(_JAMBA, {**_OUTSIDE, "output_norm": "model.final_layernorm"}),
    "granitehybrid": _like_llama(_GRANITE_HYBRID),
    "granitemoe": _like_llama(_without(_LLAMA, "ffn_gate", "ffn_up", "ffn_down")),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe"), Architecture(_MAMBA_OUTSIDE, "backbone.layers", _NEMOTRON_H)),
}  # fmt: skip
"""By `general.architecture`."""

EXPERTS_OF_MIXTRAL = _MIXTRAL
"""Those of `llama` where it has experts."""
