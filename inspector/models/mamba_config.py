"""What a Mamba or Mamba2 is: read off the shapes of its tensors, and of its config.json what no shape tells.

Two layouts. State-spaces': `d_model`, `n_layer`, `ssm_cfg`. Hugging Face's: `hidden_size`, `num_hidden_layers`, all in
one object. Whatever both tensors and config tell has to agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.models.declared import Declared

Shapes = Mapping[str, tuple[int, ...]]
MIXER = "backbone.layers.0.mixer."
EMBEDDING = "backbone.embedding.weight"
HEAD = "lm_head.weight"
_EPSILON = 1e-5
"""The default of both layouts. State-spaces' config.json has no key for it."""


@dataclass(frozen=True, slots=True)
class MambaConfig:
    """n_norm_groups: blocks that the gated norm normalises by themselves. rotated: the residual stream and the input of
    out_proj are in Hadamard space (rotation.py)."""

    version: int
    d_model: int
    n_layers: int
    vocab_size: int
    d_inner: int
    d_state: int
    d_conv: int = 4
    head_dim: int = 64
    n_groups: int = 1
    chunk: int = 64
    dt_rank: int = 0
    n_norm_groups: int = 1
    eps: float = _EPSILON
    residual_in_fp32: bool = True
    dt_limit: tuple[float, float] = (0.0, math.inf)
    bias: bool = False
    conv_bias: bool = True
    rotated: bool = False

    @property
    def n_heads(self) -> int:
        """Heads of a Mamba2 mixer."""
        return self.d_inner // self.head_dim

    @property
    def d_bc(self) -> int:
        """Width of B and of C."""
        return self.n_groups * self.d_state if self.version == 2 else self.d_state


def config_of(declared: Declared, shapes: Shapes) -> MambaConfig:
    """From a config.json and the shapes of its checkpoint (state-spaces keys). What the config is silent about is noted
    in `declared.assumed`.

    Raises CannotOpen where the config is of neither layout, contradicts a shape or asks for what Mamba's forward does
    not do, and where shapes of the first layer contradict each other.
    """
    (d_model,) = _shape(declared, shapes, "backbone.norm_f.weight", 1)
    vocab_size, _ = _shape(declared, shapes, EMBEDDING, 2, (None, d_model))
    _, d_inner = _shape(declared, shapes, MIXER + "out_proj.weight", 2, (d_model, None))
    d_convolved, _, d_conv = _shape(declared, shapes, MIXER + "conv1d.weight", 3, (None, 1, None))
    version = 2 if MIXER + "dt_bias" in shapes else 1
    n_layers = sum(k.endswith(".mixer.A_log") for k in shapes)
    shared: dict[str, Any] = {
        "version": version,
        "d_model": d_model,
        "n_layers": n_layers,
        "vocab_size": vocab_size,
        "d_inner": d_inner,
        "d_conv": d_conv,
        "residual_in_fp32": declared.flag("residual_in_fp32", True),
        "bias": MIXER + "in_proj.bias" in shapes,
        "conv_bias": MIXER + "conv1d.bias" in shapes,
        "rotated": declared.one_of("rotation", "none", ("none", "hadamard")) == "hadamard",
    }
    declared.assumed.pop("rotation", None)  # a key of ours: a model of anybody else's is not rotated
    huggingface = _is_huggingface(declared)
    ssm = declared if huggingface else declared.inside("ssm_cfg")
    if huggingface:
        _agree_huggingface(declared, version, shared)
    else:
        _agree_state_spaces(declared, ssm, version, shared)
    # state-spaces' programs have no key for it: what is not there is theirs all the same
    shared["eps"] = declared.number("layer_norm_epsilon", _EPSILON, above=0)
    if version == 1:
        return _mamba1(declared, ssm, huggingface, shapes, shared, d_convolved)
    return _mamba2(declared, ssm, huggingface, shapes, shared, d_convolved)


def is_tied(declared: Declared, has_head: bool) -> bool:
    """Whether the head is the embedding. Raises CannotOpen where the config says that it is not, and there is none."""
    key = "tie_embeddings" if "tie_embeddings" in declared or "d_model" in declared else "tie_word_embeddings"
    if key not in declared:
        declared.assumed[key] = not has_head
    tied = declared.flag(key, not has_head)
    if not tied and not has_head:
        raise CannotOpen(
            "contradicts the tensors", file=declared.file, key=key, expected=f"true, as there is no {HEAD}",
            found="false", cure="Add the head to the weights, or say that it is tied.",
        )  # fmt: skip
    return tied


