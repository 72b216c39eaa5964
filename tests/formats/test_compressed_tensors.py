"""Checkpoints of compressed-tensors: against what its own library makes of them, and of every layout packed here bit by
bit; where config.json is gone, says something else, or is hostile; damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compressed_files import LINEAR, Made, fp4, fp8, int8, integers, of_module, opened, settings, written
from hypothesis import given
from hypothesis import strategies as st
from peer_truth import agree, folder, needs_fixtures, same_bits, truth
from peer_truth import opened as opened_fixture
from safetensors.numpy import load_file

from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import CannotDequantize, UnknownKey
from qinspect.inspector.formats import Format, Kind, Quantity
from qinspect.inspector.formats.families.compressed_tensors.targets import Targets
from qinspect.inspector.values.inspection import inspect_entry
from qinspect.inspector.values.report import inspection_text

FAMILY = "compressed-tensors"
DATA = Path(__file__).resolve().parents[1] / "data"
EXACT = (
    "autoround_mxfp4", "autoround_nvfp4", "ct_awq_w4a16_asym", "ct_fp8_block", "ct_fp8_dynamic", "ct_fp8_static",
    "ct_int8_w8a8", "ct_int8_w8a8_static", "ct_kimi_int4_g32", "ct_mamba2_fp8", "ct_mixed_three",
    "ct_model_free_nvfp4a16", "ct_mxfp4", "ct_mxfp4_moe", "ct_mxfp8", "ct_nvfp4", "ct_nvfp4_unfused_globals",
    "ct_qwen3moe_fp8_block", "ct_qwen3moe_no_input_scale", "ct_qwen3moe_nvfp4", "ct_qwen3moe_nvfp4_cold_experts",
    "ct_w4a16_asym_g32", "ct_w4a16_channel", "ct_w4a16_g128", "ct_w8a16_g128",
)  # fmt: skip
AMBIGUOUS = ("ct_mxfp8",)
"""What others write under the same names: without config.json nobody can tell whose it is."""
NAME = f"{LINEAR}.weight"


def written_module(tmp: Path, made: Made, **more: Any) -> Format:
    return opened(written(tmp / "m", of_module(made), settings(made, **more)))


def only_weight(fmt: Format, made: Made) -> None:
    """The model's one quantized weight is the one that was made, to the bit."""
    assert fmt.family == FAMILY
    assert not fmt.problems(), fmt.problems()[0].error
    (weight,) = fmt.weights()
    assert weight.name == NAME
    assert weight.role == "layers.0.self_attn.q_proj.weight"
    assert weight.shape == made.values.shape
    assert same_bits(fmt.dequantize(weight), made.values)


# Against the library


@needs_fixtures
@pytest.mark.parametrize("name", EXACT)
def test_weights_are_the_librarys_to_the_bit(name: str) -> None:
    fmt = agree(name, FAMILY)
    for weight in fmt.weights():
        n = weight.shape[0]
        whole = fmt.dequantize(weight)
        assert same_bits(np.concatenate([fmt.dequantize(weight, i, min(i + 7, n)) for i in range(0, n, 7)]), whole)


@needs_fixtures
@pytest.mark.parametrize("name", sorted(set(EXACT) - set(AMBIGUOUS)))
def test_without_config_json_the_keys_tell_the_same(name: str, tmp_path: Path) -> None:
    shutil.copy(folder(name) / "model" / "model.safetensors", tmp_path)
    fmt, expected = opened(tmp_path), truth(name)
    assert fmt.family == FAMILY
    weights = {w.name: w for w in fmt.weights()}
    assert all(same_bits(fmt.dequantize(weights[n]), expected[n]) for n in expected)
    declared = {r.role: r for r in opened_fixture(name).scales()}
    assert {r.role for r in fmt.scales()} == declared.keys()


def test_a_fixture_that_is_always_here() -> None:
    expected = load_file(DATA / "ct_mixed_three" / "expected.safetensors")
    fmt = opened(DATA / "ct_mixed_three" / "model")
    weights = {w.name: w for w in fmt.weights()}
    assert len(expected) >= 3
    assert all(same_bits(fmt.dequantize(weights[n]), expected[n]) for n in expected)
    assert {w.element.name for w in fmt.weights()} == {"float8_e4m3fn", "float4_e2m1fn", "uint4"}


