"""Checkpoints of qinspect's own for tests: a small model's weights, its points, what it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qinspect.inspector.calibrate.checkpoint import PointScale, write_checkpoint
from qinspect.inspector.calibrate.rounding import WeightScheme
from qinspect.inspector.provenance import Provenance

MIXER = "backbone.layers.0.mixer."
QUANTIZED = (MIXER + "in_proj.weight", MIXER + "out_proj.weight", "lm_head.weight")
POINTS = {
    "layers.0.mixer.in_proj:input": PointScale(np.float32(0.02), "absmax(|x|) ∘ max ∘ map(w_max/127)", False),
    "layers.0.mixer.x_conv_out:input": PointScale(0.031, "quantile(|x|, 0.9995, linear) ∘ ema 0.01", True),
    "layers.0.mixer.out_proj:input": PointScale(np.linspace(0.1, 0.2, 4), "absmax(|x|)", False),
    "lm_head:input": PointScale(np.float32(0.5), "absmax(|x|)", False),
}
PROVENANCE = Provenance(
    {"alpha": 0.9995}, {"alpha": 0.9995, "points": 1}, {"seed": 42, "order": [1, 0]}, {"numpy": np.__version__}
)


def tensors() -> dict[str, Any]:
    """Unquantized tensors of an odd width, in the order in which a file might have them."""
    random = np.random.default_rng(0)
    values = {
        "lm_head.weight": (11, 37),
        MIXER + "out_proj.weight": (37, 300),
        MIXER + "in_proj.weight": (600, 37),
        MIXER + "A_log": (5,),
        "backbone.layers.0.norm.weight": (37,),
        "backbone.embedding.weight": (11, 37),
    }
    return {key: random.standard_normal(shape).astype(np.float16) for key, shape in values.items()}


def written(folder: Path, bits: Any = 8, shard_bytes: int = 1 << 40, **replaced: Any) -> Path:
    """A checkpoint of these in `folder`; returns it."""
    made: Mapping[str, Any] = {
        "tensors": tensors(), "quantized": QUANTIZED, "activation_scales": POINTS,
        "config": {"model_type": "mamba", "rotation": "hadamard", "time_step_limit": [0.0, float("inf")]},
        "provenance": PROVENANCE, "weights": WeightScheme(bits), **replaced,
    }  # fmt: skip
    write_checkpoint(folder, **made, shard_bytes=shard_bytes)
    return folder
