"""Comparing codes and unquantized tensors: headers always, bytes when asked, streamed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.checkpoint.columns import Form, shared_form
from qinspect.inspector.compare.content import module_names, pair_by_content, pair_by_module
from qinspect.inspector.compare.deviation import bits_of, chunks_of, deviation_of, is_tail
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.pairing import by_unique_role, line_up, partners
from qinspect.inspector.compare.results import Deviation, Status, StoredAs, WeightPair
from qinspect.inspector.compare.ties import tied_note, with_heads, with_ties
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.formats.records import Derived, Slice, part_of
from qinspect.inspector.text import count, dims, share, some, visible
from qinspect.inspector.values.inspection import row_blocks
from qinspect.inspector.values.statistics import count_codes

Array = NDArray[Any]
BLOCK_ELEMENTS = 1 << 22

DERIVED_TOLERANCE = 1e-6
"""Relative rounding of what is calculated of a parameter in float32."""


class Item(NamedTuple):
    """Something to compare under one role: codes of a weight, or a tensor that no scale belongs to.

    part: which part of it, where the other model stores what is in it in several; form is that of the part then, unless
    it is of codes. turned: whether the part is stored [in, out]. every: (axis, first, step) of the rows in it that are
    the part, where those of several take turns.
    """

    role: str
    name: str
    form: Form
    weight: QuantizedWeight | None
    fmt: Format
    part: Slice | None = None
    turned: bool = False
    every: tuple[int, int, int] | None = None

    @property
    def tensor(self) -> Tensor:
        """A handle on it, made when it is asked for: headers alone decide most pairs."""
        found = _stored(self.fmt.checkpoint, self.weight) if self.weight else self.fmt.plain_tensor(self.name)
        assert found is not None
        if self.part is not None and self.weight is None:
            found = part_of(found, self.part)
        found = found.transposed() if self.turned else found
        return found if self.every is None else _every(found, *self.every)

    @property
    def first_row(self) -> int:
        """Of the weight or tensor that it is a part of; 0 of what is none."""
        return self.part.rows[0] if self.part and self.part.rows else 0

    @property
    def n_elements(self) -> int:
        """Elements as stored."""
        return math.prod(self.form[1])

    @property
    def part_said(self) -> str:
        """`part [3], rows 0 to 64 of mlp.experts.gate_up_proj`; "" of what is a tensor of its own."""
        if self.part is None:
            return ""
        index, rows = self.part.index, self.part.rows
        words = [f"part {list(index)}"] if index else []
        words += [f"rows {rows[0]} to {rows[1]}"] if rows else []
        words += [f"one of every {self.every[2]} rows, from {self.every[1]} on"] if self.every else []
        return f"{', '.join(words)} of {visible(self.name, 120)}{', transposed' if self.turned else ''}"


def _every(tensor: Tensor, axis: int, first: int, step: int) -> Tensor:
    """A handle on every `step`-th position of an axis from `first` on."""
    shape = list(tensor.shape)
    strides = list(tensor.strides or (math.prod(shape[i + 1 :]) for i in range(len(shape))))
    start = tensor.offset + tensor.dtype.nbytes(first * strides[axis])
    shape[axis] = len(range(first, shape[axis], step))
    strides[axis] *= step
    return Tensor(tensor.name, tensor.dtype, tuple(shape), tuple(strides), tensor.file, start)


def weight_bytes(fmt: Format, items: Mapping[str, Item]) -> int:
    """Bytes of all codes and unquantized tensors, tied ones once."""
    if fmt.checkpoint.entries.untied:
        alike = Counter(id(i.form) for i in items.values())
        forms = {id(i.form): i.form for i in items.values()}
        return sum(n * forms[i][0].nbytes(math.prod(forms[i][1])) for i, n in alike.items())
    return sum({i.tensor.location: i.tensor.nbytes for i in items.values()}.values())


def weight_items(fmt: Format) -> dict[str, Item]:
    """Codes and unquantized tensors by role."""
    stored = ((weight, _stored(fmt.checkpoint, weight)) for weight in fmt.weights())
    items = [Item(w.role, t.name, shared_form(t.dtype, t.shape), w, fmt) for w, t in stored if t]
    derives = type(fmt).derived is not Format.derived
    for name, form in fmt.other_forms():
        derived = fmt.derived(name) if derives else None
        items.append(Item(derived.role if derived else fmt.role_of(name), name, form, None, fmt))
    return by_unique_role(items, attrgetter("role"), attrgetter("name"))


def _stored(checkpoint: Checkpoint, weight: QuantizedWeight) -> Tensor | None:
    try:
        return weight.stored(checkpoint)
    except QinspectError:  # a part that the tensor does not have: reading it says so
        return checkpoint.tensor(weight.codes_key)


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
        plain = not read and a is not None and b is not None and role not in tied and _alike(a, b)
        if plain and a is not None and b is not None and not (made and derived_of_one(a, b)):
            stored = _stored_as(a)
            n = math.prod(a.form[1])
            pairs.append(WeightPair(role, a.name, b.name, Status.NOT_COMPARED, n, stored_a=stored, stored_b=stored))
            continue
        pair = _headers(role, a, b)
        if pair is None:
            assert a is not None
            assert b is not None
            pair = _contents(role, a, b, format_a, format_b, moved, equality, tick) if read else _agreeing(role, a, b)
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


def compare_plain_values(format_a: Format, format_b: Format) -> list[WeightPair]:
    """Entries that are neither tensors nor scales: strings, integers, flags, None.

    A None that only one model stores equals nothing at all: safetensors files cannot hold it. Where the other model has
    a tensor or a scale under its name, that is the difference, and the None is left out.
    """
    pairs = []
    values_a, values_b = _plain_values(format_a), _plain_values(format_b)
    named: dict[Format, set[str]] = {}
    for role, (a, b) in line_up((values_a, values_b), lambda x, y: partners(x, y, attrgetter("name"))):
        names = (a.name if a else None, b.name if b else None)
        if a is None or b is None:
            only, other = (a, format_b) if b is None else (b, format_a)
            if only is None or only.value is not None:
                pairs.append(WeightPair(role, *names, Status.ONLY_B if a is None else Status.ONLY_A, 1))
            elif role not in (named.get(other) or named.setdefault(other, _names_and_roles(other))):
                note = "None; the other model stores nothing under this name"
                pairs.append(WeightPair(role, *names, Status.EQUAL, 1, 0, note=note, is_none=True))
            continue
        same = repr(a.value) == repr(b.value)
        note = "" if same else visible(f"A {a.value!r:.60}; B {b.value!r:.60}", 160)
        pairs.append(
            WeightPair(role, *names, Status.IDENTICAL if same else Status.DIFFERENT, 1, int(not same), note=note)
        )
    return pairs


def _names_and_roles(fmt: Format) -> set[str]:
    return {*fmt.checkpoint.entries, *map(fmt.role_of, fmt.checkpoint.entries)}


def _plain_values(fmt: Format) -> dict[str, Value]:
    found = list(fmt.checkpoint.plain_values())
    if not found:
        return {}
    scales = {key for r in fmt.scales() for key in r.keys} | {c.key for r in fmt.scales() for c in r.copies}
    found = [e for e in found if e.name not in scales]
    return by_unique_role(found, lambda e: fmt.role_of(e.name), attrgetter("name"))


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
            quantized=only.weight is not None, stored_a=_stored_as(a), stored_b=_stored_as(b),
        )  # fmt: skip
    quantized = a.weight is not None or b.weight is not None
    shape_a, shape_b = logical_shape(a), logical_shape(b)
    scheme_a, scheme_b = scheme_of(a), scheme_of(b)
    if quantized and _form(a) != _form(b):
        other_model = shape_a != shape_b and _is_unpacked(a) and _is_unpacked(b)
        status = Status.SHAPE if other_model else Status.SCHEME
        return WeightPair(
            role, a.name, b.name, status, a.n_elements, quantized=quantized,
            note=f"A {scheme_a} {dims(shape_a)}; B {scheme_b} {dims(shape_b)}",
            stored_a=_stored_as(a), stored_b=_stored_as(b),
        )  # fmt: skip
    if shape_a != shape_b:
        return WeightPair(
            role, a.name, b.name, Status.SHAPE, a.n_elements, quantized=quantized,
            note=f"A {dims(shape_a)}; B {dims(shape_b)}", stored_a=_stored_as(a), stored_b=_stored_as(b),
        )  # fmt: skip
    return None


def _alike(a: Item, b: Item) -> bool:
    """Whether both are plain tensors of one dtype and shape, as nearly all are."""
    same = a.form is b.form or a.form == b.form
    return same and a.weight is None and b.weight is None and a.part is None and b.part is None


def logical_shape(item: Item) -> tuple[int, ...]:
    """Of the numbers that it stands for, unpacked."""
    if item.weight is None:
        return item.form[1]
    rows = item.part.rows if item.part else None
    return item.weight.shape if rows is None else (rows[1] - rows[0], *item.weight.shape[1:])


def _is_unpacked(item: Item) -> bool:
    """Whether its shape is that of its numbers: codes that nobody understands may be packed."""
    return item.weight is not None or (item.form[0].is_float and item.form[0].bits >= 16)


def scheme_of(item: Item) -> str:
    """`bfloat16`, `4-bit FP4 in groups of 16`: how its numbers are stored."""
    if item.weight is None:
        return item.form[0].name
    return item.weight.scheme if item.weight.element.n_values > 1 else f"{item.weight.bits}-bit {item.weight.scheme}"


def _stored_as(item: Item | None) -> StoredAs | None:
    if item is None:
        return None
    weight = item.weight
    if weight is not None:
        return _named(weight.stored_as, weight.element.bits / weight.element.n_values)
    return stored_plainly(item.form)


def stored_plainly(form: Form) -> StoredAs | None:
    """What a tensor of this dtype and shape is stored as, where it is no weight that a family understands."""
    dtype, shape = form
    return _named(_SHORT.get(dtype.name, dtype.name), dtype.bits) if len(shape) > 1 else None


_SHORT = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
_named = lru_cache(StoredAs)  # few occur in 60,000 tensors


def _form(item: Item) -> tuple[object, ...]:
    """What the stored numbers mean; comparable one by one only where it is equal."""
    return item.weight.convention if item.weight else (item.form[0].name,)


def _agreeing(role: str, a: Item, b: Item) -> WeightPair:
    """The pair, where headers agree (but for the dtype) and bytes are not read."""
    n = math.prod(logical_shape(a))
    pair = WeightPair(
        role, a.name, b.name, Status.NOT_COMPARED, n, quantized=a.weight is not None,
        stored_a=_stored_as(a), stored_b=_stored_as(b),
    )  # fmt: skip
    if _form(a) != _form(b) and not derived_of_one(a, b):
        return replace(pair, status=Status.DTYPE, quantized=False, note=f"A {scheme_of(a)}; B {scheme_of(b)}")
    return pair


def _contents(
    role: str,
    a: Item,
    b: Item,
    format_a: Format,
    format_b: Format,
    moved: tuple[str, ...],
    equality: Equality,
    tick: Callable[[int], None],
) -> WeightPair:
    pair = WeightPair(
        role, a.name, b.name, Status.IDENTICAL, math.prod(logical_shape(a)), 0, a.weight is not None,
        stored_a=_stored_as(a), stored_b=_stored_as(b),
    )  # fmt: skip
    try:
        if derived := derived_of_one(a, b):
            return _of_derived(pair, a, b, *derived)
        if _form(a) != _form(b):
            return _of_two_dtypes(pair, a.tensor, b.tensor)
        if equality.tensors(a.tensor, b.tensor, tick):
            return pair
        if any(role.startswith(m) for m in moved):
            status = Status.PERMUTED if _same_values(a, b, format_a, format_b) else Status.INCOMPARABLE
            return replace(pair, status=status, n_changed=None)
        if not pair.quantized and not a.form[0].numpy:
            note = f"the bytes differ; by how much is not known: {a.form[0].name} is not decoded"
            return replace(pair, status=Status.DIFFERENT, n_changed=None, note=note)
        chunks = _codes(a, b, format_a, format_b) if pair.quantized else chunks_of(a.tensor, b.tensor)
        n_changed, deviation = deviation_of(chunks, logical_shape(a))
    except QinspectError as e:
        return replace(pair, status=Status.BROKEN, n_changed=None, note=str(e))
    if deviation is None:
        note = "same numbers; signs of zero or bits of NaN differ" if n_changed else _OTHER_LAYOUT[pair.quantized]
        return replace(pair, status=Status.EQUAL, note=note)
    if pair.quantized:  # what a code is worth is for its scale to say
        deviation = replace(deviation, relative=math.nan)
    return replace(
        pair, status=Status.DIFFERENT, n_changed=n_changed, deviation=deviation, note=said_of(deviation, pair.n)
    )


_OTHER_LAYOUT = {True: "same codes; padding or layout differ", False: "same numbers; layout differs"}


def derived_of_one(a: Item, b: Item) -> tuple[str, Derived] | None:
    """The model, `A` or `B`, that stores what is made of the other's numbers, and how; None where not
    one of the two does."""
    of_a, of_b = (None if i.weight else i.fmt.derived(i.name) for i in (a, b))
    if of_a and not of_b:
        return "A", of_a
    return ("B", of_b) if of_b and not of_a else None


def _of_derived(pair: WeightPair, a: Item, b: Item, model: str, derived: Derived) -> WeightPair:
    """What is made of the original's numbers, against what those make."""
    values = [i.tensor.read().astype(np.float64) for i in (a, b)]
    original = "AB".index("B" if model == "A" else "A")
    with np.errstate(all="ignore"):
        values[original] = derived.of(values[original])
    note = f"{model} stores {derived.said}"
    if np.allclose(values[0], values[1], rtol=DERIVED_TOLERANCE, atol=0, equal_nan=True):
        return replace(pair, status=Status.EQUAL, note=f"{note}: the same within its rounding")
    made = [np.ravel(v.astype(np.float32)) for v in values]
    n_changed, deviation = deviation_of([(made[0], made[1])], logical_shape(a))
    said = said_of(deviation, pair.n) if deviation else ""
    note = f"{note}, compared as such; {said}" if said else f"{note}, compared as such"
    return replace(pair, status=Status.DIFFERENT, n_changed=n_changed, deviation=deviation, note=note)


