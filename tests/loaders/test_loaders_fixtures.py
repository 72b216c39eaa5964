"""What is said of checkpoints that savers wrote, and of transformers what it really does with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from peer_truth import folder, needs_fixtures, opened, truth

from qinspect.inspector.loaders import Statement, statements_of
from qinspect.inspector.loaders.finding import another_constant

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = needs_fixtures


def of(name: str, engine: str, rule: str) -> list[Statement]:
    return [s for s in statements_of(opened(name), [engine]).statements if s.rule == rule]


@pytest.mark.parametrize(("name", "engine", "rule", "n", "whole"), [
    ("ct_nvfp4_unfused_globals", "vllm", "V31", 4, 4),
    ("ct_nvfp4_unfused_globals", "sglang", "G16", 4, 4),
    ("ct_qwen3moe_nvfp4_cold_experts", "vllm", "V36", 3, 24),
    ("ct_qwen3moe_no_input_scale", "vllm", "V34", 6, 28),
    ("modelopt_qwen3moe_inputscale1_kvcast", "vllm", "V7", 1, 1),
    ("deepseek_fp8_ragged", "vllm", "V51", 6, 8),
    ("deepseek_fp8_ragged", "transformers", "H4", 20, 22),
    ("modelopt_nvfp4_awq", "vllm", "V40", 1, 1),
    ("modelopt_nvfp4_svd", "vllm", "V40", 1, 1),
    ("modelopt_nvfp4_svd", "sglang", "G12", 1, 1),
    ("modelopt_nemotronh_badnames", "vllm", "V42", 6, 14),
    ("gptq_v1_descact_g32", "vllm", "V54", 1, 1),
    ("gguf_nvfp4_scale", "llama.cpp", "C4", 14, 14),
    ("gguf_unknown_type", "llama.cpp", "C8", 1, 4),
    ("comfy_scaled_fp8_old", "comfyui", "U3", 5, 8),
])  # fmt: skip
def test_a_fixture(name: str, engine: str, rule: str, n: int, whole: int) -> None:
    (found,) = of(name, engine, rule)
    assert (found.n, found.of, found.known) == (n, whole, True)


@pytest.mark.parametrize(("name", "engine", "rule"), [
    ("ct_nvfp4", "vllm", "V31"), ("ct_qwen3moe_nvfp4", "vllm", "V34"), ("modelopt_nemotronh_mixed", "vllm", "V42"),
    ("modelopt_nvfp4", "vllm", "V30"), ("modelopt_qwen3moe_nvfp4", "vllm", "V32"),
    ("tf_fp8_block128", "transformers", "H4"),
    ("gptq_v1_sym_g32", "vllm", "V54"), ("comfy_nvfp4_ragged", "comfyui", "U6"), ("gguf_q4_0", "llama.cpp", "C3"),
])  # fmt: skip
def test_a_sound_fixture(name: str, engine: str, rule: str) -> None:
    assert of(name, engine, rule) == []


def test_the_factor_of_shards_is_that_of_their_values() -> None:
    """An engine with one scale for all: F[q] * s / S instead of F[q] * s / own, by the numbers in the file."""
    (said,) = of("ct_nvfp4_unfused_globals", "vllm", "V31")
    fmt = opened("ct_nvfp4_unfused_globals")
    factors = {a.name: a.factor for a in said.affected}
    compared = 0
    for name, values in truth("ct_nvfp4_unfused_globals").items():
        module = name.removesuffix(".weight")
        if module in factors and module.endswith(("q_proj", "k_proj", "v_proj")):
            parent = module.rpartition(".")[0]
            stored = {p: fmt.checkpoint.scalar(f"{parent}.{p}_proj.weight_global_scale") or 0.0 for p in "qkv"}
            used = values.astype(np.float64) * stored[module[-6]] / max(stored.values())
            sqnr = 10 * math.log10(float((values**2).sum() / ((used - values) ** 2).sum()))
            assert another_constant(factors[module] or 0.0).sqnr_db == pytest.approx(sqnr, abs=1e-3)
            compared += 1
    assert compared


# --- transformers, as it is installed ---


def loaded(name: str) -> Mapping[str, Any]:
    """Parameters of a checkpoint that transformers opened on the CPU."""
    transformers = pytest.importorskip("transformers", minversion="5.17")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder(name) / "model")
    made: Mapping[str, Any] = model.state_dict()
    return made


def relative(found: Any, expected: np.ndarray) -> float:
    apart = found.float().numpy() - expected
    return float(np.linalg.norm(apart) / np.linalg.norm(expected))


@pytest.mark.filterwarnings("ignore")
def test_transformers_takes_codes_for_weights() -> None:
    (said,) = of("modelopt_fp8", "transformers", "H1")
    factors = {a.name: a.factor for a in said.affected}
    found = loaded("modelopt_fp8")
    for name, expected in truth("modelopt_fp8").items():
        factor = factors[name.removesuffix(".weight")]
        assert factor is not None
        assert relative(found[name], expected) == pytest.approx(factor - 1, rel=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_transformers_refuses_packed_codes_and_settings_without_a_method() -> None:
    (said,) = of("modelopt_nvfp4", "transformers", "H1")
    assert said.effect == "E6"
    with pytest.raises(RuntimeError):
        loaded("modelopt_nvfp4")
    (said,) = of("mlx_affine_4bit_g64", "transformers", "H1")
    assert said.effect == "E6"
    with pytest.raises(ValueError, match="quant_method"):
        loaded("mlx_affine_4bit_g64")


@pytest.mark.filterwarnings("ignore")
def test_transformers_makes_weights_anew() -> None:
    (said,) = of("exl3_mcg_4", "transformers", "H1")
    assert said.effect == "E5"
    found, expected = loaded("exl3_mcg_4"), truth("exl3_mcg_4")
    name = "model.layers.0.mlp.up_proj.weight"
    assert said.n == sum(n.endswith("proj.weight") or n == "lm_head.weight" for n in found)
    assert relative(found[name], expected[name]) > 1


@pytest.mark.filterwarnings("ignore")
def test_transformers_cuts_ragged_weights_into_equal_blocks() -> None:
    pytest.importorskip("accelerate")
    (said,) = of("deepseek_fp8_ragged", "transformers", "H4")
    wrong = {f"{a.name}.weight" for a in said.affected}
    found = loaded("deepseek_fp8_ragged")
    compared = {n: relative(found[n], x) for n, x in truth("deepseek_fp8_ragged").items() if n in found}
    assert {n: apart > 0.05 for n, apart in compared.items()} == {n: n in wrong for n in compared}
    sound = {n: relative(loaded("tf_fp8_block128")[n], x) for n, x in truth("tf_fp8_block128").items()}
    assert max(sound.values()) < 0.01


def test_transformers_divides_shapes_by_the_grid_of_scales() -> None:
    """The same without accelerate: its own operation on one weight of two blocks, the second one smaller."""
    module = pytest.importorskip("transformers.integrations.finegrained_fp8")
    torch = pytest.importorskip("torch")
    one = module.Fp8Dequantize(None)._dequantize_one
    weight = torch.ones(224, 128).to(torch.float8_e4m3fn)
    found = one(weight, torch.tensor([[1.0], [2.0]]))
    assert found[:, 0].tolist() == [1.0] * 112 + [2.0] * 112
    with pytest.raises(ValueError, match="not divisible"):
        one(torch.ones(257, 128).to(torch.float8_e4m3fn), torch.tensor([[1.0], [2.0], [3.0]]))


def test_nothing_fails_on_any_fixture(tmp_path: Path) -> None:
    """Every checkpoint that can be opened, with each of its files."""
    from qinspect.inspector.errors import QinspectError
    from qinspect.inspector.loaders.payload import loaders
    from qinspect.inspector.loaders.report import text

    n = 0
    for place in sorted(folder("").iterdir()):
        try:
            fmt = opened(place.name) if (place / "model").is_dir() else opened(place.name, "")
        except QinspectError:
            continue
        found = statements_of(fmt)
        n += bool(found.statements)
        assert text(fmt, found, 80)
        assert loaders(fmt, found)
    assert n > 60
