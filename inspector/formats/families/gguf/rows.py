"""The order of rows of q and k: llama.cpp's converter interleaves the two halves of each head, for its way of rotating
positions, and here that is undone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INTERLEAVED = frozenset((
    "llama", "llama-embed", "deci", "mistral3", "arcee", "smollm3", "granite", "granitemoe", "granitehybrid",
    "nemotron_h", "nemotron_h_moe", "baichuan", "xverse", "minicpm", "internlm2", "olmo", "deepseek", "bailingmoe",
    "chameleon", "llada", "arctic",
))  # fmt: skip
"""Architectures whose converter does so. Read off llama.cpp's `conversion/` (until 2025 convert_hf_to_gguf.py): its
LlamaModel and those made from it but where they say `undo_permute = False` (llama4, apertus) or go past it (afmoe), and
the models that call `permute` or `_reverse_hf_permute` by themselves."""
_BY_GROUPS = ("baichuan", "xverse")
"""Where there are fewer heads of k than of q, the converter of these takes their quotient for the number of heads."""
_COUNTS = {"attn_q": "head_count", "attn_k": "head_count_kv"}


def heads_of(facts: Mapping[str, str], name: str, n_rows: int) -> int | None:
    """In how many heads the rows of a tensor are interleaved: 0 where they are in the original's order, None where they
    are not, and the file does not say how many heads there are, or they do not fit."""
    if "attn_q" not in name and "attn_k" not in name:  # of 60,000 most
        return 0
    architecture = facts.get("general.architecture", "")
    layer, _, inside = name.removeprefix("blk.").partition(".")
    what = _COUNTS.get(inside.partition(".")[0]) if inside.endswith((".weight", ".bias")) else None
    if what is None or architecture not in _INTERLEAVED or not name.startswith("blk."):
        return 0
    of_q = _count(facts.get(f"{architecture}.attention.head_count", ""), layer)
    said = facts.get(f"{architecture}.attention.{what}")
    n_heads = _count(said, layer) if said else of_q
    if architecture in _BY_GROUPS and 0 < n_heads < of_q:
        n_heads = of_q // n_heads
    return n_heads if n_heads > 0 and n_rows % (2 * n_heads) == 0 else None


def _count(said: str, layer: str) -> int:
    """A count that is one for all layers, or a list of one for each; 0 where it is none."""
    try:
        found: Any = json.loads(said)
        count = found[int(layer)] if isinstance(found, list) else found
    except (ValueError, IndexError):
        return 0
    return count if type(count) is int else 0


def stored_rows(start: int, stop: int, n_rows: int, n_heads: int) -> tuple[int, int, NDArray[np.int64]]:
    """Which rows have to be read for rows `start` to `stop` of the original: from, to, and which of them in what
    order."""
    size = n_rows // n_heads
    wanted = np.arange(start, stop, dtype=np.int64)
    head, inside = wanted // size, wanted % size
    stored = head * size + inside % (size // 2) * 2 + inside // (size // 2)
    first, last = (int(stored.min()), int(stored.max()) + 1) if stored.size else (0, 0)
    return first, last, stored - first
