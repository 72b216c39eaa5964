"""llama.cpp's names of tensors, and the names that the original has for them.

Only where an architecture is known here, and only for tensors whose values are the original's: llama.cpp stores
-exp(A_log) and not A_log, and of some models norms with one added. Everything else keeps its name.
"""

from __future__ import annotations

from collections.abc import Mapping

_OUTSIDE = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
_LLAMA = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_sinks": "self_attn.sinks",
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
_DEEPSEEK = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
    "exp_probs_b.bias": "mlp.gate.e_score_correction_bias",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
}
_MIXTRAL = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.{e}.w1",
    "ffn_up_exps": "block_sparse_moe.experts.{e}.w3",
    "ffn_down_exps": "block_sparse_moe.experts.{e}.w2",
}
_POST_NORMS = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_GEMMA = {k: v for k, v in _LLAMA.items() if not k.endswith("norm")}
"""Without the norms, which have one added."""
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

_ARCHITECTURES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    **dict.fromkeys(
        ("llama", "mistral3", "granite", "smollm3", "arcee", "qwen2", "qwen3", "seed_oss", "exaone4"),
        (_OUTSIDE, "model.layers", _LLAMA),
    ),
    **dict.fromkeys(("olmoe", "qwen3moe"), (_OUTSIDE, "model.layers", {**_LLAMA, **_EXPERTS})),
    "qwen2moe": (_OUTSIDE, "model.layers", {**_LLAMA, **_EXPERTS, **_QWEN_SHARED}),
    **dict.fromkeys(("deepseek2", "glm4moe"), (_OUTSIDE, "model.layers", {**_LLAMA, **_EXPERTS, **_DEEPSEEK})),
    "olmo2": (_OUTSIDE, "model.layers", {**_LLAMA, **_POST_NORMS}),
    **dict.fromkeys(("gemma", "gemma2", "gemma3"), ({"token_embd": "model.embed_tokens"}, "model.layers", _GEMMA)),
    "mamba": (_MAMBA_OUTSIDE, "backbone.layers", _MAMBA),
    "mamba2": (_MAMBA_OUTSIDE, "backbone.layers", _MAMBA2),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe"), (_MAMBA_OUTSIDE, "backbone.layers", _NEMOTRON_H)),
}
"""By architecture: the tensors outside of layers, what layers are called, and the tensors in them."""

KNOWN = tuple(_ARCHITECTURES)
_WHOLE = ("weight", "bias")
_NO_SUFFIX = ("mixer.D", "mixer.dt_bias", "mlp.gate.e_score_correction_bias", "mixer.gate.e_score_correction_bias")
"""Parameters that are no module's `weight` or `bias`."""


class Names:
    """Names of one model, by its facts.

    architecture: as the file says it, "" where it does not.
    """

    def __init__(self, facts: Mapping[str, str]) -> None:
        self.architecture = facts.get("general.architecture", "")
        self._outside, self._layers, inside = _ARCHITECTURES.get(self.architecture, ({}, "", {}))
        self._inside = {**inside, **_MIXTRAL} if self.architecture == "llama" else inside

    @property
    def known(self) -> bool:
        """Whether the originals of this architecture have names here."""
        return bool(self._layers)

    def original(self, name: str) -> str:
        """The original's name of a tensor, with `{e}` for the number of an expert where it is of several; "" where it
        is not known."""
        if name.startswith("blk."):
            _, layer, inside = (*name.split(".", 2), "", "")[:3]
            if not (layer.isascii() and layer.isdigit()):
                return ""
            found = _in(self._inside, inside)
            return f"{self._layers}.{layer}.{found}" if found else ""
        return _in(self._outside, name)

    def log_of(self, name: str) -> str:
        """The original's name of the logarithm of what `name` holds less: A_log of `ssm_a`; "" of all others."""
        _, layer, inside = (*name.split(".", 2), "", "")[:3]
        mamba = self._inside.get("ssm_in") == "mixer.in_proj"
        return f"{self._layers}.{layer}.mixer.A_log" if mamba and inside == "ssm_a" and layer.isdecimal() else ""


def _in(table: Mapping[str, str], name: str) -> str:
    """The name in a table of modules, with its last part; of a parameter that stands alone, the whole."""
    if name in table:
        return table[name]
    module, _, last = name.rpartition(".")
    found = table.get(module, "")
    return f"{found}.{last}" if found and last in _WHOLE else ""
