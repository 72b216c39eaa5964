"""Which weights of two checkpoints stand against each other, value by value, and which do not, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.items import Item, derived_of_one, logical_shape, scheme_of, weight_items
from qinspect.inspector.compare.pairing import line_up
from qinspect.inspector.compare.parts import in_parts, is_stack, role_of_expert
from qinspect.inspector.compare.weights import moved_modules, partners_of
from qinspect.inspector.fidelity.fitting import Fit, fit_of, tied_head_of
from qinspect.inspector.fidelity.sums import Numbers
from qinspect.inspector.fidelity.undoing import Undoing
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.records import Derived, Kind, Slice
from qinspect.inspector.text import dims


class Why(StrEnum):
    """Why there is no number."""

    ONLY_A = "only in A"
    ONLY_B = "only in B"
    SHAPE = "shape mismatch"
    ROTATED = "rotated"
    """Of a model in Hadamard space, against one that is not, or is by another library."""
    PERMUTED = "other order"
    """Heads or channels are in another order."""
    UNRELATED = "unrelated"
    """The values do not go together at all."""
    NOT_UNDERSTOOD = "not understood"
    """Of a dtype or scheme whose values are not known."""
    EMPTY = "nothing finite"
    BROKEN = "broken"
    """Could not be read."""


@dataclass(frozen=True, slots=True)
class NotCompared:
    """A weight without a number. a, b: its names. n: values. matrix: whether it has rows and columns; biases and norms
    have not. said: the reason, for people."""

    role: str
    a: str | None
    b: str | None
    why: Why
    n: int
    matrix: bool
    said: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two weights whose values are compared one by one. shape: of both. derived: of what one of them is made, where
    that is a calculation. only_equal: why they are not compared, unless every value is equal; "" where they are. fit:
    how the shape of one comes out of that of the other, where they are not the same. undoing: what was done to one of
    them."""

    role: str
    a: Item
    b: Item
    shape: tuple[int, ...]
    derived: Derived | None = None
    made_in_a: bool = False
    only_equal: str = ""
    fit: Fit | None = None
    undoing: Undoing | None = None

    @property
    def n(self) -> int:
        """Values."""
        return math.prod(self.shape)

    @property
    def quantized(self) -> bool:
        """Whether one of them is codes and scales."""
        return self.a.weight is not None or self.b.weight is not None

    def derive(self, a: Numbers, b: Numbers) -> None:
        """Make of the original's values what the other model stores, in place, where it stores a calculation."""
        if self.derived is not None:
            original = b if self.made_in_a else a
            with np.errstate(all="ignore"):
                original[...] = self.derived.of(original)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Two weights whose values are not compared as they stand, and may be once what was done to them is undone."""

    refused: NotCompared
    pair: Pair


class Found(NamedTuple):
    """All weights of two models, in A's order. rank: the place of a role in it."""

    pairs: list[Pair]
    others: list[NotCompared]
    doubts: list[Doubt]
    rank: dict[str, int]


def pairs_of(a: Format, b: Format, tick: Callable[[int], None]) -> tuple[list[Pair], list[NotCompared]]:
    """Those that are compared as they stand, and all others. tick: as in `all_pairs_of`."""
    found = all_pairs_of(a, b, tick)
    return found.pairs, [*found.others, *(d.refused for d in found.doubts)]


def all_pairs_of(a: Format, b: Format, tick: Callable[[int], None]) -> Found:
    """tick(n): called with bytes that were compared to find partners that have other names."""
    equality = Equality(a, b)
    items_a, items_b = in_parts(_weights(a), _weights(b))
    partner = partners_of(items_a, items_b, equality, True, tick)
    moved = moved_modules(a, b, equality)
    rotated = _rotated(a, b)
    unclear = {fmt: _with_unclear_scales(fmt) for fmt in (a, b)}
    found = Found([], [], [], {})
    lined_up = line_up((items_a, items_b), lambda _a, _b: partner)
    tied = tied_head_of(items_a, items_b, partner)
    for role, (of_a, of_b) in lined_up:
        if of_a is None or of_b is None:
            alone = list(_alone(role, of_a, of_b))
            head = tied if tied and role == tied.role else None
            found.rank.setdefault(role, len(found.rank))
            if head and alone:
                found.doubts.append(Doubt(alone[0], replace(_pair(role, head.a, head.b, ""), fit=head.fit)))
            else:
                found.others.extend(alone)
            continue
        if not _may_be_weights(of_a, of_b):
            continue
        refused = _refused(role, of_a, of_b, moved, unclear, rotated)
        if refused is None:
            for pair in _experts(_pair(role, of_a, of_b, rotated)):
                found.rank.setdefault(pair.role, len(found.rank))
                found.pairs.append(pair)
            continue
        found.rank.setdefault(role, len(found.rank))
        doubtful = _doubtful(refused, of_a, of_b, rotated)
        found.doubts.append(doubtful) if doubtful else found.others.append(refused)
    return found


