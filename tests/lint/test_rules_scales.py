"""Rules that look at the numbers of scales: each fires on a checkpoint that is broken in the way that it is about, and
is silent on one that is nearly so."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import ml_dtypes
import numpy as np
import pytest
import torch
from broken_scales import codes, fp8, fp8_of, linted, nvfp4, nvfp4_of, of_rule, original, put, scaled, weights
from hypothesis import given
from hypothesis import strategies as st
from modelopt_files import Tensors, config, named, saved
from modelopt_files import int8 as int8_module
from modelopt_files import mxfp8 as mxfp8_module
from safetensors.numpy import save_file

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.rounding import error_once_and_again
from qinspect.inspector.lint.rules.defaults import SENTINELS
from qinspect.inspector.lint.rules.scales import FLOORS

Q0 = "model.layers.0.self_attn.q_proj"


def test_sound_checkpoints_have_nothing(tmp_path: Path) -> None:
    for fmt in (nvfp4(tmp_path / "fp4"), fp8(tmp_path / "fp8", n_layers=12)):
        found = linted(fmt)
        assert codes(found) <= {"G02"}
        assert not found.at_least(Severity.WARNING)
        assert found.n_looked >= 10


# --- not finite ---


@pytest.mark.parametrize(
    ("last", "value"),
    [
        ("weight_scale", math.nan),
        *((last, x) for last in ("weight_scale_2", "input_scale") for x in (math.nan, math.inf)),
    ],
)
def test_a_scale_that_is_not_finite(tmp_path: Path, last: str, value: float) -> None:
    key = f"model.layers.0.mlp.experts.1.up_proj.{last}"
    (found,) = of_rule(linted(nvfp4(tmp_path, put(value, key))), "S01")
    (place,) = found.places
    assert found.severity is Severity.ERROR
    assert place.key.startswith("layers.0.mlp.experts.1.up_proj")


def test_the_byte_that_is_no_number_in_scales_of_blocks(tmp_path: Path) -> None:
    """0x7f of E4M3, and 0xff of exponents in U8."""

    def e4m3(tensors: Tensors) -> None:
        tensors[f"{Q0}.weight_scale"].view(torch.uint8)[3, 2] = 0x7F

    (found,) = of_rule(linted(nvfp4(tmp_path / "fp4", e4m3)), "S01")
    assert found.places[0].index == (3, 2)
    made = mxfp8_module(4, 64)[0]
    made["weight_scale"][1, 1] = 0xFF
    (found,) = of_rule(linted(saved(tmp_path / "mx", named(Q0, made), config("MXFP8"))), "S01")
    assert found.places[0].key == "layers.0.self_attn.q_proj.weight"


def test_a_minimum_that_is_not_finite(tmp_path: Path) -> None:
    from mlx_files import affine, of_module, opened

    tensors = of_module(affine())
    (key,) = [name for name in tensors if name.endswith("biases")]
    assert not of_rule(linted(opened(tmp_path / "sound", tensors, {"group_size": 64, "bits": 4})), "S01")
    tensors[key] = tensors[key].copy()
    tensors[key][2, 1] = np.nan
    (found,) = of_rule(linted(opened(tmp_path / "broken", tensors, {"group_size": 64, "bits": 4})), "S01")
    assert found.places[0].text == "1 number"


# --- not positive ---


@pytest.mark.parametrize("value", [0.0, -0.01])
@pytest.mark.parametrize("last", ["weight_scale", "input_scale"])
def test_a_scale_that_is_not_positive(tmp_path: Path, value: float, last: str) -> None:
    (found,) = of_rule(linted(fp8(tmp_path, put(value, f"{Q0}.{last}"))), "S02")
    assert found.severity is Severity.ERROR
    assert found.places[0].value == pytest.approx(value)


def test_zeros_among_scales_of_channels_are_no_error(tmp_path: Path) -> None:
    """A channel of zeros may have a scale of 0: what it decodes to is right. All of them are not."""
    made = int8_module(8, 32)[0]
    made["weight_scale"][3] = 0
    (found,) = of_rule(linted(saved(tmp_path / "one", named(Q0, made), config("W8A8_SQ_PER_CHANNEL"))), "S02")
    assert (found.severity, found.places[0].text) == (Severity.WARNING, "1 of 8 numbers")
    made["weight_scale"][:] = 0
    (found,) = of_rule(linted(saved(tmp_path / "all", named(Q0, made), config("W8A8_SQ_PER_CHANNEL"))), "S02")
    assert found.severity is Severity.ERROR


def test_zero_scales_of_blocks_in_eight_bits_are_left_alone(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        tensors[f"{Q0}.weight_scale"].view(torch.uint8)[:, 0] = 0

    assert "S02" not in codes(linted(nvfp4(tmp_path, edit)))


# --- at the floor ---


@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize("over", [1.0, 448.0])
def test_a_scale_at_an_epsilon(tmp_path: Path, floor: float, over: float) -> None:
    fired = of_rule(linted(fp8(tmp_path, put(floor / over, f"{Q0}.weight_scale"))), "S03")
    if over == 1 or floor != 2.0**-23:
        assert fired[0].places[0].key == "layers.0.self_attn.q_proj.weight"
    assert not of_rule(linted(fp8(tmp_path / "near", put(1.001 * floor / over, f"{Q0}.weight_scale"))), "S03")


def test_a_denormal_scale(tmp_path: Path) -> None:
    (found,) = of_rule(linted(fp8(tmp_path, put(1e-39, f"{Q0}.input_scale"))), "S03")
    assert "denormal" in found.found.text


def test_exponents_of_zero_blocks_are_not_denormal(tmp_path: Path) -> None:
    made = mxfp8_module(4, 64)[0]
    made["weight_scale"][:] = 0
    assert not of_rule(linted(saved(tmp_path, named(Q0, made), config("MXFP8"))), "S03")


# --- defaults ---


def test_an_input_scale_of_one(tmp_path: Path) -> None:
    (found,) = of_rule(linted(fp8(tmp_path, put(1.0, f"{Q0}.input_scale"))), "S04")
    assert (found.severity, len(found.places)) == (Severity.WARNING, 1)
    assert not of_rule(linted(fp8(tmp_path / "near", put(1.0001, f"{Q0}.input_scale"))), "S04")


@pytest.mark.parametrize("value", SENTINELS)
def test_a_sentinel(tmp_path: Path, value: float) -> None:
    (found,) = of_rule(linted(fp8(tmp_path, put(value, f"{Q0}.input_scale"))), "S04")
    assert found.severity is Severity.ERROR


def test_a_default_of_integer_codes_is_an_error(tmp_path: Path) -> None:
    made = int8_module(8, 32)[0]
    made["input_scale"] = torch.tensor(1.0)
    (found,) = of_rule(linted(saved(tmp_path, named(Q0, made), config("W8A8_SQ_PER_CHANNEL"))), "S04")
    assert found.severity is Severity.ERROR


def test_one_that_a_recipe_writes_to_all_is_a_note_and_to_some_a_warning(tmp_path: Path) -> None:
    def ones(tensors: Tensors) -> None:
        put(1.0, *(name for name in tensors if name.endswith("input_scale")))(tensors)

    (found,) = of_rule(linted(nvfp4(tmp_path / "all", ones)), "S04")
    assert (found.severity, found.finding.next) == (Severity.NOTE, "")
    (found,) = of_rule(linted(nvfp4(tmp_path / "one", put(1.0, f"{Q0}.input_scale"))), "S04")
    assert found.severity is Severity.WARNING

    def experts(tensors: Tensors) -> None:
        put(1.0, *(name for name in tensors if ".experts." in name and name.endswith("input_scale")))(tensors)

    (found,) = of_rule(linted(nvfp4(tmp_path / "experts", experts)), "S04")
    assert found.severity is Severity.NOTE


# --- the same everywhere ---


def _constant(n: int, value: float = 0.0123) -> list[str]:
    return [f"model.layers.{layer}.mlp.down_proj.input_scale" for layer in range(n)]


def test_one_number_in_unrelated_layers(tmp_path: Path) -> None:
    (found,) = of_rule(linted(fp8(tmp_path / "all", put(0.0123, *_constant(8)), 8)), "S05")
    assert found.found.text == "layers.*.mlp.down_proj:input has the same scale, 0.0123, in 8 of 8 layers"
    assert of_rule(linted(fp8(tmp_path / "half", put(0.0123, *_constant(4)), 8)), "S05")
    assert not of_rule(linted(fp8(tmp_path / "few", put(0.0123, *_constant(3)), 8)), "S05")
    assert not of_rule(linted(fp8(tmp_path / "short", put(0.0123, *_constant(2)), 2)), "S05")


def test_experts_of_one_layer_may_share(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for layer in range(4):
            keys = [n for n in tensors if f"layers.{layer}.mlp" in n and n.endswith("input_scale")]
            put(0.01 + layer / 1000, *keys)(tensors)

    assert not of_rule(linted(nvfp4(tmp_path, edit, n_layers=4)), "S05")


# --- dtypes ---


def test_an_outer_scale_in_sixteen_bits(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        tensors[f"{Q0}.weight_scale_2"] = tensors[f"{Q0}.weight_scale_2"].bfloat16()

    (found,) = of_rule(linted(nvfp4(tmp_path, edit)), "S06")
    assert [p.text for p in found.places] == ["bfloat16"]


def test_scales_of_integers_that_the_dtype_of_the_model_does_not_hold(tmp_path: Path) -> None:
    made = int8_module(8, 32)[0]
    made["weight_scale"][3] = 1e-6
    said = config("W8A8_SQ_PER_CHANNEL")
    (found,) = of_rule(linted(saved(tmp_path / "half", named(Q0, made), {**said, "torch_dtype": "float16"})), "S06")
    assert found.places[0].value == pytest.approx(1e-6)
    wide = saved(tmp_path / "wide", named(Q0, made), {**said, "torch_dtype": "bfloat16"})
    assert not of_rule(linted(wide), "S06")


# --- subnormal blocks ---


def test_an_outer_scale_that_leaves_blocks_subnormal(tmp_path: Path) -> None:
    key = f"{Q0}.weight_scale"
    (found,) = of_rule(linted(nvfp4(tmp_path / "broken", scaled(key, 2.0**-14))), "S08")
    (place,) = found.places
    assert place.key == "layers.0.self_attn.q_proj.weight"

    def one(tensors: Tensors) -> None:
        tensors[key].view(torch.uint8)[0, 0] = 1  # one of 64: more than a hundredth
        tensors[key.replace("q_proj", "o_proj")].view(torch.uint8)[:, 0] = 0  # zeros are not subnormal

    (found,) = of_rule(linted(nvfp4(tmp_path / "one", one)), "S08")
    assert [p.text for p in found.places] == ["1.56 % of 64 blocks"]


# --- unlike the neighbours ---


@pytest.mark.parametrize("factor", [30.0, 1 / 30])
def test_a_weight_that_is_unlike_the_layers_beside_it(tmp_path: Path, factor: float) -> None:
    key = "model.layers.5.mlp.down_proj.weight_scale"
    (found,) = of_rule(linted(fp8(tmp_path, scaled(key, factor), 12)), "S09")
    assert [p.key for p in found.places] == ["layers.5.mlp.down_proj.weight"]
    assert found.severity is Severity.WARNING
    assert not of_rule(linted(fp8(tmp_path / "short", scaled(key, factor), 7)), "S09")


def test_a_massive_activation_is_a_note(tmp_path: Path) -> None:
    (found,) = of_rule(linted(fp8(tmp_path, scaled("model.layers.2.mlp.down_proj.input_scale", 1000), 12)), "S09")
    assert found.severity is Severity.NOTE


def test_scales_that_grow_with_depth_leap_nowhere(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for layer in range(12):
            scaled(f"model.layers.{layer}.mlp.down_proj.input_scale", 2.0**layer)(tensors)

    assert not of_rule(linted(fp8(tmp_path, edit, 12)), "S09")


# --- the wrong way round ---


def _inverted(tensors: Tensors) -> None:
    for name in [n for n in tensors if n.endswith("weight_scale")]:
        tensors[name] = 1 / tensors[name]


def test_one_over_the_scale_alone_and_beside_the_original(tmp_path: Path) -> None:
    base = original(tmp_path / "base")
    broken = linted(fp8(tmp_path / "broken", _inverted), base)
    for code in ("S07", "P10"):
        (found,) = of_rule(broken, code)
        assert found.severity is Severity.ERROR
        assert len(found.places) == 4 * 7
    sound = linted(fp8(tmp_path / "sound"), base)
    assert not of_rule(sound, "S07")
    assert not of_rule(sound, "P10")


def test_one_over_the_outer_of_two_scales(tmp_path: Path) -> None:
    """compressed-tensors stores one over it, ModelOpt itself: the one under the name of the other."""

    def invert(tensors: Tensors) -> None:
        for name in [n for n in tensors if n.endswith("weight_scale_2")]:
            tensors[name] = 1 / tensors[name]

    base = saved(tmp_path / "base", weights(2, 4), {})
    broken = linted(nvfp4(tmp_path / "broken", invert), base)
    for code in ("S07", "P10"):
        (found,) = of_rule(broken, code)
        assert found.severity is Severity.ERROR
        assert len(found.places) == found.found.numbers["of"] == 2 * (4 + 4 * 3)
        assert "one over the outer scale" in found.places[0].text
    sound = linted(nvfp4(tmp_path / "sound"), base)
    assert not of_rule(sound, "S07")
    assert not of_rule(sound, "P10")


def test_reciprocal_scales_whose_settings_do_not_say_so(tmp_path: Path, source_root: Path) -> None:
    """GPTQModel writes one over the scale under the name of the scale, and one word in the settings that says so."""
    made = source_root / "tests" / "data" / "gptqmodel_fp8_block" / "model"
    assert not of_rule(linted(made), "S07")
    shutil.copytree(made, tmp_path / "m")
    for file in (tmp_path / "m").glob("*.json"):
        text = file.read_text(encoding="utf-8").replace("weight_scale_semantics", "semantics")
        file.write_text(text, encoding="utf-8")
    (found,) = of_rule(linted(tmp_path / "m"), "S07")
    assert len(found.places) == found.found.numbers["of"]


@given(st.lists(st.floats(width=32), min_size=3, max_size=3), st.sampled_from(["weight_scale_2", "input_scale"]))
def test_no_number_is_too_odd_for_a_rule(values: list[float], last: str) -> None:
    tensors = nvfp4_of(weights(1, 3))
    for e, value in enumerate(values):
        tensors[f"model.layers.0.mlp.experts.{e}.up_proj.{last}"] = torch.tensor(value)
    with TemporaryDirectory() as place:
        found = linted(saved(Path(place), tensors, config("NVFP4")))
    bad = sum(not math.isfinite(v) or v <= 0 for v in values)
    assert sum(len(f.places) for code in ("S01", "S02") for f in of_rule(found, code)) == bad


def test_a_weight_of_another_size_is_not_the_wrong_way_round(tmp_path: Path) -> None:
    found = linted(fp8(tmp_path / "a", scaled(f"{Q0}.weight_scale", 100)), original(tmp_path / "base"))
    assert not of_rule(found, "P10")


def test_one_over_the_scale_of_another_checkpoint(tmp_path: Path) -> None:
    sound = fp8(tmp_path / "sound")
    (found,) = of_rule(linted(fp8(tmp_path / "broken", _inverted), sound), "P11")
    assert len(found.places) == 4 * 7  # the scales of inputs are the same
    assert not of_rule(linted(sound, fp8(tmp_path / "twice", scaled(f"{Q0}.weight_scale", 2))), "P11")


# --- clipping ---


def test_one_layer_that_clips(tmp_path: Path) -> None:
    base = original(tmp_path / "base", 12)
    key = "model.layers.5.mlp.down_proj.weight_scale"
    (found,) = of_rule(linted(fp8(tmp_path / "broken", scaled(key, 0.4), 12), base), "P12")
    assert [p.key for p in found.places] == ["layers.5.mlp.down_proj.weight"]
    assert not of_rule(linted(fp8(tmp_path / "sound", n_layers=12), base), "P12")
    assert not of_rule(linted(fp8(tmp_path / "near", scaled(key, 0.7), 12), base), "P12")


def test_a_method_that_clips_everywhere_chose_it(tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for layer in range(12):
            scaled(f"model.layers.{layer}.mlp.down_proj.weight_scale", 0.4)(tensors)

    assert not of_rule(linted(fp8(tmp_path / "all", edit, 12), original(tmp_path / "base", 12)), "P12")


def test_rules_of_the_original_say_how_many_they_could_not_look_at(tmp_path: Path) -> None:
    base = {name: w for name, w in weights(4).items() if "q_proj" not in name}
    found = linted(fp8(tmp_path / "a"), saved(tmp_path / "base", base, {}))
    (outcome,) = [o for o in found.outcomes if o.rule.code == "P10"]
    assert outcome.checked is not None
    assert (outcome.checked.n, outcome.checked.n_left) == (4 * 6, 4)


# --- rounding again ---


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0, 64.0])
def test_powers_of_two_cost_nothing(ratio: float) -> None:
    once, again = error_once_and_again("float8_e4m3fn", 448.0, ratio)
    assert again == pytest.approx(once, rel=0.01)


@pytest.mark.parametrize("ratio", [1.05, 1.5, 1.9, 3.0, 10.0])
def test_what_rounding_again_costs_is_what_torch_makes_of_it(ratio: float) -> None:
    _, again = error_once_and_again("float8_e4m3fn", 448.0, ratio)
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * (448 / 4)
    once = x.clamp(-448, 448).to(torch.float8_e4m3fn).float()
    twice = (once / ratio).to(torch.float8_e4m3fn).float() * ratio
    assert again == pytest.approx(float((twice - x).norm() / x.norm()), rel=0.1)


def test_bfloat16_holds_an_epsilon_rounded(tmp_path: Path) -> None:
    """compressed-tensors stores scales in the dtype of the model."""
    tensors = fp8_of(weights(1))
    floor = np.asarray(1e-5, np.float32).astype(ml_dtypes.bfloat16)
    assert float(floor) != 1e-5
    tensors[f"{Q0}.weight_scale"] = torch.tensor(1e-5).bfloat16()
    assert of_rule(linted(saved(tmp_path, tensors, config("FP8"))), "S03")


def test_nothing_is_claimed_of_a_model_without_scales(tmp_path: Path) -> None:
    save_file({"model.layers.0.self_attn.q_proj.weight": np.ones((4, 4), np.float32)}, tmp_path / "model.safetensors")
    found = linted(tmp_path)
    assert not found.findings
    assert not [o for o in found.outcomes if o.rule.code[0] in "SG" and o.checked and o.checked.n]
