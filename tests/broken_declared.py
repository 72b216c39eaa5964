"""Small checkpoints whose settings say one thing and whose tensors are another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from broken_files import as_float8
from safetensors.numpy import save_file

DATA = Path(__file__).resolve().parent / "data"
SIZE = 16


def fp8_model(
    folder: Path,
    quantized: Iterable[str],
    plain: Iterable[str] = (),
    settings: Mapping[str, Any] | None = None,
    more: Mapping[str, np.ndarray] | None = None,
    **config: Any,
) -> Path:
    """FP8 weights with one scale each, bfloat16 ones, and further entries. settings: `quantization_config`."""
    folder.mkdir(parents=True)
    tensors: dict[str, np.ndarray] = dict(more or {})
    for module in quantized:
        tensors[f"{module}.weight"] = np.full((SIZE, SIZE), 0x38, np.uint8)
        tensors[f"{module}.weight_scale"] = np.full((), 0.01 + 0.001 * len(tensors), np.float32)
        tensors[f"{module}.input_scale"] = np.full((), 0.02 + 0.001 * len(tensors), np.float32)
    for module in plain:
        tensors[f"{module}.weight"] = np.full((SIZE, SIZE), len(tensors), ml_dtypes.bfloat16)
    save_file(tensors, folder / "model.safetensors")
    as_float8(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": dict(settings or {})}))
    return folder


def of_modelopt(**settings: Any) -> dict[str, Any]:
    """`quantization_config` as ModelOpt 0.47 writes it."""
    linear = {"dynamic": False, "num_bits": 8, "type": "float"}
    groups = {"group_0": {"input_activations": linear, "weights": linear, "targets": ["Linear"]}}
    return {
        "config_groups": groups, "ignore": [], "quant_algo": "FP8", "quant_method": "modelopt",
        "producer": {"name": "modelopt", "version": "0.47.0"}, **settings,
    }  # fmt: skip


FP8_CACHE = {"kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}


def attention(layer: int) -> list[str]:
    """The projections of one layer."""
    return [f"model.layers.{layer}.self_attn.{p}_proj" for p in "qkvo"]


def mlp(layer: int) -> list[str]:
    """The projections of one layer."""
    return [f"model.layers.{layer}.mlp.{p}_proj" for p in ("gate", "up", "down")]


def cache(
    layer: int, k: float | np.ndarray | None = 0.05, v: float | np.ndarray | None = 0.04
) -> dict[str, np.ndarray]:
    """Scales of the KV cache, where ModelOpt has them."""
    found = {"k": k, "v": v}
    return {
        f"model.layers.{layer}.self_attn.{p}_proj.{p}_scale": np.asarray(x, np.float32)
        for p, x in found.items()
        if x is not None
    }


def copied(name: str, folder: Path, edit: Callable[[dict[str, Any]], object] | None = None) -> Path:
    """A checkpoint of tests/data, with its config.json edited."""
    shutil.copytree(DATA / name / "model", folder)
    if edit is not None:
        path = folder / "config.json"
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
    return folder
