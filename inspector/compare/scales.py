"""Comparing scales: to the bit first, then number by number, B relative to A."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.deviation import cast_of
from qinspect.inspector.compare.difference import SAMPLE_ELEMENTS, difference_of
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.results import Difference, ScalePair, Status
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord, words
from qinspect.inspector.formats.records import FloatArray
from qinspect.inspector.values.scale_faults import FaultScan
from qinspect.inspector.values.scale_values import large_tensor, scale_blocks

FOLD_TOLERANCE = 1e-6
"""Relative rounding of a scale that was divided by an output scale and multiplied back, both in float32."""

CHUNK_ELEMENTS = 1 << 18


def compare_scale(
    role: str,
    order: int,
    a: ScaleRecord | None,
    b: ScaleRecord | None,
    format_a: Format,
    format_b: Format,
    equality: Equality,
    faults: FaultScan,
) -> ScalePair:
    """Compare one role. A scale that cannot be read gives Status.BROKEN with the reason, not an exception. All that is
    read goes through `faults`, under (order, "A") and (order, "B"); of scales that are equal, A's."""
    if a is None or b is None:
        fmt, record, model = (format_b, b, "B") if a is None else (format_a, a, "A")
        assert record is not None
        look(faults, (order, model), fmt, record)
        return ScalePair(role, order, a, b, Status.ONLY_B if a is None else Status.ONLY_A)
    if a.convention != b.convention:
        look(faults, (order, "A"), format_a, a)
        look(faults, (order, "B"), format_b, b)
        return ScalePair(role, order, a, b, Status.SCHEME, note=_apart(a, b) or f"A {a.scheme}; B {b.scheme}")
    try:
        permuted = equality.reordered(a, b)
        stored = None if permuted else _stored_as_is(format_a, a)
        if stored is not None:
            dtype = stored.dtype
            if equality.scales(
                a, b, lambda raw: faults.add_bytes((order, "A"), dtype.name, dtype.to_numpy, bytes(raw))
            ):
                return ScalePair(role, order, a, b, Status.IDENTICAL)
        elif not permuted and equality.scales(a, b):
            look(faults, (order, "A"), format_a, a)
            return ScalePair(role, order, a, b, Status.IDENTICAL)
        faults.forget((order, "A"))
        return _compare_numbers(role, order, a, b, format_a, format_b, permuted, faults)
    except QinspectError as e:
        return ScalePair(role, order, a, b, Status.BROKEN, note=str(e))


def _apart(a: ScaleRecord, b: ScaleRecord) -> str:
    """How scales of the same codes lie over other parts of what they scale: `float8_e4m3fn: one scale for the whole
    weight in A, one per channel in B`; "" where that is not what tells them apart."""
    grids = (a.grid, b.grid)
    if a.element != b.element or a.quantity is not b.quantity or a.called != b.called or a.through != b.through:
        return ""
    if a.rotation != b.rotation:
        return ""
    if not (a.verified and b.verified) or any(g.n_dims is not None or g.cells for g in grids):
        return ""
    of_a, of_b = (words.shared_by(g).replace("tensor", str(r.kind)) for g, r in zip(grids, (a, b), strict=True))
    if of_a == of_b:
        return ""
    first, _, rest = of_a.partition(" ")
    return f"{a.element}: {first} {a.quantity} {rest} in A, {of_b} in B"


def _stored_as_is(fmt: Format, record: ScaleRecord) -> Tensor | None:
    """The scale's tensor, where its bytes are its numbers."""
    if not record.plain_steps or not fmt.gives_as_stored(record):
        return None
    tensor = fmt.checkpoint.tensor(record.key)
    return tensor if tensor and tensor.dtype.is_float and tensor.strides is None and not tensor.dtype.packed else None


def look(faults: FaultScan, tag: tuple[int, str], fmt: Format, record: ScaleRecord) -> None:
    """Look at a scale that is not compared number by number. One that cannot be read is left out."""
    try:
        for block in scale_blocks(fmt, record):
            faults.add_scale(tag, record, block)
    except QinspectError:
        pass


def _chunks_of(a: Tensor, b: Tensor) -> Iterator[tuple[FloatArray, FloatArray]]:
    for start in range(0, a.n_elements, CHUNK_ELEMENTS):
        stop = min(start + CHUNK_ELEMENTS, a.n_elements)
        yield a.read_range(start, stop), b.read_range(start, stop)


