"""Names that lost their dots: Kohya's `lora_unet_down_blocks_0_attentions_0_proj_in` is put back into parts.

The underscores of a flat name were dots or underscores, and only knowing the names of modules tells which. A name is
cut into words of a list, and numbers; of all ways the one with the fewest parts is taken, so that `q_proj` is one part
and not `q` and `proj`. Where a word is not in the list, or two ways have equally few parts, the name stays flat.
The words are the names of modules in diffusers and transformers, and in the diffusion models' own code.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORDS = """
down_blocks up_blocks mid_block attentions resnets transformer_blocks single_transformer_blocks downsamplers upsamplers
attn attn1 attn2 attention self_attn cross_attn to_q to_k to_v to_out to_add_out add_q_proj add_k_proj add_v_proj
to_k_ip to_v_ip to_gate_compress norm_q norm_k norm_added_q norm_added_k norm_added_v norm_cross
ff ff_context net proj proj_in proj_out proj_mlp conv conv1 conv2 conv_in conv_out conv_shortcut conv_norm_out
time_emb_proj norm norm1 norm2 norm3 norm1_context norm2_context norm_out linear linear1 linear2 linear_1 linear_2
norm_in norm_final norm_out_context norm3_context text_embedder timestep_embedder guidance_embedder time_text_embed
context_embedder x_embedder y_embedder t_embedder caption_projection adaln_single emb pos_embed add_embedding
time_embedding class_embedding encoder_hid_proj patch_embedding condition_embedder time_embedder time_proj
image_embedder
txt_norm img_in txt_in time_in vector_in guidance_in in_layer out_layer final_layer adaLN_modulation
input_blocks output_blocks middle_block in_layers out_layers emb_layers skip_connection time_embed label_emb op
text_model encoder decoder layers embeddings token_embedding position_embedding final_layer_norm layer_norm1 layer_norm2
text_projection q_proj k_proj v_proj o_proj out_proj mlp fc1 fc2 gate_proj up_proj down_proj input_layernorm
post_attention_layernorm embed_tokens block layer layer_norm SelfAttention DenseReluDense q k v o wi wi_0 wi_1 wo
double_blocks single_blocks img_attn txt_attn qkv img_mlp txt_mlp img_mod txt_mod modulation lin
joint_blocks x_block context_block blocks ffn k_img v_img feed_forward w1 w2 w3 noise_refiner context_refiner
adaln_modulation_cross_attn adaln_modulation_self_attn adaln_modulation_mlp output_proj layer1 layer2
to_qkv_mlp_proj linear_in linear_out ff1 ff2 conv_depth conv_inverted conv_point linear_3 ffn_norm1 ffn_norm2
attention_norm1 attention_norm2 img_norm1 img_norm2 txt_norm1 txt_norm2 token_refiner refiner_blocks patch_embed
resolution_embedder aspect_ratio_embedder text_proj joint_transformer_blocks time_step_proj time_caption_embed
caption_embedder caption_norm cap_embedder distilled_guidance_layer in_proj norms time_guidance_embed group_norm
double_stream_modulation_img double_stream_modulation_txt single_stream_modulation quant_conv post_quant_conv
relative_attention_bias wq wk wv gate up down txtfusion layerwise_blocks
"""
_NUMBERS = re.compile(r"\d+")
_PREFIX = re.compile(
    r"(lora_unet|lora_te\d?|lora_transformer|lora_prior_unet|lora_prior_te|lora_text_encoder(?:_\d)?"
    r"|lora_llm_adapter|lycoris)_(?=.)"
)
_words = frozenset(_WORDS.split())
_LONGEST = max(word.count("_") for word in _words) + 1
_MOST_PIECES = 64


def branch_of(stem: str) -> tuple[str, str]:
    """(prefix, rest) of a flat name: `lora_unet` and what follows it; ("", stem) of a name with dots or without such a
    prefix."""
    found = None if "." in stem else _PREFIX.match(stem)
    return (found[1], stem[found.end() :]) if found else ("", stem)


@lru_cache(1 << 14)
def unfolded(flat: str) -> str | None:
    """`down_blocks_0_attentions_0_proj_in` as `down_blocks.0.attentions.0.proj_in`; None where it cannot be told."""
    pieces = flat.split("_")
    if len(pieces) > _MOST_PIECES or "" in pieces:
        return None
    # best[i]: the fewest parts of the first i pieces, how many ways there are, and the last part of one of them
    best: list[tuple[int, int, int] | None] = [(0, 1, 0)]
    for end in range(1, len(pieces) + 1):
        fewest: tuple[int, int, int] | None = None
        for start in range(max(0, end - _LONGEST), end):
            before = best[start]
            if before is None or not _is_part("_".join(pieces[start:end])):
                continue
            n, ways, _ = before
            if fewest is None or n + 1 < fewest[0]:
                fewest = (n + 1, ways, start)
            elif n + 1 == fewest[0]:
                fewest = (fewest[0], fewest[1] + ways, fewest[2])
        best.append(fewest)
    last = best[-1]
    return None if last is None or last[1] > 1 else ".".join(_parts(pieces, best))


def _parts(pieces: list[str], best: list[tuple[int, int, int] | None]) -> list[str]:
    parts, end = [], len(pieces)
    while end:
        found = best[end]
        assert found is not None
        parts.append("_".join(pieces[found[2] : end]))
        end = found[2]
    return parts[::-1]


def _is_part(text: str) -> bool:
    return text in _words or _NUMBERS.fullmatch(text) is not None
