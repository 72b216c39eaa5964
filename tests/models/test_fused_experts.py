"""Experts that are held in one tensor: against transformers' own forward, and its own routing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.models.huggingface import HuggingFaceModel
from qinspect.inspector.models.load import open_model

SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "num_experts": 5, "num_local_experts": 5,
    "num_experts_per_tok": 2, "max_position_embeddings": 64, "layer_types": ["full_attention"] * 2,
    "decoder_sparse_step": 1, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
KINDS = ("Qwen3Moe", "Mixtral", "GptOss")


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A small model of each kind in float32, and as transformers runs it."""
    import transformers

    torch.manual_seed(0)
    kind = request.param
    config = getattr(transformers, f"{kind}Config")(**SIZES)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, w in model.named_parameters():
            if w.ndim > 1 or "bias" in name:
                w.normal_(0, 0.2)
    path = tmp_path_factory.mktemp(kind)
    model.save_pretrained(path)
    model.set_experts_implementation("eager")
    return path, model


IDS = torch.tensor(np.random.default_rng(0).integers(0, 64, (2, 20)))


def _open(path: Path) -> HuggingFaceModel:
    model = open_model(str(path), False, torch.device("cpu"))
    assert isinstance(model, HuggingFaceModel)
    return model


def test_logits_are_those_of_the_library(saved: tuple[Path, Any]) -> None:
    path, own = saved
    with torch.no_grad():
        expected = own(IDS, use_cache=False).logits
    torch.testing.assert_close(_open(path).forward(IDS, lambda *_: None), expected, rtol=1e-4, atol=1e-5)


def test_each_expert_shows_the_tokens_that_the_router_sends_it(saved: tuple[Path, Any]) -> None:
    path, own = saved
    chosen: dict[str, torch.Tensor] = {}
    hooks = [
        m.register_forward_hook(lambda _m, _i, out, n=n: chosen.update({n: out[2]}))
        for n, m in own.named_modules() if n.endswith((".gate", ".router"))
    ]  # fmt: skip
    with torch.no_grad():
        own(IDS, use_cache=False)
    for hook in hooks:
        hook.remove()
    model, rows = _open(path), {}

    def count(name: str, x: torch.Tensor) -> None:
        rows[name] = len(x)
        assert ".experts." not in name or x.shape[1:] == (model.weights()[f"{name.split(':')[0]}.weight"].shape[
            1 if name.endswith("input") else 0],)  # fmt: skip

    model.forward(IDS, count)
    assert len(chosen) == 2
    for routed, (_, inputs) in zip(chosen.values(), model.expert_inputs.items(), strict=True):
        expected = torch.bincount(routed.reshape(-1), minlength=5).tolist()
        assert [rows.get(point, 0) for point, _ in inputs] == expected
        assert sum(expected) == 2 * IDS.numel()
    assert set(rows) <= set(model.may_show)


def test_every_projection_of_an_expert_has_its_weight_and_its_place(saved: tuple[Path, Any]) -> None:
    """Another weight of one expert is that in the library's model, and goes away again."""
    path, own = saved
    model = _open(path)
    before = model.forward(IDS, lambda *_: None)
    key = next(k for k in model.linears if ".experts.3.down_proj" in k)
    kept = model.names()[key]
    assert len([k for k in model.linears if ".experts." in k]) == sum(map(len, model.pieces.values()))
    model.put(key, kept * 2)
    name, _, _ = key.partition(".experts.")
    with torch.no_grad():
        own.get_submodule(f"{name}.experts").down_proj[3].mul_(2)
        expected = own(IDS, use_cache=False).logits
        own.get_submodule(f"{name}.experts").down_proj[3].mul_(0.5)
    changed = model.forward(IDS, lambda *_: None)
    torch.testing.assert_close(changed, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(changed, before)
    model.put(key, kept)
    assert torch.equal(model.forward(IDS, lambda *_: None), before)


def test_what_goes_on_behind_a_point_is_what_the_observer_gives(saved: tuple[Path, Any]) -> None:
    """Nothing goes into one expert's second product: as if its weight were zero, but for a bias."""
    model = _open(saved[0])
    at = next(p for p in model.may_show if ".experts.1.down_proj:input" in p)

    def without(name: str, x: torch.Tensor) -> torch.Tensor | None:
        return torch.zeros_like(x) if name == at else None

    found = model.forward(IDS, without)
    key = at.replace(":input", ".weight")
    model.put(key, torch.zeros_like(model.names()[key]))
    assert torch.equal(found, model.forward(IDS, lambda *_: None))


def test_a_calibration_says_how_many_tokens_each_expert_was_sent(saved: tuple[Path, Any], tmp_path: Path) -> None:
    path, _ = saved
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps({"vocab": 64, "samples": IDS.tolist()}))
    settings = Settings(
        str(path), data=str(ids), samples=2, seq_len=20, device="cpu", recipe="minmax", out=str(tmp_path / "out")
    )
    record = calibrate(settings, tmp_path / "state")
    assert len(record["experts"]) == 2
    assert all(sum(tokens) == 2 * IDS.numel() and len(tokens) == 5 for tokens in record["experts"].values())
