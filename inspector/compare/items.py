"""What is compared beside scales: codes and unquantized tensors by role, and what headers tell of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.columns import Form, shared_form
from qinspect.inspector.compare.pairing import by_unique_role
from qinspect.inspector.compare.results import StoredAs
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.formats.records import Derived, Slice, part_of
from qinspect.inspector.text import visible

Array = NDArray[Any]


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
    def n_rows_of_part(self) -> int | None:
        """Rows that are this part of a weight; None where it is all of them."""
        if self.part is None:
            return None
        if self.part.runs is not None:
            return self.part.runs.n_rows
        return None if self.part.rows is None else self.part.rows[1] - self.part.rows[0]

    def rows(self, start: int, stop: int, read: Callable[[int, int], Array]) -> Array:
        """Rows `start` to `stop` of what may be a part of a weight. read: what gives rows of the weight, `codes` or
        `effective`."""
        assert self.weight is not None
        step = self.weight.row_step
        if self.part is not None and self.part.runs is not None:
            return self.part.runs.read(start, stop, step, read)
        first = self.first_row + start
        skipped = first % step
        return read(first - skipped, self.first_row + stop)[skipped:]

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
        words += [self.part.runs.said] if self.part.runs else []
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


def alike(a: Item, b: Item) -> bool:
    """Whether both are plain tensors of one dtype and shape, as nearly all are."""
    same = a.form is b.form or a.form == b.form
    return same and a.weight is None and b.weight is None and a.part is None and b.part is None


def logical_shape(item: Item) -> tuple[int, ...]:
    """Of the numbers that it stands for, unpacked."""
    if item.weight is None:
        return item.form[1]
    n_rows = item.n_rows_of_part
    return item.weight.shape if n_rows is None else (n_rows, *item.weight.shape[1:])


def is_unpacked(item: Item) -> bool:
    """Whether its shape is that of its numbers: codes that nobody understands may be packed."""
    return item.weight is not None or (item.form[0].is_float and item.form[0].bits >= 16)


def scheme_of(item: Item) -> str:
    """`bfloat16`, `4-bit FP4 in groups of 16`: how its numbers are stored."""
    if item.weight is None:
        return item.form[0].name
    return item.weight.scheme if item.weight.element.n_values > 1 else f"{item.weight.bits}-bit {item.weight.scheme}"


def stored_as_of(item: Item | None) -> StoredAs | None:
    """What its numbers are stored as; None of a vector, and of nothing."""
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


def meaning(item: Item) -> tuple[object, ...]:
    """What the stored numbers mean; comparable one by one only where it is equal."""
    return item.weight.convention if item.weight else (item.form[0].name,)


def derived_of_one(a: Item, b: Item) -> tuple[str, Derived] | None:
    """The model, `A` or `B`, that stores what is made of the other's numbers, and how; None where not
    one of the two does."""
    of_a, of_b = (None if i.weight else i.fmt.derived(i.name) for i in (a, b))
    if of_a and not of_b:
        return "A", of_a
    return ("B", of_b) if of_b and not of_a else None
