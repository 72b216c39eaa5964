"""Forwards of ours against transformers', and what they show against what Quamba's own calibration saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Mamba2Config, Mamba2ForCausalLM, MambaForCausalLM
from transformers import MambaConfig as Mamba1Config

from qinspect.inspector.calibrate.engine import find_points
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.models.declared import Declared
from qinspect.inspector.models.load import open_model
from qinspect.inspector.models.mamba import MambaLM, unobserved
from qinspect.inspector.models.mamba_config import config_of
from qinspect.inspector.models.numerics import Numerics
from qinspect.inspector.models.rotation import hadamard, rotate
from qinspect.inspector.models.scan import chunked_scan, selective_scan
from qinspect.inspector.observers.recipes import applied

CPU = torch.device("cpu")
FLOAT32 = Numerics(torch.float32, torch.float32)


def peer(version: int, n_groups: int = 1) -> Any:
    """A small model of transformers', with weights that are not as they begin."""
    torch.manual_seed(version)
    if version == 2:
        made: Any = Mamba2ForCausalLM(
            Mamba2Config(
                num_heads=8, head_dim=32, hidden_size=128, vocab_size=97, num_hidden_layers=2, state_size=16,
                expand=2, n_groups=n_groups, chunk_size=16,
            )
        )  # fmt: skip
    else:
        made = MambaForCausalLM(Mamba1Config(hidden_size=128, vocab_size=97, num_hidden_layers=2, state_size=16))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return made.float().eval()