def _is_huggingface(declared: Declared) -> bool:
    if any(k in declared for k in ("model_type", "hidden_size", "num_hidden_layers")):
        declared.one_of("model_type", "", ("", "mamba", "mamba2"))
        declared.assumed.pop("model_type", None)
        return True
    if not any(k in declared for k in ("d_model", "n_layer", "ssm_cfg")):
        raise CannotOpen(
            "is not a config of a Mamba model", file=declared.file, key="d_model",
            expected="d_model and ssm_cfg as state-spaces write, or model_type as Hugging Face does",
            cure="Take the config.json that was saved with these weights.",
        )  # fmt: skip
    return False


def _agree_huggingface(declared: Declared, version: int, shared: Mapping[str, Any]) -> None:
    model_type = "mamba2" if version == 2 else "mamba"
    if declared.get("model_type") not in (None, model_type):
        raise declared.refused("model_type", f"{model_type}, by the tensors", declared.get("model_type"))
    declared.agree("hidden_size", shared["d_model"], EMBEDDING)
    declared.agree("vocab_size", shared["vocab_size"], EMBEDDING)
    declared.agree("num_hidden_layers", shared["n_layers"], "the number of layers")
    declared.agree("conv_kernel", shared["d_conv"], "conv1d.weight")
    declared.agree("use_bias", shared["bias"], "in_proj.bias")
    declared.agree("use_conv_bias", shared["conv_bias"], "conv1d.bias")
    declared.agree("intermediate_size", shared["d_inner"], "out_proj.weight")
    _agree_expand(declared, shared)
    declared.one_of("hidden_act", "silu", ("silu", "swish"))


def _agree_state_spaces(declared: Declared, ssm: Declared, version: int, shared: Mapping[str, Any]) -> None:
    layer = "Mamba2" if version == 2 else "Mamba1"
    if ssm.get("layer") not in (None, layer, *(["Mamba"] if version == 1 else [])):
        raise ssm.refused("layer", f"{layer}, by the tensors", ssm.get("layer"))
    declared.agree("d_model", shared["d_model"], EMBEDDING)
    declared.agree("n_layer", shared["n_layers"], "the number of layers")
    declared.agree("d_intermediate", 0, "layers that are mixers alone")
    _agree_vocabulary(declared, shared["vocab_size"])
    ssm.agree("d_conv", shared["d_conv"], "conv1d.weight")
    ssm.agree("bias", shared["bias"], "in_proj.bias")
    ssm.agree("conv_bias", shared["conv_bias"], "conv1d.bias")
    ssm.agree("d_ssm", shared["d_inner"], "out_proj.weight")
    _agree_expand(ssm, shared)
    if declared.get("attn_layer_idx"):
        raise declared.refused("attn_layer_idx", "no layer of attention", declared.get("attn_layer_idx"))
    if not declared.flag("rms_norm", True):
        raise declared.refused("rms_norm", "true", False, "asks for another norm than the forward pass has")
    if version == 2 and not ssm.flag("rmsnorm", True):
        raise ssm.refused("rmsnorm", "true", False, "asks for another norm than the forward pass has")
    if version == 2 and ssm.flag("norm_before_gate", False):
        raise ssm.refused("norm_before_gate", "false", True, "asks for another norm than the forward pass has")


