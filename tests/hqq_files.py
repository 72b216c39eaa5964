"""Small checkpoints in the layouts of HQQ, packed by hand, with the values that they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

Array = NDArray[Any]
MODULE = "model.layers.0.self_attn.q_proj"


@dataclass(frozen=True)
class Made:
    """Tensors of one module by the last parts of their names, the codes in them, and their values."""

    tensors: dict[str, Array]
    codes: Array
    values: Array


def in_runs(codes: Array, bits: int) -> Array:
    """Rows of codes in runs, the first in the highest bits; of 3 bits ten in 32, the last rows filled up."""
    count = 10 if bits == 3 else 8 // bits
    n = -(-len(codes) // count)
    rows = np.zeros((n * count, codes.shape[1]), np.int64)
    rows[: len(codes)] = codes
    words = np.zeros((n, codes.shape[1]), np.int64)
    for run in rows.reshape(count, n, -1):
        words = words << bits | run
    return words.astype(np.int32 if bits == 3 else np.uint8)


def hqq(
    bits: int = 4, shape: tuple[int, int] = (6, 128), group: int | None = 64, axis: int = 1, seed: int = 0,
    dtype: Any = ml_dtypes.bfloat16,
) -> Made:  # fmt: skip
    """The weight in rows (axis 1) or columns (axis 0) of one group each."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << bits, shape)
    grouped = codes if group is None else codes.reshape((-1, group) if axis else (group, -1))
    of_groups = (len(grouped), 1) if axis else (1, grouped.shape[1])
    scale = (rng.random(of_groups) + 0.1).astype(dtype)
    zero = (rng.random(of_groups) * (1 << bits)).astype(dtype)
    values = ((grouped.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)).reshape(shape)
    tensors = {
        "W_q": in_runs(grouped, bits), "scale": scale, "zero": zero, "nbits": np.array(bits, np.int32),
        "axis": np.array(axis, np.int32), "shape": np.array(shape, np.int64), "packing": _text("4bit_u8"),
        "compute_dtype": _text("torch.bfloat16"), "quant_scale": np.array(0, np.uint8),
    }  # fmt: skip
    if group is not None:
        tensors["group_size"] = np.array(group, np.int32)
    return Made(tensors, codes, values)


def _text(said: str) -> Array:
    return np.frombuffer(said.encode(), np.uint8)


def of_module(made: Made, module: str = MODULE) -> dict[str, Array]:
    """Under the name of a module."""
    return {f"{module}.{last}": t for last, t in made.tensors.items()}


def opened(folder: Path, tensors: Mapping[str, Array], said: Mapping[str, Any] | None = None) -> Format:
    """The family of a checkpoint of these tensors. said: its quantization_config; None for no config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, folder / "model.safetensors")
    if said is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": dict(said)}))
    return format_of(open_checkpoint(folder))
