"""MLX's layouts, against what MLX makes of them and against packing by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import peer_truth
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_files import LINEAR, NORM, Array, Made, affine, floats, of_module, opened
from peer_truth import agree, needs_fixtures, same_bits

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, Quantity, format_of
from qinspect.inspector.values.inspection import inspect_entry

DATA = Path(__file__).parents[1] / "data"
SAID = {"bits": 4, "group_size": 64, "mode": "affine"}
MODES = ("mxfp4", "mxfp8", "nvfp4")
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def only(fmt: Format) -> np.ndarray:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


def by_name(fmt: Format) -> dict[str, np.ndarray]:
    return {w.name: fmt.dequantize(w) for w in fmt.weights()}


# --- what MLX wrote ---


@pytest.mark.parametrize("name", ["mlx_mixed_3_5_6_8", "mlx_mxfp4", "mlx_mxfp8", "mlx_nvfp4_global"])
def test_weights_are_mlxs_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree(name, "mlx").notes() == ()


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "n_weights", "description"),
    [
        ("mlx_affine_4bit_g64", 9, "MLX affine 4-bit g64"),
        ("mlx_affine_8bit_g32", 9, "MLX affine 8-bit g32"),
        ("mlx_mixed_3_5_6_8", 16, "MLX affine 3-bit g64, 5-bit g32, 6-bit g64, ..."),
        ("mlx_mxfp4", 9, "MLX mxfp4"),
        ("mlx_mxfp8", 8, "MLX mxfp8"),
        ("mlx_nvfp4_global", 7, "MLX nvfp4"),
    ],
)
def test_whole_models_with_and_without_their_settings(name: str, n_weights: int, description: str) -> None:
    fmt = agree(name, "mlx")
    assert (fmt.description, len(fmt.weights()), fmt.notes()) == (description, n_weights, ())
    bare = open_checkpoint(peer_truth.folder(name) / "model")
    bare.config = {}
    alone = format_of(bare)
    assert alone.family == "mlx"
    told = {w.name: w for w in alone.weights()}
    # of o_proj nothing tells the width where no module before it has the same
    assert {w.name for w in fmt.weights()} - told.keys() == {
        p.key for p in alone.problems() if p.key.endswith("o_proj.weight")
    }
    assert all((w.shape, w.element, w.grid) == (told[w.name].shape, told[w.name].element, told[w.name].grid)
               for w in fmt.weights() if w.name in told)  # fmt: skip


# --- the formula ---


@_SETTINGS
@given(st.sampled_from([1, 2, 3, 4, 5, 6, 8]), st.sampled_from([16, 32, 64, 128]), st.integers(1, 3),
       st.integers(1, 7), st.integers(0, 2**31), st.integers(1, 9),
       st.sampled_from([ml_dtypes.bfloat16, np.float16, np.float32]))  # fmt: skip
def test_each_width_and_size_of_groups(
    tmp_path_factory: pytest.TempPathFactory, bits: int, group: int, n_groups: int, rows: int, seed: int, step: int,
    dtype: Any,
) -> None:  # fmt: skip
    group = max(group, 32) if bits % 2 else group
    made = affine(bits, (rows, group * n_groups), group, seed, dtype)
    fmt = opened(tmp_path_factory.mktemp("mlx"), of_module(made), {"bits": bits, "group_size": group})
    (w,) = fmt.weights()
    assert fmt.family == "mlx"
    assert (w.bits, w.grid.group_size, w.shape) == (bits, group, made.values.shape)
    assert np.array_equal(fmt.codes(w), made.codes)
    assert same_bits(fmt.dequantize(w), made.values)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
    assert same_bits(np.concatenate(parts), made.values)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("said", [True, False])
def test_small_floats(tmp_path: Path, mode: str, said: bool) -> None:
    made = floats(mode)
    fmt = opened(tmp_path, of_module(made), {"mode": mode, "bits": 4, "group_size": 32} if said else None)
    assert fmt.description == f"MLX {mode}"
    assert same_bits(only(fmt), made.values)
    (scale,) = fmt.scales()
    assert np.isfinite(fmt.values(scale)).all()
    assert fmt.values(scale).shape == made.tensors["scales"].shape


def test_the_scale_of_all_of_nvfp4_is_its_largest_magnitude_over_2688(tmp_path: Path) -> None:
    made = floats("nvfp4", whole=1.7)
    fmt = opened(tmp_path, of_module(made), {"mode": "nvfp4", "bits": 4, "group_size": 16})
    assert same_bits(only(fmt), made.values)
    whole = next(r for r in fmt.scales() if r.quantity is Quantity.GLOBAL_SCALE)
    assert whole.role == "layers.0.self_attn.q_proj.weight#global"
    assert fmt.values(whole) == np.float32(1.7) / np.float32(2688)
    assert not fmt.gives_as_stored(whole)


def test_records_of_the_affine_mode(tmp_path: Path) -> None:
    made = affine()
    fmt = opened(tmp_path, of_module(made), SAID)
    scale, minimum = fmt.scales()
    assert [scale.role, minimum.role] == [f"layers.0.self_attn.q_proj.weight{end}" for end in ("", "#minimum")]
    assert [scale.key, minimum.key] == [f"{LINEAR}.scales", f"{LINEAR}.biases"]
    assert scale.signed
    assert scale.with_minimum
    assert scale.scheme == "uint4, group 64, signed"
    assert minimum.quantity is Quantity.MINIMUM
    assert np.array_equal(fmt.values(minimum), made.tensors["biases"])
    assert fmt.gives_as_stored(scale)
    assert fmt.weights()[0].scale_roles == (scale.role, minimum.role)


def test_no_code_stands_for_zero_where_a_minimum_is_added(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(affine()), SAID)
    (w,) = fmt.weights()
    assert fmt.element_of(w).zero_codes == []
    assert inspect_entry(fmt, f"{LINEAR}.weight").element == fmt.element_of(w)
    without = opened(tmp_path / "floats", of_module(floats("mxfp4")))
    assert without.element_of(without.weights()[0]).zero_codes != []


def test_a_bias_of_the_layer_is_no_minimum(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(affine()) | {f"{LINEAR}.bias": np.ones(6, np.float32)}, SAID)
    assert [t.name for t in fmt.other_tensors()] == [f"{LINEAR}.bias"]


# --- experts in one ---


@pytest.mark.parametrize(
    ("module", "of_expert"),
    [
        ("model.layers.0.mlp.switch_mlp.gate_proj", "model.layers.0.mlp.experts.1.gate_proj.weight"),
        ("model.layers.0.block_sparse_moe.switch_mlp.w1", "model.layers.0.block_sparse_moe.experts.1.w1.weight"),
        ("model.layers.0.mlp.experts.up_proj", "model.layers.0.mlp.experts.1.up_proj.weight"),
        ("switch_mlp.up_proj", "experts.1.up_proj.weight"),
        ("up_proj", "1.up_proj.weight"),
    ],
)
def test_a_stack_is_a_weight_for_each_expert(tmp_path: Path, module: str, of_expert: str) -> None:
    made = affine(3, (3, 6, 128), 64)
    fmt = opened(tmp_path, of_module(made, module), {"bits": 3, "group_size": 64})
    found = by_name(fmt)
    assert len(found) == 3
    assert same_bits(found[of_expert], made.values[1])
    assert len(fmt.scales()) == 6
    scale = next(r for r in fmt.scales() if r.slice and r.slice.index == (2,))
    assert np.array_equal(fmt.values(scale), made.tensors["scales"][2])


@pytest.mark.parametrize("whole", [np.array(2.0), np.array([1.0, 2.0, 3.0])])
def test_experts_of_nvfp4_have_a_scale_of_all_or_one_each(tmp_path: Path, whole: Array) -> None:
    made = floats("nvfp4", (3, 4, 64))
    tensors = of_module(made, "m.switch_mlp.up_proj") | {"m.switch_mlp.up_proj.global_scale": whole.astype(np.float32)}
    found = list(by_name(opened(tmp_path, tensors, {"mode": "nvfp4", "bits": 4, "group_size": 16})).values())
    factors = np.broadcast_to(whole.astype(np.float32), 3) / np.float32(2688)
    np.testing.assert_allclose(np.array(found), made.values * factors[:, None, None], rtol=1e-6)


# --- settings ---


def test_what_settings_say_of_a_module_is_before_what_they_say_of_all(tmp_path: Path) -> None:
    parts = {"model.layers.0.mlp.up_proj": affine(8, group=32), "model.layers.0.mlp.gate_proj": affine(5),
             "lm_head": affine(2, group=128)}  # fmt: skip
    said = {**SAID, "model.layers.0.mlp.up_proj": {"bits": 8, "group_size": 32}, "model.layers.0.mlp.down_proj": False,
            "model.layers.0.mlp.gate_proj": {"bits": 5}, "lm_head": {"group_size": 128, "bits": 2}}  # fmt: skip
    tensors = {n: t for module, made in parts.items() for n, t in of_module(made, module).items()}
    fmt = opened(tmp_path, tensors | {"model.layers.0.mlp.down_proj.weight": np.ones((4, 6), np.float32)}, said)
    assert fmt.notes() == ()
    assert fmt.declared_bits == (2, 4, 5, 8)
    for module, made in parts.items():
        assert same_bits(by_name(fmt)[f"{module}.weight"], made.values)


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module.", "language_model.model."])
def test_names_do_not_depend_on_what_savers_put_in_front(tmp_path: Path, prefix: str) -> None:
    """In tensors; settings keep the name that the module had."""
    made = affine(8, group=32)
    tensors = of_module(made, f"{prefix}layers.0.self_attn.q_proj")
    fmt = opened(tmp_path, tensors, {**SAID, LINEAR: {"bits": 8, "group_size": 32}})
    assert [w.role for w in fmt.weights()] == ["layers.0.self_attn.q_proj.weight"]
    assert same_bits(only(fmt), made.values)


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"bits": 2, "group_size": 128}},
        {"quantization_config": {"bits": 2, "group_size": 128, "quant_method": "mlx"}},
        {"quantization_config": {"bits": 2, "group_size": 128, "quant_method": "auto-round", "packing_format": "mlx"}},
        {"text_config": {"quantization": {"bits": 2, "group_size": 128}}},
    ],
)
def test_settings_in_other_places(tmp_path: Path, config: dict[str, Any]) -> None:
    made = affine(2, group=128)
    assert same_bits(only(opened(tmp_path, of_module(made), None, **config)), made.values)


def test_the_minimum_may_be_called_as_transformers_calls_it(tmp_path: Path) -> None:
    made = affine()
    tensors = {f"{LINEAR}.{'qbiases' if k == 'biases' else k}": t for k, t in made.tensors.items()}
    said = {"quant_method": "metal", "bits": 4, "group_size": 64}
    assert same_bits(only(opened(tmp_path, tensors, None, quantization_config=said)), made.values)


def test_settings_that_the_tensors_do_not_have_are_a_note_with_both(tmp_path: Path) -> None:
    made = floats("mxfp8")
    fmt = opened(tmp_path, of_module(made), {"mode": "mxfp4", "bits": 4, "group_size": 32})
    assert same_bits(only(fmt), made.values)
    assert any("mxfp4, 4 bits" in note and "mxfp8, 8 bits" in note for note in fmt.notes())
    left_out = opened(tmp_path / "left", of_module(affine()), {**SAID, LINEAR: False})
    assert same_bits(only(left_out), affine().values)
    assert any("not quantized" in note for note in left_out.notes())


@pytest.mark.parametrize("own", [{"bits": 8}, {"group_size": 32, "bits": 8}, {"group_size": 32}])
def test_what_is_not_said_of_a_module_is_as_of_all(tmp_path: Path, own: dict[str, int]) -> None:
    made = affine(8, group=32)
    fmt = opened(tmp_path, of_module(made), {"bits": 8, "group_size": 32, LINEAR: own})
    assert same_bits(only(fmt), made.values)


def test_settings_of_a_module_that_do_not_fit_are_not_replaced_by_those_of_all(tmp_path: Path) -> None:
    """Which would fit: but they were not meant of it."""
    tensors = of_module(affine(8, group=32), "m.odd") | of_module(affine(), "m.fine")
    fmt = opened(tmp_path, tensors, {**SAID, "m.odd": {"bits": 5, "group_size": 64}})
    assert [w.name for w in fmt.weights()] == ["m.fine.weight"]
    assert "5 bits in groups of 64" in str(fmt.problems()[0].error)


@pytest.mark.parametrize("said", [{"bits": 4, "group_size": 32}, {"bits": 6, "group_size": 64}])
def test_a_width_that_nothing_tells_is_a_problem(tmp_path: Path, said: dict[str, int]) -> None:
    fmt = opened(tmp_path, of_module(affine(), "m.odd") | of_module(floats("mxfp4"), "m.fine"), said)
    (problem,) = fmt.problems()
    assert problem.key == "m.odd.weight"
    assert f"{said['bits']} bits in groups of {said['group_size']}" in str(problem.error)
    assert "4 bits in groups of 64 or 8 bits in groups of 32" in str(problem.error)


@pytest.mark.parametrize("said", [{"mode": "nvfp5"}, {"mode": {"a": 1}}, {"bits": 7}, {"bits": 16, "group_size": 32}])
def test_a_mode_or_a_width_that_is_not_known_is_not_guessed(tmp_path: Path, said: dict[str, Any]) -> None:
    tensors = of_module(affine(), "m.new") | of_module(floats("mxfp4"), "m.fine")
    fmt = opened(tmp_path, tensors, {"mode": "mxfp4", "bits": 4, "group_size": 32, "m.new": {"mode": "affine", **said}})
    assert [w.name for w in fmt.weights()] == ["m.fine.weight"]
    assert "not known" in str(fmt.problems()[0].error)


# --- without settings ---

PARTS = {
    "model.embed_tokens": (6, 128), "model.layers.0.self_attn.q_proj": (192, 128),
    "model.layers.0.self_attn.o_proj": (128, 192), "model.layers.0.mlp.switch_mlp.up_proj": (2, 320, 128),
    "model.layers.0.mlp.switch_mlp.down_proj": (2, 128, 320),
}  # fmt: skip
NORMS = {NORM: np.ones(128, np.float32), "model.norm.weight": np.ones(128, np.float32)}


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group", [32, 64])
def test_modules_around_tell_the_width(tmp_path: Path, bits: int, group: int) -> None:
    made = {module: affine(bits, shape, group) for module, shape in PARTS.items()}
    tensors = {n: t for module, m in made.items() for n, t in of_module(m, module).items()}
    fmt = opened(tmp_path, tensors | NORMS)
    assert fmt.problems() == ()
    assert len(fmt.weights()) == 7
    found = by_name(fmt)
    assert same_bits(found["model.layers.0.self_attn.o_proj.weight"],
                     made["model.layers.0.self_attn.o_proj"].values)  # fmt: skip
    assert same_bits(found["model.layers.0.mlp.experts.1.down_proj.weight"],
                     made["model.layers.0.mlp.switch_mlp.down_proj"].values[1])  # fmt: skip
    assert any("no settings" in note for note in fmt.notes())


def test_a_gate_among_the_outputs_of_q_does_not_mislead(tmp_path: Path) -> None:
    """Where q_proj has twice the rows that o_proj has inputs."""
    parts = {"model.layers.0.self_attn.q_proj": (256, 128), "model.layers.0.self_attn.o_proj": (128, 128)}
    tensors = {n: t for module, shape in parts.items() for n, t in of_module(affine(4, shape), module).items()}
    fmt = opened(tmp_path, tensors | NORMS)
    assert [w.name for w in fmt.weights()] == ["model.layers.0.self_attn.q_proj.weight"]
    assert "more than one thing" in str(fmt.problems()[0].error)


def test_the_norms_of_another_stack_say_nothing(tmp_path: Path) -> None:
    tensors = of_module(affine(4, (6, 64), 32), "vision_tower.encoder.layers.0.self_attn.q_proj")
    tensors |= of_module(floats("mxfp4")) | NORMS
    fmt = opened(tmp_path, tensors)
    assert [p.key for p in fmt.problems()] == ["vision_tower.encoder.layers.0.self_attn.q_proj.weight"]


# --- what it is not ---


@pytest.mark.parametrize(
    "tensors",
    [
        {"m.weight": np.ones((4, 4), np.int32), "m.scales": np.ones((4, 1), np.float16)},
        {"m.weight": np.ones((4, 4), np.uint32), "n.scales": np.ones((4, 1), np.float16)},
        {"m.weight": np.ones((4, 4), np.uint32), "m.scales": np.ones((3, 1), np.float16)},
        {"m.weight": np.ones((4, 4), np.uint32), "m.scales": np.ones((4, 1), np.int32)},
        {"m.weight": np.ones(4, np.uint32), "m.scales": np.ones(1, np.float16)},
    ],
)
def test_names_alone_are_not_enough(tmp_path: Path, tensors: dict[str, Array]) -> None:
    assert opened(tmp_path, tensors).family == "plain"


@pytest.mark.parametrize("method", ["prism", "awq", "a new one"])
def test_what_another_method_wrote_is_not_claimed(tmp_path: Path, method: str) -> None:
    said = {"quant_method": method, "bits": 4, "group_size": 64}
    assert opened(tmp_path, of_module(affine()), None, quantization_config=said).family != "mlx"


# --- damage ---


def _without(made: Made, last: str) -> dict[str, Array]:
    return {k: t for k, t in made.tensors.items() if k != last}


DAMAGES: dict[str, dict[str, Array]] = {
    "no scales": _without(affine(), "scales"),
    "no codes": _without(affine(), "weight"),
    "no minima": _without(affine(), "biases"),
    "minima of another shape": {**affine().tensors, "biases": np.ones((6, 3), np.float32)},
    "minima beside exponents": {**floats("mxfp4").tensors, "biases": np.ones((6, 4), np.float32)},
    "bytes beside exponents": {**floats("mxfp4").tensors, "biases": np.ones((6, 4), np.uint8)},
    "scales that are integers": {**affine().tensors, "scales": np.ones((6, 2), np.int64)},
    "scales of other rows": {**affine().tensors, "scales": np.ones((5, 2), np.float32)},
    "no groups": {**affine().tensors, "scales": np.ones((6, 0), np.float32), "biases": np.ones((6, 0), np.float32)},
    "groups that are not whole": {
        **affine().tensors, "scales": np.ones((6, 3), np.float32), "biases": np.ones((6, 3), np.float32),
    },
    "exponents of no known groups": {**floats("mxfp4").tensors, "scales": np.ones((6, 3), np.uint8)},
    "codes in a row": {**affine().tensors, "weight": np.ones(6, np.uint32)},
    "codes of four axes": {**affine().tensors, "weight": np.ones((1, 1, 6, 16), np.uint32)},
    "codes that are floats": {**affine().tensors, "weight": np.ones((6, 16), np.float32)},
    "two scales of all": {**floats("nvfp4").tensors, "global_scale": np.ones(2, np.float32)},
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    tensors = of_module(Made(DAMAGES[damage], np.empty(0), np.empty(0))) | of_module(affine(), "m.fine")
    fmt = opened(tmp_path, tensors, SAID)
    assert [w.name for w in fmt.weights()] == ["m.fine.weight"]
    assert same_bits(only(fmt), affine().values)
    (problem,) = fmt.problems()
    assert LINEAR in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found


@pytest.mark.parametrize("size", [0, -64, "64", True, 1.5, None, [64]])
def test_settings_that_are_none_stop_nothing(tmp_path: Path, size: Any) -> None:
    """A size that is no size leaves what MLX takes where none is said."""
    assert same_bits(only(opened(tmp_path, of_module(affine()), {**SAID, "group_size": size})), affine().values)


def test_a_model_of_which_no_module_fits_is_claimed_by_nobody(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(affine()), {"mode": "later", "bits": 4})
    assert fmt.family == "plain"
    assert any("looks like mlx" in note for note in fmt.notes())


def test_numbers_that_are_not_finite_are_the_files(tmp_path: Path) -> None:
    made = floats("mxfp4")
    made.tensors["scales"][1, 2] = 255
    found = only(opened(tmp_path, of_module(made), {"mode": "mxfp4", "bits": 4, "group_size": 32}))
    assert np.isnan(found[1, 64:96]).all()
    assert np.isfinite(found[0]).all()


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(affine(4, (2, 6, 128))) | of_module(floats("nvfp4", whole=1.0), "m"), SAID)
    assert len(fmt.weights()) == 3
    assert fmt.notes() != ()


def test_rows_that_are_not_there_are_none(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(affine()), SAID)
    (w,) = fmt.weights()
    assert fmt.dequantize(w, 6, 9).shape == (0, 128)
