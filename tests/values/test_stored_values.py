"""Counting what a checkpoint stores: what numpy counts of the same values, in pieces, cancelled between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from quamba_files import DATA
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.values import stored_values as module
from qinspect.inspector.values.stored_values import count_values, stored_scale, stored_values

W8 = "m1_w8a8_pa0.9995/quamba-tiny-w8a8"
W4 = "m2_w4a8_gh_pa0.9995/quamba2-tiny-w4a8"


def no_check(done: int, total: int) -> None:
    assert 0 <= done <= total


def opened(name: str) -> Format:
    return format_of(open_checkpoint(str(DATA / name)))


def saved(folder: Path, **tensors: torch.Tensor) -> Format:
    path = folder / "model.safetensors"
    save_file(tensors, path)
    return format_of(open_checkpoint(str(path)))


def assert_counts(table: MagnitudeTable, x: np.ndarray[Any, Any]) -> None:
    magnitudes, counts = np.unique(np.abs(x[np.isfinite(x)]).astype(np.float32), return_counts=True)
    assert table.exact
    np.testing.assert_array_equal(table.magnitudes, magnitudes)
    np.testing.assert_array_equal(table.counts, counts)
    assert (table.n_inf, table.n_nan) == (int(np.isinf(x).sum()), int(np.isnan(x).sum()))


@pytest.mark.parametrize("name", [W8, W4, "m1_w4a8/quamba-small-w4a8"])
def test_weights_are_counted_as_they_are_dequantized(name: str) -> None:
    fmt = opened(name)
    found = stored_values(fmt)
    assert {w.role for w in fmt.weights()} <= set(found)
    for weight in fmt.weights():
        values = found[weight.role]
        x = np.asarray(fmt.dequantize(weight), np.float32)
        assert (values.shape, values.n) == (weight.shape, x.size)
        assert values.what == f"{weight.bits}-bit dequantized"
        assert_counts(count_values(values, no_check), x)


@pytest.mark.parametrize("name", [W8, W4])
def test_other_tensors_are_counted_as_they_are_stored(name: str) -> None:
    fmt = opened(name)
    found = stored_values(fmt)
    floats = [t for t in fmt.other_tensors() if t.dtype.is_float]
    assert floats
    for tensor in floats:
        values = found[fmt.role_of(tensor.name)]
        if values.tensor is tensor:
            assert values.what == f"{tensor.dtype.name}, as stored"
            assert_counts(count_values(values, no_check), tensor.read())
    assert not any("group_range" in role for role in found)  # integers


DTYPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "float32": lambda x: x,
    "float16": lambda x: x.to(torch.float16),
    "bfloat16": lambda x: x.to(torch.bfloat16),
    "float8_e4m3fn": lambda x: x.to(torch.float8_e4m3fn),
    "strided": lambda x: x.reshape(-1, 2).t().to(torch.bfloat16),
}


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("n", [0, 2, 3000])
def test_every_dtype_in_pieces(kind: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_ELEMENTS", 700)
    monkeypatch.setattr(module, "EXACT_ELEMENTS", 300)
    x = DTYPES[kind](torch.randn(n, generator=torch.Generator().manual_seed(1)) * 3)
    if kind == "strided":
        torch.save({"x": x}, tmp_path / "model.bin")
        fmt = format_of(open_checkpoint(str(tmp_path / "model.bin")))
    else:
        fmt = saved(tmp_path, x=x)
    seen = []
    table = count_values(stored_values(fmt)["x"], lambda done, total: seen.append((done, total)))
    assert_counts(table, x.float().numpy().reshape(-1))
    assert seen[-1] == (n, n)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_not_finite_and_zeros_are_counted(tmp_path: Path) -> None:
    x = torch.tensor([0.0, -0.0, 1.0, float("nan"), float("inf"), -float("inf"), -2.0])
    table = count_values(stored_values(saved(tmp_path, x=x))["x"], no_check)
    assert (table.n, table.n_zero, table.n_nan, table.n_inf, table.largest) == (7, 2, 1, 2, 2.0)


def test_too_many_magnitudes_become_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MAGNITUDES", 500)
    monkeypatch.setattr(module, "EXACT_ELEMENTS", 300)
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(2))
    table = count_values(stored_values(saved(tmp_path, x=x))["x"], no_check)
    assert not table.exact
    assert table.n == 20_000
    values = np.sort(np.abs(x.numpy()))
    for alpha in (0.0, 0.5, 0.999, 1.0):
        low, high = (float(b) for b in table.quantile_bounds(alpha, "float64"))
        assert low <= float(np.quantile(values.astype(np.float64), alpha)) <= high
    assert table.largest == float(values[-1])


def test_counting_ends_where_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_ELEMENTS", 100)
    calls = 0

    def check(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if done >= 300:
            raise InterruptedError

    values = stored_values(saved(tmp_path, x=torch.ones(10_000, dtype=torch.float16)))["x"]
    with pytest.raises(InterruptedError):
        count_values(values, check)
    assert calls == 4


def test_the_stored_scale_of_a_tensor_is_its_number() -> None:
    fmt = opened(W8)
    values = stored_values(fmt)["layers.0.mixer.x_proj.weight"]
    marker = stored_scale(values, "A", no_check)
    record = next(r for r in fmt.scales() if r.role == "layers.0.mixer.x_proj.weight")
    assert marker is not None
    assert marker.is_one
    assert (marker.label, marker.bits, marker.middle) == ("A", 8, float(np.float32(fmt.values(record))))
    assert marker.w_max[1] == marker.middle * 127


def test_scales_that_work_together_are_told_value_by_value() -> None:
    fmt = opened(W4)
    weight = next(w for w in fmt.weights() if w.role == "layers.0.mixer.in_proj.weight")
    assert len(weight.scale_roles) == 2
    marker = stored_scale(stored_values(fmt)[weight.role], "B", no_check)
    codes = np.asarray(fmt.codes(weight), np.float64)
    steps = np.asarray(fmt.dequantize(weight), np.float64)[codes != 0] / codes[codes != 0]
    assert marker is not None
    assert not marker.is_one
    assert (marker.low, marker.middle, marker.high) == pytest.approx(
        (steps.min(), np.median(steps), steps.max()), rel=2**-10
    )


def test_a_tensor_that_is_not_quantized_has_no_scale() -> None:
    assert stored_scale(stored_values(opened(W8))["norm_f.weight"], "A", no_check) is None


def test_smaller_floats_are_exact() -> None:
    x = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)
    assert_counts(MagnitudeTable.of(module._as_counted(x)), x.astype(np.float32))