@needs_fixtures
def test_attention_a_head_has_records_with_zero_points() -> None:
    fmt = opened_fixture("ct_attn_head_kv")
    at = "layers.0.self_attn"
    assert [r.role for r in fmt.scales()] == [
        f"{at}:{point}{part}" for point in ("k_cache", "v_cache", "q") for part in ("", "#zero_point")
    ]
    assert {r.granularity for r in fmt.scales()} == {"per head"}
    assert {r.element.name for r in fmt.scales()} == {"float8_e4m3fn"}
    assert not fmt.weights()


# Every layout, packed here

LAYOUTS: dict[str, Callable[[], Made]] = {
    **{f"{b} bits": (lambda b=b: integers(b)) for b in range(1, 9)},  # type: ignore[misc]
    **{f"{b} bits, odd": (lambda b=b: integers(b, (7, 50), 10)) for b in range(1, 9)},  # type: ignore[misc]
    **{f"{b} bits, zeros": (lambda b=b: integers(b, (37, 64), 16, zeros="packed")) for b in range(1, 9)},  # type: ignore[misc]
    **{f"{b} bits, old": (lambda b=b: integers(b, (33, 96), 32, False, "packed")) for b in (3, 5, 6, 7)},  # type: ignore[misc]
    "plain zeros": lambda: integers(4, zeros="plain"),
    "a channel": lambda: integers(4, group=None, zeros="packed"),
    "by order": lambda: integers(4, order=True),
    "by order, zeros": lambda: integers(3, (40, 64), 16, zeros="packed", order=True),
    "short last group": lambda: integers(4, (6, 72), 32),
    "nvfp4": fp4,
    "nvfp4, short last group": lambda: fp4("nvfp4", (5, 40)),
    "mxfp4": lambda: fp4("mxfp4", (4, 96)),
    **{f"fp8 {grid}": (lambda grid=grid: fp8(grid)) for grid in ("tensor", "channel", "group", "block")},  # type: ignore[misc]
    "mxfp8": lambda: fp8("mx", (6, 80)),
    "int8": int8,
    "int8, zeros": lambda: int8(zeros=True),
    "4 bits a byte": lambda: int8(4),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout: str, tmp_path: Path) -> None:
    made = LAYOUTS[layout]()
    fmt = written_module(tmp_path, made)
    only_weight(fmt, made)
    assert not fmt.notes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_those_of_the_whole(layout: str, tmp_path: Path) -> None:
    made = LAYOUTS[layout]()
    fmt = written_module(tmp_path, made)
    (weight,) = fmt.weights()
    codes, rows = fmt.codes(weight), made.values.shape[0]
    assert codes.shape == made.values.shape
    for start in range(0, rows, 3):
        for stop in (start, start + 1, start + 5, rows):
            assert same_bits(fmt.dequantize(weight, start, stop), made.values[start:stop])
            assert np.array_equal(fmt.codes(weight, start, stop), codes[start:stop])


STACKS = {k: LAYOUTS[k] for k in (
    "3 bits", "4 bits, zeros", "5 bits, odd", "5 bits, zeros", "plain zeros", "a channel", "short last group", "nvfp4",
    "mxfp4", "fp8 channel", "fp8 block", "mxfp8", "int8",
)}  # fmt: skip


