"""Scales of what one model stores as a whole and the other in parts: q, k and v or gate and up in one; one number for
all experts of a stack, against one for each.

A scale that changes along the rows has the rows of each part, which are compared with the part's own scale. One number
for the whole says nothing of a part alone: that is said, and nothing is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qinspect.inspector.compare.difference import difference_of
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.items import Item
from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.compare.scales import judged, look
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.grid import Grid
from qinspect.inspector.formats.records import FloatArray
from qinspect.inspector.formats.runs import Runs
from qinspect.inspector.text import visible
from qinspect.inspector.values.scale_faults import FaultScan

Records = dict[str, ScaleRecord]


class Cut(NamedTuple):
    """The rows of a whole weight that are one part of it; None of a stack whose number is one for all. n_rows: of the
    whole. whole: its name."""

    rows: tuple[int, int] | Runs | None
    n_rows: int
    whole: str


Cuts = dict[str, Cut]
"""By the role of a part's record."""


def in_parts(records: Records, items: Mapping[str, Item], other: Mapping[str, ScaleRecord]) -> tuple[Records, Cuts]:
    """The records by role, those of a whole once for each of its parts, under the role that the part has in the other
    model; and what is cut of them. items: with wholes in their parts. Where no part has a scale in the other model, a
    whole stays one."""
    parts: dict[str, list[Item]] = {}
    stacks: dict[str, list[Item]] = {}
    for item in items.values():
        weight = item.weight
        if weight is None:
            continue
        if item.n_rows_of_part is not None:
            parts.setdefault(weight.role, []).append(item)
        elif weight.slice is not None and weight.scale_roles and not weight.scale_roles[-1].startswith(weight.role):
            stacks.setdefault(weight.scale_roles[-1], []).append(item)
    parts = {whole: its for whole, its in parts.items() if any(_scaled(i.role, other) for i in its)}
    stacks = {role: its for role, its in stacks.items() if role in records and role not in other}
    found = dict(_of_stacks(stacks, other)) | {r: own for r in records if parts and (own := _of_parts(r, parts))}
    if not found:
        return records, {}
    made: Records = {}
    cuts: Cuts = {}
    for role, record in records.items():
        for name, cut in found.get(role, ()):
            made[name] = record
            cuts[name] = cut
        if role not in found:
            made[role] = record
    return made, cuts


Named = list[tuple[str, Cut]]
"""The roles that the record of a whole has as that of its parts."""


def _of_stacks(stacks: Mapping[str, list[Item]], other: Mapping[str, ScaleRecord]) -> Iterator[tuple[str, Named]]:
    """Of the numbers that all experts of a stack share, and of the scale of their input."""
    for shared, items in stacks.items():
        whole, mark, rest = shared.partition("#")
        stack = whole.removesuffix(".weight")
        for role, end in ((shared, f"{mark}{rest}"), (f"{stack}:input", ":input")):
            bases = (i.role.removesuffix(".weight") if end == ":input" else i.role for i in items)
            names = [f"{base}{end}" for base in bases]
            if role not in other and any(name in other for name in names):
                yield role, [(name, Cut(None, 0, stack)) for name in names]


def _of_parts(role: str, parts: Mapping[str, list[Item]]) -> Named:
    """Of a record of projections in one; [] of any other."""
    whole, end = _of_weight(role, parts)
    named: Named = []
    for item in parts.get(whole, ()):
        assert item.part is not None
        assert item.weight is not None
        base = item.role.removesuffix(".weight") if end.startswith(":") else item.role
        named.append((f"{base}{end}", Cut(item.part.runs or item.part.rows, item.weight.shape[0], item.weight.name)))
    return named


def _scaled(role: str, other: Mapping[str, ScaleRecord]) -> bool:
    return role in other or f"{role.removesuffix('.weight')}:input" in other


def _of_weight(role: str, parts: Mapping[str, list[Item]]) -> tuple[str, str]:
    """The whole that a record belongs to, and the end of its role: `#zero_point` of a weight, `:input`."""
    weight, mark, rest = role.partition("#")
    if weight in parts:
        return weight, mark + rest
    module, mark, rest = role.partition(":")
    return (f"{module}.weight", mark + rest) if mark and f"{module}.weight" in parts else ("", "")


