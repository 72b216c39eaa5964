"""`show`: the numbers of a tensor are those that torch and numpy read, in the memory of a few blocks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.values import payload
from qinspect.inspector.values.inspection import Inspection, inspect_entry
from qinspect.inspector.values.report import inspection_text

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]


def looked_at(folder: Path, tensor: torch.Tensor, name: str = "w") -> tuple[Inspection, str]:
    if tensor.is_complex() or not tensor.is_contiguous():
        torch.save({name: tensor}, folder / "m.bin")
        fmt = format_of(open_checkpoint(folder / "m.bin"))
    else:
        save_file({name: tensor}, folder / "m.safetensors")
        fmt = format_of(open_checkpoint(folder / "m.safetensors"))
    found = inspect_entry(fmt, name)
    return found, inspection_text(fmt, found)


def printed(text: str) -> list[str]:
    """What stands under VALUES."""
    part = text.split("VALUES\n")[1].split("\n  model")[0]
    return part.replace("[", " ").replace("]", " ").split()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_to_their_ends(tmp_path: Path, dtype: torch.dtype) -> None:
    ends = torch.iinfo(dtype)
    values = [ends.min, ends.max, ends.max - 1, 1]
    found, text = looked_at(tmp_path, torch.tensor(values, dtype=dtype))
    assert printed(text) == [str(v) for v in values]
    assert found.statistics is not None
    assert (found.statistics.minimum, found.statistics.maximum) == (ends.min, ends.max)
    assert f"min {ends.min}, max {ends.max}" in text
    assert "std" not in text
    assert "%" not in text


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_read_back(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.tensor([0.1, -0.0, 1 / 3, 448.0, 2**-6, float("nan"), 1.0], dtype=dtype)
    _, text = looked_at(tmp_path, tensor)
    found = torch.tensor([float(v) for v in printed(text)], dtype=torch.float64).to(dtype)
    torch.testing.assert_close(found.double(), tensor.double(), rtol=0, atol=0, equal_nan=True)
    assert torch.signbit(found.double())[1]


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.tensor(123456789), "123456789"), (torch.tensor([[2**60 + 1]]), "1152921504606846977"),
        (torch.tensor([0.0123456789]), "0.012345679"), (torch.tensor(True), "true"),
        (torch.tensor(-0.0), "-0"), (torch.tensor(float("inf")), "inf"), (torch.tensor([1 + 2j]), "1+2j"),
        (torch.tensor(5e-324, dtype=torch.float64), "4.94066e-324"), (torch.tensor(0.1).bfloat16(), "0.100098"),
    ],
)  # fmt: skip
def test_one_element_is_its_value(tmp_path: Path, tensor: torch.Tensor, said: str) -> None:
    _, text = looked_at(tmp_path, tensor)
    assert f"\n  value      {said}\n" in text
    assert "mean" not in text


def test_a_mask_is_true_and_false(tmp_path: Path) -> None:
    _, text = looked_at(tmp_path, torch.tensor([[True, False], [True, True]]))
    assert printed(text) == ["true", "false", "true", "true"]
    assert "4 elements, 3 true" in text
    assert "2 elements" not in looked_at(tmp_path, torch.zeros(100, dtype=torch.bool))[1]


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_no_elements_have_no_range(tmp_path: Path, shape: tuple[int, ...]) -> None:
    found, text = looked_at(tmp_path, torch.zeros(shape))
    assert "none: it has no elements" in text
    assert "min" not in text
    assert found.statistics is not None
    assert found.statistics.n == 0


def test_complex_numbers(tmp_path: Path) -> None:
    found, text = looked_at(tmp_path, torch.tensor([1 + 2j, -0.5j]))
    assert printed(text) == ["1+2j", "-0-0.5j"]
    assert found.statistics is None
    assert "no order" in looked_at(tmp_path, torch.zeros(100, dtype=torch.complex64))[1]


def test_large_integers_have_exact_ends(tmp_path: Path) -> None:
    x = torch.arange(1000) + 2**60 + 1
    found, text = looked_at(tmp_path, x)
    assert found.statistics is not None
    assert (found.statistics.minimum, found.statistics.maximum) == (2**60 + 1, 2**60 + 1000)
    assert f"min {2**60 + 1}, max {2**60 + 1000}" in text
    assert f"100 % {2**60 + 1000:>12}" in text


def test_a_strided_tensor_is_its_elements(tmp_path: Path) -> None:
    x = torch.arange(3000, dtype=torch.float32).reshape(50, 60).t()
    found, _ = looked_at(tmp_path, x)
    assert found.statistics is not None
    assert found.statistics.n == 3000
    assert (found.statistics.minimum, found.statistics.maximum, found.statistics.mean) == (0, 2999, 1499.5)
    assert dict(found.statistics.percentiles)[50.0] == 1499.5


MEASURED = """
import resource, sys
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import format_of
from qinspect.inspector.values.inspection import inspect_entry
fmt = format_of(open_checkpoint(sys.argv[1]))
def largest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in ("few", sys.argv[2]):
    found = inspect_entry(fmt, name)
    print(largest(), found.statistics.n)
