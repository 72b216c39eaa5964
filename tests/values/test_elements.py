"""What is asked of codes that are no signed integers: counts, ends, ranges, steps. Truth is ml_dtypes' and numpy's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from toy_formats import N_EXPERTS, ToyFormat, toy, toy_tensors

from qinspect.inspector.compare import compare
from qinspect.inspector.compare.results import Status
from qinspect.inspector.contents.survey import survey_scales
from qinspect.inspector.errors import CannotRead
from qinspect.inspector.formats import ScaleRecord
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.formats.element import Element, integer, small_float, table, unsigned
from qinspect.inspector.values.clip_range import clip_of
from qinspect.inspector.values.inspection import inspect_entry
from qinspect.inspector.values.payload import inspection
from qinspect.inspector.values.report import inspection_text
from qinspect.inspector.values.statistics import count_codes
from qinspect.inspector.values.stored_values import stored_scale, stored_values


def no_check(_: int, __: int) -> None:
    pass


ELEMENTS = [
    small_float("float4_e2m1fn"), small_float("float8_e4m3fn"), unsigned(4), unsigned(4, 8), unsigned(8), integer(2),
    integer(8), table("nf4", tuple(range(16)), 4),
]  # fmt: skip


@given(st.sampled_from(ELEMENTS), st.data())
def test_every_code_of_every_element_is_counted(element: Element, data: st.DataObject) -> None:
    low, high = element.code_range
    dtype = data.draw(st.sampled_from([np.int16, np.int32, np.int64]))  # also of a type that is wider, and signed
    codes = data.draw(arrays(dtype, (5, 3), elements=st.integers(low, high)))
    found = count_codes([codes[:2], codes[2:]], element)
    assert list(found) == list(range(low, high + 1))
    levels, counts = np.unique(codes, return_counts=True)
    assert {k: n for k, n in found.items() if n} == dict(zip(levels.tolist(), counts.tolist(), strict=True))


def test_small_floats_are_counted_by_their_bits() -> None:
    x = np.array([448, -448, 0.0, -0.0, np.nan], ml_dtypes.float8_e4m3fn)
    found = count_codes([x], small_float("float8_e4m3fn"))
    assert {k: n for k, n in found.items() if n} == {int(p): 1 for p in x.view(np.uint8)}


@pytest.mark.parametrize(("element", "code"), [(unsigned(4), 16), (unsigned(4), -1), (integer(4), 8), (integer(4), -9)])
def test_a_code_that_the_element_does_not_have(element: Element, code: int) -> None:
    with pytest.raises(CannotRead, match=f"has a code that {element} does not have"):
        count_codes([np.array([0, code])], element)


def test_the_ends_of_codes(tmp_path: Path) -> None:
    fmt = toy(tmp_path / "m.safetensors")
    clips = {w.role: clip_of(fmt, w) for w in fmt.weights()}
    step = float(np.float32(0.01))
    assert clips["fp8.weight"] == (-448 * step, 448 * step)
    assert {clip for role, clip in clips.items() if role != "fp8.weight"} == {None}


def test_the_range_of_a_stored_scale(tmp_path: Path) -> None:
    fmt = toy(tmp_path / "m.safetensors")
    values = stored_values(fmt)
    fp8 = stored_scale(values["fp8.weight"], "A", no_check)
    assert fp8 is not None
    assert fp8.w_max[1] == pytest.approx(4.48)
    assert not fp8.of_integers
    fp4 = stored_scale(values["fp4.weight"], "A", no_check)
    assert fp4 is not None
    steps = toy_tensors()["fp4.scale"].astype(np.float32) / np.float32(2048)
    assert (fp4.low, fp4.high) == pytest.approx((steps.min(), steps.max()), rel=1e-6)
    assert fp4.w_max[2] == pytest.approx(6 * steps.max(), rel=1e-6)
    assert stored_scale(values["zp.weight"], "A", no_check) is None  # the rows have zero points of their own
    experts = [stored_scale(values[f"experts.{e}.weight"], "A", no_check) for e in range(N_EXPERTS)]
    scales = toy_tensors()["experts.scale"]
    assert [(m.low, m.high) for m in experts if m] == [(s.min(), s.max()) for s in scales]


@pytest.mark.parametrize(("zero", "limit"), [(8, 7), (0, 15), (3, 12), (7, 8), (15, 15)])
def test_one_zero_point_for_all_is_an_offset(tmp_path: Path, zero: int, limit: float) -> None:
    fmt = toy(tmp_path / "m.safetensors", toy_tensors(zero))
    weight = next(w for w in fmt.weights() if w.role == "zp.weight")
    assert weight.element.offset is None
    assert fmt.element_of(weight).offset == zero
    marker = stored_scale(stored_values(fmt)["zp.weight"], "A", no_check)
    assert marker is not None
    assert marker.limit == limit
    shown = inspect_entry(fmt, "zp.weight")
    assert shown.element is not None
    assert shown.element.zero_codes == [zero]


def test_what_is_shown_of_codes(tmp_path: Path) -> None:
    fmt = toy(tmp_path / "m.safetensors")
    tensors = toy_tensors()
    packed = tensors["fp4.weight"]
    truth = np.stack([packed & 15, packed >> 4], -1).reshape(-1)
    found = inspect_entry(fmt, "fp4.weight")
    assert found.problem == ""
    assert found.codes == {code: int((truth == code).sum()) for code in range(16)}
    levels = inspection(fmt, found)["weight"]["codes"]
    worth = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    assert [(c["level"], c["value"]) for c in levels] == [(i, float(v)) for i, v in enumerate(worth)]
    text = inspection_text(fmt, found)
    assert "at the ends -6: " in text
    lines = [line.split()[0] for line in text.split("  CODES\n")[1].splitlines()[1:17]]
    assert list(map(float, lines)) == sorted(worth.tolist())
    assert "zero point of uint4" in inspection_text(fmt, inspect_entry(fmt, "zp.weight#zero_point"))
    with_zeros = inspection_text(fmt, inspect_entry(fmt, "zp.weight"))
    assert "16 levels" in with_zeros
    assert "zero " not in with_zeros.split("  CODES\n")[1].splitlines()[0]


def test_an_expert_is_a_weight_of_its_own(tmp_path: Path) -> None:
    fmt = toy(tmp_path / "m.safetensors")
    tensors = toy_tensors()
    for e in range(N_EXPERTS):
        weight = next(w for w in fmt.weights() if w.role == f"experts.{e}.weight")
        assert np.array_equal(fmt.codes(weight, 2, 5), tensors["experts.weight"][e, 2:5])
        expected = tensors["experts.weight"][e].astype(np.float32) * tensors["experts.scale"][e]
        assert np.array_equal(fmt.dequantize(weight), expected)
        shown = inspect_entry(fmt, weight.role)
        assert shown.weight == weight
        assert shown.codes is not None
        assert sum(shown.codes.values()) == 32
        scale = inspect_entry(fmt, f"{weight.role}#scale")
        assert scale.scale is not None
        assert scale.scale.role == weight.role
        assert scale.logical is not None
        assert scale.logical.maximum == tensors["experts.scale"][e].max()
    counts = parameter_counts(fmt)
    assert counts["experts.weight"] == N_EXPERTS * 32
    assert counts["experts.scale"] == 0
    assert [t.name for t in fmt.other_tensors()] == ["norm.weight"]


def changed(name: str, edit: tuple[int, ...], value: float) -> dict[str, NDArray[np.float32]]:
    tensors = toy_tensors()
    tensors[name] = tensors[name].copy()
    tensors[name][edit] = value
    return tensors


def test_a_change_in_one_expert_is_found_there(tmp_path: Path) -> None:
    a = toy(tmp_path / "a.safetensors")
    b = toy(tmp_path / "b.safetensors", changed("experts.weight", (1, 2, 3), 100))
    found = compare(a, b, codes=True)
    assert [w.role for w in found.weights if w.status is not Status.IDENTICAL] == ["experts.1.weight"]
    c = toy(tmp_path / "c.safetensors", changed("experts.scale", (2, 0, 0), 1.5))
    scales = compare(a, c, codes=True).scales
    assert [p.role for p in scales if p.status is not Status.IDENTICAL] == ["experts.2.weight"]


def test_a_zero_point_of_zero_is_no_fault_and_its_change_is_found(tmp_path: Path) -> None:
    a = toy(tmp_path / "a.safetensors")
    b = toy(tmp_path / "b.safetensors", changed("zp.zero", (3, 0), 9))
    found = compare(a, b, codes=True)
    assert [(p.role, p.status) for p in found.scales if p.status is not Status.IDENTICAL] == [
        ("zp.weight#zero_point", Status.DIFFERENT)
    ]
    assert all(p.faults_a is None and p.faults_b is None for p in found.scales)
    assert "broken-scale" not in {r.rule for r in (found.headline, *found.reasons)}


def test_a_scale_that_is_stored_as_one_over_it(tmp_path: Path) -> None:
    fmt = toy(tmp_path / "a.safetensors")
    record = next(r for r in fmt.scales() if r.role == "fp4.weight#global")
    assert fmt.values(record) == np.float32(1 / 2048)
    b = toy(tmp_path / "b.safetensors", changed("fp4.global", (), 4096.0))
    (pair,) = (p for p in compare(fmt, b, codes=True).scales if p.status is Status.DIFFERENT)
    assert pair.difference is not None
    assert pair.difference.largest == pytest.approx(-50.0)  # of the scale, which halves, not of what is stored
    broken = toy(tmp_path / "c.safetensors", changed("fp4.global", (), 0.0))
    faulty = next(p for p in compare(fmt, broken, codes=True).scales if p.role == record.role)
    assert faulty.faults_b is not None
    assert faulty.faults_b.n_inf == 1
    assert math.isinf(faulty.faults_b.value)


def test_what_has_no_stored_scale_is_said(tmp_path: Path) -> None:
    (note,) = toy(tmp_path / "a.safetensors").notes()
    assert note == "no scale is stored for 2 activations: quantized dynamically (float8_e4m3fn, per token)"


def test_a_scale_that_may_be_negative_has_no_fault(tmp_path: Path) -> None:
    """A file of one model that keeps the signed maximum of each row, beside one that does not say so."""
    tensors = toy_tensors()
    tensors["zp.scale"] = -tensors["zp.scale"]
    a, b = (toy(tmp_path / f"{n}.safetensors", t) for n, t in (("a", toy_tensors()), ("b", tensors)))
    assert next(p for p in compare(a, b).scales if p.role == "zp.weight").faults_b is not None

    class Signed(ToyFormat):
        def scales(self) -> tuple[ScaleRecord, ...]:
            return tuple(replace(r, signed=r.role == "zp.weight") for r in super().scales())

    signed = [Signed(f.checkpoint) for f in (a, b)]
    assert next(p for p in compare(signed[0], signed[1]).scales if p.role == "zp.weight").faults_b is None
    assert not survey_scales(signed[1]).faulty
    assert [f.role for f in survey_scales(b).faulty] == ["zp.weight"]
