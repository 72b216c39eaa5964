"""Models in NVFP4 as ModelOpt writes them, small, with what a test wants of their scales: `lint` reads these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "quantization_config": {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
        "ignore": [],
    },
}
PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")


def nvfp4_model(
    folder: Path,
    scalars: Mapping[str, float] | None = None,
    *,
    n_layers: int = 2,
    modules: tuple[str, ...] = PROJECTIONS,
    config: Mapping[str, Any] = CONFIG,
) -> Path:
    """A sound model of `n_layers` with 64 x 64 weights. scalars: by key, `layers.0.mlp.up_proj.weight_scale_2` and the
    like, numbers that are stored instead."""
    rng = np.random.default_rng(3)
    tensors: dict[str, np.ndarray] = {"model.norm.weight": np.ones(64, np.float32)}
    for layer in range(n_layers):
        for module in modules:
            name = f"model.layers.{layer}.{module}"
            tensors[f"{name}.weight"] = rng.integers(0, 256, (64, 32), np.uint8)
            tensors[f"{name}.weight_scale"] = rng.uniform(30, 448, (64, 4)).astype(ml_dtypes.float8_e4m3fn)
            tensors[f"{name}.weight_scale_2"] = np.asarray(2e-4 * (1 + layer / 7), np.float32)
            tensors[f"{name}.input_scale"] = np.asarray(3e-3 * (1 + layer / 5), np.float32)
    for key, value in (scalars or {}).items():
        assert f"model.{key}" in tensors, key
        tensors[f"model.{key}"] = np.asarray(value, np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
