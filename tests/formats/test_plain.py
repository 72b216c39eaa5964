"""The fallback: scales paired by name, and marked as the guess that it is."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Kind, format_of


def test_scales_are_paired_by_name_and_unverified(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(
        {
            "model.layers.10.mlp.weight": torch.zeros(4, 4, dtype=torch.int8),
            "model.layers.10.mlp.weight_scale": torch.ones(4, 1),
            "model.layers.2.mlp.input_scale": torch.tensor(0.5),
            "model.layers.2.mlp.weight_scale": torch.ones(4, 1),
            "model.norm.weight": torch.ones(4),
        },
        path,
    )
    records = format_of(open_checkpoint(path)).scales()
    assert [r.role for r in records] == [
        "layers.2.mlp.input_scale",
        "layers.2.mlp.weight_scale",
        "layers.10.mlp.weight_scale",
    ]
    assert all(r.kind is Kind.UNVERIFIED and not r.verified and r.alpha_sensitive is None for r in records)
    assert "activation" in records[0].of
    assert "unknown" in records[1].of  # no weight beside it
    assert "model.layers.10.mlp.weight" in records[2].of
