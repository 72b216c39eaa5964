"""Comparing scales: to the bit first, then number by number, B relative to A."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.results import CopyProblem, Difference, ScalePair, Status
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.contract import FloatArray, read_numbers

FOLD_TOLERANCE = 1e-6
"""Relative rounding of a scale that was divided by an output scale and multiplied back, both in float32."""

CHUNK_ELEMENTS = 1 << 18
SAMPLE_ELEMENTS = 1 << 20
"""Above this the median is of an even sample: everything else is exact at any size."""


def compare_scale(
    role: str,
    order: int,
    a: ScaleRecord | None,
    b: ScaleRecord | None,
    format_a: Format,
    format_b: Format,
    equality: Equality,
) -> ScalePair:
    """Compare one role. A scale that cannot be read gives Status.BROKEN with the reason, not an exception."""
    if a is None or b is None:
        return ScalePair(role, order, a, b, Status.ONLY_B if a is None else Status.ONLY_A)
    if a.scheme != b.scheme:
        return ScalePair(role, order, a, b, Status.SCHEME, note=f"A {a.scheme}; B {b.scheme}")
    try:
        permuted = bool(a.cells or b.cells) and not equality.cells(a, b)
        if not permuted and equality.scales(a, b):
            return ScalePair(role, order, a, b, Status.IDENTICAL)
        return _compare_numbers(role, order, a, b, format_a, format_b, permuted)
    except QinspectError as e:
        return ScalePair(role, order, a, b, Status.BROKEN, note=str(e))


def _chunks_of(a: Tensor, b: Tensor) -> Iterator[tuple[FloatArray, FloatArray]]:
    for start in range(0, a.n_elements, CHUNK_ELEMENTS):
        stop = min(start + CHUNK_ELEMENTS, a.n_elements)
        yield a.read_range(start, stop), b.read_range(start, stop)


@np.errstate(all="ignore")  # a signalling NaN or a number beyond float32 in the file is no event
def _compare_numbers(
    role: str, order: int, a: ScaleRecord, b: ScaleRecord, format_a: Format, format_b: Format, permuted: bool
) -> ScalePair:
    large = _large_plain_pair(a, b, format_a, format_b)
    if large and not permuted:
        difference = _difference(_chunks_of(*large), large[0].shape, False)
    else:
        va, vb = format_a.values(a), format_b.values(b)
        if va.shape != vb.shape and va.size == vb.size == 1:
            va, vb = va.reshape(()), vb.reshape(())
        if va.shape != vb.shape:
            shapes = f"A {list(va.shape)}; B {list(vb.shape)}"
            return ScalePair(role, order, a, b, Status.SHAPE, note=shapes)
        if permuted:
            va, vb = np.sort(va, axis=None), np.sort(vb, axis=None)
        difference = _difference([(va, vb)], va.shape, permuted)
    note = "sorted before comparing" if permuted else ""
    if a.dtype != b.dtype:
        note = f"A {a.dtype}; B {b.dtype}" + (f"; {note}" if note else "")
    if not difference.n_changed:
        status = Status.PERMUTED if permuted else _equal_status(a, b)
        return ScalePair(role, order, a, b, status, difference, note)
    if (a.folded or b.folded) and abs(difference.largest) <= 100 * FOLD_TOLERANCE and not difference.n_undefined:
        note = "equal within the rounding of the output scale folded into it"
        return ScalePair(role, order, a, b, Status.EQUAL, difference, note)
    return ScalePair(role, order, a, b, Status.DIFFERENT, difference, note)


def _equal_status(a: ScaleRecord, b: ScaleRecord) -> Status:
    """For equal numbers: a Python float and a float tensor hold the same scale, two tensor dtypes do not agree."""
    if a.dtype == b.dtype:
        return Status.IDENTICAL
    return Status.EQUAL if "python" in a.dtype or "python" in b.dtype else Status.DTYPE


def _large_plain_pair(
    a: ScaleRecord, b: ScaleRecord, format_a: Format, format_b: Format
) -> tuple[Tensor, Tensor] | None:
    """The two tensors, where they are so large that they must be read in parts, and can be."""
    ta, tb = format_a.checkpoint.tensor(a.key), format_b.checkpoint.tensor(b.key)
    if ta is None or tb is None or ta.shape != tb.shape or a.folded or b.folded or ta.n_elements <= SAMPLE_ELEMENTS:
        return None
    readable = not (ta.strides or tb.strides or ta.dtype.packed or tb.dtype.packed)
    return (ta, tb) if readable and a.verified is b.verified is False else None


def _difference(chunks: object, shape: tuple[int, ...], sorted_cells: bool) -> Difference:
    n = n_changed = n_up = n_down = n_undefined = 0
    largest, at, pair = 0.0, 0, (math.nan, math.nan)
    total = 0.0
    sample: list[FloatArray] = []
    step = max(1, math.prod(shape) // SAMPLE_ELEMENTS)
    first_changed: tuple[int, float, float] | None = None
    for ca, cb in chunks:  # type: ignore[attr-defined]
        x = np.asarray(ca, np.float64).reshape(-1)
        y = np.asarray(cb, np.float64).reshape(-1)
        with np.errstate(all="ignore"):
            changed = (x != y) & ~(np.isnan(x) & np.isnan(y))
            relative = (y - x) / np.abs(x)
        bad = changed & ~np.isfinite(relative)
        relative[~np.isfinite(relative)] = 0.0
        n_changed += int(changed.sum())
        n_undefined += int(bad.sum())
        with np.errstate(invalid="ignore"):
            n_up += int((changed & (y > x)).sum())
            n_down += int((changed & (y < x)).sum())
        magnitude = np.abs(relative)
        total += float(magnitude.sum())
        if magnitude.size:
            i = int(magnitude.argmax())
            if magnitude[i] > abs(largest) or n == 0:
                largest, at, pair = float(relative[i]), n + i, (float(x[i]), float(y[i]))
            if first_changed is None and changed.any():
                j = int(changed.argmax())
                first_changed = (n + j, float(x[j]), float(y[j]))
        sample.append(magnitude[::step])
        n += x.size
    if largest == 0.0 and first_changed:  # all that changed has no percentage: show one of them
        at, *two = first_changed
        pair = (two[0], two[1])
    where = tuple(int(i) for i in np.unravel_index(at, shape)) if shape and n else ()
    median = _median(np.concatenate(sample)) if n else 0.0
    a, b = pair
    ratio = math.log2(b / a) if a and b and math.isfinite(a) and math.isfinite(b) and b / a > 0 else math.nan
    return Difference(
        n, n_changed, n_up, n_down, 100 * largest, where, a, b, 100 * median, 100 * total / max(1, n), ratio,
        sorted_cells, n_undefined, step > 1,
    )  # fmt: skip


@np.errstate(all="ignore")  # a signalling NaN or a number beyond float32 in the file is no event
def _median(x: FloatArray) -> float:
    """Of at least one number, none of them NaN. np.median imports numpy.ma, 8 ms, to look for NaN."""
    half = x.size // 2
    ordered = np.partition(x, half)
    upper = float(ordered[half])
    return upper if x.size % 2 else (float(ordered[:half].max()) + upper) / 2


def check_copies(model: str, fmt: Format) -> list[CopyProblem]:
    """Stored copies of a scale that do not agree with it. Exact ones must agree in float32; products to rounding."""
    problems = []
    for record in fmt.scales():
        if not record.copies:
            continue
        try:
            value = np.asarray(fmt.values(record), np.float32)
        except QinspectError:
            continue  # the comparison itself reports it
        for copy in record.copies:
            try:
                found = np.asarray(read_numbers(fmt.checkpoint, copy.key), np.float64)
                with np.errstate(all="ignore"):
                    for key in copy.times:
                        found = found * np.asarray(read_numbers(fmt.checkpoint, key), np.float64)
                    for key in copy.over:
                        found = found / np.asarray(read_numbers(fmt.checkpoint, key), np.float64)
            except QinspectError:
                continue
            if found.size == 1 and value.size == 1:
                found = found.reshape(value.shape)
            if found.shape != value.shape:
                problems.append(
                    CopyProblem(model, record.role, record.key, copy.key, "another shape", value.size, found.size)
                )
                continue
            close = (
                np.array_equal(value, found.astype(np.float32), equal_nan=True)
                if copy.exact
                else np.allclose(found, value, rtol=FOLD_TOLERANCE, atol=0, equal_nan=True)
            )
            if not close:
                with np.errstate(all="ignore"):
                    apart = np.nan_to_num(np.abs(found - value), nan=math.inf).reshape(-1)
                i = int(apart.argmax())
                expected, got = float(value.reshape(-1)[i]), float(found.reshape(-1)[i])
                problems.append(CopyProblem(model, record.role, record.key, copy.key, copy.relation, expected, got))
    return problems
