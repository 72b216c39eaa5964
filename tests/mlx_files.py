"""Small checkpoints in the layouts of MLX, packed bit by bit, with the values that they stand for."""

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
LINEAR = "model.layers.0.self_attn.q_proj"
NORM = "model.layers.0.input_layernorm.weight"


@dataclass(frozen=True)
class Made:
    """Tensors of one module by the last parts of their names, the codes in them, and their values."""

    tensors: dict[str, Array]
    codes: Array
    values: Array


def in_words(codes: Array, bits: int) -> Array:
    """uint32 words of each row: one long number, the first code in its lowest bits."""
    rows = []
    for row in codes.reshape(-1, codes.shape[-1]).tolist():
        whole = sum(int(c) << (bits * i) for i, c in enumerate(row))
        rows.append([whole >> (32 * i) & 0xFFFFFFFF for i in range(codes.shape[-1] * bits // 32)])
    return np.array(rows, np.uint32).reshape(*codes.shape[:-1], -1)


def affine(bits: int = 4, shape: tuple[int, ...] = (6, 128), group: int = 64, seed: int = 0, dtype: Any = None) -> Made:
    """scale * code + bias; scales of either sign."""
    rng = np.random.default_rng(seed)
    dtype = ml_dtypes.bfloat16 if dtype is None else dtype
    codes = rng.integers(0, 1 << bits, shape)
    of_groups = (*shape[:-1], shape[-1] // group)
    scales, biases = ((rng.random(of_groups) - 0.5).astype(dtype) for _ in range(2))
    wide = [x.astype(np.float32).repeat(group, -1) for x in (scales, biases)]
    values = codes.astype(np.float32) * wide[0] + wide[1]
    return Made({"weight": in_words(codes, bits), "scales": scales, "biases": biases}, codes, values)


def floats(mode: str, shape: tuple[int, ...] = (6, 128), seed: int = 0, whole: float | None = None) -> Made:
    """mxfp4, mxfp8 or nvfp4. whole: the largest magnitude that nvfp4 may keep beside."""
    rng = np.random.default_rng(seed)
    bits, group = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}[mode]
    codes = rng.integers(0, 1 << bits, shape)
    if bits == 8:
        codes[codes % 128 == 127] = 0  # no NaN
    small: Any = ml_dtypes.float4_e2m1fn if bits == 4 else ml_dtypes.float8_e4m3fn
    worth = codes.astype(np.uint8).view(small).astype(np.float32)
    scales = rng.integers(100, 126, (*shape[:-1], shape[-1] // group)).astype(np.uint8)
    kind: Any = ml_dtypes.float8_e4m3fn if mode == "nvfp4" else ml_dtypes.float8_e8m0fnu
    of_group = scales.view(kind).astype(np.float32)
    tensors = {"weight": in_words(codes, bits), "scales": scales}
    if whole is not None:
        tensors["global_scale"] = np.array(whole, np.float32)
        of_group = of_group * (np.float32(whole) / np.float32(2688))
    return Made(tensors, codes, worth * of_group.repeat(group, -1))


def of_module(made: Made, module: str = LINEAR) -> dict[str, Array]:
    """Under the name of a module."""
    return {f"{module}.{last}": t for last, t in made.tensors.items()}


def opened(folder: Path, tensors: Mapping[str, Array], said: Mapping[str, Any] | None = None, **config: Any) -> Format:
    """The family of a checkpoint of these tensors. said: the settings of `quantization`; None for none. config: what
    else is in config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, folder / "model.safetensors")
    if said is not None:
        config["quantization"] = dict(said)
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return format_of(open_checkpoint(folder))
