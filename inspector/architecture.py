"""What a model is made of by its settings and its shapes: the kind of each layer, and which rows of a projection are
what. Nothing here knows how a weight is quantized.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qinspect.inspector.roles import strip_root

_PATTERN = {"M": "Mamba", "*": "attention", "-": "MLP", "E": "MoE"}
"""Letters of Nemotron-H's `hybrid_override_pattern`."""
_WORDS = {
    "mamba": "Mamba", "mamba2": "Mamba", "attention": "attention", "full_attention": "attention", "mlp": "MLP",
    "moe": "MoE", "linear_attention": "linear attention", "sliding_attention": "sliding attention",
    "chunked_attention": "chunked attention", "conv": "convolution", "hybrid": "hybrid",
}  # fmt: skip
"""Of `layers_block_type` (Nemotron-H, Zamba) and `layer_types` (transformers)."""
_MOST_LAYERS = 10_000


def layer_kinds(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Of each layer what it is, `Mamba` or `attention`, where config.json says it and not all are of one kind; ""
    of a layer whose word is not known, () where it says nothing."""
    nested = config.get("text_config")
    found = _pattern(config) or _listed(config) or (_kinds_inside(nested) if isinstance(nested, dict) else ())
    return found if len(set(found)) > 1 else ()


_LAYER = re.compile(r"(?:layers|blocks|h|blk)\.(\d+)")


def kind_of_layer(path: str, kinds: Sequence[str]) -> str:
    """Of `model.layers.3` by `layer_kinds`; "" of what is no layer of the one stack, or beyond the last."""
    found = _LAYER.fullmatch(strip_root(path)) if kinds else None
    return kinds[int(found[1])] if found and len(found[1]) < 6 and int(found[1]) < len(kinds) else ""


def _kinds_inside(config: Mapping[str, Any]) -> tuple[str, ...]:
    return _pattern(config) or _listed(config)


def _pattern(config: Mapping[str, Any]) -> tuple[str, ...]:
    pattern = config.get("hybrid_override_pattern")
    if not isinstance(pattern, str) or len(pattern) > _MOST_LAYERS:
        return ()
    return tuple(_PATTERN.get(letter, "") for letter in pattern)


def _listed(config: Mapping[str, Any]) -> tuple[str, ...]:
    words = config.get("layers_block_type") or config.get("layer_types")
    if not isinstance(words, list) or len(words) > _MOST_LAYERS:
        return ()
    kinds = tuple(_WORDS.get(word, "") if isinstance(word, str) else "" for word in words)
    if config.get("model_type") == "nemotron_h":  # transformers calls its Mamba layers so
        kinds = tuple("Mamba" if kind == "linear attention" else kind for kind in kinds)
    return kinds


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `start` to `stop`, without the last, of what a projection gives. of: how they are cut on, `4 heads of 32`;
    "" where that is not known."""

    name: str
    start: int
    stop: int
    of: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.start}-{self.stop - 1}" + (f" ({self.of})" if self.of else "")


Segments = tuple[Segment, ...]
IN_PROJ, CONV = "in_proj", "conv1d"


def mixer_segments(shapes: Mapping[str, Sequence[int]], config: Mapping[str, Any]) -> dict[str, Segments]:
    """Of a Mamba mixer, the segments of the rows of its `in_proj` and of its `conv1d`, by these names.

    shapes: logical, of what the mixer has: in_proj and out_proj, conv1d, x_proj, and one of A_log, dt_bias and D. Only
    what the shapes prove is named: with out_proj [., d], Mamba2 has d rows of z, d of x, B and C alike, and one of dt
    a head; its conv1d x, B and C. Mamba1 has d of x and d of z. Where a file has not all of a Mamba2 mixer, config
    has to say every size. It says the groups too, which cut B and C. {} where the shapes are another mixer's.
    """
    rows, convolved = _rows(shapes.get(IN_PROJ)), _rows(shapes.get(CONV))
    out = shapes.get("out_proj")
    d = int(out[1]) if out is not None and len(out) == 2 else 0
    if "x_proj" in shapes:
        mamba1 = rows and rows == 2 * d and convolved == d
        return {IN_PROJ: _laid_out((("x", d, ""), ("z", d, "")))} if mamba1 else {}
    if not convolved or not d:  # not all of the mixer is here
        return _declared(rows, convolved, config)
    n_heads = _n_heads(shapes, config)
    if not n_heads or convolved <= d or (convolved - d) % 2 or rows != d + convolved + n_heads:
        return {}
    return _mamba2(d, (convolved - d) // 2, n_heads, config)


def _declared(rows: int, convolved: int, config: Mapping[str, Any]) -> dict[str, Segments]:
    """By the settings alone, where they say all sizes, and what is there has as many rows."""
    n_heads, size = _n_heads({}, config), _number(config, "mamba_head_dim", "mamba_d_head", "head_dim", "headdim")
    d, of_states = n_heads * size, math.prod(_states(config))
    fits = d and of_states and rows == 2 * (d + of_states) + n_heads and convolved in (0, d + 2 * of_states)
    return _mamba2(d, of_states, n_heads, config) if fits else {}


def _mamba2(d: int, of_states: int, n_heads: int, config: Mapping[str, Any]) -> dict[str, Segments]:
    heads = f"{n_heads} heads of {d // n_heads}" if d % n_heads == 0 else ""
    n, size = _states(config)
    groups = f"{n} group{'s' * (n > 1)} of {size}" if n * size == of_states else ""
    inner = (("x", d, heads), ("B", of_states, groups), ("C", of_states, groups))
    return {IN_PROJ: _laid_out((("z", d, heads), *inner, ("dt", n_heads, "one a head"))), CONV: _laid_out(inner)}


def _rows(shape: Sequence[int] | None) -> int:
    return int(shape[0]) if shape else 0


def _n_heads(shapes: Mapping[str, Sequence[int]], config: Mapping[str, Any]) -> int:
    """By a tensor with a number for each head; by the settings where there is none."""
    for name in ("A_log", "dt_bias", "D"):
        if name in shapes:
            return math.prod(shapes[name])
    return _number(config, "mamba_num_heads", "mamba_n_heads", "num_heads")


def _states(config: Mapping[str, Any]) -> tuple[int, int]:
    """(groups, states of each) by the settings; 0 where they do not say it."""
    return (
        _number(config, "n_groups", "mamba_n_groups", "ngroups"),
        _number(config, "ssm_state_size", "mamba_d_state", "state_size", "d_state"),
    )


def _number(config: Mapping[str, Any], *keys: str) -> int:
    inside = (config.get(key) for key in ("text_config", "ssm_cfg"))
    for place in (config, *(c for c in inside if isinstance(c, dict))):
        for key in keys:
            value = place.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return 0


def _laid_out(parts: Sequence[tuple[str, int, str]]) -> Segments:
    made, start = [], 0
    for name, n, of in parts:
        made.append(Segment(name, start, start + n, of))
        start += n
    return tuple(made)
