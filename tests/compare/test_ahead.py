"""Scales read many at a time: the same results as one by one, whatever the family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from modelopt_files import nvfp4
from peer_truth import folder, needs_fixtures
from safetensors.torch import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import ahead, compare
from qinspect.inspector.compare.ahead import Ahead, Matched
from qinspect.inspector.compare.results import Status
from qinspect.inspector.formats import Format, format_of

MODELS = (
    "ct_nvfp4", "ct_mxfp4", "ct_w4a16_asym_g32", "ct_int8_w8a8_static", "modelopt_nvfp4", "modelopt_fp8_block",
    "modelopt_fp8_kv", "modelopt_mxfp8", "modelopt_gptoss_nvfp4", "modelopt_nvfp4_awq", "gptq_v1_sym_g32",
    "autoawq_gemm_g32", "tf_fp8_fused3d", "tf_mxfp8_u8", "gptqmodel_fp8_block", "gguf_qwen3moe_nvfp4",
)  # fmt: skip


def one_by_one(matched: Matched, *_: object) -> Ahead:
    return Ahead(len(matched))


def results(a: Format, b: Format, monkeypatch: pytest.MonkeyPatch, read_ahead: object) -> Sequence[object]:
    """What is said of each scale, in text: a NaN is no other than itself."""
    with monkeypatch.context() as patched:
        patched.setattr(ahead, "read_ahead", read_ahead)
        return [repr((p.role, p.status, p.difference, p.note, p.faults_a, p.faults_b)) for p in compare(a, b).scales]


@needs_fixtures
@pytest.mark.parametrize("name", MODELS)
def test_the_same_as_one_by_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against itself with every number of some of its scales moved by a bit, or not a scale at all."""
    path = next(folder(name).rglob("*.gguf"), folder(name) / "model")
    a = open_model(str(path))
    b = a if path.is_file() else open_model(str(damaged(path, tmp_path / "b")))
    assert results(a, b, monkeypatch, ahead.read_ahead) == results(a, b, monkeypatch, one_by_one)
    assert results(b, a, monkeypatch, ahead.read_ahead) == results(b, a, monkeypatch, one_by_one)


def damaged(folder: Path, to: Path) -> Path:
    """The checkpoint, with a 0, a NaN, and changes in every third scale."""
    from safetensors import safe_open

    to.mkdir()
    for path in folder.iterdir():
        if path.suffix == ".json":
            (to / path.name).write_bytes(path.read_bytes())
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as f:
            state = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
            metadata = f.metadata()
        for i, (key, t) in enumerate(sorted(state.items())):
            if "scale" in key and i % 3 == 0 and t.numel():
                raw = t.clone().contiguous().view(-1).view(torch.uint8)
                raw[0] ^= 1
                if i % 2:
                    raw[-t.element_size() :] = 0
                state[key] = raw.view(t.dtype).view(t.shape)
        save_file(state, to / path.name, metadata)
    return to


def test_scales_of_a_modular_family_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty modules of NVFP4: none of their block scales, global scales and input scales is asked for alone."""
    made = {f"layers.{i}.up_proj.{k}": t for i in range(40) for k, t in nvfp4(8, 32, seed=i)[0].items()}
    for name in "ab":
        (tmp_path / name).mkdir()
        save_file(made, tmp_path / name / "model.safetensors")
        made = {**made, "layers.3.up_proj.weight_scale_2": torch.tensor(0.5)}
    a, b = (format_of(open_checkpoint(tmp_path / name)) for name in "ab")
    asked: list[str] = []
    for fmt in (a, b):
        monkeypatch.setattr(fmt, "values", lambda record: asked.append(record.role))
    found = compare(a, b).scales
    assert len(found) == 120
    assert [p.role for p in found if p.status is Status.DIFFERENT] == ["layers.3.up_proj.weight#global"]
    assert asked == []
