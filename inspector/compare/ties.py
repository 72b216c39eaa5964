"""Tied tensors: one that a model stores twice, another once, because both places use the same numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.results import Status, WeightPair
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.text import visible

_TIED = re.compile(r"embed|lm_head|(?:^|\.)(?:wte|shared|output|decoder|word_embeddings|tok_embeddings)\.weight$")
"""Names of what models tie: the embedding and the output projection. Equal values alone are no tie: models are also
made by doubling layers."""


def with_ties(pairs: Sequence[WeightPair], a: Format, b: Format, equality: Equality) -> list[WeightPair]:
    """The pairs, where what only one model stores, and holds the same as its embedding, counts as equal.

    A model whose config says that nothing is tied needs both: there it stays what only the other has.
    """
    alone = {p.role for p in pairs if p.status in (Status.ONLY_A, Status.ONLY_B) and _TIED.search(p.role)}
    if not alone:
        return list(pairs)
    partnered = [p for p in pairs if p.a and p.b and _TIED.search(p.role)]
    return [_tied(p, partnered, a, b, equality) if p.role in alone else p for p in pairs]


def _tied(p: WeightPair, partnered: Sequence[WeightPair], a: Format, b: Format, equality: Equality) -> WeightPair:
    model, owner, other = ("A", a, b) if p.status is Status.ONLY_A else ("B", b, a)
    tensor = owner.checkpoint.tensor((p.a if model == "A" else p.b) or "")
    names = [(q.a if model == "A" else q.b) or "" for q in partnered]
    if tensor is None or _says_untied(other.checkpoint.config):
        return p
    same = next(_equal_ones(tensor, names, owner, equality), None)
    if same is None:
        return p
    note = f"tied: {model} stores it a second time, equal to {visible(same, 100)}; the other model stores it once"
    return replace(p, status=Status.EQUAL, n_changed=0, note=note)


def _equal_ones(tensor: Tensor, names: Sequence[str], owner: Format, equality: Equality) -> Iterator[str]:
    for name in names:
        other = owner.checkpoint.tensor(name)
        if other is None or len(other.shape) < 2:
            continue
        try:
            if equality.tensors(tensor, other):
                yield name
        except QinspectError:
            continue


def _says_untied(config: Mapping[str, Any]) -> bool:
    nested = config.get("text_config")
    return any(isinstance(c, Mapping) and c.get("tie_word_embeddings") is False for c in (config, nested))
