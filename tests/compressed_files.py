"""Small checkpoints in the layouts of compressed-tensors, packed bit by bit, with the values that they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def in_words(codes: Array, bits: int, dense: bool = True) -> Array:
    """int32 words of each row of unsigned codes: one long number a row, or as many whole codes a word as fit."""
    each = 32 // bits
    rows = []
    for row in codes.tolist():
        if dense:
            whole = sum(int(c) << (bits * i) for i, c in enumerate(row))
            words = [(whole >> (32 * i)) & 0xFFFFFFFF for i in range(-(-len(row) * bits // 32))]
        else:
            parts = [row[i : i + each] for i in range(0, len(row), each)]
            words = [sum(int(c) << (bits * i) for i, c in enumerate(part)) for part in parts]
        rows.append(words)
    return np.array(rows, np.uint32).reshape(len(rows), -1).view(np.int32)


@dataclass
class Made:
    """Tensors of one module by the last parts of their names, what config.json says of its weight, its values."""

    tensors: dict[str, Array]
    weights: dict[str, Any]
    values: Array
    format: str = "pack-quantized"
    inputs: dict[str, Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)


def integers(
    bits: int = 4,
    shape: tuple[int, int] = (12, 64),
    group: int | None = 32,
    dense: bool = True,
    zeros: str = "",
    order: bool = False,
    seed: int = 0,
) -> Made:
    """pack-quantized. group: None for a scale a row. zeros: `packed` along the rows, or `plain` in int8. order: columns
    belong to groups in another order, as an index says."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    n_groups = -(-columns // group) if group else 1
    codes = rng.integers(0, 1 << bits, shape)
    scale = (rng.random((rows, n_groups)) + 0.5).astype(ml_dtypes.bfloat16)
    half = 1 << (bits - 1)
    zero = rng.integers(0, 1 << bits, (rows, n_groups)) if zeros else np.full((rows, n_groups), half)
    of_column = np.arange(columns) // group if group else np.zeros(columns, np.int64)
    tensors: dict[str, Array] = {
        "weight_packed": in_words(codes, bits, dense), "weight_scale": scale,
        "weight_shape": np.array(shape, np.int64),
    }  # fmt: skip
    if order:
        of_column = rng.permutation(of_column)
        tensors["weight_g_idx"] = of_column.astype(np.int32)
    if zeros == "packed":
        tensors["weight_zero_point"] = np.ascontiguousarray(in_words(zero.T, bits, dense).T)
    elif zeros:
        tensors["weight_zero_point"] = (zero - half).astype(np.int8)
    difference = codes.astype(np.float32) - zero.astype(np.float32)[:, of_column]
    said = {
        "num_bits": bits, "type": "int", "symmetric": not zeros, "strategy": "group" if group else "channel",
        "group_size": group, "actorder": "group" if order else None,
    }  # fmt: skip
    return Made(tensors, said, difference * scale.astype(np.float32)[:, of_column])


