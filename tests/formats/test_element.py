"""Elements against ml_dtypes, and the words that are derived from them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from qinspect.inspector.formats import Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.element import (
    UNKNOWN,
    Element,
    ElementKind,
    integer,
    small_float,
    table,
    unsigned,
    vector,
)
from qinspect.inspector.formats.grid import (
    PER_TENSOR,
    Grid,
    cells,
    channels,
    dimensions,
    flat_blocks,
    groups,
    segments_of,
    tiles,
)
from qinspect.inspector.formats.records import MINMAX, OF_WEIGHTS, PERCENTILE, Source, Use

FLOATS = (
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn", "float6_e2m3fn",
    "float6_e3m2fn",
)  # fmt: skip


@pytest.mark.parametrize("name", FLOATS)
def test_a_small_float_is_ml_dtypes(name: str) -> None:
    element = small_float(name)
    dtype = getattr(ml_dtypes, name)
    limits: Any = ml_dtypes.finfo  # unannotated
    info = limits(dtype)
    assert (element.bits, element.q_max, element.q_min) == (info.bits, float(info.max), float(info.min))
    assert element.limit == float(info.max)
    patterns = np.arange(1 << element.bits, dtype=np.uint8)
    truth = patterns.view(dtype).astype(np.float32)
    found = element.values(patterns)
    assert found is not None
    assert np.array_equal(found.view(np.uint32), truth.view(np.uint32))  # with the signs of zero and of NaN
    finite = truth[np.isfinite(truth)]
    low, high = element.outermost
    assert (truth[low], truth[high]) == (finite.min(), finite.max())
    assert [truth[code] for code in element.zero_codes] == [0.0] * int((truth == 0).sum())
    ordered = truth[element.in_order]
    n = int((~np.isnan(truth)).sum())
    assert sorted(element.in_order) == patterns.tolist()
    assert np.all(np.diff(ordered[:n][np.isfinite(ordered[:n])]) >= 0)
    assert np.isnan(ordered[n:]).all()
    assert element.said(high) == f"{finite.max():.6g}"


@pytest.mark.parametrize(
    ("element", "code_range", "ends", "limit", "zero"),
    [
        (integer(8), (-128, 127), (-128, 127), 127, [0]),
        (integer(4), (-8, 7), (-8, 7), 7, [0]),
        (unsigned(4, 8), (0, 15), (-8, 7), 7, [8]),
        (unsigned(8, 0), (0, 255), (0, 255), 255, [0]),
        (unsigned(4), (0, 15), None, None, []),
        (table("nf4", (-1.0, 0.0, 0.5, 1.0), 2), (0, 3), (-1.0, 1.0), 1.0, [1]),
        (vector("codebook", 16, 8), (0, 65535), None, None, []),
    ],
)
def test_what_codes_stand_for(
    element: Element, code_range: tuple[int, int], ends: tuple[float, float] | None, limit: float | None,
    zero: list[int],
) -> None:  # fmt: skip
    assert (element.code_range, element.ends(), element.limit, element.zero_codes) == (code_range, ends, limit, zero)
    assert element.unsigned == (code_range[0] == 0)
    if ends is not None and element.bits <= 8:
        values = element.values(np.arange(code_range[0], code_range[1] + 1))
        assert values is not None
        assert (values.min(), values.max()) == ends


def test_without_its_zero_point_a_code_is_no_number() -> None:
    assert replace(unsigned(8), offset=3).ends() == (-3, 252)
    assert unsigned(8).values(np.arange(4)) is None
    assert UNKNOWN.limit is None


INT4 = integer(4)


def record(element: Element = INT4, grid: Grid = PER_TENSOR, kind: Kind = Kind.WEIGHT, **more: object) -> ScaleRecord:
    return ScaleRecord("r", "k", kind, "", element, grid, "float32", (), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grid", "words", "group_size", "axis"),
    [
        (PER_TENSOR, "per-tensor", None, None),
        (channels(), "per-channel", None, 0),
        (channels(1, any_axis=True), "per-channel along axis 1", None, 1),
        (groups(128), "per-group", 128, 1),
        (groups(1), "per-group", 1, 1),
        (tiles(128, 128), "per-block", None, None),
        (flat_blocks(64), "per-block of the flattened tensor", 64, None),
        (segments_of("z", "x"), "per segment (z, x)", None, 0),
        (segments_of("x"), "per segment (x)", None, None),
        (cells("head group", "channel group", "state"), "per head group, channel group and state", None, None),
        (dimensions(2), "2-dimensional", None, None),
    ],
)
def test_granularity_in_words(grid: Grid, words: str, group_size: int | None, axis: int | None) -> None:
    found = record(grid=grid)
    assert (found.granularity, found.group_size, found.axis) == (words, group_size, axis)


@pytest.mark.parametrize(
    ("found", "scheme"),
    [
        (record(integer(8)), "int8"),
        (record(integer(8), kind=Kind.ACTIVATION), "int8, symmetric"),
        (record(unsigned(8), kind=Kind.ACTIVATION), "uint8, affine"),
        (record(grid=groups(128)), "int4, group 128"),
        (record(unsigned(4), groups(32)), "uint4, group 32, with zero points"),
        (record(unsigned(4, 8), groups(32)), "uint4, group 32, zero at 8"),
        (record(small_float("float4_e2m1fn"), groups(16)), "float4_e2m1fn, group 16"),
        (record(small_float("float8_e4m3fn"), tiles(128, 128)), "float8_e4m3fn, block 128x128"),
        (
            record(small_float("float4_e2m1fn"), quantity=Quantity.GLOBAL_SCALE),
            "global scale of float4_e2m1fn",
        ),
        (record(unsigned(4), quantity=Quantity.ZERO_POINT), "zero point of uint4, with zero points"),
        (record(integer(8), channels(), signed=True), "int8, signed maximum"),
        (record(grid=groups(128), through=integer(8)), "int4 in int8, group 128, relative to the channel"),
        (
            record(grid=channels(), through=integer(8), quantity=Quantity.GLOBAL_SCALE),
            "int8 of the two-level int4",
        ),
        (record(UNKNOWN, kind=Kind.ACTIVATION), "affine, with the zero_point beside it"),
        (record(UNKNOWN, called="unknown (scales)"), "unknown (scales)"),
    ],
)  # fmt: skip
def test_schemes_in_words(found: ScaleRecord, scheme: str) -> None:
    assert found.scheme == scheme


def test_records_of_two_conventions_are_not_comparable() -> None:
    base = record(unsigned(4, 8), groups(32))
    assert base.convention == record(unsigned(4, 8), groups(32, group_index="m.g_idx")).convention
    others = (
        record(unsigned(4), groups(32)), record(unsigned(4, 8), groups(64)), record(integer(4), groups(32)),
        record(unsigned(4, 8), groups(32), quantity=Quantity.GLOBAL_SCALE), record(unsigned(4, 8), tiles(32, 32)),
        record(unsigned(4, 8), flat_blocks(32)),
    )  # fmt: skip
    assert all(other.convention != base.convention for other in others)
    assert record(integer(8), channels()).convention == record(integer(8)).convention  # of shape, that says the shape


def test_sources_say_what_an_entry_does() -> None:
    found = record(sources=(Source("out_scale", Use.FOLDED), Source("nested_absmax", Use.PART)))
    assert found.folded == ("out_scale",)
    assert found.keys == ("k", "nested_absmax")
    assert not found.as_stored
    assert not record(inverted=True).as_stored
    assert record().as_stored
    assert record(grid=groups(8, "g_idx"), cells=("ranges",)).order == ("ranges", "g_idx")


def test_alpha_is_derived_from_what_reaches_a_scale() -> None:
    reaches = (PERCENTILE, MINMAX, OF_WEIGHTS)
    assert [record(reach=reach).alpha_sensitive for reach in reaches] == [True, False, False]
    assert record().alpha_sensitive is None


def test_only_steps_have_faults() -> None:
    """And what else is multiplied: the factor of a channel."""
    assert [q for q in Quantity if q.is_step] == [Quantity.SCALE, Quantity.GLOBAL_SCALE, Quantity.FACTOR]


def test_an_element_holds_what_tells_two_apart() -> None:
    assert {f.name for f in fields(Element)} >= {"kind", "bits", "q_min", "q_max", "offset", "levels"}
    assert ElementKind("table") is ElementKind.TABLE
    assert integer(4) != unsigned(4) != unsigned(4, 8)


@pytest.mark.parametrize(
    ("found", "formula"),
    [
        (record(integer(8)), "x ~ scale * q"),
        (record(small_float("float8_e4m3fn")), "x ~ scale * q"),
        (record(unsigned(4)), "x ~ scale * (q - zero_point)"),
        (record(unsigned(4, 8)), "x ~ scale * (q - zero_point)"),
        (record(unsigned(4), quantity=Quantity.ZERO_POINT), ""),
        (record(UNKNOWN, kind=Kind.UNVERIFIED), ""),
    ],
)
def test_the_formula_is_of_the_element(found: ScaleRecord, formula: str) -> None:
    assert found.formula == formula