@pytest.mark.parametrize("n_experts", [1, 3])
@pytest.mark.parametrize("layout", STACKS)
def test_stacked_experts_are_a_weight_each(layout: str, n_experts: int, tmp_path: Path) -> None:
    """Every entry with an axis in front, but for the shape, which is that of the stack; of NVFP4 a number for each."""
    if n_experts == 1 and layout in ("fp8 channel", "fp8 block", "mxfp8", "int8", "nvfp4"):
        pytest.skip("one expert has nothing that tells it from a convolution")
    made = STACKS[layout]()
    tensors = {k: np.stack([t] * n_experts) for k, t in made.tensors.items()}
    if "weight_shape" in tensors:
        tensors["weight_shape"] = np.array([n_experts, *made.tensors["weight_shape"]])
    for e in range(n_experts):
        tensors["weight_scale"][e] = tensors["weight_scale"][e][::-1]
    if "weight_global_scale" in tensors:
        tensors["weight_global_scale"] = np.array([100.0, 200.0, 300.0], np.float32)
    module = "model.layers.0.mlp.experts.up_proj"
    fmt = opened(written(tmp_path / "m", {f"{module}.{k}": t for k, t in tensors.items()}, settings(made)))
    assert fmt.family == FAMILY
    assert not fmt.problems(), fmt.problems()[0].error
    assert [w.name for w in fmt.weights()] == [
        f"model.layers.0.mlp.experts.{e}.up_proj.weight" for e in range(n_experts)
    ]
    assert [w.role for w in fmt.weights()] == [f"layers.0.mlp.experts.{e}.up_proj.weight" for e in range(n_experts)]
    for e, weight in enumerate(fmt.weights()):
        own = {k: t[e] for k, t in tensors.items() if k != "weight_shape"}
        if "weight_shape" in tensors:
            own["weight_shape"] = made.tensors["weight_shape"]
        if "weight_global_scale" in own:
            own["weight_global_scale"] = tensors["weight_global_scale"][e : e + 1]
        alone = opened(written(tmp_path / f"alone{e}", {f"{LINEAR}.{k}": t for k, t in own.items()}, settings(made)))
        (expected,) = alone.weights()
        assert same_bits(fmt.dequantize(weight), alone.dequantize(expected))
        assert same_bits(fmt.dequantize(weight, 1, 4), alone.dequantize(expected)[1:4])
        assert np.array_equal(fmt.codes(weight), alone.codes(expected))
        records, others = (
            [r for r in f.scales() if r.role in w.scale_roles] for f, w in ((fmt, weight), (alone, expected))
        )
        assert len(records) == len(others)
        for record, other in zip(records, others, strict=True):
            assert np.array_equal(np.ravel(fmt.values(record)), np.ravel(alone.values(other)))
    assert not fmt.other_tensors()


@given(
    bits=st.integers(1, 8), rows=st.integers(1, 70), groups=st.integers(1, 5), group=st.sampled_from([8, 16, 24, 64]),
    zeros=st.sampled_from(["", "packed", "plain"]), order=st.booleans(), seed=st.integers(0, 99), data=st.data(),
)  # fmt: skip
def test_any_shape_of_integers(
    tmp_path_factory: pytest.TempPathFactory, bits: int, rows: int, groups: int, group: int, zeros: str, order: bool,
    seed: int, data: st.DataObject,
) -> None:  # fmt: skip
    made = integers(bits, (rows, groups * group), group, True, zeros, order and groups > 1, seed)
    fmt = written_module(tmp_path_factory.mktemp("any"), made)
    only_weight(fmt, made)
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    assert same_bits(fmt.dequantize(fmt.weights()[0], start, stop), made.values[start:stop])


@pytest.mark.parametrize("prefix", ["model.language_model.", "module.model.", "backbone.", ""])
def test_names_of_savers_change_nothing(prefix: str, tmp_path: Path) -> None:
    made = integers()
    module = f"{prefix}layers.0.self_attn.q_proj"
    fmt = opened(written(tmp_path, of_module(made, module), settings(made)))
    (weight,) = fmt.weights()
    assert (weight.name, weight.role) == (f"{module}.weight", "layers.0.self_attn.q_proj.weight")
    assert same_bits(fmt.dequantize(weight), made.values)


def test_zero_points_and_exponents_are_numbers(tmp_path: Path) -> None:
    packed, plain = integers(4, (20, 64), zeros="packed"), integers(4, (20, 64), zeros="plain")
    found = []
    for name, made in (("packed", packed), ("plain", plain)):
        fmt = written_module(tmp_path / name, made)
        record = next(r for r in fmt.scales() if r.quantity is Quantity.ZERO_POINT)
        assert record.role == "layers.0.self_attn.q_proj.weight#zero_point"
        assert not record.as_stored
        found.append(fmt.values(record))
    assert np.array_equal(found[0], found[1])
    assert 0 <= found[0].min() < found[0].max() <= 15
    made = fp4("mxfp4")
    fmt = written_module(tmp_path / "mx", made)
    assert np.array_equal(fmt.values(fmt.scales()[0]), 2.0 ** (made.tensors["weight_scale"].astype(np.float64) - 127))