def fp4(kind: str = "nvfp4", shape: tuple[int, int] = (6, 64), seed: int = 0) -> Made:
    """nvfp4-pack-quantized and mxfp4-pack-quantized."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 16, shape).astype(np.uint8)
    values = np.array([*E2M1, *(-x for x in E2M1)], np.float32)[codes]
    group = 16 if kind == "nvfp4" else 32
    n_groups = -(-shape[1] // group)
    tensors: dict[str, Array] = {"weight_packed": codes[:, ::2] | (codes[:, 1::2] << 4)}
    of_column = np.arange(shape[1]) // group
    said: dict[str, Any] = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": group}
    if kind == "nvfp4":
        said["strategy"] = "tensor_group"
        scale = (rng.random((shape[0], n_groups)) * 400).astype(ml_dtypes.float8_e4m3fn)
        whole = np.array([1234.5], np.float32)
        tensors |= {"weight_scale": scale, "weight_global_scale": whole}
        steps = scale.astype(np.float32) / whole
    else:
        scale = rng.integers(100, 140, (shape[0], n_groups)).astype(np.uint8)
        tensors["weight_scale"] = scale
        steps = np.ldexp(np.float32(1), scale.astype(np.int32) - 127).astype(np.float32)
    return Made(tensors, said, values * steps[:, of_column], f"{kind}-pack-quantized")


def fp8(
    grid: str = "channel", shape: tuple[int, int] = (20, 40), block: tuple[int, int] = (8, 16), seed: int = 0
) -> Made:
    """float-quantized with a scale for the tensor, a row, a group or a block, and mxfp8-quantized (`mx`)."""
    rng = np.random.default_rng(seed)
    codes = rng.normal(0, 60, shape).astype(ml_dtypes.float8_e4m3fn)
    said: dict[str, Any] = {"num_bits": 8, "type": "float", "strategy": grid}
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    sizes = {"tensor": (1,), "channel": (shape[0], 1)}.get(grid)
    if grid == "block":
        said["block_structure"] = list(block)
    elif grid in ("group", "mx"):
        said |= {"group_size": 32 if grid == "mx" else block[1], "strategy": "group"}
        block = (1, int(said["group_size"]))
    sizes = sizes or (-(-shape[0] // block[0]), -(-shape[1] // block[1]))
    if grid == "mx":
        exponents = rng.integers(110, 130, sizes).astype(np.uint8)
        stored: Array = exponents
        steps = np.ldexp(np.float32(1), exponents.astype(np.int32) - 127).astype(np.float32)
    else:
        stored = (rng.random(sizes) + 0.1).astype(ml_dtypes.bfloat16)
        steps = stored.astype(np.float32)
    if grid not in ("tensor", "channel"):
        steps = steps[rows // block[0], columns // block[1]]
    tensors: dict[str, Array] = {"weight": codes, "weight_scale": stored}
    name = "mxfp8-quantized" if grid == "mx" else "float-quantized"
    return Made(tensors, said, codes.astype(np.float32) * steps, name)


def int8(bits: int = 8, zeros: bool = False, shape: tuple[int, int] = (9, 24), seed: int = 0) -> Made:
    """int-quantized: a code a byte, also of fewer bits."""
    rng = np.random.default_rng(seed)
    half = 1 << (bits - 1)
    codes = rng.integers(-half, half, shape).astype(np.int8)
    scale = (rng.random((shape[0], 1)) + 0.1).astype(np.float16)
    tensors: dict[str, Array] = {"weight": codes, "weight_scale": scale}
    zero = np.zeros((shape[0], 1), np.int8)
    if zeros:
        zero = rng.integers(-half, half, (shape[0], 1)).astype(np.int8)
        tensors["weight_zero_point"] = zero
    said = {"num_bits": bits, "type": "int", "strategy": "channel", "symmetric": not zeros}
    values = (codes.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return Made(tensors, said, values, "int-quantized")


def settings(made: Made, **more: Any) -> dict[str, Any]:
    """`quantization_config` of a model of one group."""
    group = {"targets": ["Linear"], "weights": made.weights, "input_activations": made.inputs, "format": made.format}
    return {
        "quant_method": "compressed-tensors", "format": made.format, "config_groups": {"group_0": group},
        "ignore": ["lm_head"], "quantization_status": "compressed", "version": "0.19.0", **more,
    }  # fmt: skip


def written(
    folder: Path, tensors: Mapping[str, Array], quantization: Mapping[str, Any] | None, key: str = "quantization_config"
) -> Path:
    """A folder with `tensors`, and a config.json where there are settings."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, folder / "model.safetensors")
    if quantization is not None:
        (folder / "config.json").write_text(json.dumps({key: quantization}))
    return folder


def of_module(made: Made, module: str = LINEAR) -> dict[str, Array]:
    """Its tensors by their whole names."""
    return {f"{module}.{last}": t for last, t in made.tensors.items()}


def opened(folder: Path) -> Format:
    """The family of what was written."""
    return format_of(open_checkpoint(folder))
