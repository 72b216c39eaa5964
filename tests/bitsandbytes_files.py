"""Small checkpoints in the layouts of bitsandbytes, packed by hand, with the values that they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

Array = NDArray[Any]
KEY = "model.layers.0.self_attn.q_proj.weight"
SAID = {"quant_method": "bitsandbytes", "load_in_4bit": True}
LEVELS = np.linspace(-1, 1, 16, dtype=np.float32)
"""Some table: the file's is what counts."""


@dataclass(frozen=True)
class Made:
    """Entries of one tensor of codes by what follows its name, the codes, and their values."""

    tensors: dict[str, Array]
    codes: Array
    values: Array


def four_bit(
    shape: tuple[int, ...] = (6, 128), block: int = 64, kind: str = "nf4", nested: int = 0, seed: int = 0,
    storage: Any = np.uint8,
) -> Made:  # fmt: skip
    """Codes of the flattened tensor, two a byte, the first in the high half. nested: blocks of scales; 0 for none."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    n_blocks = -(-n // block)
    codes = rng.integers(0, 16, n, np.uint8)
    padded = np.append(codes, np.zeros(n % 2, np.uint8))
    state: dict[str, Any] = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": list(shape)}
    tensors = {"": (padded[::2] << 4 | padded[1::2]).view(storage)[:, None], ".quant_map": LEVELS}
    absmax = rng.random(n_blocks, np.float32) + np.float32(0.1)
    if nested:
        inner, table = rng.integers(0, 256, n_blocks).astype(np.uint8), np.sort(rng.random(256, np.float32))
        outer = rng.random(-(-n_blocks // nested), np.float32)
        absmax = table[inner] * outer.repeat(nested)[:n_blocks] + np.float32(0.25)
        tensors |= {".absmax": inner, ".nested_absmax": outer, ".nested_quant_map": table}
        state |= {"nested_blocksize": nested, "nested_dtype": "float32", "nested_offset": 0.25}
    else:
        tensors[".absmax"] = absmax
    tensors[f".quant_state.bitsandbytes__{kind}"] = in_bytes(state)
    values = (LEVELS[codes] * absmax.repeat(block)[:n]).reshape(shape)
    return Made(tensors, codes.reshape(shape), values)


def in_bytes(said: object) -> Array:
    """JSON as uint8."""
    return np.frombuffer(json.dumps(said).encode(), np.uint8)


def of_key(made: Made, key: str = KEY) -> dict[str, Array]:
    """Under the name of the tensor of codes."""
    return {f"{key}{end}": t for end, t in made.tensors.items()}


def int8(module: str = "m", shape: tuple[int, int] = (4, 6), order: int | None = 0) -> dict[str, Array]:
    """LLM.int8(): codes, the largest magnitude of each row, and perhaps the order of codes."""
    rng = np.random.default_rng(1)
    found: dict[str, Array] = {
        f"{module}.weight": rng.integers(-127, 128, shape).astype(np.int8),
        f"{module}.SCB": rng.random(shape[0], np.float32),
    }
    return found if order is None else found | {f"{module}.weight_format": np.array(order, np.uint8)}


def opened(folder: Path, tensors: Mapping[str, Array], said: Mapping[str, Any] | None = None) -> Format:
    """The family of a checkpoint of these tensors. said: its quantization_config; None for no config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, folder / "model.safetensors")
    if said is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": dict(said)}))
    return format_of(open_checkpoint(folder))
