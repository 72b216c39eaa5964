"""Small files in ComfyUI's layouts, packed number by number, with the values that they stand for."""

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
LINEAR = "double_blocks.0.img_attn.qkv"
FORMATS = (
    "float8_e4m3fn", "float8_e5m2", "nvfp4", "mxfp8", "int8_tensorwise", "convrot_w4a4", "asym_w4a8_int8", "awq_w4a16",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """Tensors of one module by the last parts of their names, its mark, codes and float64 values: exact where nothing
    was rotated, once they are rounded to float32."""

    tensors: dict[str, Array]
    mark: dict[str, Any]
    codes: Array
    values: Array


def hadamard(size: int) -> Array:
    """float64[size, size]: the regular one, a power of four."""
    small = np.ones((4, 4)) - 2 * np.eye(4)[::-1]
    found: Array = np.ones((1, 1))
    while len(found) < size:
        found = np.kron(found, small)
    return np.asarray(found / np.sqrt(size))


def unrotated(values: Array, size: int) -> Array:
    """float64 of rows that were rotated in blocks of a size."""
    blocks = values.astype(np.float64).reshape(len(values), -1, size)
    return (blocks @ hadamard(size)).reshape(values.shape)


def in_tiles(scales: Array) -> Array:
    """Scales [rows, groups] in tiles of 128 x 4, filled up with zeros."""
    down, across = -(-scales.shape[0] // 128), -(-scales.shape[1] // 4)
    flat = np.zeros(down * across * 512, scales.dtype)
    for r, c in np.ndindex(scales.shape):
        tile = (r // 128) * across + c // 4
        flat[tile * 512 + r % 32 * 16 + r % 128 // 32 * 4 + c % 4] = scales[r, c]
    return flat.reshape(down * 128, across * 4)


def _pairs(codes: Array, high_first: bool = False) -> Array:
    codes = codes.astype(np.uint8) & 15
    first, second = codes[:, ::2], codes[:, 1::2]
    return first << 4 | second if high_first else second << 4 | first


def _floats(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    found = rng.integers(0, 256, shape).astype(np.uint8).view(dtype)
    return np.asarray(np.where(np.isfinite(found.astype(np.float32)), found, dtype(1)))


def made(
    name: str, shape: tuple[int, int] = (6, 64), seed: int = 0, block: int | None = None, bits: int = 4,
    group: int | None = None, per_row: bool = False, codebook: bool = True,
) -> Made:  # fmt: skip
    """A module of a format. block: of the rotation. bits, group, codebook: of W4A8. per_row: of int8's scale."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    mark: dict[str, Any] = {"format": name}
    scale = rng.uniform(0.001, 0.1, rows).astype(np.float32)
    if name.startswith("float8"):
        weight = _floats(rng, shape, getattr(ml_dtypes, name))
        values = weight.astype(np.float32) * scale[0]
        return Made({"weight": weight, "weight_scale": scale[0]}, mark, weight.view(np.uint8), values)
    if name == "nvfp4":
        codes = rng.integers(0, 16, shape)
        steps = np.abs(_floats(rng, (rows, columns // 16), ml_dtypes.float8_e4m3fn))
        of_rows = steps.astype(np.float32) * scale[0]
        worth = codes.astype(np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
        tensors = {"weight": _pairs(codes, True), "weight_scale": in_tiles(steps), "weight_scale_2": scale[0]}
        return Made(tensors, mark, codes, worth * of_rows.repeat(16, 1))
    if name == "mxfp8":
        weight = _floats(rng, shape, ml_dtypes.float8_e4m3fn)
        steps = rng.integers(110, 130, (rows, columns // 32)).astype(np.uint8)
        of_rows = np.ldexp(np.float32(1), steps.astype(int) - 127).astype(np.float32)
        tensors = {"weight": weight, "weight_scale": in_tiles(steps).view(ml_dtypes.float8_e8m0fnu)}
        return Made(tensors, mark, weight.view(np.uint8), weight.astype(np.float32) * of_rows.repeat(32, 1))
    if name == "awq_w4a16":
        size = group or 64
        codes = rng.integers(0, 16, shape)
        steps, zeros = (rng.uniform(-1, 1, (rows, columns // size)).astype(np.float32) for _ in range(2))
        values = (codes - 8).astype(np.float32) * steps.repeat(size, 1) + zeros.repeat(size, 1)
        tensors = {"weight": _pairs(codes).view(np.int8), "weight_scale": steps.T, "weight_zeros": zeros.T}
        return Made(tensors, mark | ({"group_size": group} if group else {}), codes, values)
    if name == "asym_w4a8_int8":
        return _two_level(rng, shape, scale, mark, block, bits, group or 16, codebook)
    four = name == "convrot_w4a4"
    low = -8 if four else -128
    codes = rng.integers(low, -low, shape)
    scale = scale if per_row or four else scale[:1]
    turned = block or (256 if four else 0)
    mark |= {"convrot": True, "convrot_groupsize": turned} if turned else {}
    levels = unrotated(codes, turned) if turned else codes.astype(np.float64)
    values = levels * scale.astype(np.float64)[:, None]
    tensors = {
        "weight": _pairs(codes).view(np.int8) if four else codes.astype(np.int8),
        "weight_scale": scale if four else scale[:, None] if per_row else scale[0],
    }
    return Made(tensors, mark, codes, values)


def _two_level(
    rng: np.random.Generator, shape: tuple[int, int], scale: Array, mark: dict[str, Any], block: int | None, bits: int,
    group: int, codebook: bool,
) -> Made:  # fmt: skip
    rows, columns = shape
    codes = rng.integers(0, 1 << bits, shape)
    steps = rng.uniform(1, 130, (rows, columns // group)).astype(ml_dtypes.float8_e4m3fn)
    book = np.sort(rng.uniform(-1, 1, 16)).astype(np.float32)
    tensors = {"weight_s_rel": steps, "weight_s_channel": scale}
    if bits == 6:
        high = codes >> 4
        top = sum((high[:, i::4] << 2 * i for i in range(4)), start=np.zeros((rows, columns // 4), int))
        tensors["weight"] = np.concatenate([_pairs(codes), top.astype(np.uint8)], axis=1).view(np.int8)
        worth = (codes - 32).astype(np.float32)
    else:
        tensors["weight"] = _pairs(codes).view(np.int8)
        worth = book[codes] if codebook else (codes - 8).astype(np.float32)
        tensors |= {"weight_codebook": book} if codebook else {}
    within = worth * steps.astype(np.float32).repeat(group, 1)
    if bits == 6 or codebook:
        values = np.rint(np.clip(within, -127, 127)).astype(np.float64) * scale.astype(np.float64)[:, None]
    else:
        added = rng.uniform(-1, 1, (rows, columns // group)).astype(np.float32)
        tensors["weight_correction"] = added.T
        values = within * scale[:, None] + added.repeat(group, 1)
    mark = {**mark, "group_size": group, **({"convrot": True, "convrot_groupsize": block} if block else {})}
    return Made(tensors, mark, codes, unrotated(values, block) if block else values)


def of_module(made: Made, module: str = LINEAR, marked: bool = True) -> dict[str, Array]:
    """Under the name of a module, with its mark."""
    mark = {"comfy_quant": np.frombuffer(json.dumps(made.mark).encode(), np.uint8)} if marked else {}
    return {f"{module}.{last}": np.asarray(t) for last, t in (made.tensors | mark).items()}


def opened(folder: Path, tensors: Mapping[str, Array], layers: Mapping[str, Any] | None = None) -> Format:
    """The family of a file of these tensors. layers: that its metadata list."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = json.dumps({"format_version": "1.0", "layers": layers})
    metadata = {"format": "pt"} | ({"_quantization_metadata": listed} if layers is not None else {})
    save_file({name: np.ascontiguousarray(t).reshape(t.shape) for name, t in tensors.items()},
              folder / "model.safetensors", metadata)  # fmt: skip
    return format_of(open_checkpoint(folder))
