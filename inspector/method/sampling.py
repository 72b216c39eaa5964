"""The rows of a pair that are looked at: all of a small one, runs of a large one that lie evenly over it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.blocks import Unit, original_of
from qinspect.inspector.fidelity.pairs import Pair
from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.formats.records import Quantity, ScaleRecord
from qinspect.inspector.method.evidence import Sample
from qinspect.inspector.method.layout import Layout, layout_of
from qinspect.inspector.method.rules import Extremes

Array = NDArray[Any]
Numbers = NDArray[np.float64]

SAMPLE_ELEMENTS = 1 << 21
"""Of a larger weight, about this many values are looked at."""
_RUNS = 8
_RUN_ROWS = 128
_BLOCK_ELEMENTS = 1 << 22
_LARGEST_WHOLE = 1 << 24
"""Cells that reach through all rows, and are not the whole tensor, are looked at in weights of at most this size."""


def sample_of(pair: Pair, records: dict[str, ScaleRecord]) -> Sample | None:
    """None where it is not known which values share a scale. records: of B's scales, by role. Raises what reading
    raises."""
    weight, fmt = pair.b.weight, pair.b.fmt
    assert weight is not None
    layout = layout_of(fmt, weight)
    if (
        layout is None
        or len(pair.shape) != 2
        or _otherwise_laid(pair)
        or (pair.b.part and (pair.b.part.index or pair.b.part.runs))
    ):
        return None
    n_rows, n_columns = pair.shape
    if layout.flat and layout.columns and n_columns % layout.columns == 0:
        layout = Layout(1, layout.columns)
    if layout.flat and pair.n > _LARGEST_WHOLE:
        return None
    whole_tensor = layout.rows is None and layout.columns is None
    if layout.rows is None and not whole_tensor and pair.n > _LARGEST_WHOLE:
        return None
    offset = pair.b.first_row
    step = math.lcm(layout.row_step, weight.row_step)
    if offset % step or (whole_tensor and pair.b.part is not None):
        return None
    needs_all = layout.flat or (layout.rows is None and not whole_tensor)
    runs = [(0, n_rows)] if needs_all else list(_runs(n_rows, n_columns, step))
    if weight.rotation is not None and (weight.rotation.outputs or n_columns % weight.rotation.size):
        return None
    own = [records[r] for r in weight.scale_roles if r in records]
    original = [_original(pair, *run) for run in runs]
    codes = [fmt.codes(weight, offset + start, offset + stop) for start, stop in runs]
    dequantized = [fmt.dequantize(weight, offset + start, offset + stop) for start, stop in runs]
    values = _as_rounded(pair, np.concatenate(dequantized).astype(np.float64))

    def effective() -> Numbers | None:
        found = [fmt.effective(weight, offset + runs[0][0], offset + runs[0][1])]
        if np.array_equal(found[0], dequantized[0], equal_nan=True):  # what a family adds, it adds in every row
            return None
        found += [fmt.effective(weight, offset + start, offset + stop) for start, stop in runs[1:]]
        return _as_rounded(pair, np.concatenate(found).astype(np.float64))

    sampled = sum(stop - start for start, stop in runs) < n_rows
    return Sample(
        np.concatenate(original), np.concatenate(codes), values, weight.element,
        layout, _scale_dtype(own), n_rows, effective, _through_zero(weight, own),
        _extremes(pair) if whole_tensor and sampled else None, all(b % 128 == 0 for run in runs for b in run),
        lambda: max(float(np.abs(e[0])) for e in _extremes(pair)),
        np.concatenate([np.arange(*run) for run in runs]), _zero_dtype(own),
    )  # fmt: skip


def _otherwise_laid(pair: Pair) -> bool:
    """Whether the codes are not those of the original's values: of padding, or where the original is what was made."""
    return (pair.fit is not None and pair.fit.padded) or (pair.undoing is not None and pair.undoing.in_a)


def _runs(n_rows: int, n_columns: int, step: int) -> Iterator[tuple[int, int]]:
    if n_rows * n_columns <= SAMPLE_ELEMENTS:
        yield 0, n_rows
        return
    rows = max(1, min(_RUN_ROWS, SAMPLE_ELEMENTS // n_columns // _RUNS))
    rows = max(step, rows // step * step)
    n_runs = max(1, min(_RUNS, n_rows // rows))
    last = -1
    for i in range(n_runs):
        start = (n_rows - rows) * i // max(1, n_runs - 1) // step * step
        if start > last:
            yield start, min(start + rows, n_rows)
            last = start + rows - 1


def _original(pair: Pair, start: int, stop: int) -> Numbers:
    return _as_rounded(pair, _rows(pair, start, stop).astype(np.float64))


def _as_rounded(pair: Pair, values: Numbers) -> Numbers:
    """Rows of values as the codes are made of them: rotated where the weight was."""
    rotation = pair.b.weight.rotation if pair.b.weight else None
    return values if rotation is None else np.asarray(rotation.of(values))


def _rows(pair: Pair, start: int, stop: int) -> Array:
    """Of the original, with what was done to the weight done to it."""
    if pair.undoing is None:
        return np.asarray(pair.a.tensor.read_rows(start, stop))
    columns = pair.shape[1]
    return np.asarray(original_of(pair, Unit(start * columns, stop - start, columns, start, True)))


def _extremes(pair: Pair) -> Extremes:
    """Of the whole original, a block of rows at a time."""
    low, high = math.inf, -math.inf
    rows = max(1, _BLOCK_ELEMENTS // pair.shape[1])
    for start in range(0, pair.shape[0], rows):
        block = _original(pair, start, min(start + rows, pair.shape[0])).astype(np.float32)
        low, high = min(low, float(np.nanmin(block))), max(high, float(np.nanmax(block)))
    return np.array([low]), np.array([high])


def _scale_dtype(records: list[ScaleRecord]) -> str:
    return next((r.dtype for r in records if r.quantity is Quantity.SCALE), "")


def _zero_dtype(records: list[ScaleRecord]) -> str:
    found = next((r.dtype for r in records if r.quantity is Quantity.ZERO_POINT), "")
    return found if "float" in found else ""


def _through_zero(weight: QuantizedWeight, records: list[ScaleRecord]) -> bool:
    moved = any(r.quantity in (Quantity.ZERO_POINT, Quantity.MINIMUM) for r in records)
    return weight.element.symmetric and not moved


def scale_records(fmt: Format) -> dict[str, ScaleRecord]:
    """All scale records by role."""
    return {r.role: r for r in fmt.scales()}