def _agree_vocabulary(declared: Declared, rows: int) -> None:
    """State-spaces pad the embedding to a multiple; the files say either number."""
    n, multiple = declared.get("vocab_size"), declared.get("pad_vocab_size_multiple")
    if isinstance(n, int) and isinstance(multiple, int) and multiple > 0 and -(-n // multiple) * multiple == rows:
        return
    declared.agree("vocab_size", rows, EMBEDDING)


def _agree_expand(at: Declared, shared: Mapping[str, Any]) -> None:
    if "expand" in at and at.number("expand", 2, above=0) * shared["d_model"] != shared["d_inner"]:
        by = f"out_proj.weight of {shared['d_inner']} channels and {shared['d_model']} of the model"
        expected = f"{shared['d_inner'] / shared['d_model']:g}, by {by}"
        raise at.refused("expand", expected, at.get("expand"), "contradicts the tensors")


def _mamba1(
    declared: Declared, ssm: Declared, huggingface: bool, shapes: Shapes, shared: dict[str, Any], d_convolved: int
) -> MambaConfig:
    d_inner = shared["d_inner"]
    _agreed(declared, MIXER + "conv1d.weight", d_convolved, d_inner)
    _, d_state = _shape(declared, shapes, MIXER + "A_log", 2, (d_inner, None))
    _, dt_rank = _shape(declared, shapes, MIXER + "dt_proj.weight", 2, (d_inner, None))
    ssm.agree("state_size" if huggingface else "d_state", d_state, "A_log")
    rank = "time_step_rank" if huggingface else "dt_rank"
    if ssm.get(rank) != "auto":
        ssm.agree(rank, dt_rank, "dt_proj.weight")
    return MambaConfig(**shared, d_state=d_state, dt_rank=dt_rank)


def _mamba2(
    declared: Declared, ssm: Declared, huggingface: bool, shapes: Shapes, shared: dict[str, Any], d_convolved: int
) -> MambaConfig:
    d_inner = shared["d_inner"]
    (n_heads,) = _shape(declared, shapes, MIXER + "A_log", 1)
    d_bc, odd = divmod(d_convolved - d_inner, 2)
    if odd or d_bc < 1 or d_inner % n_heads:
        raise CannotOpen(
            "is a Mamba2 of an unknown layout", file=declared.file, key=MIXER + "conv1d.weight",
            expected=f"{d_inner} channels of {n_heads} heads, and as many of B as of C",
            found=f"{d_convolved} channels",
        )  # fmt: skip
    ssm.agree("num_heads" if huggingface else "nheads", n_heads, "A_log")
    ssm.agree("head_dim" if huggingface else "headdim", d_inner // n_heads, "A_log and out_proj.weight")
    n_groups = _groups(ssm, "n_groups" if huggingface else "ngroups", "state_size" if huggingface else "d_state", d_bc)
    if n_heads % n_groups:
        raise ssm.refused("n_groups" if huggingface else "ngroups", f"a divisor of {n_heads} heads", n_groups)
    return MambaConfig(
        **shared,
        d_state=d_bc // n_groups,
        head_dim=d_inner // n_heads,
        n_groups=n_groups,
        # Hugging Face normalises all channels together, state-spaces each group by itself
        n_norm_groups=1 if huggingface else n_groups,
        dt_limit=_limit(ssm, "time_step_limit" if huggingface else "dt_limit"),
    )


def _groups(ssm: Declared, key: str, state_key: str, d_bc: int) -> int:
    """B and C have n_groups * d_state channels: either of the two gives the other, and both have to agree."""
    if key not in ssm and state_key in ssm:
        d_state = int(ssm.number(state_key, 1, above=0))
        if d_state < 1 or d_bc % d_state:
            raise ssm.refused(state_key, f"a divisor of {d_bc} channels of B", d_state, "contradicts the tensors")
        return d_bc // d_state
    n_groups = ssm.number(key, 1, above=0)
    if n_groups != int(n_groups) or d_bc % int(n_groups):
        raise ssm.refused(key, f"a divisor of {d_bc} channels of B", ssm.get(key), "contradicts the tensors")
    ssm.agree(state_key, d_bc // int(n_groups), f"conv1d.weight and {key} {int(n_groups)}")
    return int(n_groups)


def _limit(ssm: Declared, key: str) -> tuple[float, float]:
    if key not in ssm:
        ssm.assumed[ssm.within + key] = [0.0, "inf"]  # as text: JSON has no infinity
        return 0.0, math.inf
    found = ssm.get(key)
    try:
        # transformers writes infinity, which JSON lacks, as an object with its name
        low, high = (float(v["__float__"] if isinstance(v, Mapping) else v) for v in found)
    except (TypeError, ValueError, KeyError):
        low, high = math.nan, math.nan
    if not 0 <= low < high:
        raise ssm.refused(key, "two numbers, 0 <= low < high", found)
    return low, high


def _shape(
    declared: Declared, shapes: Shapes, name: str, n_dims: int, wanted: tuple[int | None, ...] = ()
) -> tuple[int, ...]:
    """Of a tensor that has to be there with so many dimensions, those in `wanted` as they are there."""
    found = shapes.get(name)
    expected = wanted or (None,) * n_dims
    as_text = "[" + ", ".join("any" if n is None else str(n) for n in expected) + "]"
    if found is None:
        raise CannotOpen(
            "is not a complete Mamba model", file=declared.file.parent, key=name, expected="a tensor of this name"
        )
    if not _is(found, expected):
        raise bad_shape(declared, name, as_text, found, _is(found[::-1], expected) and len(found) == 2)
    return found


def _is(found: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(found) == len(expected) and all(w in (None, n) for w, n in zip(expected, found, strict=True))


def _agreed(declared: Declared, name: str, found: int, expected: int) -> None:
    if found != expected:
        raise bad_shape(declared, name, f"{expected} channels", (found,))


def bad_shape(
    declared: Declared,
    name: str,
    expected: str,
    found: tuple[int, ...],
    transposed: bool = False,
    file: Path | None = None,
) -> CannotOpen:
    """A tensor of another shape than the rest of the model gives it."""
    return CannotOpen(
        "has another shape than the rest of the model gives it", file=file or declared.file.parent, key=name,
        expected=expected, found=f"{list(found)}{', which is transposed' if transposed else ''}",
        cure="Save the weight as [out, in]." if transposed else "Take all weights of one model, and its config.json.",
    )  # fmt: skip