def test_the_global_scale_is_the_one_that_multiplies(tmp_path: Path) -> None:
    fmt = written_module(tmp_path, fp4())
    record = fmt.scales()[1]
    assert (record.quantity, record.inverted) == (Quantity.GLOBAL_SCALE, True)
    assert fmt.values(record).reshape(-1)[0] == np.float32(1) / np.float32(1234.5)


def test_an_entry_is_shown_by_the_weights_own_name_and_a_reciprocal_as_one(tmp_path: Path) -> None:
    fmt = written_module(tmp_path, fp4())
    found = inspect_entry(fmt, NAME)
    assert (found.key, found.weight) == (f"{LINEAR}.weight_packed", fmt.weights()[0])
    text = inspection_text(fmt, inspect_entry(fmt, f"{LINEAR}.weight_global_scale"))
    assert "1234.5, one over the scale 0.00081004" in text
    with pytest.raises(UnknownKey, match=r"the nearest role layers\.0\.self_attn\.q_proj\.weight or .*#global"):
        inspect_entry(fmt, "layers.0.self_attn.q_proj.weigh")


def test_a_scale_may_be_in_another_shard(tmp_path: Path) -> None:
    made = fp4()
    tensors = of_module(made)
    scale = f"{LINEAR}.weight_scale"
    written(tmp_path, {n: t for n, t in tensors.items() if n != scale}, settings(made))
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    written(tmp_path, {scale: tensors[scale]}, settings(made))
    (tmp_path / "model.safetensors").rename(tmp_path / "b.safetensors")
    names = {n: "b.safetensors" if n == scale else "a.safetensors" for n in tensors}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    only_weight(opened(tmp_path), made)


def test_opening_reads_shapes_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.inspector.checkpoint import open_checkpoint
    from qinspect.inspector.formats import format_of

    tensors: dict[str, Any] = {}
    for i in range(50):
        tensors |= of_module(integers(4, (64, 256)), f"layers.{i}.mlp.up_proj")
    folder_ = written(tmp_path, tensors, settings(integers()))
    checkpoint = open_checkpoint(folder_)
    sizes: list[int] = []
    read = Source.read

    def counted(self: Source, offset: int, n: int) -> bytes:
        sizes.append(n)
        return read(self, offset, n)

    monkeypatch.setattr(Source, "read", counted)
    fmt = format_of(checkpoint)
    assert len(fmt.weights()) == 50
    assert sum(sizes) <= 50 * 16
    assert len(sizes) <= 2


# What config.json says


def test_activations_by_what_is_said_of_them(tmp_path: Path) -> None:
    made = fp4()
    made.inputs = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "dynamic": "local"}
    made.tensors["input_global_scale"] = np.array([250.0], np.float32)
    fmt = written_module(tmp_path / "local", made)
    (point,) = [r for r in fmt.scales() if r.kind is Kind.ACTIVATION]
    assert (point.role, point.inverted, point.element.name) == (
        "layers.0.self_attn.q_proj:input", True, "float4_e2m1fn",
    )  # fmt: skip
    assert fmt.values(point).reshape(-1)[0] == np.float32(1 / 250)
    assert not fmt.dynamic()
    assert fmt.description == "NVFP4 W4A4, compressed-tensors 0.19.0"

    del made.tensors["input_global_scale"]
    fmt = written_module(tmp_path / "absent", made)
    assert not fmt.dynamic()
    (note,) = fmt.notes()
    assert "1 module has no stored input scale" in note

    made = int8()
    made.inputs = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}
    fmt = written_module(tmp_path / "token", made)
    (dynamic,) = fmt.dynamic()
    assert (dynamic.role, dynamic.element.name) == ("layers.0.self_attn.q_proj:input", "int8")
    assert "per token" in fmt.notes()[0]

    made.inputs = {"num_bits": 8, "type": "int", "strategy": "tensor", "symmetric": False}
    made.tensors |= {"input_scale": np.array([0.5], np.float16), "input_zero_point": np.array([-3], np.int8)}
    fmt = written_module(tmp_path / "static", made)
    points = {r.role.partition(":")[2]: r for r in fmt.scales() if r.kind is Kind.ACTIVATION}
    assert points.keys() == {"input", "input#zero_point"}
    assert points["input"].element.offset is None
    assert fmt.values(points["input#zero_point"]).reshape(-1)[0] == -3
    assert not fmt.notes()