def _doubtful(refused: NotCompared, a: Item, b: Item, rotated: str) -> Doubt | None:
    """The pair that may be behind what is refused; None where there is none."""
    fit = fit_of(a, b) if refused.why is Why.SHAPE else None
    if fit is None and refused.why not in (Why.ROTATED, Why.PERMUTED):
        return None
    if fit is not None and rotated and (a.weight or b.weight):
        refused = replace(refused, why=Why.ROTATED, said=rotated)
    pair = replace(_pair(refused.role, a, b, ""), fit=fit)
    return Doubt(refused, replace(pair, shape=fit.shape) if fit else pair)


def _weights(fmt: Format) -> dict[str, Item]:
    """What can be a weight: codes, and tensors of real numbers. Integers without a scale are none: counters, indices,
    codes that nobody understands, which are said where they have a partner that is a weight."""
    return {role: item for role, item in weight_items(fmt).items() if not item.form[0].is_complex}


def _may_be_weights(a: Item, b: Item) -> bool:
    """Not counters and other integers in rows of no columns, in both."""
    return any(i.weight is not None or i.form[0].is_float or len(i.form[1]) > 1 for i in (a, b))


def _pair(role: str, a: Item, b: Item, only_equal: str) -> Pair:
    derived = derived_of_one(a, b)
    made_in_a = derived is not None and derived[0] == "A"
    return Pair(role, a, b, logical_shape(a), derived[1] if derived else None, made_in_a, only_equal)


def _alone(role: str, a: Item | None, b: Item | None) -> Iterator[NotCompared]:
    item = a or b
    assert item is not None
    if item.weight is not None or item.form[0].is_float:
        shape = logical_shape(item)
        names = (item.name if a else None, item.name if b else None)
        why = Why.ONLY_A if a else Why.ONLY_B
        yield NotCompared(role, *names, why, math.prod(shape), len(shape) > 1, f"{scheme_of(item)} {dims(shape)}")


def _not_compared(role: str, a: Item, b: Item, why: Why, said: str) -> NotCompared:
    shape = logical_shape(a)
    return NotCompared(role, a.name, b.name, why, math.prod(shape), len(shape) > 1, said)


def _refused(
    role: str, a: Item, b: Item, moved: tuple[str, ...], unclear: Mapping[Format, set[str]], rotated: str
) -> NotCompared | None:
    for model, item in (("A", a), ("B", b)):
        problem = _not_understood(item, unclear[item.fmt])
        if problem:
            return _not_compared(role, a, b, Why.NOT_UNDERSTOOD, f"{model}: {problem}")
    shapes = logical_shape(a), logical_shape(b)
    if shapes[0] != shapes[1]:
        return _not_compared(role, a, b, Why.SHAPE, f"A {dims(shapes[0])}; B {dims(shapes[1])}")
    if not math.prod(shapes[0]):
        return _not_compared(role, a, b, Why.EMPTY, f"no values: {dims(shapes[0])}")
    if any(role.startswith(prefix) for prefix in moved):
        return _not_compared(role, a, b, Why.PERMUTED, "heads or channels are in another order")
    if rotated and (a.weight or b.weight):
        return _not_compared(role, a, b, Why.ROTATED, rotated)
    return None


def _not_understood(item: Item, unclear: set[str]) -> str:
    """Why it is not known what its numbers stand for; "" where it is."""
    if item.weight is not None:
        return ""
    dtype = item.form[0]
    if not dtype.is_float or not dtype.numpy:
        return f"{dtype.name}, without a scale that is understood"
    if dtype.bits <= 8 and (item.name in unclear or item.name.rpartition(".")[0] in unclear):
        return f"{dtype.name} beside a scale that is not understood"
    return ""


def _with_unclear_scales(fmt: Format) -> set[str]:
    """Modules beside whose weights a scale stands that no family explains, or that do not fit what is said of them."""
    unverified = {r.key for r in fmt.scales() if (r.guess or r.kind) is Kind.WEIGHT and not r.verified}
    return {key.rpartition(".")[0] for key in (*unverified, *(p.key for p in fmt.problems()))}


def _rotated(a: Format, b: Format) -> str:
    """Why the weights of two models are not in one space; "" where they are, or nothing speaks against it."""
    first, second = a.rotated is True, b.rotated is True
    if first and second:
        return "" if a.family == b.family else f"A and B are rotated by two libraries, {a.family} and {b.family}"
    if not first and not second:
        return ""
    rotated, other = ("A", b) if first else ("B", a)
    state = "is not" if other.rotated is False else "is not known to be"
    return f"{rotated} is rotated (Hadamard), {'B' if first else 'A'} {state}"


def _experts(pair: Pair) -> Iterator[Pair]:
    """One for each expert, where both keep them in a stack that is not quantized."""
    parts = (pair.a.part, pair.b.part)
    if len(pair.shape) != 3 or pair.quantized or any(parts) or not is_stack(pair.role) or pair.shape[0] > _MOST_EXPERTS:
        yield pair
        return
    inner = pair.shape[1:]
    if any(item.tensor.strides is not None for item in (pair.a, pair.b)):
        yield pair
        return
    for e in range(pair.shape[0]):
        role = role_of_expert(pair.role, e)
        a, b = (i._replace(role=role, form=(i.form[0], inner), part=Slice((e,))) for i in (pair.a, pair.b))
        yield Pair(role, a, b, inner, pair.derived, pair.made_in_a, pair.only_equal)


_MOST_EXPERTS = 4096
