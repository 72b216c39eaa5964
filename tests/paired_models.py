"""Two small models that are compared, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.compare import Comparison, ScalePair, Status, WeightPair, compare
from qinspect.inspector.formats import Format

Tensors = dict[str, torch.Tensor]
LAYER = "model.layers.0"


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def saved(tensors: Tensors, to: Path, config: Mapping[str, object] | None = None) -> Format:
    to.mkdir(parents=True)
    save_file({k: t.clone() for k, t in tensors.items()}, to / "model.safetensors")
    (to / "config.json").write_text(json.dumps(dict(config or {})))
    return open_model(str(to))


def compared(tmp: Path, a: Tensors, b: Tensors, config: Mapping[str, object] | None = None) -> Comparison:
    return compare(saved(a, tmp / "a", config), saved(b, tmp / "b", config))


def alone(c: Comparison) -> list[str]:
    pairs: list[ScalePair | WeightPair] = [*c.scales, *c.weights]
    return [p.role for p in pairs if p.status in (Status.ONLY_A, Status.ONLY_B)]
