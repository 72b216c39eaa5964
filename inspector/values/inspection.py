"""Everything about one entry: what it is, what it belongs to, what its numbers look like."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Entry, Tensor
from qinspect.inspector.errors import CannotDequantize, CannotRead, UnknownKey
from qinspect.inspector.formats import Copy, Format, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.element import Element
from qinspect.inspector.formats.records import Slice
from qinspect.inspector.values.scale_values import large_tensor
from qinspect.inspector.values.statistics import Statistics, count_codes, describe
from qinspect.inspector.values.stored_blocks import stored_blocks
from qinspect.inspector.values.value_text import array_texts, value_text

CHUNK_ELEMENTS = 1 << 22
SHOWN_VALUES = 64
"""Tensors up to this size are shown value by value."""


@dataclass(frozen=True, slots=True)
class CopyValue:
    """A copy of the scale: where, how related, the number stored there (None for a tensor of several), and as text in
    all the digits of its type."""

    key: str
    relation: str
    stored: float | None
    text: str


@dataclass(frozen=True, slots=True)
class OnePart:
    """What is shown of an entry that several weights share.

    said: which part it is: `expert 0 of 8`. another: what to give for another one, "" where there is none.
    """

    said: str
    another: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """One entry.

    entry: what is stored. scale: the record, if it is a scale (logical: statistics of its values where they are not
    what is stored: padding dropped, a folded factor taken out).
    copy_of: the role of the scale that it is a copy of. weight: the quantized weight, if it holds codes.
    statistics: of the stored numbers, None for packed codes and complex numbers. values: all of them where they are
    few. codes: code to count, of `element`, which is the weight's. dequantized: statistics of the weight's values.
    part: of an entry that several weights or scales share, which of them `weight` and `scale` are.
    """

    key: str
    entry: Entry
    scale: ScaleRecord | None
    copy_of: str
    weight: QuantizedWeight | None
    statistics: Statistics | None
    values: NDArray[Any] | None
    logical: Statistics | None
    copies: tuple[CopyValue, ...]
    codes: dict[int, int] | None
    dequantized: Statistics | None
    problem: str
    element: Element | None = None
    part: OnePart | None = None


def inspect_entry(fmt: Format, name: str) -> Inspection:
    """Look at the entry `name`: a key, the role of a point or weight, a weight's own name where its codes have another
    key, or `ROLE#scale` for the scale of a weight.

    Raises UnknownKey where it is none of these.
    """
    records = {r.role: r for r in fmt.scales()}
    weights = {w.role: w for w in fmt.weights()}
    key = name
    named = weights.get(name)
    if name not in fmt.checkpoint:
        named = named or next((w for w in weights.values() if w.name == name), None)
        if named:
            key = named.codes_key
        elif found := records.get(name) or records.get(name.removesuffix("#scale")):
            key = found.key
    if key not in fmt.checkpoint:
        raise unknown_name(fmt, name, list(dict.fromkeys([*records, *weights])))
    entry = fmt.checkpoint[key]
    of_key = [r for r in records.values() if r.key == key]  # several where it is stacked
    scale = next((r for r in of_key if r.role in (name, name.removesuffix("#scale"))), next(iter(of_key), None))
    copy_of = next((r.role for r in records.values() if any(c.key == key for c in r.copies)), "")
    of_codes = [w for w in weights.values() if w.codes_key == key]
    scaled = next((w for w in of_codes if scale and scale.role in w.scale_roles), None)
    weight = named or scaled or next(iter(of_codes), None)
    statistics = values = logical = None
    codes: dict[int, int] | None = None
    dequantized = None
    element: Element | None = None
    problem = ""
    try:
        in_blocks = isinstance(entry, Tensor) and bool(entry.dtype.block_bytes)
        packed = weight is not None and (weight.bits < 8 or bool(weight.slice) or in_blocks)
        if isinstance(entry, Tensor) and weight is not None:
            packed = packed or weight.bits < entry.dtype.bits  # four codes of 8 bits a word
        if isinstance(entry, Tensor) and not packed:
            statistics = None if entry.dtype.is_complex else describe(stored_blocks(entry), entry.n_elements)
            values = entry.read() if entry.n_elements <= SHOWN_VALUES else None
        if scale and large_tensor(fmt, scale) is None:  # of a large one the stored numbers are those of the scale
            unfolded = fmt.values(scale)
            stored_as_is = scale.as_stored and statistics is not None and statistics.n == unfolded.size
            logical = None if stored_as_is or unfolded.size == 1 else describe([unfolded], unfolded.size)
        if weight:
            element = fmt.element_of(weight)
            codes = count_codes((fmt.codes(weight, *rows) for rows in row_blocks(weight)), weight.element)
            blocks = (fmt.dequantize(weight, *rows) for rows in row_blocks(weight))
            dequantized = describe(blocks, math.prod(weight.shape))
    except (CannotRead, CannotDequantize) as e:
        problem = str(e)
    copies = tuple(_copy(fmt, c) for c in scale.copies) if scale else ()
    return Inspection(
        key, entry, scale, copy_of, weight, statistics, values, logical, copies, codes, dequantized, problem, element,
        _part_of_weights(entry, weight, of_codes) if weight else _part_of_scales(entry, scale, of_key),
    )  # fmt: skip


def _part_of_weights(entry: Entry, shown: QuantizedWeight, of_codes: list[QuantizedWeight]) -> OnePart | None:
    others = [w.name for w in of_codes if w is not shown]
    return OnePart(_said(entry, shown.slice), _one_of(others)) if shown.slice and others else None


def _part_of_scales(entry: Entry, shown: ScaleRecord | None, of_key: list[ScaleRecord]) -> OnePart | None:
    if shown is None or shown.slice is None:
        return None
    others = [r.role if "#" in r.role or ":" in r.role else f"{r.role}#scale" for r in of_key if r is not shown]
    return OnePart(_said(entry, shown.slice), _one_of(others)) if others else None


def _one_of(names: list[str]) -> str:
    """One that is not the neighbour, so that what counts in the name is seen."""
    return names[min(2, len(names) - 1)] if names else ""


def _said(entry: Entry, part: Slice) -> str:
    """`expert 0 of 8`, `expert 0 of 8, rows 64 to 127 of 128`, `rows 3 to 3 of 8`."""
    shape = entry.shape if isinstance(entry, Tensor) else ()
    said = [f"expert {i} of {n}" for i, n in zip(part.index, shape, strict=False)]
    if part.rows:
        first, stop = part.rows
        inside = shape[len(part.index) : len(part.index) + 1]
        of = f" of {inside[0]}" if inside else ""
        said.append(f"row {first}{of}" if stop == first + 1 else f"rows {first} to {stop - 1}{of}")
    if part.runs:
        said.append(part.runs.said)
    return ", ".join(said)


def _copy(fmt: Format, copy: Copy) -> CopyValue:
    stored, entry = fmt.checkpoint.scalar(copy.key), fmt.checkpoint.entries.get(copy.key)
    text = ""
    if stored is not None and entry is not None:
        text = array_texts(entry.read())[0] if isinstance(entry, Tensor) else value_text(entry.value)
    return CopyValue(copy.key, copy.relation, stored, text)


def unknown_name(fmt: Format, name: str, roles: list[str]) -> UnknownKey:
    """For a name that is neither key nor role: the nearest of both."""
    close = difflib.get_close_matches(name, roles, n=2, cutoff=0.6)
    try:
        fmt.checkpoint[name]
    except UnknownKey as e:
        if close:
            e.found = f"{e.found or ''}; the nearest role {' or '.join(close)}".lstrip("; ")
        return e
    raise AssertionError("the caller looked already")


def row_blocks(weight: QuantizedWeight, elements: int = CHUNK_ELEMENTS) -> Iterator[tuple[int, int]]:
    """Row ranges of about `elements` elements that `Format.codes` and `Format.dequantize` can read one by one."""
    width = 1
    for d in weight.shape[1:]:
        width *= d
    rows = max(1, elements // max(1, width) // weight.row_step) * weight.row_step
    n = weight.shape[0] if weight.shape else 1
    for start in range(0, n, rows):
        yield start, min(start + rows, n)