@pytest.mark.parametrize("old", [False, True])
def test_the_kv_cache_under_both_names(old: bool, tmp_path: Path) -> None:
    made = fp8()
    tensors: dict[str, Any] = {}
    at = "model.layers.0.self_attn"
    for letter in "kv":
        tensors |= of_module(fp8(), f"{at}.{letter}_proj")
        key = f"{at}.{letter}_proj.output_scale" if old else f"{at}.{letter}_scale"
        tensors[key] = np.array([0.25], np.float16)
    kv = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False}
    fmt = opened(written(tmp_path, tensors, settings(made, kv_cache_scheme=kv)))
    points = {r.role: r for r in fmt.scales() if r.kind is Kind.ACTIVATION}
    assert points.keys() == {"layers.0.self_attn:k_cache", "layers.0.self_attn:v_cache"}
    assert {r.element.name for r in points.values()} == {"float8_e4m3fn"}
    assert "KV FP8" in fmt.description


def test_a_named_transformation_rotates(tmp_path: Path) -> None:
    made = integers()
    assert written_module(tmp_path / "none", made, transform_config={}).rotated is None
    said = {
        "config_groups": {"R1": {"type": "hadamard", "apply": [{"targets": ["Linear"], "location": "weight_input"}]}}
    }
    assert written_module(tmp_path / "one", made, transform_config=said).rotated is True


def test_a_trained_scale_of_queries_is_none(tmp_path: Path) -> None:
    made = integers()
    tensors = {**of_module(made), "model.layers.0.self_attn.q_scale": np.ones(64, np.float32)}
    fmt = opened(written(tmp_path, tensors, settings(made)))
    assert not [r for r in fmt.scales() if r.kind is Kind.ACTIVATION]
    assert "model.layers.0.self_attn.q_scale" in {t.name for t in fmt.other_tensors()}


@pytest.mark.parametrize("key", ["compression_config", "quantization_config"])
@pytest.mark.parametrize("nested", ["", "inside", "text_config"])
def test_settings_are_found_where_they_were_in_time(key: str, nested: str, tmp_path: Path) -> None:
    made = integers(4, (6, 72), 32)
    said = settings(made)
    if nested == "inside":
        said = {"quant_method": "sparseml", "quantization_config": said, "sparsity_config": None}
    folder_ = written(tmp_path, of_module(made), said, key)
    if nested == "text_config":
        (folder_ / "config.json").write_text(json.dumps({"text_config": {key: said}}))
    fmt = opened(folder_)
    only_weight(fmt, made)
    assert fmt.weights()[0].grid.group_size == 32


def test_packed_weights_were_once_called_weight(tmp_path: Path) -> None:
    made = integers(4, zeros="plain")
    made.tensors["weight"] = made.tensors.pop("weight_packed")
    only_weight(written_module(tmp_path, made), made)


def test_presets_name_the_bits(tmp_path: Path) -> None:
    made = integers(4)
    said = settings(made) | {"config_groups": {"W4A16": ["Linear"]}}
    only_weight(opened(written(tmp_path, of_module(made), said)), made)


@pytest.mark.parametrize(("version", "dense"), [("0.16.0", None), ("0.9.4", False), ("0.19.0", True), ("", None)])
def test_where_both_packings_take_as_many_words_the_version_decides(
    version: str, dense: bool | None, tmp_path: Path
) -> None:
    made = integers(3, (4, 20), None, dense is not False)
    fmt = written_module(tmp_path, made, version=version)
    if dense is not None:
        only_weight(fmt, made)
        return
    assert not fmt.weights()
    assert "depends on the version" in " ".join(fmt.notes())