@pytest.mark.parametrize(("version", "n_groups"), [(1, 1), (2, 1), (2, 2)])
def test_the_forward_is_transformers_to_rounding(version: int, n_groups: int) -> None:
    theirs = peer(version, n_groups)
    weights = {k.replace("embeddings", "embedding"): w for k, w in theirs.state_dict().items()}
    config = config_of(
        Declared(Path("config.json"), theirs.config.to_dict()), {k: tuple(w.shape) for k, w in weights.items()}
    )
    ours = MambaLM(config, FLOAT32)
    ours.load_state_dict(weights)
    ids = torch.randint(0, 97, (2, 50))
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        expected = theirs(ids, use_cache=True)
        logits = ours(ids, seen.__setitem__)
    assert torch.allclose(logits, expected.logits, rtol=0, atol=2e-5)
    state = expected.cache_params.layers[1].recurrent_states
    state = next(iter(state.values())) if isinstance(state, Mapping) else state
    assert torch.allclose(seen["layers.1.mixer.ssm_state_act:input"], state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("version", [1, 2])
def test_what_was_saved_by_transformers_is_opened(tmp_path: Path, version: int) -> None:
    theirs = peer(version)
    theirs.save_pretrained(tmp_path)
    ours = open_model(str(tmp_path), False, CPU)
    ids = torch.randint(0, 97, (1, 20))
    with torch.no_grad():
        assert torch.allclose(ours.forward(ids, unobserved), theirs(ids).logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize("length", [1, 15, 16, 40])
def test_scans_are_the_recurrence(length: int) -> None:
    torch.manual_seed(length)
    x, dt = torch.randn(2, length, 4, 8), torch.rand(2, length, 4)
    a, b, c = -torch.rand(4), torch.randn(2, length, 2, 6), torch.randn(2, length, 2, 6)
    state, expected = torch.zeros(2, 4, 8, 6), []
    for t in range(length):
        b_t, c_t = (m[:, t].repeat_interleave(2, 1) for m in (b, c))
        state = (dt[:, t] * a).exp()[..., None, None] * state + (dt[:, t, :, None] * x[:, t])[..., None] * b_t[
            :, :, None
        ]
        expected.append((state * c_t[:, :, None]).sum(-1))
    y, last = chunked_scan(x, dt, a, b, c, 16)
    assert torch.allclose(y, torch.stack(expected, 1), atol=1e-5)
    assert torch.allclose(last, state, atol=1e-5)

    x, dt, a, b, c = x[:, :, 0], torch.rand(2, length, 8), -torch.rand(8, 6), b[:, :, 0], c[:, :, 0]
    state, expected = torch.zeros(2, 8, 6), []
    for t in range(length):
        state = (dt[:, t, :, None] * a).exp() * state + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
        expected.append((state * c[:, t, None]).sum(-1))
    y, last = selective_scan(x, dt, a, b, c)
    assert torch.allclose(y, torch.stack(expected, 1), atol=1e-5)
    assert torch.allclose(last, state, atol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 12, 20, 64, 192, 640])
def test_hadamard_matrices(width: int) -> None:
    h = hadamard(width)
    assert torch.allclose(h @ h.mT, torch.eye(width), atol=1e-5)
    assert torch.allclose(h.abs(), torch.full_like(h, width**-0.5))


def test_a_width_without_a_matrix() -> None:
    with pytest.raises(ValueError, match="width 28"):
        hadamard(28)


def base(source_root: Path, name: str) -> Path:
    (found,) = (source_root / "tests" / "data" / "models" / name).iterdir()
    return found


@pytest.mark.parametrize("name", ["base_mamba1", "base_mamba2"])
def test_rotated_is_the_same_function(source_root: Path, name: str) -> None:
    path = str(base(source_root, name))
    ids = torch.arange(40)[None] * 7 % 480
    plain, rotated = (open_model(path, r, CPU).forward(ids, unobserved).float() for r in (False, True))
    error = (plain - rotated).square().mean().sqrt() / plain.square().mean().sqrt()
    assert 0 < error < 0.01


@pytest.mark.parametrize(
    ("name", "quantized"),
    [("base_mamba1", "m1_w8a8_pa0.9995"), ("base_mamba1", "m1_w8a8_pa0.99999"), ("base_mamba2", "m2_w8a8_pa0.9995")],
)
def test_scales_are_those_of_quambas_own_calibration(source_root: Path, name: str, quantized: str) -> None:
    """Both round to float16 wherever the other does, but for the sums inside a product, which add up in another order,
    and the weights, which Quamba rotates after the calibration and we before it. That moves a value by a float16 step
    now and then: a maximum by at most two steps (0.2 %), a quantile, which averages, by less."""
    data = source_root / "tests" / "data"
    samples = json.loads((data / "models" / "calibration_tokens.json").read_text())["samples"]
    expected = json.loads((data / "quamba" / quantized / "expected_scales.json").read_text())
    model = open_model(str(base(source_root, name)), True, CPU)
    tables: dict[str, list[MagnitudeTable]] = {}
    for ids in samples:
        model.forward(torch.tensor([ids]), lambda n, x: tables.setdefault(n, []).append(MagnitudeTable.of(x.numpy())))
    points = {p.name: p for p in find_points(model, np.array(samples[0][:4]))}
    wanted = {
        f"layers.{i}.mixer.{point}": scale
        for i, layer in enumerate(expected["layers"])
        for point, scale in layer.items()
    } | expected["lm_head"]
    compared = {}
    for point, scale in wanted.items():
        if point in points:  # Quamba's `:output` of a probe that changes nothing is its input's maximum
            rule = applied("quamba", points[point], expected["percentile_alpha"]).rule
            compared[point] = rule.scale(tables[point]) / scale - 1
    assert set(points) == set(compared)
    assert max(map(abs, compared.values())) < 0.002
    assert sum(abs(c) < 1e-4 for c in compared.values()) >= 0.7 * len(compared)


@pytest.mark.parametrize("width", [1, 2, 12, 20, 64, 192, 640])
def test_rotate_is_the_product_with_the_matrix(width: int) -> None:
    x = torch.randn(3, 2, width)
    assert torch.allclose(rotate(x), x @ hadamard(width).mT, atol=1e-5)
