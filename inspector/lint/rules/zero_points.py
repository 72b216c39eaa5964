"""Zero points: whether a code can stand for zero, and whether two checkpoints mean the same one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Format, Quantity, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.rows import where
from qinspect.inspector.text import count, number, some

Array = NDArray[Any]


@rule(
    "C01", "zero-point-out-of-range", Severity.ERROR, Needs.SCALES,
    why="A zero point is a code: one outside of the range moves all numbers of its group by a whole range, and kernels "
    "that keep it in as many bits as a code wrap it around. Stored less one and read as it is, or the other way round, "
    "is how it comes about.",
    threads=("vllm#38966", "vllm#26092", "pytorch#126266", "AutoGPTQ#765"),
    next="Look up whether the settings say how zero points are stored, as they are or less one, and whether that is "
    "true; save the checkpoint again with the release that wrote it.",
)  # fmt: skip
def zero_point_out_of_range(subject: Subject, limits: Limits) -> Checked:
    """A zero point is no code of its weight's element, or no integer where others are."""
    records = _zero_points(subject.fmt)
    steps = subject.steps("reading zero points")
    outside: list[Place] = []
    between: list[Place] = []
    n_whole = n_numbers = n_read = 0
    why_left = ""
    for done, record in enumerate(records):
        if steps:
            steps(done, len(records))
        try:
            zeros = np.asarray(subject.fmt.values(record)).astype(np.float64)
        except QinspectError as e:
            why_left = why_left or str(e)
            continue
        n_read += 1
        whole = zeros == np.round(zeros)
        n_whole, n_numbers = n_whole + int(whole.sum()), n_numbers + zeros.size
        low, high = record.element.code_range
        if (place := _first_of(record, zeros, ~((zeros >= low) & (zeros <= high)), f"of {low} to {high}")) is not None:
            outside.append(place)
        if (place := _first_of(record, zeros, ~whole, "integers")) is not None:
            between.append(place)
    found: list[Found] = []
    if 2 * n_whole >= n_numbers:  # else they are fractions by convention, and need be no code either
        found.extend(_said(outside, n_read, "outside of the range of codes"))
        found.extend(_said(between, n_read, "between two codes"))
    return Checked(n_read, "zero point tensor", tuple(found), len(records) - n_read, why_left)


def _zero_points(fmt: Format) -> list[ScaleRecord]:
    found = where(fmt.scales(), lambda r: r.quantity is Quantity.ZERO_POINT)
    return [r for r in found if r.element.kind is ElementKind.INTEGER]


def _first_of(record: ScaleRecord, zeros: Array, wrong: NDArray[np.bool_], said: str) -> Place | None:
    n = int(wrong.sum())
    if not n:
        return None
    first = int(wrong.reshape(-1).argmax())
    index = tuple(int(i) for i in np.unravel_index(first, zeros.shape)) if zeros.ndim else ()
    text = f"{count(n)} of {some(zeros.size, 'number')} not {said}"
    return Place(record.role, text, index, float(zeros.reshape(-1)[first]), n / zeros.size)


def _said(places: list[Place], n: int, where_: str) -> Iterator[Found]:
    if places:
        has = "has" if len(places) == 1 else "have"
        text = (
            f"{some(len(places), 'zero point tensor')} of {count(n)} {has} numbers {where_}, first {_number(places[0])}"
        )
        yield Found(text, tuple(places), {"tensors": len(places), "of": n})


def _number(place: Place) -> str:
    return number(place.value if place.value is not None else float("nan"))


@rule(
    "C02", "zero-points-shifted", Severity.ERROR, Needs.SCALES, Needs.OTHER,
    why="Two ways to store zero points differ by one, and which it is stands in one word of the settings. A loader "
    "that goes by the other word makes weights that are off by one step, all to the same side.",
    threads=("vllm#38966", "vllm#26092"),
    next="Compare `checkpoint_format` and the names of the packing in both configs; dequantize one group of both by "
    "hand with `qinspect show`.",
    share=0.95,
)  # fmt: skip
def zero_points_shifted(subject: Subject, limits: Limits) -> Checked:
    """Zero points of the two checkpoints differ by one, all of a weight to the same side, in most weights."""
    other = subject.other
    assert other is not None
    in_b = {r.role: r for r in _zero_points(other)}
    pairs = [(a, in_b[a.role]) for a in _zero_points(subject.fmt) if a.role in in_b]
    shifts: dict[int, list[Place]] = {1: [], -1: []}
    n = 0
    why_left = ""
    for a, b in pairs:
        try:
            first, second = (np.asarray(f.values(r)).astype(np.float64) for f, r in ((subject.fmt, a), (other, b)))
        except QinspectError as e:
            why_left = why_left or str(e)
            continue
        if first.size != second.size or a.element != b.element or not first.size:
            continue
        n += 1
        by = second.reshape(-1) - first.reshape(-1)
        if abs(by[0]) == 1 and bool((by == by[0]).all()):
            text = f"all {count(first.size)} are {'larger' if by[0] > 0 else 'smaller'} by 1 in B"
            shifts[int(by[0])].append(Place(a.role, text))
    found = tuple(_shifted(by, p, n) for by, p in shifts.items() if p and len(p) >= limits["share"] * n)
    return Checked(n, "weight with zero points in both", found, len(pairs) - n, why_left)


def _shifted(by: int, places: list[Place], n: int) -> Found:
    how = "larger" if by > 0 else "smaller"
    text = f"in B all zero points of {some(len(places), 'weight')} of {count(n)} are {how} by 1"
    return Found(text, tuple(places), {"weights": len(places), "of": n})


RULES = (zero_point_out_of_range, zero_points_shifted)
