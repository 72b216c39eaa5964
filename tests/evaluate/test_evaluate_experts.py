"""`qinspect evaluate` of mixtures, whose experts transformers holds in one tensor and checkpoints hold apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from peer_truth import folder, needs_fixtures
from safetensors import safe_open

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.evaluate.results import ModelFigures
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.work import evaluate

pytestmark = needs_fixtures


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ids: the fixtures have no tokenizer."""
    path = tmp_path_factory.mktemp("ids") / "ids.json"
    ids = np.random.default_rng(0).integers(0, 128, (2, 32))
    path.write_text(json.dumps({"vocab": 128, "samples": ids.tolist()}))
    return path


def _figures(base: str, text: Path, *models: Path) -> tuple[ModelFigures, ...]:
    settings = EvaluateSettings(str(folder(base)), tuple(map(str, models)), data=str(text), samples=2, floor_seeds=0)
    found = evaluate(settings)
    assert found.failed == ()
    return found.models


@pytest.mark.parametrize(
    ("base", "name", "points"),
    [
        ("base_qwen3moe", "ct_qwen3moe_nvfp4", 16), ("base_qwen3moe", "modelopt_qwen3moe_nvfp4", 16),
        ("base_qwen3moe", "ct_mxfp4_moe", 0), ("base_qwen3moe", "bnb_nf4_fused_experts", 0),
        ("base_qwen3moe", "tf_fp8_fused3d", 16), ("base_qwen3moe", "ct_qwen3moe_fp8_block", 16),
        ("base_qwen3moe", "gguf_qwen3moe_nvfp4", 16), ("base_gptoss", "modelopt_gptoss_nvfp4", 2),
    ],
)  # fmt: skip
def test_every_expert_has_its_weights_and_scales(base: str, name: str, points: int, text: Path) -> None:
    """Also those of a file with one scale for all experts, and blocks that the width is no multiple of."""
    (m,) = _figures(base, text, folder(name) / "model")
    assert 0 < m.kl.value < 0.05
    assert (m.n_points, m.left_out) == (points, ())


@pytest.mark.parametrize("base", ["base_qwen3moe", "base_mixtral", "base_gptoss"])
def test_the_original_by_its_files_is_exactly_the_same(base: str, text: Path) -> None:
    """Mixtral's names for experts, and GptOss's tensor of all, are put where they belong."""
    (m,) = _figures(base, text, folder(base))
    assert (m.answer, m.kl_max) == ("equal", 0)


def _changed(source: Path, target: Path, key: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The same checkpoint with one tensor of an expert changed."""
    shutil.copytree(source, target)
    (file,) = target.glob("*.safetensors")
    with safe_open(file, "pt") as opened:
        import torch
        from safetensors.torch import save_file as save

        tensors = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118
        old = tensors[key]
        tensors[key] = torch.from_numpy(np.asarray(change(old.numpy()))).to(old.dtype).reshape(old.shape)
        assert not torch.equal(tensors[key], old)
        save(tensors, file, opened.metadata())
    return target


@pytest.mark.parametrize("part", ["gate_proj", "down_proj"])
def test_one_experts_outer_scale_is_seen(part: str, text: Path, tmp_path: Path) -> None:
    """Three times as large: a power of two moves float8 scales of blocks without rounding them in another way."""
    source, key = folder("modelopt_qwen3moe_nvfp4") / "model", f"model.layers.0.mlp.experts.2.{part}.input_scale"
    other = _changed(source, tmp_path / "other", key, lambda scale: scale * np.float32(3))
    first, second = _figures("base_qwen3moe", text, source, other)
    assert first.kl.value != second.kl.value


@pytest.fixture(scope="module")
def calibrated(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of a mixture, and its checkpoint of one alpha in `out/`."""
    state = tmp_path_factory.mktemp("calibrated")
    settings = Settings(
        str(folder("base_qwen3moe")), recipe="percentile", alphas=(0.99,), data=str(text), samples=2, seq_len=32,
        device="cpu", out=str(state / "out"),
    )  # fmt: skip
    calibrate(settings, state)
    return state


@pytest.mark.parametrize("part", ["gate_proj", "up_proj", "down_proj"])
def test_one_experts_scale_times_four_is_seen(part: str, text: Path, calibrated: Path, tmp_path: Path) -> None:
    source = calibrated / "out"
    with safe_open(source / "model.safetensors", "pt") as opened:
        (key,) = (k for k in opened.keys() if f"layers.0.mlp.experts.2.{part}" in k and "input" in k)  # noqa: SIM118
    other = _changed(source, tmp_path / "other", key, lambda scale: scale * np.float32(4))
    first, second = _figures("base_qwen3moe", text, source, other)
    assert second.kl.value != first.kl.value


def test_one_experts_weight_is_seen(text: Path, tmp_path: Path) -> None:
    """Codes of one row are others."""
    source, key = folder("modelopt_qwen3moe_nvfp4") / "model", "model.layers.0.mlp.experts.1.up_proj.weight"
    other = _changed(source, tmp_path / "other", key, lambda codes: np.roll(codes, 1, axis=0))
    first, second = _figures("base_qwen3moe", text, source, other)
    assert second.kl.value > first.kl.value


def test_an_alpha_of_a_run_is_what_its_checkpoint_is(text: Path, calibrated: Path) -> None:
    """Experts are rounded and scaled like any other linear layer."""
    base, written = str(folder("base_qwen3moe")), str(calibrated / "out")
    settings = EvaluateSettings(
        base, (written,), (0.99,), str(calibrated), data=str(text), samples=2, floor_seeds=0
    )  # fmt: skip
    checkpoint, alpha = evaluate(settings).models
    assert checkpoint.kl == alpha.kl
    assert checkpoint.n_points == alpha.n_points > 16
