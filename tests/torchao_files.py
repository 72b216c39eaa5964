"""Small weights as torchao stores them, packed number by number, with the values that they stand for."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from comfy_files import in_tiles
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

Array = NDArray[Any]
LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
KINDS = ("int8", "int8 of the tensor", "int4 g32", "fp8", "fp8 128x128", "mxfp8", "mxfp4", "nvfp4", "int4 pairs")


@dataclass
class Made:
    """Parts of one weight by the names of attributes, its class, the attributes that are no tensors, its values."""

    parts: dict[str, Array]
    kind: str
    data: dict[str, Any]
    values: Array
    codes: Array = field(default_factory=lambda: np.empty(0))


def _dtype(name: str) -> dict[str, str]:
    return {"_type": "torch.dtype", "_data": name}


def made(kind: str, shape: tuple[int, int] = (6, 64), seed: int = 0) -> Made:
    """A weight of one of KINDS."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    data: dict[str, Any]
    if kind == "int4 g32":
        codes = rng.integers(-8, 8, shape).astype(np.int8)
        scale = rng.uniform(0.01, 1, (rows, columns // 32)).astype(ml_dtypes.bfloat16)
        zeros = rng.integers(-8, 8, scale.shape).astype(np.int8)
        steps, less = (np.repeat(x.astype(np.float32), 32, axis=1) for x in (scale, zeros))
        data = {"target_dtype": _dtype("int4"), "block_size": [1, 32], "activation_quantization": "int8_asym_per_token"}
        parts = {"qdata": codes, "scale": scale, "zero_point": zeros}
        return Made(parts, "IntxUnpackedToInt8Tensor", data, (codes.astype(np.float32) - less) * steps, codes)
    if kind.startswith("int8"):
        codes = rng.integers(-128, 128, shape).astype(np.int8)
        scale = rng.uniform(0.01, 1, (rows, 1) if kind == "int8" else (1, 1)).astype(np.float32)
        zeros = rng.integers(-9, 9, scale.shape).astype(np.int8)
        data = {"block_size": [1 if kind == "int8" else rows, columns], "act_quant_kwargs": None}
        values = (codes.astype(np.float32) - zeros.astype(np.float32)) * scale
        return Made({"qdata": codes, "scale": scale, "zero_point": zeros}, "Int8Tensor", data, values, codes)
    if kind.startswith("fp8"):
        block = (1, columns) if kind == "fp8" else (2, columns // 2)
        floats = rng.normal(0, 50, shape).astype(ml_dtypes.float8_e4m3fn)
        scale = rng.uniform(0.01, 1, (rows // block[0], columns // block[1])).astype(np.float32)
        data = {"block_size": list(block), "act_quant_kwargs": None}
        values = floats.astype(np.float32) * np.kron(scale, np.ones(block, np.float32))
        return Made({"qdata": floats, "scale": scale}, "Float8Tensor", data, values, floats.view(np.uint8))
    if kind == "int4 pairs":
        codes = rng.integers(-8, 8, shape).astype(np.int8)
        scale, zeros = (rng.normal(0, 1, (columns // 32, rows)).astype(ml_dtypes.bfloat16) for _ in range(2))
        steps, more = (np.repeat(x.astype(np.float32).T, 32, axis=1) for x in (scale, zeros))
        low, high = codes[:, ::2].astype(np.uint8) & 15, codes[:, 1::2].astype(np.uint8) & 15
        parts = {"qdata": (low | high << 4).view(np.int8), "scale": scale, "zero_point": zeros}
        return Made(parts, "Int4Tensor", {"block_size": [1, 32]}, codes.astype(np.float32) * steps + more, codes)
    size = 16 if kind == "nvfp4" else 32
    groups = rows, columns // size
    if kind == "mxfp8":
        floats = rng.normal(0, 50, shape).astype(ml_dtypes.float8_e4m3fn)
        codes, worth, qdata = floats.view(np.uint8), floats.astype(np.float32), floats
    else:
        codes = rng.integers(0, 16, shape).astype(np.uint8)
        worth, qdata = LEVELS[codes], codes[:, ::2] | codes[:, 1::2] << 4
    if kind == "nvfp4":
        scale = rng.uniform(1, 400, groups).astype(ml_dtypes.float8_e4m3fn)
    else:
        scale = rng.integers(100, 140, groups).astype(np.uint8).view(ml_dtypes.float8_e8m0fnu)
    steps = scale.astype(np.float32)
    tiled = in_tiles(scale.view(np.uint8)).view(scale.dtype)
    parts = {"qdata": qdata, "scale": tiled.reshape(tiled.shape[0] // 4, -1)}
    if kind == "nvfp4":
        whole = np.float32(0.0371)
        parts["per_tensor_scale"] = np.array(whole)
        steps = steps * whole
    data = {"block_size": size, "elem_dtype": _dtype("float8_e4m3fn"), "is_swizzled_scales": True}
    values = worth * np.repeat(steps, size, axis=1)
    return Made(parts, "NVFP4Tensor" if kind == "nvfp4" else "MXTensor", data, values, codes)


def entries(name: str, weight: Made) -> dict[str, Array]:
    """The tensors of safetensors of a parameter."""
    module, dot, last = name.rpartition(".")
    return {f"{module}{dot}_{last}_{part}": np.ascontiguousarray(t) for part, t in weight.parts.items()}


def opened(
    folder: Path, weights: Mapping[str, Made], more: Mapping[str, Array] | None = None, metadata: bool = True,
    said: Mapping[str, Any] | None = None,
) -> Format:  # fmt: skip
    """A file of these parameters, opened. metadata: whether it says of what classes they are."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: t for name, w in weights.items() for k, t in entries(name, w).items()} | dict(more or {})
    kinds = {
        name: json.dumps({"_type": w.kind, "_data": w.data, "_tensor_data_names": list(w.parts)})
        for name, w in weights.items()
    }
    save_file(
        tensors, folder / "model.safetensors", {**kinds, "tensor_names": json.dumps([*weights])} if metadata else None
    )
    if said is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": dict(said)}))
    return format_of(open_checkpoint(folder))


class _Wrapper(torch.Tensor):
    """A tensor that is pickled as torchao's classes are: the class, its size, its attributes."""

    def __new__(cls, size: torch.Size, attributes: dict[str, object]) -> _Wrapper:
        made: _Wrapper = torch.Tensor._make_wrapper_subclass(cls, size, dtype=torch.bfloat16)
        made.__dict__.update(attributes)
        return made

    @classmethod
    def __torch_dispatch__(cls, *_: object) -> object:
        raise NotImplementedError


def pickled(
    folder: Path, path: str, cls: str, size: tuple[int, int], attributes: dict[str, object], around: str = ""
) -> Format:
    """A file of one such tensor of a class that nobody has here, opened. path: of its module. around: the class of an
    object that it is in, as `original_weight_tensor`."""
    folder.mkdir(parents=True, exist_ok=True)
    before = dict(sys.modules)
    try:
        root = path.split(".")
        for i in range(len(root)):
            sys.modules[".".join(root[: i + 1])] = types.ModuleType(".".join(root[: i + 1]))

        def of(name: str, attributes: dict[str, object]) -> torch.Tensor:
            made = type(name, (_Wrapper,), {"__module__": path})
            setattr(sys.modules[path], name, made)
            tensor: torch.Tensor = made(torch.Size(size), attributes)
            return tensor

        if "tensor_impl" in attributes:
            attributes["tensor_impl"] = of("PlainAQTTensorImpl", attributes["tensor_impl"])  # type: ignore[arg-type]
        tensor = of(cls, attributes)
        if around:
            tensor = of(around, {"original_weight_tensor": tensor})
        torch.save({"model.layers.0.mlp.up_proj.weight": tensor}, folder / "pytorch_model.bin")
    finally:
        sys.modules.clear()
        sys.modules.update(before)
    return format_of(open_checkpoint(folder))
