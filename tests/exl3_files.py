"""Small checkpoints in EXL3's layout, decoded bit by bit with Python's numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

Array = NDArray[Any]
LINEAR = "model.layers.0.self_attn.q_proj"
MULTIPLIERS = {"mcg": 0xCBAC1FED, "mul1": 0x83DCD12D}


@dataclass(frozen=True)
class Made:
    """Tensors of one module by the last parts of their names, with the sixteen bits of each value, [out, in]."""

    tensors: dict[str, Array]
    states: Array


def _half(bits: int) -> Fraction:
    return Fraction(struct.unpack("<e", bits.to_bytes(2, "little"))[0])


def value(state: int, codebook: str) -> np.float16:
    """What sixteen bits stand for."""
    if codebook == "mul1":
        product = state * MULTIPLIERS["mul1"] % (1 << 32)
        exact = _half(0x6400 + sum(product.to_bytes(4, "little"))) * _half(0x1EEE) + _half(0xC931)
        return np.float16(float(exact))
    product = state * MULTIPLIERS["mcg"] if codebook else state * 89226354 + 64248484
    product = (product % (1 << 32)) & 0x8FFF8FFF ^ 0x3B603B60
    return np.float16(float(_half(product & 0xFFFF) + _half(product >> 16)))


def made(
    bits: int = 4, tiles: tuple[int, int] = (8, 8), seed: int = 0, codebook: str = "mcg", few: bool = False
) -> Made:
    """tiles: of inputs and of outputs. few: every tile has the same bits."""
    rng = np.random.default_rng(seed)
    down, across = tiles
    trellis = rng.integers(-(1 << 15), 1 << 15, (down, across, 16 * bits), np.int16)
    if few:
        trellis[:] = trellis[0, 0]
    states = np.empty((across * 16, down * 16), np.int64)
    known: dict[bytes, list[int]] = {}
    for i, j in np.ndindex(down, across):
        key = trellis[i, j].tobytes()
        found = known.setdefault(key, []) or known[key].__iadd__(_states(trellis[i, j], bits))
        for t, state in enumerate(found):
            lane, n = divmod(t, 8)
            row, column = 2 * (lane % 4) + (0, 1, 8, 9)[n % 4], lane // 4 + 8 * (n // 4)
            states[16 * j + column, 16 * i + row] = state
    tensors: dict[str, Array] = {
        "trellis": trellis,
        "suh": rng.uniform(-0.1, 0.1, 16 * down).astype(np.float16),
        "svh": rng.uniform(-2, 2, 16 * across).astype(np.float16),
    }
    if codebook:
        tensors[codebook] = np.array(MULTIPLIERS[codebook], np.uint32).view(np.int32)
    return Made(tensors, states)


def _states(tile: Array, bits: int) -> list[int]:
    """Of each value the sixteen bits that end with its own: words of 32 bits, the highest first, in a circle."""
    words = tile.view(np.uint32).tolist()
    stream = "".join(f"{word:032b}" for word in words)
    turned = stream[-16:] + stream
    return [int(turned[(t + 1) * bits : (t + 1) * bits + 16], 2) for t in range(256)]


def of_module(made: Made, module: str = LINEAR) -> dict[str, Array]:
    """Under the name of a module."""
    return {f"{module}.{last}": t for last, t in made.tensors.items()}


def opened(folder: Path, tensors: Mapping[str, Array], said: Mapping[str, Any] | None = None) -> Format:
    """The family of a checkpoint of these tensors. said: `quantization_config`; None for none."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / "model.safetensors")
    if said is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": said}))
    return format_of(open_checkpoint(folder))
