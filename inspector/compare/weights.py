"""Comparing codes and unquantized tensors: headers always, bytes when asked, streamed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor, Value
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.pairing import pair_by_role
from qinspect.inspector.compare.results import Status, WeightPair
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.inspection import row_blocks
from qinspect.inspector.statistics import count_codes
from qinspect.inspector.text import dims, visible

Array = NDArray[Any]
BLOCK_ELEMENTS = 1 << 22


class Item(NamedTuple):
    """Something to compare under one role: codes of a weight, or a tensor that no scale belongs to."""

    tensor: Tensor
    weight: QuantizedWeight | None


def weight_bytes(items: Mapping[str, Item]) -> int:
    """Bytes of all codes and unquantized tensors, tied ones once."""
    return sum({i.tensor.location: i.tensor.nbytes for i in items.values()}.values())


def weight_items(fmt: Format) -> dict[str, Item]:
    """Codes and unquantized tensors by role."""
    items = {}
    for weight in fmt.weights():
        if tensor := fmt.checkpoint.tensor(weight.codes_key):
            items[weight.role] = Item(tensor, weight)
    for tensor in fmt.other_tensors():
        items.setdefault(fmt.role_of(tensor.name), Item(tensor, None))
    return items


def compare_weights(
    format_a: Format,
    format_b: Format,
    items_a: Mapping[str, Item],
    items_b: Mapping[str, Item],
    equality: Equality,
    read: bool,
    tick: Callable[[int], None],
) -> tuple[WeightPair, ...]:
    """All codes and unquantized tensors, by role; the items are `weight_items` of the formats.

    read: compare bytes, else headers only. `tick(n)` is called with bytes compared; it may raise to cancel.
    """
    moved = _moved_modules(format_a, format_b, equality)
    pairs = []
    for role, a, b in pair_by_role(items_a, items_b):
        pair = _headers(role, a, b)
        if pair is None:
            assert a is not None
            assert b is not None
            pair = _contents(role, a, b, format_a, format_b, moved, equality, tick) if read else _agreeing(role, a, b)
        pairs.append(pair)
    return (*pairs, *compare_plain_values(format_a, format_b))


def compare_plain_values(format_a: Format, format_b: Format) -> list[WeightPair]:
    """Entries that are neither tensors nor scales: strings, integers, flags. None counts as absent."""
    pairs = []
    for role, a, b in pair_by_role(_plain_values(format_a), _plain_values(format_b)):
        names = (a.name if a else None, b.name if b else None)
        if a is None or b is None:
            pairs.append(WeightPair(role, *names, Status.ONLY_B if a is None else Status.ONLY_A, 1))
            continue
        same = repr(a.value) == repr(b.value)
        note = "" if same else visible(f"A {a.value!r:.60}; B {b.value!r:.60}", 160)
        pairs.append(
            WeightPair(role, *names, Status.IDENTICAL if same else Status.DIFFERENT, 1, int(not same), note=note)
        )
    return pairs


def _plain_values(fmt: Format) -> dict[str, Value]:
    found = [e for e in fmt.checkpoint.entries.values() if isinstance(e, Value) and e.value is not None]
    if not found:
        return {}
    scales = {r.key for r in fmt.scales()} | {c.key for r in fmt.scales() for c in r.copies}
    return {fmt.role_of(e.name): e for e in found if e.name not in scales}


def _moved_modules(format_a: Format, format_b: Format, equality: Equality) -> tuple[str, ...]:
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
        name = only.tensor.name
        status = Status.ONLY_A if b is None else Status.ONLY_B
        return WeightPair(
            role, name if b is None else None, name if a is None else None, status, only.tensor.n_elements,
            quantized=only.weight is not None,
        )  # fmt: skip
    quantized = a.weight is not None or b.weight is not None
    shape_a, shape_b = _shape(a), _shape(b)
    scheme_a, scheme_b = _scheme(a), _scheme(b)
    if quantized and scheme_a != scheme_b:
        return WeightPair(
            role, a.tensor.name, b.tensor.name, Status.SCHEME, a.tensor.n_elements, quantized=quantized,
            note=f"A {scheme_a} {dims(shape_a)}; B {scheme_b} {dims(shape_b)}",
        )  # fmt: skip
    if shape_a != shape_b:
        return WeightPair(
            role, a.tensor.name, b.tensor.name, Status.SHAPE, a.tensor.n_elements, quantized=quantized,
            note=f"A {dims(shape_a)}; B {dims(shape_b)}",
        )  # fmt: skip
    return None


def _shape(item: Item) -> tuple[int, ...]:
    return item.weight.shape if item.weight else item.tensor.shape


def _scheme(item: Item) -> str:
    return f"{item.weight.bits}-bit {item.weight.scheme}" if item.weight else item.tensor.dtype.name


def _agreeing(role: str, a: Item, b: Item) -> WeightPair:
    """The pair, where headers agree (but for the dtype) and bytes are not read."""
    n = math.prod(_shape(a))
    names = (a.tensor.name, b.tensor.name)
    if _scheme(a) != _scheme(b):
        return WeightPair(role, *names, Status.DTYPE, n, note=f"A {_scheme(a)}; B {_scheme(b)}")
    return WeightPair(role, *names, Status.NOT_COMPARED, n, quantized=a.weight is not None)


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
    n = math.prod(_shape(a))
    names = (a.tensor.name, b.tensor.name)
    quantized = a.weight is not None
    try:
        if _scheme(a) != _scheme(b):
            changed = _changed_elements(a.tensor, b.tensor, _numbers)
            return WeightPair(role, *names, Status.DTYPE, n, changed, note=f"A {_scheme(a)}; B {_scheme(b)}")
        if equality.tensors(a.tensor, b.tensor, tick):
            return WeightPair(role, *names, Status.IDENTICAL, n, 0, quantized)
        if any(role.startswith(m) for m in moved):
            status = Status.PERMUTED if _same_values(a, b, format_a, format_b) else Status.INCOMPARABLE
            return WeightPair(role, *names, status, n, None, quantized)
        n_changed = (
            _changed_codes(a, b, format_a, format_b) if quantized else _changed_elements(a.tensor, b.tensor, _bits)
        )
    except QinspectError as e:
        return WeightPair(role, *names, Status.BROKEN, n, None, quantized, str(e))
    status = Status.DIFFERENT if n_changed else Status.EQUAL
    note = "" if n_changed else "same codes; padding or layout differ"
    return WeightPair(role, *names, status, n, n_changed, quantized, note)


def _same_values(a: Item, b: Item, format_a: Format, format_b: Format) -> bool:
    """Whether both hold the same values, each as often, in whatever order."""
    if a.weight is None or b.weight is None:
        return np.array_equal(np.sort(_bits(a.tensor.read()), axis=None), np.sort(_bits(b.tensor.read()), axis=None))
    counts = []
    for fmt, weight in ((format_a, a.weight), (format_b, b.weight)):
        blocks = (fmt.codes(weight, start, stop) for start, stop in row_blocks(weight, BLOCK_ELEMENTS))
        counts.append(count_codes(blocks, weight.bits))
    return counts[0] == counts[1]


def _changed_codes(a: Item, b: Item, format_a: Format, format_b: Format) -> int:
    """Codes that differ, in blocks of rows."""
    assert a.weight is not None
    assert b.weight is not None
    changed = 0
    for start, stop in row_blocks(a.weight, BLOCK_ELEMENTS):
        changed += int(np.count_nonzero(format_a.codes(a.weight, start, stop) != format_b.codes(b.weight, start, stop)))
    return changed


def _changed_elements(a: Tensor, b: Tensor, view: Callable[[Array], Array]) -> int:
    """Elements that differ, as `view` shows them: their bits, or their numbers where the dtypes are not the same."""
    if a.strides is not None or b.strides is not None or a.dtype.packed or b.dtype.packed:
        return int(np.count_nonzero(view(a.read()) != view(b.read())))
    changed = 0
    for start in range(0, a.n_elements, BLOCK_ELEMENTS):
        stop = min(start + BLOCK_ELEMENTS, a.n_elements)
        changed += int(np.count_nonzero(view(a.read_range(start, stop)) != view(b.read_range(start, stop))))
    return changed


def _numbers(x: Array) -> Array:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def _bits(x: Array) -> Array:
    """The array's bit patterns as unsigned integers, so that -0 and NaN compare by their bits."""
    width = x.dtype.itemsize
    if width in (1, 2, 4, 8):
        return np.ascontiguousarray(x).view(f"u{width}")
    return x
