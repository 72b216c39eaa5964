"""Weights of two shapes that may be one: a vocabulary that was padded, axes of one position, a head that is tied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from qinspect.inspector.compare.items import Item, logical_shape
from qinspect.inspector.compare.ties import embedding_of_head
from qinspect.inspector.text import count, visible


@dataclass(frozen=True, slots=True)
class Fit:
    """shape: what both have. a, b: the shapes that they are stored in, without axes of one position. tied: the model,
    `A` or `B`, whose head is its embedding; "" for none."""

    shape: tuple[int, ...]
    a: tuple[int, ...]
    b: tuple[int, ...]
    item_a: Item
    tied: str = ""

    @property
    def padded(self) -> bool:
        """Whether one of them has more rows or columns."""
        return self.a != self.b

    def width_of(self, item: Item) -> int:
        """Columns that a model stores; 0 of what has no rows."""
        stored = self.a if item is self.item_a else self.b
        return math.prod(stored[1:]) if len(stored) > 1 else 0

    @property
    def padding_said(self) -> str:
        """`B has 48 more rows, all zero`."""
        parts: dict[str, list[str]] = {}
        for axis, word in ((0, "row"), (1, "column")):
            more = self.b[axis] - self.a[axis]
            if more:
                said = f"{count(abs(more))} more {word}{'s' * (abs(more) != 1)}"
                parts.setdefault("B" if more > 0 else "A", []).append(said)
        has = (f"{model} has {' and '.join(said)}" for model, said in parts.items())
        return f"{', '.join(has)}, all zero"


class Head(NamedTuple):
    """A head that one model has, and the embedding that stands for it in the other."""

    role: str
    a: Item
    b: Item
    fit: Fit


def fit_of(a: Item, b: Item) -> Fit | None:
    """How two weights of other shapes fit; None where they do not, whatever their values are."""
    shapes = [tuple(n for n in logical_shape(item) if n != 1) for item in (a, b)]
    if not all(shapes) or len(shapes[0]) != len(shapes[1]) or not all(map(math.prod, shapes)):
        return None
    if shapes[0] == shapes[1]:
        shape = min((logical_shape(a), logical_shape(b)), key=len)
        return Fit(shape, shape, shape, a)
    if len(shapes[0]) != 2 or any(item.part is not None for item in (a, b)):
        return None
    return Fit((min(s[0] for s in shapes), min(s[1] for s in shapes)), shapes[0], shapes[1], a)


def tied_head_of(a: Mapping[str, Item], b: Mapping[str, Item], partner: Mapping[str, str]) -> Head | None:
    """The head that one model alone has, where the other has an embedding of its shape and does not say that it has a
    head beside it."""
    for model, items, other in (("B", a, b), ("A", b, a)):
        tie = embedding_of_head(items, other, quantized=False)
        if tie is None or tie[0] in (partner if model == "B" else partner.values()):
            continue
        head, embedding = items[tie[0]], other[tie[1]]
        pair = (head, embedding) if model == "B" else (embedding, head)
        shape = logical_shape(head)
        return Head(tie[0], *pair, Fit(shape, shape, shape, pair[0], model))
    return None


def tied_said(fit: Fit, a: Item, b: Item) -> str:
    """`B has no head of its own: its embedding, embed_tokens.weight`."""
    name = b.name if fit.tied == "B" else a.name
    return f"{fit.tied} has no head of its own, it is the embedding {visible(name, 100)}"