"""


@pytest.mark.parametrize("name", ["w", "w.weight_scale"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_a_large_tensor_takes_the_memory_of_a_few_blocks(tmp_path: Path, name: str, dtype: str) -> None:
    """200 MB and more of a tensor in under 110 MB: 64 MB are the sample that percentiles are of."""
    n = 100 << 20 if dtype == "bfloat16" else 50 << 20
    path = tmp_path / "m.safetensors"
    few, codes = torch.ones(100_000), torch.zeros(2, 2, dtype=torch.int8)
    save_file({"few": few, "w.weight": codes, name: torch.ones(n, dtype=getattr(torch, dtype))}, path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path), name], capture_output=True, text=True, check=True, timeout=300
    )
    (before, _), (after, counted) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert counted == n
    assert after - before < 110 << 10  # kB


def test_percentiles_are_of_the_whole_tensor(tmp_path: Path) -> None:
    """Pieces are put together in order, whatever type they are of."""
    rng = np.random.default_rng(3)
    x: Any = torch.tensor(rng.standard_normal(3_000_001), dtype=torch.bfloat16)
    found, _ = looked_at(tmp_path, x)
    wide = x.double().numpy()
    assert found.statistics is not None
    assert found.statistics.mean == pytest.approx(wide.mean(), rel=1e-9)
    points, expected = zip(*found.statistics.percentiles, strict=True)
    np.testing.assert_allclose(expected, np.percentile(wide, points), rtol=1e-12)


def stacked(folder: Path) -> Format:
    """Four experts of NVFP4 in one tensor, as ModelOpt stacks them."""
    g = torch.Generator().manual_seed(5)
    tensors = {
        "experts.gate_up_proj": torch.randint(0, 256, (4, 64, 32), dtype=torch.uint8, generator=g),
        "experts.gate_up_proj_weight_scale": (torch.rand(4, 8, 32, generator=g) * 100 + 1).to(torch.float8_e4m3fn),
        "experts.gate_up_proj_weight_scale_2": torch.tensor(0.01),
        "experts.down_proj": torch.randint(0, 256, (4, 16, 128), dtype=torch.uint8, generator=g),
        "experts.down_proj_weight_scale": (torch.rand(4, 2, 128, generator=g) * 100 + 1).to(torch.float8_e4m3fn),
        "experts.down_proj_weight_scale_2": torch.tensor(0.01),
    }
    save_file(tensors, folder / "model.safetensors")
    settings = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}
    (folder / "config.json").write_text(json.dumps(settings))
    return format_of(open_checkpoint(folder))


def test_of_stacked_experts_it_is_said_which_one_is_shown_and_how_to_see_another(tmp_path: Path) -> None:
    fmt = stacked(tmp_path)
    shown = inspect_entry(fmt, "experts.gate_up_proj")
    assert shown.part is not None
    assert shown.part.said == "expert 0 of 4"
    other = inspect_entry(fmt, shown.part.another)
    assert other.weight is not None
    assert other.weight.name == shown.part.another != shown.weight.name  # type: ignore[union-attr]
    assert other.codes != shown.codes
    assert f"expert {other.weight.slice.index[0]} of 4" in inspection_text(fmt, other)  # type: ignore[union-attr]
    assert payload.inspection(fmt, other)["part"]["said"] == other.part.said  # type: ignore[union-attr]


def test_of_stacked_scales_too(tmp_path: Path) -> None:
    fmt = stacked(tmp_path)
    shown = inspect_entry(fmt, "experts.gate_up_proj_weight_scale")
    assert shown.part is not None
    assert "(expert 0 of 4)" in inspection_text(fmt, shown)
    other = inspect_entry(fmt, shown.part.another)
    assert other.key == shown.key
    assert other.scale is not None
    assert shown.part.another == f"{other.scale.role}#scale"
    assert other.logical != shown.logical


def test_what_no_other_shares_is_no_part(tmp_path: Path) -> None:
    fmt = stacked(tmp_path)
    assert inspect_entry(fmt, "experts.gate_up_proj_weight_scale_2").part is None


def test_what_was_done_to_stored_numbers_and_nothing_else_is_said(tmp_path: Path) -> None:
    """GPTQ's scales are turned, its zero points unpacked: neither has padding, or a factor."""
    tensors = {
        "m.qweight": torch.zeros(16, 64, dtype=torch.int32), "m.scales": torch.rand(4, 64).half(),
        "m.qzeros": torch.full((4, 8), 0x77777777, dtype=torch.int32), "m.g_idx": torch.arange(128).int() // 32,
    }  # fmt: skip
    save_file(tensors, tmp_path / "model.safetensors")
    settings = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    fmt = format_of(open_checkpoint(tmp_path))
    assert "LOGICAL" not in inspection_text(fmt, inspect_entry(fmt, "m.scales"))
    zeros = inspect_entry(fmt, "m.qzeros")
    assert zeros.scale is not None
    assert f"ZERO POINT, LOGICAL (stored as {zeros.scale.packed})\n" in inspection_text(fmt, zeros)
