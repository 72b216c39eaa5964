"""Projections in one tensor whose rows take turns: which rows are whose, as far as config.json says it.

InternLM2's `wqkv` has, of each key head, the rows of its query heads, of the key, of the value. Qwen3-Next's
`in_proj_qkvz` and `in_proj_ba` go by the key heads of its linear attention. gpt-oss has a row of gate, a row of up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qinspect.inspector.formats.runs import Run, Runs

Config = Mapping[str, Any]

GROUPED = ("wqkv", "in_proj_qkvz", "in_proj_ba")
"""Names of what is grouped by heads."""
_GATE_AND_UP_IN_TURNS = ("gpt_oss",)
"""Models by `model_type` whose gate and up take turns, row by row."""

Parts = list[tuple[str, Runs]]
"""Names of projections, from the module above on, and the rows of each."""


def parts_of(name: str, config: Config, n_rows: int) -> Iterator[Parts]:
    """How a projection of this name and so many rows may be stored in parts, one way after another; nothing where
    config.json does not say how its heads lie, or its rows do not fit that."""
    nested = config.get("text_config")
    of_model = nested if isinstance(nested, dict) else config
    groups, sizes = _of_attention(of_model) if name == "wqkv" else _of_linear(name, of_model)
    if not groups or not all(sizes) or groups * sum(sizes) != n_rows:
        return
    runs, first = [], 0
    for size in sizes:
        runs.append(Run(first, size, sum(sizes), groups))
        first += size
    for names in _NAMES[name]:
        yield [(n, Runs(tuple(runs[i] for i in which))) for n, which in names.items()]


_NAMES: dict[str, tuple[dict[str, tuple[int, ...]], ...]] = {
    "wqkv": (
        {"attention.wq": (0,), "attention.wk": (1,), "attention.wv": (2,)},
        {"self_attn.q_proj": (0,), "self_attn.k_proj": (1,), "self_attn.v_proj": (2,)},
        {"attention.q_proj": (0,), "attention.k_proj": (1,), "attention.v_proj": (2,)},
    ),
    "in_proj_qkvz": ({"linear_attn.in_proj_qkv": (0, 1, 2), "linear_attn.in_proj_z": (3,)},),
    "in_proj_ba": ({"linear_attn.in_proj_b": (0,), "linear_attn.in_proj_a": (1,)},),
}
"""What each name of a part has of the runs: more than one lie below each other there."""


def _of_attention(config: Config) -> tuple[int, list[int]]:
    """Key heads, and rows of each group: of its queries, its key, its value."""
    n_heads, n_kv = _number(config, "num_attention_heads"), _number(config, "num_key_value_heads")
    if "num_key_value_heads" not in config:
        n_kv = n_heads
    size = _number(config, "head_dim") or (_number(config, "hidden_size") // n_heads if n_heads else 0)
    return (0, []) if not n_kv or n_heads % n_kv else (n_kv, [n_heads // n_kv * size, size, size])


def _of_linear(name: str, config: Config) -> tuple[int, list[int]]:
    """Key heads of the linear attention, and rows of each group: q, k, v, z, or b, a."""
    n_keys, n_values = _number(config, "linear_num_key_heads"), _number(config, "linear_num_value_heads")
    if not n_keys or n_values % n_keys:
        return 0, []
    each = n_values // n_keys
    if name == "in_proj_ba":
        return n_keys, [each, each]
    of_key, of_value = _number(config, "linear_key_head_dim"), _number(config, "linear_value_head_dim")
    return n_keys, [of_key, of_key, each * of_value, each * of_value]


def _number(config: Config, key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def gate_and_up_take_turns(config: Config) -> bool:
    """Whether config.json says that gate and up are one row of each after another."""
    return any(kind in _GATE_AND_UP_IN_TURNS for kind in model_types(config))


def model_types(config: Config) -> list[str]:
    """What the model, and the text model in it, are said to be."""
    nested = config.get("text_config")
    said = (c.get("model_type") for c in (config, nested) if isinstance(c, dict))
    return [kind for kind in said if isinstance(kind, str)]


def gate_and_up(n_rows: int) -> tuple[Runs, Runs]:
    """The rows of gate and of up that take turns."""
    return Runs((Run(0, 1, 2, n_rows // 2),)), Runs((Run(1, 1, 2, n_rows // 2),))
