"""Comparing the bytes of codes and unquantized tensors, streamed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.deviation import bits_of, chunks_of, deviation_of, is_tail
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.items import Item, derived_of_one, logical_shape, meaning, stored_as_of
from qinspect.inspector.compare.results import Deviation, Status, WeightPair
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.records import Derived
from qinspect.inspector.text import count, share, some
from qinspect.inspector.values.inspection import row_blocks
from qinspect.inspector.values.statistics import count_codes

Array = NDArray[Any]
BLOCK_ELEMENTS = 1 << 22

DERIVED_TOLERANCE = 1e-6
"""Relative rounding of what is calculated of a parameter in float32."""


def compare_contents(
    role: str,
    a: Item,
    b: Item,
    format_a: Format,
    format_b: Format,
    moved: tuple[str, ...],
    equality: Equality,
    tick: Callable[[int], None],
) -> WeightPair:
    """Compare one role by its bytes, where headers agree (but for the dtype). moved: as `moved_modules` gives them.
    What cannot be read gives Status.BROKEN with the reason, not an exception."""
    pair = WeightPair(
        role, a.name, b.name, Status.IDENTICAL, math.prod(logical_shape(a)), 0, a.weight is not None,
        stored_a=stored_as_of(a), stored_b=stored_as_of(b),
    )  # fmt: skip
    try:
        if derived := derived_of_one(a, b):
            return _of_derived(pair, a, b, *derived)
        if meaning(a) != meaning(b):
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
    weight = item.weight
    assert weight is not None
    return item.rows(start, stop, lambda first, last: fmt.codes(weight, first, last))