def test_several_groups_go_by_name_before_expression_before_class(tmp_path: Path) -> None:
    a, b, c = integers(4), fp4(), integers(8)
    groups = {
        "g0": {"targets": ["Linear"], "weights": a.weights, "format": a.format},
        "g1": {"targets": ["re:.*up_proj$"], "weights": b.weights, "format": b.format},
        "g2": {"targets": ["model.layers.1.mlp.up_proj"], "weights": c.weights, "format": c.format},
    }
    tensors = {
        **of_module(a), **of_module(b, "model.layers.0.mlp.up_proj"), **of_module(c, "model.layers.1.mlp.up_proj"),
    }  # fmt: skip
    fmt = opened(written(tmp_path, tensors, settings(a, config_groups=groups, format="mixed-precision")))
    found = {w.name.rpartition(".layers.")[2]: fmt.dequantize(w) for w in fmt.weights()}
    expected = {"0.self_attn.q_proj.weight": a, "0.mlp.up_proj.weight": b, "1.mlp.up_proj.weight": c}
    assert found.keys() == expected.keys()
    assert all(same_bits(found[n], m.values) for n, m in expected.items())
    assert not fmt.notes()


def test_tensors_that_say_otherwise_are_read_as_stored_and_both_sides_are_said(tmp_path: Path) -> None:
    made = integers(8, (12, 64), 16)
    made.weights |= {"num_bits": 4, "group_size": 32}
    fmt = written_module(tmp_path, made)
    only_weight(fmt, made)
    notes = " ".join(fmt.notes())
    assert "4 bits; stored is 8 bits" in notes
    assert "groups of 32" in notes
    assert fmt.weights()[0].grid.group_size == 16


def test_ignored_and_plain_modules(tmp_path: Path) -> None:
    made = integers()
    plain = np.zeros((8, 8), np.float16)
    tensors = {**of_module(made), "lm_head.weight": plain, "model.layers.1.self_attn.q_proj.weight": plain}
    ignore = ["lm_head", "model.layers.1.self_attn.q_proj"]
    fmt = opened(written(tmp_path / "a", tensors, settings(made, ignore=ignore)))
    only_weight(fmt, made)
    assert not fmt.notes()
    fmt = opened(written(tmp_path / "b", tensors, settings(made)))
    only_weight(fmt, made)
    (note,) = fmt.notes()
    assert "model.layers.1.self_attn.q_proj" in note
    assert "float16" in note
    fmt = opened(written(tmp_path / "c", tensors, settings(made, ignore=["re:.*self_attn.*", "lm_head"])))
    only_weight(fmt, made)
    (note,) = fmt.notes()
    assert "it is ignored" in note


@pytest.mark.parametrize(
    "change",
    [{"format": "nvfp5-pack-quantized"}, {"num_bits": 12}, {"type": "float", "num_bits": 6}, {"type": "table"}],
)
def test_what_is_not_known_yet_is_not_decoded(change: dict[str, Any], tmp_path: Path) -> None:
    known, unknown = integers(4), integers(4)
    if "format" in change:
        unknown.format = change["format"]
    else:
        unknown.weights |= change
    groups = {
        "g0": {"targets": ["re:.*q_proj"], "weights": known.weights, "format": known.format},
        "g1": {"targets": ["re:.*up_proj"], "weights": unknown.weights, "format": unknown.format},
    }
    tensors = {**of_module(known), **of_module(unknown, "model.layers.0.mlp.up_proj")}
    fmt = opened(written(tmp_path, tensors, settings(known, config_groups=groups)))
    assert [w.name for w in fmt.weights()] == [NAME]
    (problem,) = fmt.problems()
    assert "not known" in str(problem.error) or "cannot be told" in str(problem.error)
    assert "model.layers.0.mlp.up_proj" in str(problem.error)
    assert "model.layers.0.mlp.up_proj.weight_packed" in {t.name for t in fmt.other_tensors()}


@pytest.mark.parametrize(
    "said",
    [
        {"config_groups": []}, {"config_groups": {"g": 3}}, {"config_groups": {"g": {"targets": 5, "weights": []}}},
        {"ignore": 7}, {"ignore": [None, {}, "re:("]}, {"version": 4}, {"version": "0.x"}, {"kv_cache_scheme": "fp8"},
        {"config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": "4", "group_size": -9}}}},
        {"config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 10**30, "group_size": 10**30}}}},
        {"config_groups": {"g": {"targets": ["Linear"], "weights": {"strategy": "block", "block_structure": [0, -1]}}}},
    ],
)  # fmt: skip
def test_settings_of_any_type_make_no_traceback(said: dict[str, Any], tmp_path: Path) -> None:
    made = integers()
    fmt = opened(written(tmp_path, of_module(made), settings(made, **said)))
    notes = fmt.notes()
    for weight in fmt.weights():
        assert same_bits(fmt.dequantize(weight), made.values)
    assert fmt.weights() or notes


