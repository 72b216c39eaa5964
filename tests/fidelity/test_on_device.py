"""Sums by torch are those of the CPU's bodies, on a GPU where there is one; an error where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import torch
from commands import Command
from compressed_files import fp4, fp8, integers, of_module, settings, written
from numpy.typing import NDArray
from peer_truth import folder, needs_fixtures

from qinspect.inspector.arguments import open_model
from qinspect.inspector.errors import NoDevice
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.on_device import measured_on
from qinspect.inspector.fidelity.results import Fidelity

if TYPE_CHECKING:
    from conftest import Quamba

Array = NDArray[Any]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def check(ours: Fidelity, theirs: Fidelity) -> None:
    assert len(ours.weights) == len(theirs.weights) > 0
    for w, v in zip(ours.weights, theirs.weights, strict=True):
        assert (w.role, w.sums.n, w.sums.at, w.sums.largest) == (v.role, v.sums.n, v.sums.at, v.sums.largest)
        assert (w.sums.n_bad_a, w.sums.n_bad_b, w.sums.n_excluded) == (
            v.sums.n_bad_a,
            v.sums.n_bad_b,
            v.sums.n_excluded,
        )
        for name in ("sqnr", "relative", "cosine"):
            assert getattr(w.sums, name) == pytest.approx(getattr(v.sums, name), rel=1e-11, nan_ok=True), (w.role, name)
        assert [c.where for c in w.channels] == [c.where for c in v.channels]
        assert (w.group.where if w.group else None) == (v.group.where if v.group else None)
        assert (w.nearest is None) == (v.nearest is None)
        if w.nearest and v.nearest and w.nearest.sqnr is not None:
            assert w.nearest.sqnr == pytest.approx(v.nearest.sqnr, rel=1e-6)
        assert (w.factors is None) == (v.factors is None)


MADE: dict[str, Callable[[], Any]] = {
    "int4 with zero points": lambda: integers(4, (40, 64), 32, zeros="packed"), "fp8 in blocks": lambda: fp8("block"),
    "nvfp4": fp4,
}  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64], ids=lambda d: np.dtype(d).name
)
@pytest.mark.parametrize("name", MADE)
def test_the_same_as_on_the_cpu(name: str, dtype: Any, device: str, tmp_path: Path) -> None:
    made = MADE[name]()
    noise = np.random.default_rng(1).standard_normal(made.values.shape) * made.values.std() * 0.05
    values = (made.values + noise).astype(dtype)
    values[1, 3], values[-1, 5] = math.nan, math.inf
    norm = np.random.default_rng(2).standard_normal(64).astype(dtype)
    written(tmp_path / "a", {"model.layers.0.q.weight": values, "model.norm.weight": norm}, None)
    written(tmp_path / "b", of_module(made, "model.layers.0.q") | {"model.norm.weight": norm * 2}, settings(made))
    a, b = (open_model(str(tmp_path / x)) for x in "ab")
    check(measure_fidelity(a, b, body=measured_on(device)), measure_fidelity(a, b))


@needs_fixtures
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("base", "name"),
    [("base_llama", "modelopt_nvfp4_4o6"), ("base_mamba2", "ct_mamba2_fp8"), ("base_llama1", "modelopt_mxfp4"),
     ("base_llama", "gptq_v1_sym_g32")],
)  # fmt: skip
def test_real_checkpoints(base: str, name: str, device: str) -> None:
    a, b = open_model(str(folder(base))), open_model(str(folder(name) / "model"))
    check(measure_fidelity(a, b, body=measured_on(device)), measure_fidelity(a, b))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(
    capsys: pytest.CaptureFixture[str], source_root: Path, quamba: Quamba, tmp_path: Path
) -> None:
    with pytest.raises(NoDevice, match="no CUDA device"):
        measured_on("cuda")
    made = fp4()
    written(tmp_path / "a", {"model.layers.0.q.weight": made.values.astype(np.float32)}, None)
    written(tmp_path / "b", of_module(made, "model.layers.0.q"), settings(made))
    command = Command("fidelity", capsys, source_root)
    _, err = command(tmp_path / "a", tmp_path / "b", "--device", "cuda", code=2)
    assert "no CUDA device can be used" in err
    assert "--device cpu" in err
