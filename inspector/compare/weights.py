"""Comparing codes and unquantized tensors: headers always, bytes when asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter

from qinspect.inspector.compare.content import module_names, pair_by_content, pair_by_module
from qinspect.inspector.compare.contents import compare_contents
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.items import (
    Item,
    alike,
    derived_of_one,
    is_unpacked,
    logical_shape,
    meaning,
    scheme_of,
    stored_as_of,
)
from qinspect.inspector.compare.pairing import line_up, partners
from qinspect.inspector.compare.plain_values import compare_plain_values
from qinspect.inspector.compare.results import Status, WeightPair
from qinspect.inspector.compare.ties import tied_note, with_heads, with_ties
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.text import dims


def compare_weights(
    format_a: Format,
    format_b: Format,
    items_a: Mapping[str, Item],
    items_b: Mapping[str, Item],
    partner: Mapping[str, str],
    equality: Equality,
    read: bool,
    tick: Callable[[int], None],
) -> tuple[WeightPair, ...]:
    """All codes and unquantized tensors, by role; the items are `weight_items` of the formats, partner is
    `partners_of` them.

    read: compare bytes, else headers only. `tick(n)` is called with bytes compared; it may raise to cancel.
    """
    moved = moved_modules(format_a, format_b, equality)
    pairs: list[WeightPair] = []
    made = any(type(fmt).derived is not Format.derived for fmt in (format_a, format_b))
    matched = line_up((items_a, items_b), lambda _a, _b: partner)
    matched, tied = with_heads(matched, items_a, items_b, items_a, items_b)
    for role, (a, b) in matched:
        plain = not read and a is not None and b is not None and role not in tied and alike(a, b)
        if plain and a is not None and b is not None and not (made and derived_of_one(a, b)):
            stored = stored_as_of(a)
            n = math.prod(a.form[1])
            pairs.append(WeightPair(role, a.name, b.name, Status.NOT_COMPARED, n, stored_a=stored, stored_b=stored))
            continue
        pair = _headers(role, a, b)
        if pair is None:
            assert a is not None
            assert b is not None
            pair = _agreeing(role, a, b)
            if read:
                pair = compare_contents(role, a, b, format_a, format_b, moved, equality, tick)
        if role in tied:
            said = tied_note(tied[role], (pair.a if tied[role] == "A" else pair.b) or "")
            pair = replace(pair, tied=tied[role], note=f"{pair.note}; {said}" if pair.note else said)
        pairs.append(_with_parts(pair, a, b) if a and b and (a.part or b.part) else pair)
    if read:
        pairs = with_ties(pairs, format_a, format_b, equality)
    return (*pairs, *compare_plain_values(format_a, format_b))


def _with_parts(pair: WeightPair, a: Item, b: Item) -> WeightPair:
    """The pair, with where each model stores it; equal ones are stored otherwise."""
    said = "; ".join(f"{model}: {i.part_said}" for model, i in (("A", a), ("B", b)) if i.part)
    status = Status.EQUAL if pair.status is Status.IDENTICAL else pair.status
    note = f"{pair.note}; {said}" if pair.note else said
    return replace(pair, status=status, note=note, joined="A" if a.part else "B")


def partners_of(
    items_a: Mapping[str, Item],
    items_b: Mapping[str, Item],
    equality: Equality,
    read: bool,
    tick: Callable[[int], None],
) -> dict[str, str]:
    """A's role to B's: by name, then, where bytes are read, by shape and content what names do not pair."""
    found = partners(items_a, items_b, attrgetter("name"), _fit)
    free_a = {r: i.tensor for r, i in items_a.items() if r not in found}
    taken = set(found.values())
    free_b = {r: i.tensor for r, i in items_b.items() if r not in taken}
    if not (read and free_a and free_b):
        return found
    equal = pair_by_content(free_a, free_b, equality, tick)
    names = module_names(equal.items())
    left_b = free_b.keys() - equal.values()
    return found | equal | pair_by_module((r for r in free_a if r not in equal), left_b, names)


def _fit(a: Item, b: Item) -> bool:
    """Whether two names can stand for one thing: shapes agree, or one of them is packed."""
    return a.form[1] == b.form[1] or (a.weight or b.weight) is not None


def moved_modules(format_a: Format, format_b: Format, equality: Equality) -> tuple[str, ...]:
    """Role prefixes of the modules whose heads or channels are in another order in B."""
    witnesses_b = format_b.witnesses()
    moved = []
    for prefix, keys in format_a.witnesses().items():
        try:
            if equality.moved(keys, witnesses_b.get(prefix, ())):
                moved.append(prefix)
        except QinspectError:
            continue  # the tensor that cannot be read is reported on its own
    return tuple(moved)


def _headers(role: str, a: Item | None, b: Item | None) -> WeightPair | None:
    """The pair, where headers alone decide it."""
    if a is None or b is None:
        only = a or b
        assert only is not None
        name = only.name
        status = Status.ONLY_A if b is None else Status.ONLY_B
        return WeightPair(
            role, name if b is None else None, name if a is None else None, status, only.n_elements,
            quantized=only.weight is not None, stored_a=stored_as_of(a), stored_b=stored_as_of(b),
        )  # fmt: skip
    quantized = a.weight is not None or b.weight is not None
    shape_a, shape_b = logical_shape(a), logical_shape(b)
    scheme_a, scheme_b = scheme_of(a), scheme_of(b)
    if quantized and meaning(a) != meaning(b):
        other_model = shape_a != shape_b and is_unpacked(a) and is_unpacked(b)
        status = Status.SHAPE if other_model else Status.SCHEME
        return WeightPair(
            role, a.name, b.name, status, a.n_elements, quantized=quantized,
            note=f"A {scheme_a} {dims(shape_a)}; B {scheme_b} {dims(shape_b)}",
            stored_a=stored_as_of(a), stored_b=stored_as_of(b),
        )  # fmt: skip
    if shape_a != shape_b:
        return WeightPair(
            role, a.name, b.name, Status.SHAPE, a.n_elements, quantized=quantized,
            note=f"A {dims(shape_a)}; B {dims(shape_b)}", stored_a=stored_as_of(a), stored_b=stored_as_of(b),
        )  # fmt: skip
    return None


def _agreeing(role: str, a: Item, b: Item) -> WeightPair:
    """The pair, where headers agree (but for the dtype) and bytes are not read."""
    n = math.prod(logical_shape(a))
    pair = WeightPair(
        role, a.name, b.name, Status.NOT_COMPARED, n, quantized=a.weight is not None,
        stored_a=stored_as_of(a), stored_b=stored_as_of(b),
    )  # fmt: skip
    if meaning(a) != meaning(b) and not derived_of_one(a, b):
        return replace(pair, status=Status.DTYPE, quantized=False, note=f"A {scheme_of(a)}; B {scheme_of(b)}")
    return pair
