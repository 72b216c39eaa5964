"""Checkpoints as ModelOpt lays them out, of random codes and scales, with what they are worth by torch's own types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

Tensors = dict[str, torch.Tensor]
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
FP8 = torch.float8_e4m3fn


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def codes_of(bits: int, rows: int, columns: int, g: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 1 << bits, (rows, columns), dtype=torch.uint8, generator=g)


def fp8(rows: int, columns: int, g: torch.Generator) -> torch.Tensor:
    return (torch.randn(rows, columns, generator=g) * 40).clamp(-448, 448).to(FP8)


def steps_of(*shape: int, g: torch.Generator) -> torch.Tensor:
    return torch.rand(*shape, generator=g) * 0.01 + 0.001


def columns_of(steps: torch.Tensor, group: int, columns: int) -> torch.Tensor:
    """[rows, columns]: the step of each element."""
    return steps.repeat_interleave(group, 1)[:, :columns]


def pairs(codes: torch.Tensor) -> torch.Tensor:
    """uint8 [O, I/2]: the even column in the low half."""
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def nvfp4(rows: int, columns: int, seed: int = 0, group: int = 16) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes = codes_of(4, rows, columns, g)
    scale = (torch.rand(rows, -(-columns // group), generator=g) * 440 + 1).to(FP8)
    second = torch.rand((), generator=g) * 1e-3
    tensors = {
        "weight": pairs(codes),
        "weight_scale": scale,
        "weight_scale_2": second,
        "input_scale": torch.tensor(0.01),
    }
    return tensors, E2M1[codes.long()] * columns_of(scale.float() * second, group, columns)


def per_tensor(rows: int, columns: int, seed: int = 0) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes, scale = fp8(rows, columns, g), steps_of(1, g=g)[0]
    return {"weight": codes, "weight_scale": scale, "input_scale": torch.tensor(0.02)}, codes.float() * scale


def per_channel(rows: int, columns: int, seed: int = 0) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes, scale = fp8(rows, columns, g), steps_of(rows, g=g)
    return {"weight": codes, "weight_scale": scale}, codes.float() * scale[:, None]


def in_blocks(rows: int, columns: int, seed: int = 0, block: int = 128) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes, scale = fp8(rows, columns, g), steps_of(-(-rows // block), -(-columns // block), g=g)
    every = scale.repeat_interleave(block, 0)[:rows].repeat_interleave(block, 1)[:, :columns]
    stored = scale.reshape(scale.shape[0], 1, scale.shape[1], 1)
    return {"weight": codes, "weight_scale": stored.squeeze() if stored.numel() == 1 else stored}, codes.float() * every


def exponents(rows: int, columns: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 [O, I/32], and the powers of two that they stand for."""
    stored = torch.randint(100, 130, (rows, -(-columns // 32)), dtype=torch.uint8, generator=g)
    return stored, columns_of(torch.pow(2.0, stored.float() - 127), 32, columns)


def mxfp8(rows: int, columns: int, seed: int = 0) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes, (stored, steps) = fp8(rows, columns, g), exponents(rows, columns, g)
    return {"weight": codes, "weight_scale": stored}, codes.float() * steps


def mxfp4(rows: int, columns: int, seed: int = 0) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes, (stored, steps) = codes_of(4, rows, columns, g), exponents(rows, columns, g)
    signed_zero = torch.where(codes == 8, torch.tensor(-0.0), E2M1[codes.long()])
    return {"weight": pairs(codes), "weight_scale": stored}, signed_zero * steps


def int4(rows: int, columns: int, seed: int = 0, group: int = 128) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes, scale = codes_of(4, rows, columns, g), steps_of(rows, -(-columns // group), g=g)
    numbers = ((codes.int() + 8) % 16 - 8).float()
    packed = codes[0::2] | (codes[1::2] << 4)
    return {"weight": packed, "weight_scale": scale}, numbers * columns_of(scale, group, columns)


def int4_fp8(rows: int, columns: int, seed: int = 0) -> tuple[Tensors, torch.Tensor]:
    tensors, exact = int4(rows, columns, seed)
    second = torch.tensor(0.0002)
    rounded = (exact / second).to(FP8).float() * second
    return tensors | {"weight_scale_2": second, "input_scale": torch.tensor(0.02)}, rounded


def int8(rows: int, columns: int, seed: int = 0) -> tuple[Tensors, torch.Tensor]:
    g = generator(seed)
    codes, scale = codes_of(8, rows, columns, g).view(torch.int8), steps_of(rows, g=g)
    return {"weight": codes, "weight_scale": scale, "input_scale": torch.tensor(0.02)}, codes.float() * scale[:, None]


LAYOUTS = {
    "NVFP4": nvfp4, "FP8": per_tensor, "FP8_PER_CHANNEL_PER_TOKEN": per_channel, "fp8_pb_wo": in_blocks,
    "MXFP8": mxfp8, "mxfp4": mxfp4, "W4A16_AWQ": int4, "W4A8_AWQ": int4_fp8, "W8A8_SQ_PER_CHANNEL": int8,
}  # fmt: skip
"""How each algorithm stores a weight."""


def named(module: str, tensors: Tensors) -> Tensors:
    return {f"{module}.{last}": t for last, t in tensors.items()}


def config(algorithm: str | None, **more: Any) -> dict[str, Any]:
    """config.json with what ModelOpt adds to it."""
    said = {"quant_method": "modelopt", "producer": {"name": "modelopt", "version": "0.47.0"}, **more}
    return {"quantization_config": said if algorithm is None else {**said, "quant_algo": algorithm}}


def every_layout(folder: Path) -> Path:
    """A folder with a module of each layout, a stack, and what may stand beside codes."""
    tensors: Tensors = {}
    layers: dict[str, Any] = {}
    for algorithm, layout in LAYOUTS.items():
        module = f"model.layers.0.{algorithm.lower()}"
        tensors |= named(module, layout(4, 128)[0])
        layers[module] = {"quant_algo": algorithm}
    extra = {
        "pre_quant_scale": torch.ones(128),
        "svdquant_lora_a": torch.ones(2, 128),
        "svdquant_lora_b": torch.ones(4, 2),
    }
    tensors |= named("model.layers.0.nvfp4", extra)
    stacked = {"down_proj": torch.zeros(2, 8, 4, dtype=torch.uint8), "down_proj_weight_scale_2": torch.ones(2)}
    stacked["down_proj_weight_scale"] = torch.ones(2, 1, 4).to(FP8)
    tensors |= named("model.layers.0.mlp.experts", stacked)
    cache = {"k_scale": torch.tensor(0.5), "k_bias": torch.ones(1, 2, 1, 4), "weight": torch.ones(8, 4)}
    tensors |= named("model.layers.0.self_attn.k_proj", cache)
    said = config("MIXED_PRECISION", quantized_layers=layers, ignore=["lm_head*"], kv_cache_quant_algo="NVFP4_AFFINE")
    saved(folder, tensors, said)
    return folder


def saved(
    folder: Path, tensors: Tensors, said: dict[str, Any] | None = None, metadata: dict[str, str] | None = None
) -> Format:
    """The family of a checkpoint of these tensors. said: config.json; None for no such file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {n: t.clone(memory_format=torch.contiguous_format) for n, t in tensors.items()},
        folder / "model.safetensors",
        metadata=metadata,
    )
    if said is not None:
        (folder / "config.json").write_text(json.dumps(said))
    return format_of(open_checkpoint(folder))
