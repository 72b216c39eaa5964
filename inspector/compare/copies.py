"""Copies of a scale: one calibration number is stored in several places, alone or in a product, which must agree."""

from __future__ import annotations

import math

import numpy as np

from qinspect.inspector.compare.results import CopyProblem
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.numbers import read_numbers, stored_form
from qinspect.inspector.formats.records import Copy, FloatArray
from qinspect.inspector.roles import strip_root
from qinspect.inspector.rows import some_fit, where

PRODUCT_TOLERANCE = 1e-6
"""Relative rounding of a product of float32 numbers that is taken apart again."""

_HALF_TOLERANCE = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Relative rounding where the copy itself was cast."""


@np.errstate(all="ignore")  # a signalling NaN or a number beyond float32 in the file is no event
def check_copies(model: str, fmt: Format) -> list[CopyProblem]:
    """Stored copies of a scale that do not agree with it. Exact ones must agree in float32; products to rounding.

    A product is not reported where one of its factors is itself a copy that disagrees: that one is at fault.
    """
    exact, products = [], []
    for record in where(fmt.scales(), lambda r: r.copies):
        try:
            value = np.asarray(fmt.values(record), np.float32)
        except QinspectError:
            continue  # the comparison itself reports it
        for copy in record.copies:
            problem = _check(model, fmt, record, value, copy)
            if problem and copy.exact:
                exact.append(problem)
            elif problem:
                products.append((problem, copy))
    suspects = {p.copy_key for p in exact} | {p.key for p in exact}
    return exact + [p for p, copy in products if p.key not in suspects and not suspects & {*copy.times, *copy.over}]


def _check(model: str, fmt: Format, record: ScaleRecord, value: FloatArray, copy: Copy) -> CopyProblem | None:
    try:
        found = np.asarray(read_numbers(fmt.checkpoint, copy.key), np.float64)
        for key in copy.times:
            found = found * np.asarray(read_numbers(fmt.checkpoint, key), np.float64)
        for key in copy.over:
            found = found / np.asarray(read_numbers(fmt.checkpoint, key), np.float64)
    except QinspectError:
        return None
    if found.size == 1 and value.size == 1:
        found = found.reshape(value.shape)
    if found.shape != value.shape:
        return CopyProblem(model, record.role, record.key, copy.key, "another shape", value.size, found.size)
    dtypes = (stored_form(fmt.checkpoint, key)[0] for key in (record.key, copy.key))
    tolerance = max(_HALF_TOLERANCE.get(dtype, 0.0) for dtype in dtypes)
    tolerance = tolerance if copy.exact else max(tolerance, PRODUCT_TOLERANCE)
    if tolerance == 0.0:
        agrees = np.array_equal(value, found.astype(np.float32), equal_nan=True)
    else:
        agrees = np.allclose(found, value, rtol=tolerance, atol=0, equal_nan=True)
    if agrees:
        return None
    i = int(np.nan_to_num(np.abs(found - value), nan=math.inf).reshape(-1).argmax())
    expected, got = float(value.reshape(-1)[i]), float(found.reshape(-1)[i])
    return CopyProblem(model, record.role, record.key, copy.key, copy.relation, expected, got)


def missing_copies(a: Format, b: Format) -> list[CopyProblem]:
    """Exact copies that one model stores and the other, for the same role, does not: dropped, or None. Another family
    stores other copies, or none."""
    problems: list[CopyProblem] = []
    if a.family != b.family or not any(some_fit(f.scales(), lambda r: r.copies) for f in (a, b)):
        return problems
    records = ({r.role: r for r in a.scales()}, {r.role: r for r in b.scales()})
    for role, ra in records[0].items():
        rb = records[1].get(role)
        if rb is None or ra.convention != rb.convention:
            continue
        stored = [_places(r) for r in (ra, rb)]
        for model, mine, other in (("A", stored[0], stored[1]), ("B", stored[1], stored[0])):
            source = rb if model == "A" else ra
            problems += [
                CopyProblem(model, role, source.key, key, f"missing from {model}", math.nan, math.nan, missing=True)
                for short, key in other.items()
                if short not in mine
            ]
    return problems


def _places(record: ScaleRecord) -> dict[str, str]:
    """Where the same number is stored whatever the linear layers' scheme, by key without wrappers."""
    same = [c.key for c in record.copies if not c.of_layer]
    return {strip_root(key): key for key in (record.key, *same)} if same or record.copies else {}