@np.errstate(all="ignore")  # a signalling NaN or a number beyond float32 in the file is no event
def compare_joined(
    role: str,
    order: int,
    records: tuple[ScaleRecord, ScaleRecord],
    formats: tuple[Format, Format],
    cuts: tuple[Cut | None, Cut | None],
    equality: Equality,
    faults: FaultScan,
) -> ScalePair:
    """Compare one role where a model, or each of them, has a part of a larger scale. As `compare_scale`."""
    a, b = records
    joined = "A" if cuts[0] else "B"
    said = "; ".join(_said(m, r, c) for m, r, c in zip("AB", records, cuts, strict=True) if c)
    pair = ScalePair(role, order, a, b, Status.SCHEME, joined=joined)
    why = f"A {a.scheme}; B {b.scheme}" if a.convention != b.convention else ""
    why = why or next(filter(None, (_not_cut(m, r, c) for m, r, c in zip("AB", records, cuts, strict=True) if c)), "")
    if why:
        for tag, fmt, record in zip("AB", formats, records, strict=True):
            look(faults, (order, tag), fmt, record)
        return replace(pair, note=why)
    try:
        values = [_values(*x) for x in zip(formats, records, cuts, strict=True)]
        for tag, record, v in zip("AB", records, values, strict=True):
            faults.add_scale((order, tag), record, v)
        va, vb = values
        if va.shape != vb.shape and _squeezed(va) == _squeezed(vb):
            vb = vb.reshape(va.shape)
        if va.shape != vb.shape:
            note = f"A {list(va.shape)}; B {list(vb.shape)}; {said}"
            return replace(pair, status=Status.SHAPE, note=note)
        permuted = equality.reordered(a, b)
        if permuted:
            va, vb = np.sort(va, axis=None), np.sort(vb, axis=None)
        found = judged(role, order, a, b, difference_of([(va, vb)], va.shape, permuted), permuted, "")
    except QinspectError as e:
        return replace(pair, status=Status.BROKEN, note=str(e))
    status = Status.EQUAL if found.status is Status.IDENTICAL else found.status
    note = f"A {a.dtype}; B {b.dtype}; {said}" if a.dtype != b.dtype else said
    if permuted:
        note = f"sorted before comparing; {note}"
    return replace(found, status=status, note=note, joined=joined)


def _said(model: str, record: ScaleRecord, cut: Cut) -> str:
    """`A: rows 0 to 64 of the scale of mlp.gate_up_proj.weight`."""
    if cut.rows is None or not _along_rows(record.grid):
        return f"{model}: the {record.quantity} of {visible(cut.whole, 120)}"
    rows = cut.rows.said if isinstance(cut.rows, Runs) else f"rows {cut.rows[0]} to {cut.rows[1]}"
    return f"{model}: {rows} of the {record.quantity} of {visible(cut.whole, 120)}"


def _not_cut(model: str, record: ScaleRecord, cut: Cut) -> str:
    """Why the numbers of a part cannot be taken out of those of the whole; "" where they can."""
    grid = record.grid
    whole = visible(cut.whole, 120)
    if cut.rows is None:
        what = "scale of the inputs" if record.kind is Kind.ACTIVATION else record.quantity
        return f"{model} has one {what} for all experts of {whole}, the other model one for each"
    if record.kind is Kind.ACTIVATION or record.quantity is Quantity.FACTOR:  # of what goes into all parts alike
        return ""
    if not grid.axes and not grid.flattened and grid.n_dims is None and not grid.cells:
        return f"{model} has one {record.quantity} for all of {whole}, the other model one for each part of it"
    if not _along_rows(grid) or not grid.block:
        return f"{model}'s {record.quantity} of {whole} is not cut along its rows"
    size = grid.block[grid.axes.index(0)]
    if _cells(cut, size) is None:
        return f"{model}'s {record.quantity} is one for {size} rows of {whole}, and some of these are of two parts"
    return ""


def _along_rows(grid: Grid) -> bool:
    return 0 in grid.axes


def _values(fmt: Format, record: ScaleRecord, cut: Cut | None) -> FloatArray:
    """The numbers of a part. Raises as `Format.values`."""
    found = fmt.values(record)
    if cut is None or cut.rows is None or not _along_rows(record.grid) or record.kind is Kind.ACTIVATION:
        return found
    size = record.grid.block[record.grid.axes.index(0)]
    if found.shape[:1] != (-(-cut.n_rows // size),):
        return found  # not what the grid says: the shapes are, and these are told
    at = _cells(cut, size)
    assert at is not None  # else the numbers of a part cannot be taken out
    cells: FloatArray = found[at.places()] if isinstance(at, Runs) else found[at]
    return cells


def _cells(cut: Cut, size: int) -> slice | Runs | None:
    """Those of a part, where a number is one for `size` rows; None where one of them is of two parts."""
    assert cut.rows is not None
    if isinstance(cut.rows, Runs):
        return cut.rows.in_cells(size)
    start, stop = cut.rows
    if start % size or (stop % size and stop != cut.n_rows):
        return None
    return slice(start // size, -(-stop // size))


def _squeezed(values: FloatArray) -> tuple[int, ...]:
    return tuple(n for n in values.shape if n != 1)
