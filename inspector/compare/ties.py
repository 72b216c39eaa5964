"""Tied tensors: one that a model stores twice, another once, because both places use the same numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.results import ScalePair, Status, WeightPair
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.text import visible

if TYPE_CHECKING:  # which pairs with ties
    from qinspect.inspector.compare.items import Item

_TIED = re.compile(r"embed|lm_head|(?:^|\.)(?:wte|shared|output|decoder|word_embeddings|tok_embeddings)\.weight$")
"""Names of what models tie: the embedding and the output projection. Equal values alone are no tie: models are also
made by doubling layers."""


_HEADS = ("lm_head.weight", "output.weight", "embed_out.weight")
_EMBEDDINGS = tuple(
    f"{name}.weight"
    for name in ("embed_tokens", "embeddings", "embedding", "wte", "word_embeddings", "tok_embeddings", "token_embd")
)


def embedding_of_head(
    items: Mapping[str, Item], other: Mapping[str, Item], quantized: bool = True
) -> tuple[str, str] | None:
    """(role of a head in `items`, role of the embedding that stands for it in `other`): where that has no head, and its
    config does not say that it needs one of its own. None where not. quantized: only of a quantized head."""
    heads = [role for role in _HEADS if (item := items.get(role)) is not None and (item.weight or not quantized)]
    found = [role for role in _EMBEDDINGS if role in other]
    if len(heads) != 1 or len(found) != 1 or any(role in other for role in _HEADS):
        return None
    embedding = other[found[0]]
    if _says_untied(embedding.fmt.checkpoint.config) or _shape(items[heads[0]]) != _shape(embedding):
        return None
    return heads[0], found[0]


def _shape(item: Item) -> tuple[int, ...]:
    return item.weight.shape if item.weight else item.form[1]


def tied_note(model: str, embedding: str) -> str:
    """What is said of a pair whose one side is an embedding. model: whose."""
    return f"tied: {model} has no head of its own, it is the embedding {visible(embedding, 100)}"


T = TypeVar("T")
Matched = list[tuple[str, tuple[T | None, ...]]]


def with_heads(
    matched: Matched[T],
    items_a: Mapping[str, Item],
    items_b: Mapping[str, Item],
    of_a: Mapping[str, T],
    of_b: Mapping[str, T],
) -> tuple[Matched[T], dict[str, str]]:
    """The pairs, where what is of a quantized head stands beside what is of the embedding that stands for it: codes, or
    scales; and by the role of each of these the model, `A` or `B`, whose embedding it is. of_a, of_b: what is paired,
    by role."""
    found: dict[str, str] = {}
    for model, items, other, records in (("B", items_a, items_b, of_b), ("A", items_b, items_a, of_a)):
        if (tie := embedding_of_head(items, other)) is None:
            continue
        head, embedding = tie
        for n, (role, (a, b)) in enumerate(matched):
            weight, mark, rest = role.partition("#")
            if weight == head and (a is None or b is None) and (partner := records.get(f"{embedding}{mark}{rest}")):
                matched[n] = (role, (a or partner, b or partner))
                found[role] = model
    return matched, found


def said_tied(pair: ScalePair, model: str) -> ScalePair:
    """A pair of scales, one of which is of the embedding of `model`."""
    record = pair.a if model == "A" else pair.b
    assert record is not None
    said = tied_note(model, record.key)
    return replace(pair, tied=model, note=f"{pair.note}; {said}" if pair.note else said)


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
