"""ModelOpt's exports: its own files to the bit, every layout in any shape, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelopt_files import (
    LAYOUTS,
    Tensors,
    config,
    in_blocks,
    int4,
    int4_fp8,
    int8,
    mxfp4,
    named,
    nvfp4,
    per_channel,
    per_tensor,
    saved,
)
from peer_truth import ROOT, agree, folder, needs_fixtures, opened, same_bits, truth
from safetensors.numpy import load_file
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, Kind, Quantity, QuantizedWeight, format_of
from qinspect.inspector.formats.counts import parameter_counts

M = "model.layers.0.self_attn.q_proj"
ROLE = "layers.0.self_attn.q_proj.weight"
OWN = [p.name for p in sorted(Path(ROOT).glob("modelopt_*"))] if ROOT else []
STACKED, FAKE_QUANTIZED = "modelopt_gptoss_nvfp4", "modelopt_int4_awq"
DATA = Path(__file__).parents[1] / "data"


def the_weight(fmt: Format, role: str = ROLE) -> QuantizedWeight:
    return next(w for w in fmt.weights() if w.role == role)


def problem(fmt: Format) -> str:
    (found,) = fmt.problems()
    return str(found.error)


def note(fmt: Format, part: str) -> str:
    (found,) = [n for n in fmt.notes() if part in n]
    return found


# --- files of the library itself


@needs_fixtures
@pytest.mark.parametrize("name", [n for n in OWN if n not in (STACKED, FAKE_QUANTIZED)])
def test_weights_are_those_of_the_library(name: str) -> None:
    assert agree(name, "modelopt").description.endswith("ModelOpt 0.47.0")


@pytest.mark.parametrize("name", ["modelopt_nemotronh_badnames", "modelopt_nvfp4_svd"])
def test_weights_of_the_files_here(name: str) -> None:
    fmt = format_of(open_checkpoint(DATA / name / "model"))
    expected = load_file(DATA / name / "expected.safetensors")
    weights = {w.name: w for w in fmt.weights()}
    assert fmt.family == "modelopt"
    assert len(expected) == 2
    assert all(same_bits(fmt.dequantize(weights[n]), values) for n, values in expected.items())


def test_what_stands_beside_codes_is_no_parameter() -> None:
    fmt = format_of(open_checkpoint(DATA / "modelopt_nvfp4_svd" / "model"))
    kept = [t.n_elements for t in fmt.other_tensors() if t.name.endswith(("bias", "layernorm.weight"))]
    counts = parameter_counts(fmt)
    assert sum(n or 0 for n in counts.values()) == 2 * 64 * 128 + sum(kept)
    assert sum("svdquant_lora" in t.name for t in fmt.other_tensors()) == 4  # compared all the same


@needs_fixtures
def test_a_weight_that_the_library_knows_by_fake_quantization_alone() -> None:
    fmt, expected = opened(FAKE_QUANTIZED), truth(FAKE_QUANTIZED)
    for name, values in expected.items():
        weight = next(w for w in fmt.weights() if w.name == name)
        steps = np.repeat(fmt.values(next(r for r in fmt.scales() if r.role == weight.role)), 128, 1)
        off = np.abs(fmt.dequantize(weight) - values) / steps
        assert (off > 1e-5).mean() <= 0.0003  # a tie that it rounds the other way
        assert off.max() < 1.00001


@needs_fixtures
def test_stacked_experts_are_weights_of_their_own() -> None:
    fmt = opened(STACKED)
    (expected,) = truth(STACKED).values()  # [experts, in, out], as the library keeps them
    down = [w for w in fmt.weights() if w.role.endswith("down_proj.weight")]
    assert [w.role for w in down] == [f"layers.0.mlp.experts.{e}.down_proj.weight" for e in range(4)]
    assert {w.shape for w in down} == {(128, 64)}
    assert all(same_bits(fmt.dequantize(w).T, expected[e]) for e, w in enumerate(down))
    assert all(same_bits(fmt.dequantize(w, 5, 77).T, expected[e][:, 5:77]) for e, w in enumerate(down))


@needs_fixtures
@pytest.mark.parametrize("name", [n for n in OWN if (Path(ROOT) / n / "fidelity.json").exists()])
def test_weights_are_as_far_from_the_original_as_others_measured(name: str) -> None:
    told = json.loads((folder(name) / "fidelity.json").read_text())
    fmt, base = opened(name), open_checkpoint(folder(told["base"]))
    weights = {w.name: w for w in fmt.weights()}
    for key, of in told["weights"].items():
        original = base.tensor(key)
        if original is None:  # the base has experts of one layer in one tensor
            continue
        if key in weights:
            ours = fmt.dequantize(weights[key])
        else:
            above, _, last = key.rpartition(".")
            ours = np.stack([fmt.dequantize(weights[f"{above}.{e}.{last}.weight"]).T for e in range(original.shape[0])])
        exact = original.read().astype(np.float64)
        assert np.linalg.norm(ours - exact) / np.linalg.norm(exact) == pytest.approx(of["rel_frobenius"], rel=1e-6)


@needs_fixtures
@pytest.mark.parametrize(("name", "most"), [("modelopt_nvfp4_svd", 0.08), ("modelopt_int8_sq", 0.04)])
def test_the_weight_in_use_is_close_to_the_original(name: str, most: float) -> None:
    fmt, base = opened(name), open_checkpoint(folder("base_llama1"))
    for weight in fmt.weights():
        tensor = base.tensor(weight.name)
        assert tensor is not None
        exact = tensor.read().astype(np.float64)
        far, near = (np.linalg.norm(f(weight) - exact) / np.linalg.norm(exact) for f in (fmt.dequantize, fmt.effective))
        assert near < most < 0.5 < far
        assert same_bits(fmt.effective(weight, 3, 40), fmt.effective(weight)[3:40])


@needs_fixtures
@pytest.mark.parametrize("name", [n for n in OWN if n not in ("modelopt_mxfp4", "modelopt_mxfp8")])
def test_names_and_shapes_are_enough(name: str, tmp_path: Path) -> None:
    """Without config.json. Powers of two are stored like that by others as well."""
    (tmp_path / "model.safetensors").symlink_to(folder(name) / "model" / "model.safetensors")
    bare, whole = format_of(open_checkpoint(tmp_path)), opened(name)
    assert bare.family == "modelopt"
    assert [w.name for w in bare.weights()] == [w.name for w in whole.weights()]
    first = bare.weights()[0]
    assert same_bits(bare.dequantize(first), whole.dequantize(whole.weights()[0]))
    assert note(bare, "no quantization_config")


@needs_fixtures
def test_no_file_of_another_library_is_claimed() -> None:
    others = [p for p in sorted(Path(ROOT).glob("*/model")) if not p.parent.name.startswith("modelopt_")]
    claimed = []
    for place in others:
        try:
            checkpoint = open_checkpoint(place)
        except Exception:  # of a kind that is not read
            continue
        claimed += [place.parent.name] if format_of(checkpoint).family == "modelopt" else []
    assert len(others) > 50
    assert claimed == []


# --- every layout


@pytest.mark.parametrize("algorithm", LAYOUTS)
@pytest.mark.parametrize(("rows", "columns"), [(64, 128), (192, 320), (2, 32), (130, 64)])
def test_layouts(tmp_path: Path, algorithm: str, rows: int, columns: int) -> None:
    if "AWQ" in algorithm and columns % 128:
        columns = 256
    tensors, expected = LAYOUTS[algorithm](rows, columns)
    fmt = saved(tmp_path, named(M, tensors), config(algorithm))
    weight = the_weight(fmt)
    assert (fmt.family, weight.name, weight.shape) == ("modelopt", f"{M}.weight", (rows, columns))
    assert same_bits(fmt.dequantize(weight), expected.numpy())
    assert not [n for n in fmt.notes() if "says" in n]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(LAYOUTS)), st.integers(0, 40), st.integers(0, 40))
def test_rows_read_alone_are_those_of_the_whole(tmp_path: Path, algorithm: str, start: int, stop: int) -> None:
    tensors, _ = LAYOUTS[algorithm](34, 256)
    fmt = saved(tmp_path / algorithm, named(M, tensors), config(algorithm))
    weight = the_weight(fmt)
    assert same_bits(fmt.dequantize(weight, start, stop), fmt.dequantize(weight)[start:stop])
    assert np.array_equal(fmt.codes(weight, start, stop), fmt.codes(weight)[start:stop])
    low, high = weight.element.code_range
    codes = fmt.codes(weight).astype(int)
    assert low <= codes.min()
    assert codes.max() <= high


@pytest.mark.parametrize("algorithm", LAYOUTS)
def test_a_weight_without_rows(tmp_path: Path, algorithm: str) -> None:
    tensors, _ = LAYOUTS[algorithm](2, 128)
    stored = {n: t[:0] if t.ndim and (n == "weight" or t.shape[0] == 2) else t for n, t in tensors.items()}
    fmt = saved(tmp_path, named(M, stored) | named("model.layers.0.self_attn.k_proj", tensors), config(algorithm))
    for weight in fmt.weights():
        assert fmt.dequantize(weight).shape == weight.shape


@pytest.mark.parametrize("group", [16, 32, 64])
def test_groups_of_the_size_that_is_said(tmp_path: Path, group: int) -> None:
    tensors, expected = nvfp4(32, 128, group=group)
    fmt = saved(tmp_path, named(M, tensors), config("NVFP4", group_size=group))
    assert the_weight(fmt).grid.group_size == group
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())


@pytest.mark.parametrize("group", [32, 64, 128, 256])
def test_groups_of_int4_are_those_of_the_shapes(tmp_path: Path, group: int) -> None:
    tensors, expected = int4(32, 256, group=group)
    fmt = saved(tmp_path, named(M, tensors))
    assert the_weight(fmt).grid.group_size == group
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())


@pytest.mark.parametrize("block", [64, 128])
def test_tiles(tmp_path: Path, block: int) -> None:
    tensors, expected = in_blocks(576, 320, block=block) if block == 128 else in_blocks(192, 320, block=block)
    fmt = saved(tmp_path, named(M, tensors), config("fp8_pb_wo"))
    assert the_weight(fmt).grid.block == (block, block)
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())
    (scale,) = fmt.scales()
    assert fmt.values(scale).shape == (-(-expected.shape[0] // block), -(-expected.shape[1] // block))


def test_scales_that_are_powers_of_two_are_told_as_numbers(tmp_path: Path) -> None:
    tensors, _ = mxfp4(8, 64)
    tensors["weight_scale"][0, 0], tensors["weight_scale"][0, 1] = 255, 0
    fmt = saved(tmp_path, named(M, tensors), config("MXFP4"))
    (scale,) = fmt.scales()
    numbers = fmt.values(scale)
    assert np.isnan(numbers[0, 0])
    assert numbers[0, 1] == 2.0**-127
    assert np.array_equal(numbers[1:], np.exp2(tensors["weight_scale"][1:].numpy().astype(np.float64) - 127))
    assert not scale.as_stored


def test_scales_that_are_no_numbers_give_values_that_are_none(tmp_path: Path) -> None:
    tensors, expected = nvfp4(8, 64)
    tensors["weight_scale"].view(torch.uint8)[3, 1] = 0x7F
    found = (fmt := saved(tmp_path, named(M, tensors), config("NVFP4"))).dequantize(the_weight(fmt))
    assert np.isnan(found[3, 16:32]).all()
    assert same_bits(found[4:], expected[4:].numpy())


# --- roles, records


def test_roles_of_what_stands_beside_a_weight(tmp_path: Path) -> None:
    tensors, _ = nvfp4(8, 64)
    tensors |= {"pre_quant_scale": torch.ones(64, dtype=torch.bfloat16)}
    cache = {f"{M[:-6]}k_proj.k_scale": torch.tensor(0.5), f"{M[:-6]}v_proj.v_scale": torch.tensor(0.25)}
    fmt = saved(tmp_path, named(M, tensors) | cache, config("NVFP4_AWQ", kv_cache_quant_algo="FP8"))
    by_role = {r.role: (r.key.rpartition(".")[2], r.quantity, str(r.element), r.kind) for r in fmt.scales()}
    assert by_role == {
        ROLE: ("weight_scale", Quantity.SCALE, "float4_e2m1fn", Kind.WEIGHT),
        f"{ROLE}#global": ("weight_scale_2", Quantity.GLOBAL_SCALE, "float4_e2m1fn", Kind.WEIGHT),
        f"{ROLE}#pre_quant": ("pre_quant_scale", Quantity.FACTOR, "float4_e2m1fn", Kind.WEIGHT),
        "layers.0.self_attn.q_proj:input": ("input_scale", Quantity.SCALE, "float4_e2m1fn", Kind.ACTIVATION),
        "layers.0.self_attn:k_cache": ("k_scale", Quantity.SCALE, "float8_e4m3fn", Kind.ACTIVATION),
        "layers.0.self_attn:v_cache": ("v_scale", Quantity.SCALE, "float8_e4m3fn", Kind.ACTIVATION),
    }
    assert the_weight(fmt).scale_roles == (ROLE, f"{ROLE}#global")
    assert all(r.alpha_sensitive is (False if r.quantity is not Quantity.FACTOR else None) for r in fmt.scales()[:3])
    assert fmt.other_tensors() == []


def test_the_second_scale_of_int4_in_fp8_does_not_scale(tmp_path: Path) -> None:
    """It is what the values are rounded to: levels of the weight are those of the first alone."""
    fmt = saved(tmp_path, named(M, LAYOUTS["W4A8_AWQ"](8, 128)[0]), config("W4A8_AWQ"))
    second = next(r for r in fmt.scales() if r.quantity is Quantity.GLOBAL_SCALE)
    assert the_weight(fmt).scale_roles == (ROLE,)
    assert second.scheme == "float8_e4m3fn of the two-level int4"


@pytest.mark.parametrize(
    ("said", "element"),
    [
        ({"kv_cache_quant_algo": "FP8"}, "float8_e4m3fn"), ({"kv_cache_quant_algo": "NVFP4"}, "float4_e2m1fn"),
        ({"kv_cache_quant_algo": "INT8"}, "int8"), ({"kv_cache_quant_algo": "FP3"}, "unknown"),
        ({"kv_cache_scheme": {"type": "float", "num_bits": 8}}, "float8_e4m3fn"), ({}, "unknown"),
    ],
)  # fmt: skip
def test_scales_of_the_cache_alone(tmp_path: Path, said: dict[str, object], element: str) -> None:
    tensors = {"backbone.layers.2.mixer.k_proj.k_scale": torch.tensor(0.5), "backbone.norm.weight": torch.ones(4)}
    fmt = saved(tmp_path, tensors, config("FP8", **said))
    (scale,) = fmt.scales()
    assert (scale.role, str(scale.element), float(fmt.values(scale))) == ("layers.2.mixer:k_cache", element, 0.5)
    assert scale.called == ("KV cache, of a type that is not said" if element == "unknown" else "")


def test_what_is_added_to_a_cache(tmp_path: Path) -> None:
    tensors, _ = per_tensor(8, 8)
    bias = torch.arange(8, dtype=torch.bfloat16).reshape(1, 2, 1, 4) - 3
    cache = {f"{M[:-6]}k_proj.k_scale": torch.tensor(0.5), f"{M[:-6]}k_proj.k_bias": bias}
    fmt = saved(tmp_path, named(M, tensors) | cache, config("FP8", kv_cache_quant_algo="NVFP4_AFFINE"))
    minimum = next(r for r in fmt.scales() if r.quantity is Quantity.MINIMUM)
    assert (minimum.role, minimum.granularity) == ("layers.0.self_attn:k_cache#minimum", "per head and channel")
    assert fmt.values(minimum).reshape(-1).astype(float).tolist() == list(range(-3, 5))
    assert "KV NVFP4_AFFINE" in fmt.description


@pytest.mark.parametrize(
    ("algorithm", "description"),
    [
        ("NVFP4", "NVFP4 W4A4"), ("FP8", "FP8 W8A8"), ("FP8_PER_CHANNEL_PER_TOKEN", "FP8 per channel W8A8"),
        ("fp8_pb_wo", "FP8 in blocks W8A16"), ("MXFP8", "MXFP8 W8A8"), ("mxfp4", "MXFP4"),
        ("W4A16_AWQ", "INT4 W4A16"), ("W4A8_AWQ", "INT4 in FP8 W4A8"), ("W8A8_SQ_PER_CHANNEL", "INT8 W8A8"),
    ],
)  # fmt: skip
def test_descriptions(tmp_path: Path, algorithm: str, description: str) -> None:
    tensors, _ = LAYOUTS[algorithm](256, 128)
    assert saved(tmp_path, named(M, tensors), config(algorithm)).description == f"{description}, ModelOpt 0.47.0"


@pytest.mark.parametrize(("algorithm", "points"), [("MXFP8", 1), ("FP8_PER_CHANNEL_PER_TOKEN", 1), ("fp8_pb_wo", 0)])
def test_activations_that_are_quantized_as_they_come(tmp_path: Path, algorithm: str, points: int) -> None:
    tensors, _ = LAYOUTS[algorithm](64, 128)
    fmt = saved(tmp_path, named(M, tensors), config(algorithm))
    assert [p.role for p in fmt.dynamic()] == ["layers.0.self_attn.q_proj:input"] * points


def test_the_weight_in_use(tmp_path: Path) -> None:
    tensors, codes = nvfp4(32, 64)
    a, b = torch.randn(4, 64).bfloat16(), torch.randn(32, 4).bfloat16()
    factor = (torch.rand(64) + 0.5).bfloat16()
    for before in ("weight_quantizer._svdquant_lora_", "svdquant_lora_"):
        stored = tensors | {"pre_quant_scale": factor, f"{before}a": a, f"{before}b": b}
        fmt = saved(tmp_path / before, named(M, stored), config("NVFP4_SVD"))
        exact = (codes.double() + b.double() @ a.double()) * factor.double()
        assert same_bits(fmt.dequantize(the_weight(fmt)), codes.numpy())
        np.testing.assert_allclose(fmt.effective(the_weight(fmt)), exact.numpy(), rtol=1e-6, atol=1e-6)
        assert "(W + b @ a) * pre_quant_scale" in note(fmt, "more than its codes")
        assert "SVDQuant" in fmt.description


def test_a_model_that_has_nothing_beside_its_codes_is_used_as_it_is(tmp_path: Path) -> None:
    tensors, codes = int8(8, 16)
    fmt = saved(tmp_path, named(M, tensors), config("W8A8_SQ_PER_CHANNEL"))
    assert same_bits(fmt.effective(the_weight(fmt), 2, 5), codes[2:5].numpy())


# --- stacked experts


def stack(turned: bool, shared: bool) -> tuple[Tensors, torch.Tensor]:
    """Three experts in one parameter. turned: input channels first. shared: one scale of all scales."""
    made = [nvfp4(48, 64, seed) for seed in range(3)]
    second = torch.tensor([t["weight_scale_2"] for t, _ in made])
    values = [v / t["weight_scale_2"] for t, v in made] if shared else [v for _, v in made]
    axes = (0, 2, 1) if turned else (0, 1, 2)
    tensors = {
        "down_proj": torch.stack([t["weight"] for t, _ in made]).permute(axes),
        "down_proj_weight_scale": torch.stack([t["weight_scale"].view(torch.uint8) for t, _ in made]).permute(axes),
        "down_proj_weight_scale_2": torch.tensor(1.0) if shared else second,
        "down_proj_input_scale": torch.tensor(0.5),
    }
    tensors["down_proj_weight_scale"] = tensors["down_proj_weight_scale"].contiguous().view(torch.float8_e4m3fn)
    return tensors, torch.stack(values)


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_stacks(tmp_path: Path, turned: bool, shared: bool) -> None:
    tensors, expected = stack(turned, shared)
    fmt = saved(tmp_path, named("model.layers.1.mlp.experts", tensors), config("NVFP4"))
    assert [w.role for w in fmt.weights()] == [f"layers.1.mlp.experts.{e}.down_proj.weight" for e in range(3)]
    assert [w.name for w in fmt.weights()] == [f"model.layers.1.mlp.experts.{e}.down_proj.weight" for e in range(3)]
    for e, weight in enumerate(fmt.weights()):
        np.testing.assert_allclose(fmt.dequantize(weight), expected[e].numpy(), rtol=2e-7 if shared else 0)
        assert same_bits(fmt.dequantize(weight, 7, 30), fmt.dequantize(weight)[7:30])
        scale = next(r for r in fmt.scales() if r.role == weight.role)
        assert fmt.values(scale).shape == (48, 4)
    seconds = [r.role for r in fmt.scales() if r.quantity is Quantity.GLOBAL_SCALE]
    of_each = [f"layers.1.mlp.experts.{e}.down_proj.weight#global" for e in range(3)]
    assert seconds == (["layers.1.mlp.experts.down_proj.weight#global"] if shared else of_each)
    assert [r.role for r in fmt.scales() if r.kind is Kind.ACTIVATION] == ["layers.1.mlp.experts.down_proj:input"]
    assert fmt.other_tensors() == []


@pytest.mark.parametrize("turned", [True, False])
def test_stacks_with_one_scale_show_by_each_other_which_axis_is_which(tmp_path: Path, turned: bool) -> None:
    """gate_up [E, H, 2m] and down [E, m, H] where input channels come first."""
    gate_up, down = torch.randn(2, 32, 48).to(torch.float8_e4m3fn), torch.randn(2, 24, 32).to(torch.float8_e4m3fn)
    if not turned:
        gate_up, down = (t.float().transpose(1, 2).to(torch.float8_e4m3fn) for t in (gate_up, down))
    tensors: Tensors = {"gate_up_proj": gate_up, "down_proj": down}
    tensors |= {f"{n}_weight_scale": torch.tensor(0.25) for n in list(tensors)}
    fmt = saved(tmp_path, named("model.layers.1.mlp.experts", tensors), config("FP8"))
    assert [w.shape for w in fmt.weights()] == [(48, 32)] * 2 + [(32, 24)] * 2
    for e in range(2):
        values = gate_up[e].float() * 0.25
        assert same_bits(fmt.dequantize(fmt.weights()[e]), (values.T if turned else values).contiguous().numpy())


# --- recognised, and not


@pytest.mark.parametrize("algorithm", ["NVFP4", "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "fp8_pb_wo", "W4A16_AWQ"])
@pytest.mark.parametrize("root", ["", "model.", "model.language_model.", "module.", "backbone."])
def test_names_alone_whatever_stands_before_them(tmp_path: Path, algorithm: str, root: str) -> None:
    tensors, expected = LAYOUTS[algorithm](192, 256)
    fmt = saved(tmp_path, named(f"{root}layers.0.self_attn.q_proj", tensors))
    assert fmt.family == "modelopt"
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())


@pytest.mark.parametrize("place", ["hf_quant_config.json", "text_config"])
def test_other_places_of_the_configuration(tmp_path: Path, place: str) -> None:
    tensors, _ = mxfp4(16, 64)
    said = config("mxfp4")
    if place == "text_config":
        fmt = saved(tmp_path, named(M, tensors), {"text_config": said})
    else:
        inner = {"quant_algo": "mxfp4", "kv_cache_quant_algo": "FP8"}
        tmp_path.joinpath(place).write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": inner}))
        fmt = saved(tmp_path, named(M, tensors))
    assert fmt.family == "modelopt"
    assert fmt.description.startswith("MXFP4")


@pytest.mark.parametrize("mark", ["key", "metadata", "old key"])
@pytest.mark.parametrize("with_config", [True, False])
def test_marks_of_another_library_that_has_the_same_names(tmp_path: Path, mark: str, with_config: bool) -> None:
    tensors = named("layers.0.q", nvfp4(128, 64)[0])
    metadata = {"_quantization_metadata": "{}"} if mark == "metadata" else None
    if mark != "metadata":
        tensors["layers.0.q.comfy_quant" if mark == "key" else "scaled_fp8"] = torch.zeros(2, dtype=torch.uint8)
    fmt = saved(tmp_path, tensors, config("NVFP4") if with_config else None, metadata)
    assert fmt.family != "modelopt"


@pytest.mark.parametrize(
    "change",
    [
        {"weight_packed": torch.zeros(4, 4, dtype=torch.uint8)}, {"weight_scale_inv": torch.ones(1, 1)},
        {"weight_global_scale": torch.ones(1)}, {"weight_zero_point": torch.zeros(128, dtype=torch.int8)},
        {"weight_scale": torch.ones(128, 1)}, {"weight_scale": torch.ones(1).bfloat16()},
    ],
)  # fmt: skip
def test_names_and_shapes_of_others_are_left_to_them(tmp_path: Path, change: Tensors) -> None:
    tensors, _ = per_tensor(128, 64)
    assert saved(tmp_path, named(M, tensors | change)).family != "modelopt"


def test_scales_in_tiles_and_models_for_images_are_not_claimed_by_names(tmp_path: Path) -> None:
    tensors, _ = nvfp4(100, 128)
    tiled = tensors | {"weight_scale": torch.ones(128, 8).to(torch.float8_e4m3fn)}
    assert saved(tmp_path / "tiled", named(M, tiled)).family != "modelopt"
    image = "double_blocks.0.img_attn.qkv"
    assert saved(tmp_path / "image", named(image, nvfp4(128, 128)[0])).family != "modelopt"


def test_int8_alone_is_anybodys(tmp_path: Path) -> None:
    tensors = named(M, int8(16, 16)[0])
    assert saved(tmp_path / "own", tensors).family == "modelopt"
    del tensors[f"{M}.input_scale"]
    assert saved(tmp_path / "hand", tensors).family == "plain"


def test_a_configuration_of_another_library_is_believed(tmp_path: Path) -> None:
    tensors, _ = per_tensor(64, 64)
    said = {"quantization_config": {"quant_method": "fp8"}}
    assert saved(tmp_path, named(M, tensors), said).family != "modelopt"


def test_nothing_quantized_is_nothing_of_the_library(tmp_path: Path) -> None:
    fmt = saved(tmp_path, {f"{M}.weight": torch.ones(4, 4)}, config("FP8"))
    assert fmt.family == "plain"
    assert note(fmt, "no tensor is quantized")


# --- what the configuration says


def test_names_that_end_in_a_mistake(tmp_path: Path) -> None:
    tensors, _ = per_tensor(16, 16)
    bad = f"{M}.\0model.pt_name_sentinel"
    fmt = saved(tmp_path, named(M, tensors), config("MIXED_PRECISION", quantized_layers={bad: {"quant_algo": "FP8"}}))
    assert "1 name in the configuration ends in a NUL" in note(fmt, "NUL")
    assert len(fmt.notes()) == 1
    assert "\0" not in "".join(fmt.notes())


def test_each_module_has_an_algorithm_of_its_own(tmp_path: Path) -> None:
    experts = "model.layers.0.mlp.experts"
    tensors = named(M, per_tensor(16, 32)[0]) | named(f"{experts}.3.up_proj", nvfp4(16, 32)[0])
    layers = {M: {"quant_algo": "FP8"}, experts: {"quant_algo": "NVFP4", "group_size": 16}}
    fmt = saved(tmp_path, tensors, config("MIXED_PRECISION", quantized_layers=layers))
    assert fmt.description == "FP8 W8A8 and NVFP4 W4A4, ModelOpt 0.47.0"
    assert fmt.declared_bits == (4, 8)
    assert fmt.notes() == ()


@pytest.mark.parametrize(
    ("algorithm", "more", "said"),
    [
        ("NVFP4", {}, "says NVFP4 of 1 module whose tensors are FP8, layers.0.self_attn.q_proj"),
        ("FP8", {"ignore": ["model.layers.0.self_attn*"]}, "says not quantized of 1 module whose tensors are FP8"),
        ("FP8", {"exclude_modules": ["model.layers.0.self_attn"]}, "says not quantized of 1 module whose tensors"),
        ("MIXED_PRECISION", {"quantized_layers": {"model.x": {"quant_algo": "FP8"}}}, "says not quantized of 1 module"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_and_the_tensors_are_believed(
    tmp_path: Path, algorithm: str, more: dict[str, object], said: str
) -> None:
    tensors, expected = per_tensor(32, 64)
    fmt = saved(tmp_path, named(M, tensors), config(algorithm, **more))
    assert said in note(fmt, "whose tensors are")
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())


def test_a_group_size_that_the_scales_contradict(tmp_path: Path) -> None:
    tensors, expected = nvfp4(32, 64)
    fmt = saved(tmp_path, named(M, tensors), config("NVFP4", group_size=32))
    assert "says groups of 32 of 1 module whose tensors are NVFP4 in groups of 16" in note(fmt, "whose tensors are")
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())


def test_modules_that_are_said_to_be_quantized_and_are_not(tmp_path: Path) -> None:
    plain = "model.layers.0.self_attn.k_proj"
    tensors = named(M, per_tensor(16, 16)[0]) | {f"{plain}.weight": torch.ones(16, 16)}
    layers = {m: {"quant_algo": "FP8"} for m in (M, plain)}
    fmt = saved(tmp_path, tensors, config("MIXED_PRECISION", quantized_layers=layers))
    assert "1 module is quantized in which nothing is, first layers.0.self_attn.k_proj (FP8)" in note(fmt, "nothing is")


def test_what_is_left_out_is_plain_without_a_word(tmp_path: Path) -> None:
    head = torch.randn(16, 16).to(torch.float8_e4m3fn)
    tensors = named(M, per_tensor(16, 16)[0]) | {"lm_head.weight": head, "model.embed.weight": torch.ones(16, 16)}
    fmt = saved(tmp_path, tensors, config("FP8", ignore=["lm_head", "model.embed"]))
    assert fmt.notes() == ()
    assert sorted(t.name for t in fmt.other_tensors()) == ["lm_head.weight", "model.embed.weight"]


def test_names_of_any_number_of_parts(tmp_path: Path) -> None:
    deep = ".".join("a" * 5000)
    tensors, expected = per_tensor(16, 16)
    layers = {"model.x": {"quant_algo": "FP8"}, deep: {"quant_algo": "FP8"}}
    said = config("MIXED_PRECISION", quantized_layers=layers, ignore=["*b", f"{deep}c"])
    fmt = saved(tmp_path, named(deep, tensors), said)
    assert same_bits(fmt.dequantize(fmt.weights()[0]), expected.numpy())
    assert note(fmt, "quantized in which nothing is, first x (FP8)")


def test_two_files_that_do_not_agree(tmp_path: Path) -> None:
    tmp_path.joinpath("hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    fmt = saved(tmp_path, named(M, nvfp4(16, 32)[0]), config("NVFP4"))
    assert note(fmt, "config.json says NVFP4, hf_quant_config.json says FP8")


def test_an_algorithm_that_is_not_known_is_left_alone(tmp_path: Path) -> None:
    """Its tensors look like those of another, and may be worth something else."""
    other = "model.layers.0.self_attn.k_proj"
    tensors = named(M, nvfp4(16, 32)[0]) | named(other, nvfp4(16, 32)[0])
    layers = {M: {"quant_algo": "NVFP9"}, other: {"quant_algo": "NVFP4"}}
    fmt = saved(tmp_path, tensors, config("MIXED_PRECISION", quantized_layers=layers))
    assert [w.name for w in fmt.weights()] == [f"{other}.weight"]
    assert "an algorithm that is not known, as config.json says" in problem(fmt)
    assert "found NVFP9" in problem(fmt)
    assert f"{M}.weight" in {t.name for t in fmt.other_tensors()}
    whole = saved(tmp_path / "all", tensors, config("NVFP9"))
    assert whole.family == "plain"
    assert note(whole, "looks like modelopt")


@pytest.mark.parametrize(
    "said",
    [
        [], 3, {"quant_method": "modelopt", "quant_algo": 3},
        {"quant_method": "modelopt", "quantized_layers": [1, None]},
        {"quant_method": "modelopt", "quantized_layers": {"a": 3, "": {"quant_algo": "FP8"}}, "ignore": {"a": 1}},
        {"quant_method": "modelopt", "config_groups": {"a": None, "b": {"targets": 3}}, "ignore": ["[", "*" * 50, ""]},
        {"quant_method": "modelopt", "group_size": -1, "kv_cache_scheme": {"type": [], "num_bits": {}}},
        {"quant_method": "modelopt", "producer": {"version": ["x"]}, "group_size": 0, "kv_cache_quant_algo": 1},
    ],
)  # fmt: skip
def test_a_configuration_of_nonsense(tmp_path: Path, said: object) -> None:
    tensors, expected = per_tensor(16, 16)
    fmt = saved(tmp_path, named(M, tensors), {"quantization_config": said, "text_config": 3})
    fmt.notes()
    assert fmt.family == "modelopt"
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())


# --- damage

GOOD = "model.layers.0.self_attn.k_proj"


def damaged(name: str) -> tuple[str, Tensors]:
    """(algorithm, tensors of one module) of each damage."""
    made = {n: LAYOUTS[n](64, 128)[0] for n in LAYOUTS}
    nv, fp8, half = made["NVFP4"], made["FP8"], torch.float8_e4m3fn
    match name:
        case "half of the scales":
            return "NVFP4", nv | {"weight_scale": nv["weight_scale"][:, :4]}
        case "scales of other rows":
            return "NVFP4", nv | {"weight_scale": nv["weight_scale"][:32]}
        case "no second scale":
            return "NVFP4", {n: t for n, t in nv.items() if n != "weight_scale_2"}
        case "two second scales":
            return "NVFP4", nv | {"weight_scale_2": torch.ones(2)}
        case "a second scale of integers":
            return "NVFP4", nv | {"weight_scale_2": torch.ones((), dtype=torch.int32)}
        case "no scale":
            return "FP8", {n: t for n, t in fp8.items() if n != "weight_scale"}
        case "no codes":
            return "FP8", {n: t for n, t in fp8.items() if n != "weight"}
        case "codes of no known type":
            return "FP8", fp8 | {"weight": fp8["weight"].to(torch.float8_e5m2)}
        case "scales of some channels":
            return "FP8", fp8 | {"weight_scale": torch.ones(3)}
        case "five scales of tiles":
            return "fp8_pb_wo", fp8 | {"weight_scale": torch.ones(5, 1, 3, 1)}
        case "no scale of any tile":
            return "fp8_pb_wo", fp8 | {"weight_scale": torch.ones(0, 1, 3, 1)}
        case "a vector":
            return "FP8", fp8 | {"weight": torch.ones(8).to(half)}
        case "no experts":
            return "FP8", fp8 | {"weight": torch.ones(0, 3, 4).to(half)}
        case "scales of two experts for three":
            return "FP8", fp8 | {"weight": torch.ones(3, 4, 4).to(half), "weight_scale": torch.ones(2)}
        case "no groups of int4":
            return "W4A16_AWQ", made["W4A16_AWQ"] | {"weight_scale": torch.ones(64, 0)}
        case "groups that do not divide":
            return "W4A16_AWQ", made["W4A16_AWQ"] | {"weight_scale": torch.ones(64, 7)}
        case "a factor of other columns":
            return "NVFP4_AWQ", nv | {"pre_quant_scale": torch.ones(64)}
        case "half of a low-rank part":
            return "NVFP4_SVD", nv | {"svdquant_lora_a": torch.ones(4, 128)}
        case "a low-rank part of two ranks":
            return "NVFP4_SVD", nv | {"svdquant_lora_a": torch.ones(4, 128), "svdquant_lora_b": torch.ones(64, 5)}
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [
        ("half of the scales", "weight_scale", "expected [64, 8]; found float8_e4m3fn [64, 4]"),
        ("scales of other rows", "weight_scale", "expected [64, 8]; found float8_e4m3fn [32, 8]"),
        ("no second scale", "weight_scale_2", "is missing; expected the scale of"),
        ("two second scales", "weight_scale_2", "found float32 [2]"),
        ("a second scale of integers", "weight_scale_2", "expected floats []"),
        ("no scale", "weight_scale", "is missing; expected the scale of"),
        ("no codes", "weight", "is missing; expected the codes of the weight"),
        ("codes of no known type", "weight", "found float8_e5m2 with float32 []"),
        ("scales of some channels", "weight_scale", "found float32 [3]"),
        ("five scales of tiles", "weight_scale", "found float32 [5, 1, 3, 1]"),
        ("no scale of any tile", "weight_scale", "found float32 [0, 1, 3, 1]"),
        ("a vector", "weight", "expected two axes, or three of stacked experts"),
        ("no experts", "weight", "experts; found float8_e4m3fn [0, 3, 4]"),
        ("scales of two experts for three", "weight_scale", "expected one number, or 3 along the first axis"),
        ("no groups of int4", "weight_scale", "found float32 [64, 0]"),
        ("groups that do not divide", "weight_scale", "found float32 [64, 7]"),
        ("a factor of other columns", "pre_quant_scale", "expected floats [128]; found float32 [64]"),
        ("half of a low-rank part", "svdquant_lora_b", "is missing; expected what is added to"),
        ("a low-rank part of two ranks", "svdquant_lora_b", "expected floats [64, 4]; found float32 [64, 5]"),
    ],
)  # fmt: skip
def test_a_damaged_module_is_told_in_a_sentence_and_the_others_are_read(
    tmp_path: Path, name: str, key: str, said: str
) -> None:
    algorithm, tensors = damaged(name)
    good, expected = LAYOUTS.get(algorithm, nvfp4)(64, 128)
    fmt = saved(tmp_path, named(M, tensors) | named(GOOD, good), config(algorithm))
    assert [w.name for w in fmt.weights()] == [f"{GOOD}.weight"]
    assert f"key {M}.{key}: " in problem(fmt)
    assert said in problem(fmt)
    assert same_bits(fmt.dequantize(fmt.weights()[0]), expected.numpy())
    assert note(fmt, "1 module does not fit")


def test_a_scale_in_another_file(tmp_path: Path) -> None:
    tensors, expected = nvfp4(64, 128)
    files = {"model-00001-of-00002.safetensors": ["weight"], "model-00002-of-00002.safetensors": []}
    files["model-00002-of-00002.safetensors"] = [n for n in tensors if n != "weight"]
    for file, names in files.items():
        save_file(named(M, {n: tensors[n] for n in names}), tmp_path / file)
    where = {f"{M}.{n}": file for file, names in files.items() for n in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps(config("NVFP4")))
    fmt = format_of(open_checkpoint(tmp_path))
    assert same_bits(fmt.dequantize(the_weight(fmt)), expected.numpy())


@pytest.mark.parametrize("how", [int4, int4_fp8])
@pytest.mark.parametrize("said", [True, False])
def test_stacks_of_int4_are_packed_as_each_of_them(how, said: bool, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Pairs of output channels lie in a byte, and scales along the inputs."""
    made = [how(16, 256, seed=e) for e in range(3)]
    tensors: Tensors = {"down_proj": torch.stack([t["weight"] for t, _ in made])}
    tensors["down_proj_weight_scale"] = torch.stack([t["weight_scale"] for t, _ in made])
    if how is int4_fp8:
        tensors["down_proj_weight_scale_2"] = torch.stack([t["weight_scale_2"].reshape(()) for t, _ in made])
    algorithm = "W4A8_AWQ" if how is int4_fp8 else "W4A16_AWQ"
    fmt = saved(tmp_path, named("model.layers.0.mlp.experts", tensors), config(algorithm) if said else None)
    assert fmt.family == "modelopt"
    assert not fmt.problems()
    assert [w.role for w in fmt.weights()] == [f"layers.0.mlp.experts.{e}.down_proj.weight" for e in range(3)]
    for weight, (_, expected) in zip(fmt.weights(), made, strict=True):
        assert same_bits(fmt.dequantize(weight), expected.numpy())
        assert same_bits(fmt.dequantize(weight, 3, 8), expected.numpy()[3:8])


def test_an_algorithm_that_is_known_by_name_alone_says_what_is_not_known(tmp_path: Path) -> None:
    tensors = {**named(M, nvfp4(8, 64)[0]), **named("model.layers.0.mlp.up_proj", nvfp4(8, 64)[0])}
    layers = {M: {"quant_algo": "NVFP4"}, "model.layers.0.mlp.up_proj": {"quant_algo": "W4A8_NVFP4_FP8"}}
    fmt = saved(tmp_path, tensors, config("MIXED_PRECISION", quantized_layers=layers))
    assert [w.role for w in fmt.weights()] == [ROLE]
    assert "is of W4A8_NVFP4_FP8, as config.json says: its kernel makes FP8" in problem(fmt)
    assert "how it rounds them is not known" in problem(fmt)


def test_one_damaged_stack_is_one_problem(tmp_path: Path) -> None:
    tensors, _ = stack(True, True)
    tensors["down_proj_weight_scale"] = tensors["down_proj_weight_scale"][:, :2]
    fmt = saved(tmp_path, named("model.layers.1.mlp.experts", tensors) | named(M, per_channel(8, 8)[0]), config(None))
    assert len(fmt.problems()) == 1
    assert [w.role for w in fmt.weights()] == [ROLE]