def _of_two_dtypes(pair: WeightPair, a: Tensor, b: Tensor) -> WeightPair:
    """Two element types: the same numbers, or by how much they differ."""
    names = (a.dtype.name, b.dtype.name)
    both_float = a.dtype.is_float and b.dtype.is_float
    n_changed, deviation = deviation_of(chunks_of(a, b), a.shape, names if both_float else None)
    note = f"A {names[0]}; B {names[1]}"
    if deviation is None:
        return replace(pair, status=Status.EQUAL, note=f"{note}: the same numbers")
    said = said_of(deviation, pair.n)
    note = f"{note}; {said}" if said else note
    return replace(pair, status=Status.DIFFERENT, n_changed=n_changed, deviation=deviation, note=note)


def said_of(d: Deviation, n: int) -> str:
    """What is remarkable about a deviation beside its size."""
    parts = [f"every element of {d.rounded}"] if d.rounded else []
    if d.zero_from == 0:
        parts.append("B is all zeros")
    elif d.zero_from is not None and is_tail(d.zero_from, n):
        parts.append(f"B is zero from element {count(d.zero_from)} to its end, {share(n - d.zero_from, n)} of it")
    elif d.n_zeroed > n // 100:
        parts.append(f"{some(d.n_zeroed, 'element')} {'is' if d.n_zeroed == 1 else 'are'} zero in B only")
    for model, n_bad in (("A", d.n_bad_a), ("B", d.n_bad_b)):
        if n_bad:
            parts.append(f"{count(n_bad)} in {model} not finite")
    return ", ".join(parts)


