"""Numbers that no scale should be: in every dtype, alone and in pairs, and without false alarms."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.cli import main
from qinspect.inspector.compare import Comparison, compare
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.values.scale_faults import FaultScan, ScaleFaults, index_of

Array = NDArray[Any]


def faults_of(values: Array) -> ScaleFaults | None:
    """Of one scale alone."""
    scan = FaultScan()
    scan.add(None, values)
    return scan.found().get(None)


WIDE: list[Any] = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", WIDE)
def test_each_fault_is_seen_in_each_dtype(dtype: Any) -> None:
    limits: Any = ml_dtypes.finfo
    tiny = float(limits(dtype).smallest_normal)
    values = np.array([1.0, math.nan, math.inf, -math.inf, 0.0, -0.0, -2.0, tiny / 2, tiny, 1.0]).astype(dtype)
    f = faults_of(values)
    assert f is not None
    assert (f.n, f.n_nan, f.n_inf, f.n_zero, f.n_negative, f.n_denormal) == (10, 1, 2, 2, 1, 1)
    assert (f.n_broken, f.n_faulty, f.first) == (6, 7, 1)
    assert math.isnan(f.value)
    assert faults_of(np.array([1.0, tiny]).astype(dtype)) is None


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz, ml_dtypes.float8_e4m3fnuz])
def test_every_float_of_eight_bits_is_looked_at(dtype: Any) -> None:
    assert faults_of(np.array([0.0, 0.5, 96.0]).astype(dtype)) is None
    bad = faults_of(np.array([1.0, math.nan, -2.0]).astype(dtype))
    assert bad is not None
    assert (bad.n_nan, bad.n_negative, bad.first) == (1, 1, 1)


def test_a_block_scale_of_eight_bits_may_be_zero_or_denormal() -> None:
    e4m3 = ml_dtypes.float8_e4m3fn
    assert faults_of(np.array([0.0, 2.0**-9, 448.0]).astype(e4m3)) is None
    bad = faults_of(np.array([1.0, math.nan]).astype(e4m3))
    assert bad is not None
    assert (bad.n_nan, bad.first) == (1, 1)
    e8m0 = np.array([0, 127, 255], np.uint8).view(ml_dtypes.float8_e8m0fnu)
    found = faults_of(e8m0)
    assert found is not None
    assert (found.n_nan, found.n_faulty) == (1, 1)


def test_integers_are_codes_of_scales() -> None:
    assert faults_of(np.array([0, -1, 255])) is None


def test_signed_scales_are_a_convention_where_half_are_negative() -> None:
    rng = np.random.default_rng(0)
    signed = np.where(rng.random(256) < 0.5, -1, 1) * rng.uniform(0.01, 1, 256)
    assert faults_of(signed) is None
    few = np.abs(signed)
    few[7] *= -1
    f = faults_of(few)
    assert f is not None
    assert (f.n_negative, f.first) == (1, 7)
    signed[9] = math.nan  # a NaN among them is none
    f = faults_of(signed)
    assert f is not None
    assert (f.n_nan, f.n_negative, f.first) == (1, 0, 9)


@given(st.lists(arrays(np.float32, st.integers(0, 12), elements=st.floats(width=32)), max_size=12), st.integers(1, 5))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_scales_looked_at_together_are_what_each_is_alone(scales: list[Array], n: int) -> None:
    scan = FaultScan()
    for tag, values in enumerate(scales):
        for start in range(0, values.size, n):  # in consecutive pieces
            scan.add(tag, values[start : start + n])
    found = scan.found()
    for tag, values in enumerate(scales):
        assert repr(found.get(tag)) == repr(faults_of(values))


def test_what_is_forgotten_is_not_found() -> None:
    scan = FaultScan()
    scan.add("a", np.array([math.nan]))
    scan.add("b", np.array([0.0]))
    scan.forget("a")
    assert set(scan.found()) == {"b"}


def test_an_index_is_that_of_the_shape() -> None:
    f = faults_of(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]]).reshape(-1))
    assert f is not None
    assert index_of(f, (2, 3)) == [1, 1]
    assert index_of(f, (7,)) == [4]


# --- in a comparison ---


def opened(path: Path) -> Format:
    return format_of(open_checkpoint(path))


def compared(tmp: Path, a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> Comparison:
    for name, tensors in (("a", a), ("b", b)):
        save_file(tensors, tmp / f"{name}.safetensors")
    return compare(opened(tmp / "a.safetensors"), opened(tmp / "b.safetensors"))


GOOD = {f"layers.{i}.proj.weight_scale": torch.full((4, 1), 0.5) for i in range(4)}
BAD = GOOD | {
    "layers.1.proj.weight_scale": torch.tensor([[0.5], [math.nan], [0.5], [0.5]]),
    "layers.2.proj.weight_scale": torch.zeros(4, 1),
}


def test_one_is_broken_and_the_other_sound(tmp_path: Path) -> None:
    c = compared(tmp_path, GOOD, BAD)
    assert c.headline.rule == "broken-scale"
    assert "B has 2 scales" in c.headline.text
    assert "1 NaN, 4 zero" in c.headline.text
    assert "layers.1.proj.weight_scale[1, 0] = nan" in c.headline.text
    assert "A's are sound" in c.headline.text
    assert [p.role for p in c.scales if p.faults_b] == ["layers.1.proj.weight_scale", "layers.2.proj.weight_scale"]
    assert not any(p.faults_a for p in c.scales)


def test_broken_alike_in_both_is_the_headline_too(tmp_path: Path) -> None:
    c = compared(tmp_path, BAD, BAD)
    assert c.same
    assert c.headline.rule == "broken-scale"
    assert "A and B both have 2 scales" in c.headline.text


def test_a_broken_scale_that_the_other_lacks(tmp_path: Path) -> None:
    c = compared(tmp_path, {n: t for n, t in GOOD.items() if "1" not in n}, BAD | {"layers.2.proj.weight_scale": GOOD[
        "layers.2.proj.weight_scale"]})  # fmt: skip
    assert c.headline.rule == "broken-scale"
    assert "A does not have it" in c.headline.text


def test_a_maximum_over_nothing_is_no_zero(tmp_path: Path) -> None:
    nan = {"proj.weight_scale": torch.tensor([math.nan])}
    c = compared(tmp_path, {"proj.weight_scale": torch.tensor([0.5])}, nan)
    s = c.summary
    assert all(map(math.isnan, (s.mean, s.median, s.largest)))
    assert s.sign_pattern == "none"


def test_a_python_number_that_is_nan_is_seen(tmp_path: Path) -> None:
    for name, value in (("a", 0.5), ("b", math.nan)):
        torch.save({"x.weight_scale": value, "x.weight": torch.ones(2, 2)}, tmp_path / f"{name}.pt")
    c = compare(opened(tmp_path / "a.pt"), opened(tmp_path / "b.pt"))
    assert c.headline.rule == "broken-scale"


# --- in one model ---


def test_one_model_alone_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(BAD, tmp_path / "bad.safetensors")
    save_file(GOOD, tmp_path / "good.safetensors")
    assert main(["scales", str(tmp_path / "bad.safetensors")]) == 0
    assert "The model has 2 scales with numbers that no scale should be (1 NaN, 4 zero;" in capsys.readouterr().out
    assert main(["scales", str(tmp_path / "bad.safetensors"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [f["rule"] for f in found["findings"]] == ["broken-scale"]
    assert {s["role"]: s["faults"]["zero"] for s in found["scales"] if s["faults"]} == {
        "layers.1.proj.weight_scale": 0,
        "layers.2.proj.weight_scale": 4,
    }
    assert main(["scales", str(tmp_path / "good.safetensors")]) == 0
    assert "no scale should be" not in capsys.readouterr().out


def test_a_cast_to_a_narrower_type_is_not_called_an_edit(tmp_path: Path) -> None:
    scales = torch.linspace(0.1, 1, 32)
    scales[3] = 3e-6  # normal in float32, denormal in float16
    codes = torch.zeros(32, 8, dtype=torch.int8)
    for name, values in (("a", scales), ("b", scales.half())):
        save_file({"l.weight": codes, "l.weight_scale": values}, tmp_path / f"{name}.safetensors")
    c = compare(opened(tmp_path / "a.safetensors"), opened(tmp_path / "b.safetensors"))
    assert c.headline.rule == "denormal-scale"
    assert "A's is sound, and stored in another number type." in c.headline.text
    assert "edited" not in c.headline.text


def test_a_scale_that_is_a_number_of_numpy_is_looked_at(tmp_path: Path) -> None:
    codes = torch.zeros(4, 4, dtype=torch.int8)
    entries = {"o.weight": codes, "o.scale": np.float32(math.inf), "p.weight": codes, "p.weight_scale": np.float64(0.5)}
    torch.save(entries, tmp_path / "m.pt")
    from qinspect.inspector.contents.survey import survey_scales

    fmt = format_of(open_checkpoint(tmp_path / "m.pt"))
    assert [r.role for r in fmt.scales()] == ["o.scale", "p.weight_scale"]
    (bad,) = survey_scales(fmt).faulty
    assert (bad.role, bad.faults.n_inf) == ("o.scale", 1)


def test_a_factor_that_may_be_trained_may_be_negative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Attention that normalizes queries has a `q_scale` of one trained number a dimension, in a model of floats."""

    def faulty(tensors: dict[str, torch.Tensor]) -> list[str]:
        save_file(tensors, tmp_path / "m.safetensors")
        assert main(["scales", str(tmp_path / "m.safetensors"), "--json"]) == 0
        return [s["role"] for s in json.loads(capsys.readouterr().out)["scales"] if s["faults"]]

    trained = torch.linspace(-0.02, 1.5, 64)
    model = {"attn.q_scale": trained, "attn.to_q.weight": torch.randn(64, 64)}
    assert faulty(model) == []
    codes = {"mlp.weight": torch.ones(16, 16, dtype=torch.int8), "mlp.weight_scale": torch.ones(16)}
    assert faulty(model | codes) == ["attn.q_scale"]
    assert faulty({"attn.k_scale": torch.tensor(-1.0)}) == ["attn.k_scale"]  # of a cache: one number a tensor
    lost = trained.clone()
    lost[5] = torch.nan
    assert faulty(model | {"attn.q_scale": lost}) == ["attn.q_scale"]
