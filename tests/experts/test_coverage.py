"""What is known of the experts of a checkpoint, against tensors that the test made itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modelopt_files import FP8, Tensors, config, named, nvfp4, saved
from peer_truth import folder, needs_fixtures, opened
from safetensors.torch import load_file

from qinspect.inspector.experts.coverage import LayerExperts, ScaleColumn
from qinspect.inspector.experts.gathering import coverage_of
from qinspect.inspector.experts.judged import LOUD, QUIET, QUIET_INSIDE, judged
from qinspect.inspector.experts.states import NO_EXPERT, STATES, State
from qinspect.inspector.formats import Format

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def mixture(place: Path, edit: Callable[[Tensors], None] | None = None, n: tuple[int, ...] = (4, 4)) -> Format:
    """NVFP4, of layers with so many experts."""
    tensors: Tensors = {}
    for layer, n_experts in enumerate(n):
        for e in range(n_experts):
            for p, projection in enumerate(PROJECTIONS):
                made = nvfp4(16, 64, seed=100 * layer + 10 * e + p)[0]
                made["input_scale"] = torch.tensor(0.01 * (1 + e / 10))
                tensors |= named(f"model.layers.{layer}.mlp.experts.{e}.{projection}", made)
    if edit is not None:
        edit(tensors)
    return saved(place, tensors, config("NVFP4"))


def put(key: str, value: float) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[key] = torch.tensor(value)

    return edit


def test_a_sound_mixture(tmp_path: Path) -> None:
    found = coverage_of(mixture(tmp_path))
    assert [(layer.layer, layer.numbers) for layer in found.layers] == [
        ("layers.0.mlp", (0, 1, 2, 3)),
        ("layers.1.mlp", (0, 1, 2, 3)),
    ]
    assert found.counts() == {State.SOUND: 8}
    assert found.n == 8
    assert len(found.layers[0].columns) == 9
    cell = found.layers[1].cell(2)
    assert (cell.column, cell.state) == ("gate_proj:input", State.SOUND)
    assert cell.value == pytest.approx(0.012)
    assert cell.ratio == pytest.approx(0.012 / 0.0115)
    assert found.layers[0].spread(of_input=True) == pytest.approx(1.3)


def test_the_matrix_has_a_cell_for_each_expert(tmp_path: Path) -> None:
    found = coverage_of(mixture(tmp_path, put("model.layers.1.mlp.experts.1.up_proj.input_scale", -1.0), (4, 2)))
    negative = State.NEGATIVE.rank
    assert found.states.tolist() == [[1, 1, 1, 1], [1, negative, NO_EXPERT, NO_EXPERT]]
    assert found.layers[1].cell(1).value == -1
    assert [cell.value for cell in found.layers[0].cells()] == pytest.approx([0.01, 0.011, 0.012, 0.013])


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (0.0, State.ZERO), (-0.01, State.NEGATIVE), (math.inf, State.NOT_FINITE), (math.nan, State.NOT_FINITE),
        (1.0, State.DEFAULT), (3.8e28, State.OUTLYING), (1e-29, State.OUTLYING), (0.0101, State.SOUND),
    ],
)  # fmt: skip
def test_the_state_of_an_input_scale(tmp_path: Path, value: float, state: State) -> None:
    found = coverage_of(mixture(tmp_path, put("model.layers.0.mlp.experts.3.down_proj.input_scale", value)))
    assert [cell.state for cell in found.layers[0].cells()] == [*[State.SOUND] * 3, state]
    assert found.layers[1].counts() == {State.SOUND: 4}
    if state is not State.SOUND:
        cell = found.layers[0].cell(3)
        assert cell.column == "down_proj:input"
        assert cell.value == pytest.approx(value, nan_ok=True)


def test_a_number_is_that_of_the_file(tmp_path: Path) -> None:
    fmt = mixture(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for layer in coverage_of(fmt).layers:
        for column in layer.columns:
            projection, part = re.split(r"[.:]", column.name)
            last = {"weight": "weight_scale", "weight#global": "weight_scale_2", "input": "input_scale"}[part]
            keys = [f"model.{layer.layer}.experts.{e}.{projection}.{last}" for e in layer.numbers]
            assert column.values.tolist() == [float(stored[key].float().max()) for key in keys]


def test_what_is_missing_is_told_by_siblings(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        del tensors["model.layers.0.mlp.experts.2.up_proj.input_scale"]

    found = coverage_of(mixture(tmp_path, edit))
    assert found.counts() == {State.SOUND: 7, State.MISSING: 1}
    assert found.layers[0].cell(2).column == "up_proj:input"


def test_a_whole_expert_that_is_missing(tmp_path: Path) -> None:
    """One that is not quantized is there, and has none of the scales; one that is nowhere leaves a gap."""

    def plain(tensors: Tensors) -> None:
        for name in [n for n in tensors if "layers.0.mlp.experts.1" in n]:
            del tensors[name]
        tensors["model.layers.0.mlp.experts.1.up_proj.weight"] = torch.ones(16, 64).bfloat16()

    found = coverage_of(mixture(tmp_path, plain))
    assert found.layers[0].numbers == (0, 1, 2, 3)
    assert found.layers[0].counts() == {State.SOUND: 3, State.MISSING: 1}


def test_an_expert_whose_tensors_do_not_fit_is_not_missing(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        key = "model.layers.0.mlp.experts.2.up_proj.weight_scale"
        tensors[key] = tensors[key][:, :1].contiguous()

    found = coverage_of(mixture(tmp_path, edit))
    assert found.counts() == {State.SOUND: 7, State.DAMAGED: 1}
    assert found.layers[0].cell(2).column.startswith("up_proj")


def test_one_input_scale_for_all_is_shared(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for name in [n for n in tensors if n.endswith("input_scale")]:
            tensors[name] = torch.tensor(0.0125)

    found = coverage_of(mixture(tmp_path, edit))
    assert found.counts() == {State.SHARED: 8}
    assert found.layers[0].spread(of_input=True) == 1


def test_a_layer_without_input_scales_has_none_by_design(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for name in [n for n in tensors if n.endswith("input_scale")]:
            del tensors[name]

    found = coverage_of(mixture(tmp_path, edit))
    assert found.counts() == {State.DYNAMIC: 8}
    assert math.isnan(found.layers[0].spread(of_input=True))


def test_a_dead_expert_is_zero(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        tensors["model.layers.0.mlp.experts.3.up_proj.weight_scale"] = torch.zeros(16, 4).to(FP8)

    assert coverage_of(mixture(tmp_path, edit)).layers[0].cell(3).state is State.ZERO


def test_fast_reads_no_scales_of_blocks(tmp_path: Path) -> None:
    fmt = mixture(tmp_path)
    found = coverage_of(fmt, everything=False)
    unread = {c.name for c in found.layers[0].columns if State.UNREAD.rank in c.states}
    assert unread == set()  # 64 numbers are few
    for tensors in (4, 128):
        made = nvfp4(64, tensors)[0]
        more = {n: t for e in range(2) for n, t in named(f"model.layers.0.mlp.experts.{e}.up_proj", made).items()}
        found = coverage_of(saved(tmp_path / str(tensors), more, config("NVFP4")), everything=False)
        assert found.counts() == {State.SHARED: 2}
        assert found.n_unread == (2 if tensors == 128 else 0)


def test_shared_experts_and_dense_layers_are_none(tmp_path: Path) -> None:
    tensors = named("model.layers.0.mlp.shared_experts.up_proj", nvfp4(16, 64)[0])
    tensors |= named("model.layers.1.mlp.up_proj", nvfp4(16, 64)[0])
    found = coverage_of(saved(tmp_path, tensors, config("NVFP4")))
    assert (found.layers, found.n, found.states.shape) == ((), 0, (0, 0))


def test_names_of_mixtral_are_the_same(tmp_path: Path) -> None:
    tensors: Tensors = {}
    for e in range(2):
        for name in ("w1", "w2", "w3"):
            tensors |= named(f"model.layers.0.block_sparse_moe.experts.{e}.{name}", nvfp4(16, 64)[0])
    (layer,) = coverage_of(saved(tmp_path, tensors, config("NVFP4"))).layers
    assert layer.layer == "layers.0.mlp"
    assert {c.name.partition(":")[0].partition(".")[0] for c in layer.columns} == set(PROJECTIONS)


# --- limits, one column at a time ---


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> object:
    fmt = mixture(tmp_path_factory.mktemp("one"))
    return next(r for r in fmt.scales() if r.role.endswith(":input"))


def column(record: object, name: str, *values: float, purpose: str = "") -> ScaleColumn:
    numbers = np.array(values)
    states = np.where(np.isfinite(numbers), State.SOUND.rank, State.NOT_FINITE.rank).astype(np.int8)
    return judged(name, record, numbers, states, purpose)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "factor", "outlying"),
    [
        ("gate_proj:input", 0.99 / QUIET, True), ("gate_proj:input", 1.01 / QUIET, False),
        ("down_proj:input", 0.99 / QUIET_INSIDE, True), ("down_proj:input", 1.01 / QUIET_INSIDE, False),
        ("up_proj:input", 0.99 * LOUD["float4_e2m1fn"], False), ("up_proj:input", 1.01 * LOUD["float4_e2m1fn"], True),
    ],
)  # fmt: skip
def test_limits(record: object, name: str, factor: float, outlying: bool) -> None:
    made = column(record, name, 0.01, 0.01, 0.01 * factor, 0.010001, 0.01)
    assert (made.states[2] == State.OUTLYING.rank) == outlying
    assert State.OUTLYING.rank not in np.delete(made.states, 2)


def test_of_two_experts_none_stands_out(record: object) -> None:
    assert State.OUTLYING.rank not in column(record, "up_proj:input", 0.01, 0.0001).states


def test_ones_are_a_default_unless_all_are_and_somebody_means_it(record: object) -> None:
    assert set(column(record, "up_proj:input", 1.0, 1.0).states) == {State.DEFAULT.rank}
    meant = column(record, "up_proj:input", 1.0, 1.0, purpose="somebody means it")
    assert (set(meant.states), meant.why) == ({State.SHARED.rank}, "somebody means it")
    mixed = column(record, "up_proj:input", 1.0, 0.01, 0.01, purpose="somebody means it")
    assert mixed.states.tolist() == [State.DEFAULT.rank, State.SOUND.rank, State.SOUND.rank]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=12))
def test_any_numbers_have_states(values: list[float]) -> None:
    fmt_record = _any_record()
    made = column(fmt_record, "up_proj:input", *values)
    layer = LayerExperts("layers.0.mlp", tuple(range(len(values))), (made,))
    for value, cell in zip(values, layer.cells(), strict=True):
        assert cell.state in STATES
        if cell.state.sound:
            assert 0 < value < math.inf
    assert sum(layer.counts().values()) == len(values)


def _any_record() -> object:
    class Fp4:
        name = "float4_e2m1fn"

    class Record:
        element = Fp4
        may_be_negative = False

    return Record


# --- checkpoints of the libraries ---


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("ct_qwen3moe_no_input_scale", {State.SOUND: 6, State.MISSING: 2}),
        ("modelopt_qwen3moe_cold_experts", {State.SHARED: 8}), ("modelopt_qwen3moe_nvfp4", {State.SHARED: 4}),
        ("modelopt_qwen3moe_inputscale1_kvcast", {State.SHARED: 4}), ("modelopt_gptoss_nvfp4", {State.SHARED: 4}),
        ("modelopt_nemotronh_mixed", {State.SHARED: 4}), ("tf_fp8_fused3d", {State.DYNAMIC: 4}),
        ("ct_kimi_int4_g32", {State.DYNAMIC: 2}), ("deepseek_v4_fp8_fp4", {State.DYNAMIC: 2}),
        ("ct_mxfp4_moe", {State.DYNAMIC: 4}), ("tf_fp8_qwen3next", {State.DYNAMIC: 4}),
    ],
)  # fmt: skip
def test_checkpoints_of_libraries(name: str, states: dict[State, int]) -> None:
    assert coverage_of(opened(name)).counts() == states


@needs_fixtures
def test_experts_that_saw_no_token() -> None:
    """compressed-tensors stores one over the scale; PROVENANCE.md says which saw none."""
    found = coverage_of(opened("ct_qwen3moe_nvfp4_cold_experts"))
    stored = load_file(folder("ct_qwen3moe_nvfp4_cold_experts") / "model" / "model.safetensors")
    (layer,) = found.layers
    assert [cell.state.sound for cell in layer.cells()] == [False] * 2 + [True] * 6
    for e, cell in enumerate(layer.cells()):
        key = f"model.layers.0.mlp.experts.{e}.{cell.column.removesuffix(':input')}.input_global_scale"
        assert cell.value == float(1 / stored[key][0])


@needs_fixtures
def test_a_stack_and_experts_apart_are_told_alike() -> None:
    apart = coverage_of(opened("modelopt_qwen3moe_nvfp4"))
    stacked = coverage_of(opened("gguf_qwen3moe_nvfp4", "model/model.gguf"))
    assert stacked.layers[0].layer == apart.layers[0].layer
    of_stack = {c.name: c for c in stacked.layers[0].columns}
    for one in apart.layers[0].columns:
        assert of_stack[one.name].states.tolist() == one.states.tolist()
        assert of_stack[one.name].values == pytest.approx(one.values)