def _same_values(a: Item, b: Item, format_a: Format, format_b: Format) -> bool:
    """Whether both hold the same values, each as often, in whatever order."""
    if a.weight is None or b.weight is None:
        of_a, of_b = (np.sort(bits_of(i.tensor.read().reshape(-1)), axis=None) for i in (a, b))
        return np.array_equal(of_a, of_b)
    counts = []
    for fmt, weight in ((format_a, a.weight), (format_b, b.weight)):
        blocks = (fmt.codes(weight, start, stop) for start, stop in row_blocks(weight, BLOCK_ELEMENTS))
        counts.append(count_codes(blocks, weight.element))
    return counts[0] == counts[1]


def _codes(a: Item, b: Item, format_a: Format, format_b: Format) -> Iterator[tuple[Array, Array]]:
    """The codes of both, in blocks of rows."""
    assert a.weight is not None
    assert b.weight is not None
    n_rows = logical_shape(a)[:1]
    for start, stop in row_blocks(a.weight, BLOCK_ELEMENTS):
        if n_rows and start < n_rows[0]:
            end = min(stop, n_rows[0])
            yield np.ravel(_rows_of(a, format_a, start, end)), np.ravel(_rows_of(b, format_b, start, end))


def _rows_of(item: Item, fmt: Format, start: int, stop: int) -> Array:
    """Codes of rows of what may be a part of a weight."""
    assert item.weight is not None
    first = item.first_row
    skipped = (first + start) % item.weight.row_step
    return fmt.codes(item.weight, first + start - skipped, first + stop)[skipped:]
