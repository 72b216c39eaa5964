"""KV caches: keys and values are rounded where attention sees them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peer_truth import folder, needs_fixtures
from safetensors.torch import load_file, save_file
from torch import Tensor

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.evaluate import fake_quantize
from qinspect.inspector.evaluate.report import evaluation_text
from qinspect.inspector.evaluate.results import Evaluation
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.work import evaluate
from qinspect.inspector.formats.element import small_float
from qinspect.inspector.models.load import open_model
from qinspect.inspector.models.mamba import unobserved

CPU = torch.device("cpu")
E4M3 = small_float("float8_e4m3fn")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ids") / "ids.json"
    ids = np.random.default_rng(0).integers(0, 128, (3, 24))
    path.write_text(json.dumps({"vocab": 128, "samples": ids.tolist()}))
    return path


def _found(base: str, text: Path, *models: Path) -> Evaluation:
    found = evaluate(EvaluateSettings(str(folder(base)), tuple(map(str, models)), data=str(text), floor_seeds=0))
    assert found.failed == ()
    return found


def test_each_head_has_its_scale() -> None:
    """Against the number format itself."""
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([0.1, 0.003, 2.0])
    quantize = fake_quantize.of_each_head(E4M3, scales.unbind())
    assert quantize is not None
    wide = scales[:, None, None]
    expected = (x / wide).clamp(-448, 448).to(torch.float8_e4m3fn).float() * wide
    assert torch.equal(quantize(x), expected)
    with pytest.raises(CannotRead, match="another number of heads; expected 2; found 3"):
        quantize(x[:, :2])


@needs_fixtures
@pytest.mark.parametrize("base", ["base_llama1", "base_qwen3moe", "base_gptoss"])
def test_what_is_only_shown_stays_what_it_is(base: str) -> None:
    """Keys and values of every attention are there, and the model predicts the same to the last bit."""
    model = open_model(str(folder(base)), False, CPU)
    ids = torch.arange(20)[None]
    before = model.forward(ids, unobserved)
    assert model.show_caches()
    seen: dict[str, Tensor] = {}

    def observe(name: str, x: Tensor) -> None:
        seen[name] = x

    assert torch.equal(model.forward(ids, observe), before)
    values = [name for name in seen if name.endswith(":v_cache")]
    assert values
    for name in values:
        made = seen[name.replace(":v_cache", ".v_proj:output")]
        heads = seen[name].shape[1]
        assert torch.equal(seen[name], made.reshape(*made.shape[:2], heads, -1).transpose(1, 2))
        assert seen[name.replace("v_cache", "k_cache")].shape == seen[name].shape


@needs_fixtures
@pytest.mark.parametrize("base", ["base_mamba2", "base_deepseek"])
def test_a_model_that_caches_something_else_is_not_taken_for_one(base: str) -> None:
    """A state, and the latent that keys and values are made from."""
    assert not open_model(str(folder(base)), False, CPU).show_caches()


@needs_fixtures
@pytest.mark.parametrize(
    ("base", "name", "caches"),
    [
        ("base_llama1", "ct_attn_head_kv", 2), ("base_llama1", "modelopt_fp8_kv", 2),
        ("base_qwen3moe", "modelopt_qwen3moe_inputscale1_kvcast", 2),
    ],
)  # fmt: skip
def test_the_report_counts_them(base: str, name: str, caches: int, text: Path) -> None:
    """Scales of each head, of a layer, and those of a cache that is only declared."""
    found = _found(base, text, folder(name) / "model")
    (m,) = found.models
    assert m.n_caches == caches
    assert not any("cache" in said for said in m.left_out)
    assert m.kl.value > 0
    assert f"{caches} points of keys or values" in " ".join(evaluation_text(found, None).split())


@needs_fixtures
def test_queries_are_not_rounded_and_said_so(text: Path) -> None:
    (m,) = _found("base_llama1", text, folder("ct_attn_head_kv") / "model").models
    (said,) = m.left_out
    assert said.startswith("1 activation, first layers.0.self_attn:q: queries")


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "key", "factor"),
    [
        ("modelopt_fp8_kv", "model.layers.0.self_attn.k_proj.k_scale", 1.3),
        ("modelopt_fp8_kv", "model.layers.0.self_attn.v_proj.v_scale", 0.25),
        ("ct_attn_head_kv", "model.layers.0.self_attn.k_scale", 4),
    ],
)
def test_a_scale_of_a_cache_is_seen(name: str, key: str, factor: float, text: Path, tmp_path: Path) -> None:
    """A power of two moves codes of float8 only where they become subnormal, or saturate."""
    other = tmp_path / "other"
    shutil.copytree(folder(name) / "model", other)
    (file,) = other.glob("*.safetensors")
    tensors = load_file(file)
    tensors[key] = tensors[key] * factor
    save_file(tensors, file, {"format": "pt"})
    first, second = _found("base_llama1", text, folder(name) / "model", other).models
    assert second.kl.value != first.kl.value
