"""What is said of a whole checkpoint: numbers against torch's own types, order, what cannot be read, what is quoted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loader_cases import rules, statements
from loader_files import (
    MLP,
    Model,
    ct_nvfp4,
    ct_nvfp4_experts,
    dense,
    expert,
    fp8,
    mo_fp8,
    modelopt,
    nvfp4,
    nvfp4_experts,
)

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import UsageError
from qinspect.inspector.formats import format_of
from qinspect.inspector.loaders import ENGINES, OF_UNEQUAL, Effect, Statement, said_of, statements_of
from qinspect.inspector.loaders.cost import fp4_activations, fp8_activations, powers_of_two, requantized

UP = expert("up_proj", 1)


def only(found: tuple[Statement, ...], rule: str, effect: str | None = None) -> Statement:
    (one,) = [s for s in found if s.rule == rule and (effect is None or s.effect == effect)]
    return one


# --- numbers ---


def test_another_constant_is_off_by_the_ratio_of_the_scales(tmp_path: Path) -> None:
    """The SQNR is that of numbers which were multiplied by S instead of s."""
    model = nvfp4_experts().set(f"{UP}.weight_scale_2", 0.05)
    said = only(statements(model, tmp_path, "vllm"), "V32")
    values = torch.randn(1000, dtype=torch.float64)
    used = values * (0.5 / 0.05)
    sqnr = float(10 * torch.log10((values**2).sum() / ((used - values) ** 2).sum()))
    assert said.cost.factor == pytest.approx(10, rel=1e-6)
    assert said.cost.sqnr_db == pytest.approx(sqnr, abs=1e-4)
    assert (said.n, said.of, said.worst) == (1, 3, UP)
    assert [a.factor for a in said.affected] == [said.cost.factor]
    assert said.text.startswith(f"takes gate's scale for up in 1 of 3 pairs, worst 10x at {UP}: SQNR -19.1 dB")
    assert said.text.endswith("; warns once")


@pytest.mark.parametrize(("engine", "rule", "model", "factor"), [
    ("vllm", "V30", lambda: nvfp4().set("up_proj.weight_scale_2", 0.25), 2.0),
    ("vllm", "V31", lambda: ct_nvfp4().set("up_proj.weight_global_scale", 4.0), 0.5),
    ("vllm", "V32", lambda: ct_nvfp4_experts().set("experts.1.up_proj.weight_global_scale", 4.0), 2.0),
    ("tensorrt-llm", "L5", lambda: nvfp4_experts().set("experts.1.up_proj.weight_scale_2", 1.0), 2.0),
])  # fmt: skip
def test_the_direction_depends_on_who_wrote_the_scale(
    engine: str, rule: str, model: object, factor: float, tmp_path: Path
) -> None:
    """The largest factor makes others too large, the largest divisor too small."""
    found = only(statements(model(), tmp_path, engine), rule, "E1")  # type: ignore[operator]
    assert found.cost.factor == factor
    assert len(found.affected) == 1


@pytest.mark.parametrize("factor", [1.05, 1.37, 1.9, 10.0])
def test_rounding_again_costs_what_torch_says(factor: float) -> None:
    x = torch.randn(1 << 18, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def fp8(values: torch.Tensor, step: float) -> torch.Tensor:
        return (values / step).clamp(-448, 448).to(torch.float8_e4m3fn).double() * step

    step = float(x.abs().max()) / 448
    once = fp8(x, step)
    lost = 10 * math.log10(float(((fp8(once, step * factor) - x) ** 2).sum() / ((once - x) ** 2).sum()))
    cost = requantized(factor)
    assert cost.simulated
    assert cost.lost_db == pytest.approx(lost, abs=0.2)


@pytest.mark.parametrize("factor", [2.0, 4.0, 64.0])
def test_rounding_again_to_a_scale_that_is_a_power_of_two_apart_costs_nothing(factor: float) -> None:
    assert requantized(factor).lost_db == pytest.approx(0, abs=1e-3)


def test_activations_with_too_large_a_scale_cost_nothing_and_with_too_small_a_one_much() -> None:
    """Errors in percent that a simulation of others has: 9.5 as it should be, 60 at an eighth."""
    assert fp4_activations(4096).lost_db == pytest.approx(0, abs=1e-6)
    assert fp4_activations(0.125).error == pytest.approx(0.6, abs=0.05)
    assert 1 < float(fp4_activations(0.5).lost_db or 0) < float(fp4_activations(0.125).lost_db or 0)
    assert float(fp8_activations(0.5).lost_db or 0) > 3 > float(fp8_activations(64).lost_db or 0)
    assert 2 < float(powers_of_two().lost_db or 0) < 4


def test_the_worst_of_those_that_are_rounded_again_is_not_the_largest_factor(tmp_path: Path) -> None:
    """4 is a power of two, and costs nothing."""
    model = mo_fp8().set("up_proj.weight_scale", 0.125).set("k_proj.weight_scale", 0.35)
    said = only(statements(model, tmp_path, "vllm"), "V20")
    assert (said.n, said.of, said.worst.rpartition(".")[2]) == (2, 2, "k_proj")
    assert float(said.cost.lost_db or 0) > 3
    assert [round(a.factor or 0, 3) for a in said.affected] == [1.429, 4.0]


# --- order, and what is not known ---


@pytest.mark.parametrize(("engine", "silent"), [
    ("vllm", ["cache.compressed_missing", "fp8.largest_for_all", "integers.zeros_unused", "integers.body_not_read",
              "integers.experts_vanish", "names.not_checked"]),
    ("sglang", ["nvfp4.largest_for_all", "nvfp4.gate_for_up", "nvfp4.last_read"]),
    ("llama.cpp", ["llama_cpp.not_passed", "llama_cpp.inputs_unused"]),
    ("comfyui", ["comfyui.names_apart", "comfyui.e5m2", "comfyui.marker_elsewhere", "comfyui.unmarked_fp8"]),
])  # fmt: skip
def test_what_engines_do_without_a_word(engine: str, silent: list[str]) -> None:
    of_engine = rules(engine)
    assert {str(of_engine[name].says) for name in silent} == {"silent"}


def test_the_worst_comes_first(tmp_path: Path) -> None:
    model = nvfp4().say(quant_algo="NVFP4_SVD").set("up_proj.weight_scale_2", 0.25).drop("o_proj.input_scale")
    found = statements(model, tmp_path, "vllm")
    effects = [s.effect for s in found if s.known and s.is_news]
    assert effects == [Effect.REFUSED, Effect.DEFAULT, Effect.WRONG_CONSTANT]
    places = [(not s.known, not s.is_news) for s in found]
    assert places == sorted(places)


def test_a_scale_that_is_no_number_leaves_its_group_out(tmp_path: Path) -> None:
    model = nvfp4_experts().set(f"{UP}.weight_scale_2", math.nan)
    said = only(statements(model, tmp_path / "a", "vllm"), "V32")
    assert (said.known, said.n, said.of, said.affected) == (False, 0, 3, ())
    assert said.adds == ("not known of 1 pair with a scale that is no positive number",)
    model.set("experts.2.up_proj.weight_scale_2", 0.25)
    said = only(statements(model, tmp_path / "b", "vllm"), "V32")
    assert (said.known, said.n, said.of) == (True, 1, 3)
    assert "not known of 1 pair" in said.text


def test_scales_beyond_the_file_are_unread_and_no_traceback(tmp_path: Path) -> None:
    fmt = nvfp4_experts().opened(tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as f:
        f.truncate((tmp_path / "model.safetensors").stat().st_size - 40)
    found = statements_of(fmt)
    assert found.unread
    assert all(s.text for s in found.statements)


def test_of_one_shard_of_two_nothing_is_said_to_be_missing(tmp_path: Path) -> None:
    folder = nvfp4().drop("up_proj.weight_scale_2").drop("o_proj.input_scale").write(tmp_path)
    whole = statements_of(format_of(open_checkpoint(folder)), ["vllm"])
    assert {"V34", "V3"} <= {s.rule for s in whole.statements}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    part = statements_of(format_of(open_checkpoint(folder / "model-00001-of-00002.safetensors")), ["vllm"])
    assert part.incomplete == "1 of 2 shards is here"
    assert not {"V34", "V3"} & {s.rule for s in part.statements}


@pytest.mark.parametrize("said", [
    {"quant_method": 7}, {"quant_method": "modelopt", "quant_algo": ["FP8"], "quantized_layers": [1], "ignore": "x"},
    {"quant_method": "fp8", "weight_block_size": ["a", 0], "activation_scheme": {}},
    {"quant_method": "compressed-tensors", "config_groups": {"a": 1, "b": {"weights": 3, "input_activations": []}},
     "kv_cache_scheme": "x", "ignore": [1, None, "re:((a+)+)+$"]},
    {"quant_method": "gptq", "bits": "4", "dynamic": {"+:(": {"bits": None}, "x": 3}},
    {"quant_method": "modelopt", "quantized_layers": {"a": 1, "b": {"quant_algo": 3}},
     "exclude_modules": ["[", "*" * 50]},
])  # fmt: skip
def test_damaged_settings_end_in_no_traceback(said: dict[str, object], tmp_path: Path) -> None:
    for i, model in enumerate((nvfp4_experts(), mo_fp8(), ct_nvfp4())):
        model.config |= {"quantization_config": said, "architectures": [3], "num_hidden_layers": "x"}
        found = statements_of(model.opened(tmp_path / str(i)))
        assert all(s.text and s.clause for s in found.statements)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.floats()
    | st.sampled_from(["FP8", "re:.*up", "4", "Linear", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["weights", "type", "num_bits", "targets", "quant_algo", "a"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
SETTINGS = (
    *("quant_algo", "ignore", "exclude_modules", "quantized_layers", "config_groups", "kv_cache_scheme", "format"),
    *("kv_cache_quant_algo", "activation_scheme", "weight_block_size", "scale_fmt", "bits", "dynamic", "desc_act"),
    *("sparsity_config", "modules_to_not_convert", "producer", "weight_scale_semantics", "quantization_config"),
)


@given(
    st.sampled_from(["modelopt", "compressed-tensors", "fp8", "gptq", "awq", "mxfp4", "x", None]),
    st.dictionaries(st.sampled_from(SETTINGS), ANY, max_size=5), st.sampled_from([nvfp4_experts, mo_fp8, ct_nvfp4]),
)  # fmt: skip
def test_no_settings_end_in_a_traceback(method: str | None, said: dict[str, object], make: Callable[[], Model]) -> None:
    model = make()
    model.config["quantization_config"] = {**said, "quant_method": method}
    with TemporaryDirectory() as folder:
        found = statements_of(model.opened(Path(folder)))
    assert all(s.text and s.clause for s in found.statements)


def test_a_model_that_is_not_quantized_has_no_statements(tmp_path: Path) -> None:
    model = Model().put("model.layers.0.mlp.up_proj.weight", "BF16", 8, 8)
    assert statements_of(model.opened(tmp_path)).statements == ()


def test_engines_and_backends_are_asked_for_by_name(tmp_path: Path) -> None:
    fmt = nvfp4().opened(tmp_path)
    assert [e.engine for e in statements_of(fmt, ["sglang", "vllm"]).engines] == ["vLLM", "SGLang"]
    with pytest.raises(UsageError, match="--engine"):
        statements_of(fmt, ["vllmm"])
    with pytest.raises(UsageError, match="--backend"):
        statements_of(fmt, ["transformers"], "marlin")
    assert len({e.name for e in ENGINES}) == len(ENGINES) == 6


def test_statements_of_some_effects_are_those_among_all(tmp_path: Path) -> None:
    fmt = nvfp4_experts().set(f"{UP}.weight_scale_2", 0.05).set(f"{UP}.input_scale", 1.0).opened(tmp_path)
    every = statements_of(fmt).statements
    found = statements_of(fmt, effects=OF_UNEQUAL).statements
    assert found == tuple(s for s in every if s.effect in OF_UNEQUAL)
    assert 0 < len(found) < len(every)
    assert {s for s in every if s.of_unequal_weights or s.of_unequal_inputs} <= {*found}


def test_a_backend_of_one_engine_leaves_others_alone(tmp_path: Path) -> None:
    fmt = nvfp4_experts().set(f"{UP}.input_scale", 1.0).opened(tmp_path)
    every = statements_of(fmt)
    some = statements_of(fmt, backend="flashinfer")
    assert {s.backend for s in some.engines[0].statements} <= {(), ("flashinfer",)}
    assert some.engines[1] == every.engines[1]
    assert len(some.statements) < len(every.statements)


# --- what others quote ---


def test_clauses_for_roles(tmp_path: Path) -> None:
    fmt = nvfp4_experts().set(f"{UP}.weight_scale_2", 0.05).opened(tmp_path)
    found = statements_of(fmt, ["vllm"])
    role = "layers.0.mlp.experts.1.up_proj"
    said = {s.rule: clause for s, clause in said_of(found, [f"{role}.weight#scale_2"])}
    assert said["V32"] == "vLLM 0.33.0 takes gate's scale for up (E1, warns once), 10x"
    assert "V32" in {s.rule for s, _ in said_of(found, ["layers.0.mlp.experts"])}
    assert "V32" not in {s.rule for s, _ in said_of(found, ["layers.0.mlp.experts.2.up_proj.weight"])}
    assert "V32" not in {s.rule for s, _ in said_of(found, ["layers.0.mlp.experts.1.up"])}
    assert list(said_of(found, [])) == []


def test_fused_shards_go_by_their_number_in_any_spelling(tmp_path: Path) -> None:
    """w1 and w3 are gate and up."""
    model = modelopt()
    for name, scale in (("w1", 0.5), ("w3", 0.25)):
        base = f"model.layers.0.block_sparse_moe.experts.0.{name}"
        model.put(f"{base}.weight", "U8", 32, 16).put(f"{base}.weight_scale", "F8_E4M3", 32, 2)
        model.number(f"{base}.weight_scale_2", scale).number(f"{base}.input_scale", 1.0)
    said = only(statements(model, tmp_path, "vllm"), "V32")
    assert (said.n, said.worst.rpartition(".")[2], said.cost.factor) == (1, "w3", 2.0)


def test_gate_alone_makes_no_pair(tmp_path: Path) -> None:
    model = dense(modelopt("FP8"), fp8)
    for name in MLP[1:]:
        for last in ("weight", "weight_scale", "input_scale"):
            model.drop(f"mlp.{name}.{last}")
    assert not [s for s in statements(model.set("gate_proj.weight_scale", 0.1), tmp_path, "vllm") if s.rule == "V20"]


def test_statements_are_json(tmp_path: Path) -> None:
    from qinspect.inspector.loaders.payload import statement

    fmt = nvfp4_experts().set(f"{UP}.weight_scale_2", math.inf).set(f"{UP}.input_scale", 0.0).opened(tmp_path)
    made = [statement(s) for s in statements_of(fmt).statements]
    json.dumps(made, allow_nan=False)
    assert made