def test_expressions_that_take_for_ever_are_not_tried() -> None:
    for hostile in ("re:(a+)+$", "re:(.*a){20}", "re:.*.*.*.*.*.*.*.*.*b", "re:" + "x" * 1000, "re:(", r"re:(a|aa)*$"):
        targets = Targets((hostile,))
        assert targets.rank("a" * 60) is None
        assert targets.untried == (hostile,)
    for usual in ("re:.*self_attn.*_proj$", r"re:model\.layers\.(?:[0-9]|1[0-9])\..*", "re:.*(gate|up)_proj$"):
        assert not Targets((usual,)).untried
    assert Targets(("re:.*(gate|up)_proj$",)).rank("model.layers.0.mlp.up_proj") == 2
    assert Targets(("model.layers.0.mlp.up_proj",)).rank("language_model.model.layers.0.mlp.up_proj") == 1
    assert Targets(("Linear",)).rank("a") == 3


# Damage


def _without(last: str) -> Callable[[Made], None]:
    return lambda made: made.tensors.__delitem__(last)


def _with(last: str, array: Any) -> Callable[[Made], None]:
    return lambda made: made.tensors.__setitem__(last, np.asarray(array))


DAMAGED: dict[str, tuple[Callable[[], Made], Callable[[Made], None], str]] = {
    "no scale": (integers, _without("weight_scale"), "weight_scale"),
    "no codes": (integers, _without("weight_packed"), "weight"),
    "scale of another shape": (integers, _with("weight_scale", np.ones((3, 5), np.float16)), "weight_scale"),
    "scale of integers": (integers, _with("weight_scale", np.ones((12, 2), np.int64)), "weight_scale"),
    "shape of other rows": (integers, _with("weight_shape", np.array([13, 64])), "weight_shape"),
    "negative shape": (integers, _with("weight_shape", np.array([12, -64])), "weight_shape"),
    "shape of one size": (integers, _with("weight_shape", np.array([12])), "weight_shape"),
    "shape that no words hold": (integers, _with("weight_shape", np.array([12, 1000])), "weight_packed"),
    "zero points of another shape": (
        lambda: integers(zeros="packed"), _with("weight_zero_point", np.ones((1, 2), np.int32)), "weight_zero_point",
    ),
    "zero points of floats": (
        lambda: integers(zeros="packed"), _with("weight_zero_point", np.ones((2, 2), np.float16)), "weight_zero_point",
    ),
    "index of another length": (lambda: integers(order=True), _with("weight_g_idx", np.zeros(3, np.int32)), "g_idx"),
    "no global scale": (fp4, _without("weight_global_scale"), "weight_global_scale"),
    "two global scales": (fp4, _with("weight_global_scale", np.ones(2, np.float32)), "weight_global_scale"),
    "codes of four dimensions": (fp4, _with("weight_packed", np.ones((1, 2, 6, 32), np.uint8)), "weight_packed"),
    "stacked codes beside the scale of one": (fp4, _with("weight_packed", np.ones((2, 6, 32), np.uint8)), "weight_sc"),
    "no experts in a stack": (fp4, _with("weight_packed", np.ones((0, 6, 32), np.uint8)), "weight_packed"),
    "codes of another type": (fp4, _with("weight_packed", np.ones((6, 32), np.int16)), "weight_packed"),
    "blocks of another number": (
        lambda: fp8("block"), _with("weight_scale", np.ones((2, 2), np.float16)), "weight_scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_module_is_one_sentence_and_the_rest_stays(damage: str, tmp_path: Path) -> None:
    make, spoil, key = DAMAGED[damage]
    sound, damaged = integers(), make()
    spoil(damaged)
    tensors = {**of_module(sound), **of_module(damaged, "model.layers.1.mlp.down_proj")}
    groups = {
        "g0": {"targets": ["re:.*q_proj"], "weights": sound.weights, "format": sound.format},
        "g1": {"targets": ["re:.*down_proj"], "weights": damaged.weights, "format": damaged.format},
    }
    fmt = opened(written(tmp_path, tensors, settings(sound, config_groups=groups)))
    (weight,) = fmt.weights()
    assert same_bits(fmt.dequantize(weight), sound.values)
    (problem,) = fmt.problems()
    text = str(problem.error)
    assert key in text
    assert "model.layers.1.mlp.down_proj" in text
    assert "expected" in text
    assert "found" in text
    assert "1 module does not fit" in " ".join(fmt.notes())
    assert {"layers.0.self_attn.q_proj.weight"} == {r.role for r in fmt.scales()}


@pytest.mark.parametrize(("index", "sound"), [(-1, True), (-2, False), (2, False), (2**31 - 1, False)])
def test_an_index_of_groups_that_are_not_there(index: int, sound: bool, tmp_path: Path) -> None:
    made = integers()
    of_column = (np.arange(64) // 32).astype(np.int32)
    of_column[5] = index
    made.tensors["weight_g_idx"] = of_column
    fmt = written_module(tmp_path, made)
    if sound:  # -1 stands in an index that was never set
        only_weight(fmt, made)
        return
    with pytest.raises(CannotDequantize, match=r"weight_g_idx.*names a group that is not there.*expected 0 to 1"):
        fmt.dequantize(fmt.weights()[0])
    assert fmt.codes(fmt.weights()[0]).shape == (12, 64)


def test_scales_that_are_no_numbers_are_the_files(tmp_path: Path) -> None:
    made = fp4("mxfp4")
    made.tensors["weight_scale"][0, 0] = 255
    fmt = written_module(tmp_path, made)
    found = fmt.dequantize(fmt.weights()[0])
    assert np.isnan(found[0, :32]).all()
    assert np.isfinite(found[1:]).all()
    made = fp4()
    made.tensors["weight_global_scale"][:] = 0
    made.tensors["weight_scale"][0, 0] = ml_dtypes.float8_e4m3fn(np.nan)
    fmt = written_module(tmp_path / "nv", made)
    assert not np.isfinite(fmt.dequantize(fmt.weights()[0])[0]).any()


SPARSE = {
    "sparse-24-bitmask": ("compressed", "bitmask", "shape"), "marlin-24": ("weight_packed", "scale_packed", "meta"),
    "sparse-bitmask": ("compressed", "bitmask", "shape", "row_offsets"),
}  # fmt: skip


@pytest.mark.parametrize(("layout", "names"), SPARSE.items())
def test_sparse_layouts_are_named_and_shown_as_stored(layout: str, names: tuple[str, ...], tmp_path: Path) -> None:
    made = integers()
    sparse = {f"model.layers.1.mlp.up_proj.{n}": np.ones((4, 4), np.int32) for n in names}
    fmt = opened(written(tmp_path / "both", {**of_module(made), **sparse}, settings(made)))
    only = [w.name for w in fmt.weights()]
    assert only == [NAME]
    assert f"is stored as {layout}, " in " ".join(fmt.notes())
    assert sparse.keys() <= {t.name for t in fmt.other_tensors()}
    fmt = opened(written(tmp_path / "alone", sparse, settings(made, format="marlin-24")))
    assert fmt.family == "plain"
    assert "looks like compressed-tensors" in " ".join(fmt.notes())
    assert f"is stored as {layout}, " in " ".join(fmt.notes())


def test_another_librarys_config_is_believed(tmp_path: Path) -> None:
    made = int8()
    fmt = opened(written(tmp_path, of_module(made), {"quant_method": "somebody-else"}))
    assert fmt.family != FAMILY


def test_weights_that_were_not_compressed_yet(tmp_path: Path) -> None:
    tensors = {
        f"{LINEAR}.weight": np.ones((8, 8), np.float16), f"{LINEAR}.weight_scale": np.ones((8, 1), np.float16),
    }  # fmt: skip
    made = integers()
    fmt = opened(written(tmp_path, tensors, settings(made, quantization_status="frozen", format="fakequant")))
    (record,) = fmt.scales()
    assert (record.role, record.kind) == ("layers.0.self_attn.q_proj.weight", Kind.WEIGHT)
    assert "stored unquantized" in record.of
    assert not fmt.weights()
    assert not fmt.notes()
