"""Modules of quanto, put together row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import array_files
import ml_dtypes
import numpy as np
from array_files import Array

from qinspect.inspector.formats import Format
from qinspect.inspector.formats.families.quanto.shapes import group_size


def bits_of(
    bits: int, shape: tuple[int, int], seed: int = 0, zero_points: bool = False
) -> tuple[dict[str, Array], Array]:
    """Entries of `weight` by what follows it, and float32 values."""
    rng = np.random.default_rng(seed)
    columns = group_size(shape[1]) or shape[1]
    rows = shape[0] * shape[1] // columns
    codes = rng.integers(0, 1 << bits, (rows, columns)).astype(np.uint8)
    scale = rng.uniform(0.01, 0.1, (rows, 1)).astype(np.float16)
    shift = rng.integers(0, 1 << bits, (rows, 1)).astype(np.uint8) if zero_points else (scale * 7).astype(np.float16)
    n = -(-rows // (8 // bits))
    packed = np.zeros((n, columns), np.uint8)
    for row in range(rows):
        packed[row % n] |= codes[row] << np.uint8(bits * (row // n))
    numbers, step, less = codes.astype(np.float32), scale.astype(np.float32), shift.astype(np.float32)
    values = (numbers - less) * step if zero_points else numbers * step - less
    return {"._data._data": packed, "._scale": scale, "._shift": shift}, values.reshape(shape)


def bytes_of(dtype: Any = np.int8, shape: tuple[int, ...] = (5, 12)) -> tuple[dict[str, Array], Array]:
    rng = np.random.default_rng(1)
    codes = rng.integers(-99, 99, shape).astype(dtype)
    scale = rng.uniform(0.01, 0.1, (shape[0], *(1,) * (len(shape) - 1))).astype(ml_dtypes.bfloat16)
    return {"._data": codes, "._scale": scale}, codes.astype(np.float32) * scale.astype(np.float32)


def opened(
    folder: Path, modules: dict[str, dict[str, Array]], said: dict[str, Any] | None = None,
    beside: dict[str, Array] | None = None,
) -> Format:  # fmt: skip
    """said: what stands in the map, by module. beside: further tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{m}.weight{end}": t for m, entries in modules.items() for end, t in entries.items()} | (beside or {})
    if said is not None:
        (folder / "quantization_map.json").write_text(json.dumps(said))
    return array_files.opened(folder, tensors)
