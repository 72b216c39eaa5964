"""Rounding to nearest with max scales, against a search over every code, and against libraries that do just that."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from peer_truth import folder, needs_fixtures

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.nearest import WHOLE, NearestGrid, Rule, nearest_error, nearest_grid, to_small_float
from qinspect.inspector.fidelity.sums import Cells
from qinspect.inspector.formats.element import Element, integer, small_float, unsigned

Array = NDArray[Any]
SMALL = ["float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("name", SMALL)
def test_small_floats_are_rounded_as_a_cast_rounds_them(name: str) -> None:
    top = small_float(name).q_max
    every = np.arange(1 << 16, dtype=np.uint32) << 16
    x = np.concatenate([every.view(np.float32), np.random.default_rng(0).uniform(-top, top, 50_000).astype(np.float32)])
    x = x[np.isfinite(x) & (np.abs(x) <= top)]
    expected = x.astype(getattr(ml_dtypes, name)).astype(np.float32)
    assert np.array_equal(to_small_float(x, name), expected)


def levels(element: Element) -> Array:
    """float64: every number that a code stands for, at a scale of one."""
    low, high = element.code_range
    worth = element.values(np.arange(low, high + 1))
    assert worth is not None
    return np.sort(worth[np.isfinite(worth)].astype(np.float64))


def by_search(x: Array, step: float, worth: Array) -> float:
    """The squared error of values at their nearest level."""
    apart = np.abs(x.astype(np.float64)[..., None] - step * worth)
    return float((apart.min(-1) ** 2).sum())


def kept(value: float, dtype: str) -> float:
    return float(np.float32(value).astype(getattr(ml_dtypes, dtype, None) or dtype)) or 1.0


def step_of(x: Array, grid: NearestGrid, whole: float) -> float:
    """The rules again, in words of one cell."""
    element, top = grid.element, float(np.abs(x).max())
    if grid.rule is Rule.SYMMETRIC:
        return kept(2 * top / (element.q_max - element.q_min), grid.scale)
    if grid.rule is Rule.SIGNED:
        extreme = float(x.max() if x.max() > -x.min() else x.min())
        return kept(extreme / (element.q_min - float(element.offset or 0)), grid.scale)
    if grid.rule is Rule.LARGEST:
        return kept(top / element.q_max, grid.scale)
    if grid.rule is Rule.POWER:
        return 2.0 ** math.ceil(math.log2(top / element.q_max)) if top else 1.0
    outer = whole / (element.q_max * 448)
    return kept(top / element.q_max / outer, "float8_e4m3fn") * outer


GRIDS = [
    NearestGrid(Rule.SYMMETRIC, integer(8), Cells(1, WHOLE), "float32"),
    NearestGrid(Rule.SYMMETRIC, unsigned(4, 8), Cells(1, 16), "bfloat16"),
    NearestGrid(Rule.SYMMETRIC, integer(4), Cells(1, 20), "float16"),
    NearestGrid(Rule.SIGNED, unsigned(4, 8), Cells(1, 32), "float16"),
    NearestGrid(Rule.LARGEST, small_float("float8_e4m3fn"), Cells(8, 16), "float32"),
    NearestGrid(Rule.LARGEST, small_float("float8_e4m3fn"), Cells(WHOLE, WHOLE), "float32"),
    NearestGrid(Rule.LARGEST, small_float("float8_e5m2"), Cells(1, WHOLE), "bfloat16"),
    NearestGrid(Rule.POWER, small_float("float4_e2m1fn"), Cells(1, 32), ""),
    NearestGrid(Rule.POWER, small_float("float8_e4m3fn"), Cells(5, 7), ""),
    NearestGrid(Rule.TWO_LEVELS, small_float("float4_e2m1fn"), Cells(1, 16), "float8_e4m3fn"),
]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: f"{g.rule.name}-{g.element}-{g.cells.rows}x{g.cells.columns}")
@pytest.mark.parametrize("zeros", [False, True], ids=["full", "with a cell of zeros"])
def test_no_code_is_nearer(grid: NearestGrid, zeros: bool) -> None:
    x = np.random.default_rng(3).standard_normal((12, 50)).astype(np.float32)
    if zeros:
        x[:, :32] = 0
    whole, worth = float(np.abs(x).max()), levels(grid.element)
    rows, columns = min(grid.cells.rows, 12), min(grid.cells.columns, 50)
    cells = [x[r : r + rows, c : c + columns] for r in range(0, 12, rows) for c in range(0, 50, columns)]
    expected = sum(by_search(cell, step_of(cell, grid, whole), worth) for cell in cells)
    assert nearest_error(x, grid, whole) == pytest.approx(expected, rel=1e-4)


def test_zero_points() -> None:
    x = np.random.default_rng(4).uniform(-0.2, 1, (6, 40)).astype(np.float32)
    grid = NearestGrid(Rule.RANGE, unsigned(4), Cells(1, 16), "float32")
    expected = 0.0
    for row in x:
        for c in range(0, 40, 16):
            cell = row[c : c + 16]
            low, high = min(float(cell.min()), 0.0), max(float(cell.max()), 0.0)
            step = (high - low) / 15
            zero = round(-low / step)
            expected += by_search(cell, step, np.arange(16) - zero)
    assert nearest_error(x, grid, 0) == pytest.approx(expected, rel=1e-4)


PLAIN_ROUNDING = {
    "deepseek_fp8_ragged": "base_deepseek", "gptqmodel_fp8_block": "base_llama_blk", "modelopt_mxfp4": "base_llama1",
    "modelopt_mxfp8": "base_llama1", "ct_mxfp8": "base_llama1",
}  # fmt: skip


@needs_fixtures
@pytest.mark.parametrize("name", PLAIN_ROUNDING)
def test_what_was_rounded_to_nearest_has_lost_nothing(name: str) -> None:
    base = open_model(str(folder(PLAIN_ROUNDING[name])))
    found = measure_fidelity(base, open_model(str(folder(name) / "model")))
    losses = [w.nearest.loss for w in found.weights if w.nearest]
    assert len(losses) >= 7
    assert losses == pytest.approx([0.0] * len(losses), abs=1e-5)


@needs_fixtures
def test_what_was_searched_is_better_and_feedback_of_errors_is_worse() -> None:
    def loss(base: str, name: str) -> float:
        found = measure_fidelity(open_model(str(folder(base))), open_model(str(folder(name) / "model")))
        losses = [w.nearest.loss for w in found.weights if w.nearest and w.nearest.loss is not None]
        return sum(losses) / len(losses)

    assert loss("base_llama1", "modelopt_nvfp4_mse") < -1
    assert loss("base_llama", "modelopt_nvfp4_4o6") < -0.5
    assert loss("base_llama", "gptq_v1_sym_g32") > 1


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "weight", "said"),
    [
        ("gguf_llamacpp_q4_k_m", "", "quantized themselves, or a minimum"),
        ("gptq_v1_descact_g32", "", "no consecutive columns"),
        ("gguf_every_type", "blk.0.q6_k.weight", "scales in q6_k are not made again"),
        ("gguf_every_type", "blk.0.iq2_xs.weight", "scales in iq2_xs are not made again"),
    ],
)
def test_grids_that_are_not_known(name: str, weight: str, said: str) -> None:
    place = folder(name) / "model"
    files = sorted(place.glob("*.gguf"))
    fmt = open_model(str(files[0] if files else place))
    records = {r.role: r for r in fmt.scales()}
    chosen = next(w for w in fmt.weights() if w.name == weight or not weight)
    found = nearest_grid(fmt, chosen, records)
    assert isinstance(found, str)
    assert said in found
