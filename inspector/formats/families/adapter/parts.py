"""The entries of an adapter by how their names end: which part of which method an entry is, and of which module."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LORA, LOHA, LOKR = "LoRA", "LoHa", "LoKr"
DOWN, UP, MID, MAGNITUDE, ALPHA = "lora_A", "lora_B", "lora_mid", "magnitude", "alpha"
EMBEDDING_DOWN, EMBEDDING_UP = "lora_embedding_A", "lora_embedding_B"
MLX_DOWN, MLX_UP = "lora_a", "lora_b"

_LORA_PARTS = {
    "lora_A": DOWN, "lora_B": UP, "lora_down": DOWN, "lora_up": UP, "lora.down": DOWN, "lora.up": UP,
    "lora_linear_layer.down": DOWN, "lora_linear_layer.up": UP, "lora_mid": MID,
    "lora_embedding_A": EMBEDDING_DOWN, "lora_embedding_B": EMBEDDING_UP, "lora_a": MLX_DOWN, "lora_b": MLX_UP,
}  # fmt: skip
"""peft's, Kohya's, those of diffusers before it had peft, and MLX's."""

_OTHERS = {
    "lora_E": "AdaLoRA", "ranknum": "AdaLoRA",
    "oft_R": "OFT", "oft_blocks": "OFT", "oft_diag": "OFT", "boft_R": "BOFT", "boft_s": "BOFT",
    "vera_lambda_b": "VeRA", "vera_lambda_d": "VeRA", "vera_A": "VeRA", "vera_B": "VeRA",
    "randlora_lambda": "RandLoRA", "randlora_gamma": "RandLoRA",
    "vblora_logits_A": "VB-LoRA", "vblora_logits_B": "VB-LoRA", "fourierft_spectrum": "FourierFT",
    "ia3_l": "IA3", "hra_u": "HRA", "bone_block": "Bone", "miss_block": "MiSS", "shira_weight": "SHiRA",
    "road_theta": "RoAd", "road_alpha": "RoAd", "c3a_kernel": "C3A",
    "trainable_tokens_delta": "trainable tokens",
}  # fmt: skip
"""What one method alone writes, and what is not calculated here."""

_SHARED = {"alpha": ALPHA, "dora_scale": MAGNITUDE, "lora_magnitude_vector": MAGNITUDE}
"""What stands beside the factors of several methods."""

_OF_LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
_OF_LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2")
_METHODS = {
    **dict.fromkeys(_LORA_PARTS, LORA), **dict.fromkeys(_OF_LOHA, LOHA), **dict.fromkeys(_OF_LOKR, LOKR), **_OTHERS,
    **dict.fromkeys(_SHARED, ""),
}  # fmt: skip
_CALLED = {**{name: name for name in _METHODS}, **_LORA_PARTS, **_SHARED}

_END = re.compile(
    rf"[./](?P<part>{'|'.join(sorted(map(re.escape, _METHODS), key=len, reverse=True))})"
    r"(?:\.(?!weight$|bias$)(?P<given>[^.]+))?(?P<last>\.weight|\.bias)?$"
)
_PROCESSOR = re.compile(r"(?:^|\.)processor\.(?P<of>to_[a-z]+)_lora\.(?P<end>down|up)\.weight$")
"""diffusers before it had peft: of the attention that the processor belongs to."""
_NUMBERED = re.compile(r"(?P<of>\.[a-z_]+_lora\d*)\.(?P<end>down|up)\.weight$")
"""XLabs: `processor.qkv_lora1.down.weight`, the module of the processor itself."""

_SPEAK_OF_IT = ("lora", "hada_", "lokr_", "oft_", "vera_", "ranknum", "fourierft_", "ia3_l", "hra_u", "bone_block",
                "miss_block", "shira_weight", "road_", "c3a_kernel", "trainable_tokens_delta")  # fmt: skip
"""One of these is in the name of every factor."""
_LOOKED_AT = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """One entry of an adapted module. stem: the name of the module, as the file has it. called: what the part is,
    whoever wrote it: `lora_A` is also what Kohya calls `lora_down`. method: whose it is, "" where several have it.
    given: the name of the adapter inside, where one is given."""

    stem: str
    called: str
    method: str
    given: str = ""


def may_hold(names: Iterable[str]) -> bool:
    """Whether a factor is among the names, of which some thousands are looked at, evenly over all: of an adapter most
    are factors, and nearly no model has one."""
    names = list(names)
    text = "\n".join(names[:: max(1, len(names) // _LOOKED_AT)])
    return any(word in text for word in _SPEAK_OF_IT)  # an expression takes thirty times as long


def part_of_name(name: str) -> Part | None:
    """What an entry is, by its name; None of what belongs to no adapter. `alpha` may belong to anything: it is a part
    only where factors stand beside it."""
    if found := _END.search(name):
        stem, part = name[: found.start()], found["part"]
        if not stem:
            return None
        bias = ".bias" if found["last"] == ".bias" else ""
        return Part(stem, _CALLED[part] + bias, _METHODS[part], found["given"] or "")
    for pattern in (_PROCESSOR, _NUMBERED):
        if found := pattern.search(name):
            before = name[: found.start()]
            stem = f"{before}.{found['of']}".strip(".") if pattern is _PROCESSOR else before + found["of"]
            return Part(stem, DOWN if found["end"] == "down" else UP, LORA)
    return None