@np.errstate(all="ignore")  # a signalling NaN or a number beyond float32 in the file is no event
def _compare_numbers(
    role: str,
    order: int,
    a: ScaleRecord,
    b: ScaleRecord,
    format_a: Format,
    format_b: Format,
    permuted: bool,
    faults: FaultScan,
) -> ScalePair:
    rounded = ""
    large = _large_plain_pair(a, b, format_a, format_b)
    if large and not permuted:
        difference = difference_of(_seen(_chunks_of(*large), order, faults), large[0].shape, False)
    else:
        va, vb = format_a.values(a), format_b.values(b)
        faults.add_scale((order, "A"), a, va)
        faults.add_scale((order, "B"), b, vb)
        if va.shape != vb.shape and va.size == vb.size == 1:
            va, vb = va.reshape(()), vb.reshape(())
        if va.shape != vb.shape:
            if said := _apart(a, b):
                return ScalePair(role, order, a, b, Status.SCHEME, note=said)
            shapes = f"A {list(va.shape)}; B {list(vb.shape)}"
            return ScalePair(role, order, a, b, Status.SHAPE, note=shapes)
        permuted = permuted and not (_one_number(va) and _one_number(vb))
        if permuted:
            va, vb = np.sort(va, axis=None), np.sort(vb, axis=None)
        difference = difference_of([(va, vb)], va.shape, permuted)
        rounded = cast_of(va, vb) if a.dtype != b.dtype and not permuted else ""
    return judged(role, order, a, b, difference, permuted, rounded)


@np.errstate(all="ignore")
def compare_values(
    role: str, order: int, a: ScaleRecord, b: ScaleRecord, values: tuple[FloatArray, FloatArray], faults: FaultScan
) -> ScalePair:
    """The pair of two scales of one dtype and shape, whose values were read and are not equal to the bit."""
    faults.add((order, "A"), values[0])
    faults.add((order, "B"), values[1])
    return judged(role, order, a, b, difference_of([values], values[0].shape, False), False, "")


def _one_number(values: FloatArray) -> bool:
    """Whether all cells hold one number, so that their order is nothing."""
    return bool(values.size and (values == values.reshape(-1)[0]).all())


def judged(
    role: str, order: int, a: ScaleRecord, b: ScaleRecord, difference: Difference, permuted: bool, rounded: str
) -> ScalePair:
    """The pair, by the difference of all numbers."""
    note = "sorted before comparing" if permuted else ""
    if a.dtype != b.dtype:
        note = f"A {a.dtype}; B {b.dtype}" + (f"; {note}" if note else "")
    if not difference.n_changed:
        status = Status.PERMUTED if permuted else Status.EQUAL
        if status is Status.EQUAL and a.dtype == b.dtype:
            note = "same numbers; padding, shape, layout or signs of zero differ"
        return ScalePair(role, order, a, b, status, difference, note)
    if (a.folded or b.folded) and abs(difference.largest) <= 100 * FOLD_TOLERANCE and not difference.n_undefined:
        rounding = "equal within the rounding of the output scale folded into it"
        status = Status.PERMUTED if permuted else Status.EQUAL
        return ScalePair(role, order, a, b, status, difference, f"{note}; {rounding}" if note else rounding)
    if rounded:
        note += f"; {rounded}"
    return ScalePair(role, order, a, b, Status.DIFFERENT, difference, note)


def _seen(
    chunks: Iterable[tuple[FloatArray, FloatArray]], order: int, faults: FaultScan
) -> Iterator[tuple[FloatArray, FloatArray]]:
    for a, b in chunks:
        faults.add((order, "A"), a)
        faults.add((order, "B"), b)
        yield a, b


def _large_plain_pair(
    a: ScaleRecord, b: ScaleRecord, format_a: Format, format_b: Format
) -> tuple[Tensor, Tensor] | None:
    """The two tensors, where they are so large that they must be read in parts, and can be."""
    ta, tb = large_tensor(format_a, a, SAMPLE_ELEMENTS), large_tensor(format_b, b, SAMPLE_ELEMENTS)
    return (ta, tb) if ta and tb and ta.shape == tb.shape else None
