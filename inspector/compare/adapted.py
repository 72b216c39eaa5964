"""An adapter beside a model: which of its modules are in the model, and how far merging it would move their weights."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.compare.evidence import Evidence
from qinspect.inspector.compare.items import Item, is_unpacked, logical_shape, weight_items
from qinspect.inspector.compare.next_steps import reason
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.finding import Finding
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.adapted import AdaptedModule
from qinspect.inspector.text import count, magnitude, visible

MOST_MEASURED = 1 << 28
"""Elements of weights that are read to measure updates; of more, an even sample of the modules is measured."""
_BLOCK = 1 << 20
_MAX_PREFIX = 6
_WEIGHT = ".weight"


@dataclass(frozen=True, slots=True)
class Found:
    """Adapted modules with their weight in the base. odd: whose weight has another shape. absent: not in the base."""

    fit: Sequence[tuple[AdaptedModule, Item]]
    odd: Sequence[AdaptedModule]
    absent: Sequence[AdaptedModule]


def said_of_adapter(e: Evidence) -> Finding | None:
    """The headline where one of the two is an adapter and the other is not."""
    adapters = [bool(fmt.adapts()) for fmt in (e.a, e.b)]
    if adapters[0] == adapters[1]:
        return None
    adapter, base = (e.a, e.b) if adapters[0] else (e.b, e.a)
    letter, other = ("A", "B") if adapters[0] else ("B", "A")
    found = find(adapter.adapts(), base)
    text = f"{letter} is no model: {adapter.description}. {_counted(found, other)}"
    if found.fit and e.weights_compared:
        text += _moved(adapter, found.fit, other)
    return reason("adapter-and-model", text)


def _counted(found: Found, other: str) -> str:
    n, known = len(found.fit), len(found.fit) + len(found.odd)
    total = known + len(found.absent)
    if not known:
        return (
            f"None of its modules is in {other} by name: it is for another model, or one under the names of another "
            "library."
        )
    first = next(iter(found.absent), None)
    without = f", the first that is not {visible(first.module, 120)}" if first else ""
    those = "all" if known == total else f"{count(known)} of {count(total)}"
    text = f"Of the modules that it adapts {those} are in {other}{without}"
    if found.odd:
        return (
            f"{text}; {count(len(found.odd))} do not fit the weight there, first {visible(found.odd[0].module, 120)}."
        )
    return f"{text}, and its factors fit the weight{'s' * (n != 1)} there."


def find(modules: Sequence[AdaptedModule], base: Format) -> Found:
    """The weight in the base of each module: by its name, and where the dots of that are not known, by the name
    without dots; under a prefix where it is the only one there."""
    by_name = _by_name(base)
    claims: dict[str, list[AdaptedModule]] = {}
    odd, absent = [], []
    for module in modules:
        item = by_name.get(module.module) or by_name.get(module.flat)
        if item is None:
            absent.append(module)
        elif module.shape is not None and _fits(module.shape, logical_shape(item)) and is_unpacked(item):
            claims.setdefault(item.role, []).append(module)
        else:
            odd.append(module)
    items = {item.role: item for item in by_name.values()}
    fit = [(claim[0], items[role]) for role, claim in claims.items() if len(claim) == 1]
    several = [module for claim in claims.values() if len(claim) > 1 for module in claim]
    return Found(fit, odd, [*absent, *several])


def _by_name(base: Format) -> dict[str, Item]:
    """Weights by the name of their module, its ends, and all of these without dots; what two weights would have,
    neither has."""
    found: dict[str, Item | None] = {}
    weights = {role.removesuffix(_WEIGHT): item for role, item in weight_items(base).items() if role.endswith(_WEIGHT)}
    for n_left_out in range(_MAX_PREFIX):  # whole names first: an end takes the place of no whole name
        ends: dict[str, Item | None] = {}
        for module, item in weights.items():
            parts = module.split(".", n_left_out)
            if len(parts) <= n_left_out:
                continue
            for name in {parts[-1], parts[-1].replace(".", "_")}:
                ends[name] = None if name in ends else item
        found = {**ends, **found}
    return {name: item for name, item in found.items() if item is not None}


def _fits(adapted: tuple[int, ...], stored: tuple[int, ...]) -> bool:
    """A convolution of one pixel is a matrix, and some factors do not say how wide a kernel is."""
    return bool(stored) and adapted[0] == stored[0] and math.prod(adapted[1:]) == math.prod(stored[1:])


def _moved(adapter: Format, fit: Sequence[tuple[AdaptedModule, Item]], other: str) -> str:
    """` Merged into A it moves a weight by 1.2 % ...`; why not, where none can be calculated."""
    measured, why_not = {}, ""
    for module, item in _sample([pair for pair in fit if not pair[0].why_not]):
        try:
            measured[module.module] = relative_update(adapter, module, item)
        except QinspectError as e:
            why_not = why_not or str(e)
    known = {name: value for name, value in measured.items() if math.isfinite(value)}
    if not known:
        why_not = why_not or next((m.why_not for m, _ in fit if m.why_not), "")
        return f" How far it moves the weights is not known: {visible(why_not, 200)}." if why_not else ""
    largest = max(known, key=lambda name: known[name])
    of = "" if len(known) == len(fit) else f" ({count(len(known))} of {count(len(fit))} measured)"
    at_most = f", {_said(known[largest])} at most ({visible(largest, 120)})" if len(known) > 1 else ""
    middle = " in the median" if len(known) > 1 else ""
    return (
        f" Merged into {other} it moves a weight by {_said(statistics.median(known.values()))} of its norm{middle}"
        f"{at_most}{of}."
    )


def _said(share: float) -> str:
    return magnitude(100 * share)


def _sample(fit: Sequence[tuple[AdaptedModule, Item]]) -> Iterator[tuple[AdaptedModule, Item]]:
    total = sum(math.prod(logical_shape(item)) for _, item in fit)
    step = max(1, -(-total // MOST_MEASURED))
    yield from fit[::step]


def relative_update(adapter: Format, module: AdaptedModule, item: Item) -> float:
    """|merged - weight| / |weight|, Frobenius norms in float64, all elements. NaN where the weight is zero. Raises
    CannotDequantize and CannotRead."""
    shape = logical_shape(item)
    width = math.prod(shape[1:])
    step = item.weight.row_step if item.weight else 1
    rows = max(1, _BLOCK // max(1, width) // step) * step
    moved = whole = 0.0
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        weight = _rows(item, start, stop).reshape(stop - start, -1).astype(np.float64)
        with np.errstate(all="ignore"):  # NaN and infinities of a file are the file's, and the answer is NaN
            merged = adapter.adapted_rows(module, weight, start, stop)
            moved += float(((merged - weight) ** 2).sum())
            whole += float((weight**2).sum())
    return math.sqrt(moved / whole) if whole else math.nan  # of NaN and of infinities NaN


def _rows(item: Item, start: int, stop: int) -> NDArray[Any]:
    if item.weight is not None:
        return item.rows(start, stop, partial(item.fmt.effective, item.weight))
    return item.tensor.read_rows(start, stop)
