"""Checkpoints of normally distributed weights, quantized as libraries do it, and the same with codes or entries broken
in the way in which it happens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.lint.check import Lint, RuleFinding, lint
from qinspect.inspector.lint.registry import all_rules
from qinspect.inspector.lint.subject import Subject

Tensors = dict[str, torch.Tensor]
DATA = Path(__file__).parent / "data"
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
ROWS, COLUMNS = 64, 256

MODELOPT: dict[str, Any] = {"quant_method": "modelopt", "quant_algo": "NVFP4", "config_groups": {}}
INT4: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128},
        }
    },
}
FP8: dict[str, Any] = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 64]}
GPTQ: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": False}


def normal(seed: int, rows: int = ROWS, columns: int = COLUMNS) -> torch.Tensor:
    """float32: weights of a layer."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02


def nvfp4(weight: torch.Tensor, clip: float = 1.0) -> Tensors:
    """As ModelOpt stores it. clip: of the block scales that the largest of each block asks for."""
    rows, columns = weight.shape
    outer = weight.abs().max() / (6 * 448)
    blocks = weight.reshape(rows, columns // 16, 16)
    scale = (blocks.abs().amax(2) / 6 / outer * clip).to(torch.float8_e4m3fn)
    step = (scale.float() * outer)[:, :, None]
    x = torch.where(step > 0, blocks / step, torch.zeros(()))
    level = (x.abs()[..., None] - E2M1).abs().argmin(-1)
    codes = (level + 8 * (x < 0)).to(torch.uint8).reshape(rows, columns)
    packed = codes[:, 0::2] | (codes[:, 1::2] << 4)
    return {"weight": packed, "weight_scale": scale, "weight_scale_2": outer, "input_scale": torch.tensor(0.01)}


def int4(weight: torch.Tensor, clip: float = 1.0, group: int = 128) -> Tensors:
    """As compressed-tensors stores it: codes about 8, eight a word."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // group, group)
    scale = groups.abs().amax(2) / 7.5 * clip
    codes = (groups / scale[:, :, None]).round().clamp(-8, 7) + 8
    return {
        "weight_packed": words(codes.reshape(rows, columns)),
        "weight_scale": scale.to(torch.float16),
        "weight_shape": torch.tensor([rows, columns]),
    }


def words(codes: torch.Tensor) -> torch.Tensor:
    """int32 of eight codes each, the first in the lowest bits."""
    eight = codes.to(torch.int64).reshape(len(codes), -1, 8)
    found = (eight << torch.arange(0, 32, 4)).sum(2)
    return torch.where(found >= 1 << 31, found - (1 << 32), found).to(torch.int32)


def fp8(weight: torch.Tensor, tile: int = 64) -> Tensors:
    """As DeepSeek stores it, in tiles."""
    rows, columns = weight.shape
    tiles = weight.reshape(rows // tile, tile, columns // tile, tile)
    scale = tiles.abs().amax((1, 3)) / 448
    codes = (tiles / scale[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": scale}


def gptq(weight: torch.Tensor, one_less: bool = True) -> Tensors:
    """As AutoGPTQ stores it, with zero points. one_less: v1, which takes one off them."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // 128, 128)
    low, high = groups.amin(2), groups.amax(2)
    scale = (high - low) / 15
    zero = (-low / scale).round().clamp(0, 15)
    codes = ((groups / scale[:, :, None]).round() + zero[:, :, None]).clamp(0, 15).reshape(rows, columns)
    zeros = (zero - int(one_less)).to(torch.int64) & 15
    return {
        "qweight": words(codes).T.contiguous(),  # [in / 8, out]: eight inputs a word
        "qzeros": words(zeros.T),  # [groups, out / 8]
        "scales": scale.T.to(torch.float16),
        "g_idx": (torch.arange(columns) // 128).to(torch.int32),
    }


def model(
    folder: Path, make: Callable[[torch.Tensor], Tensors], config: Mapping[str, Any], n: int = 4,
    change: Callable[[Tensors], object] = lambda _: None, plain: Tensors | None = None,
) -> Path:  # fmt: skip
    """`n` layers, each with an `up_proj` and a `down_proj` that `make` quantized. change: of the tensors."""
    tensors: Tensors = dict(plain or {})
    for layer in range(n):
        for place, name in enumerate(("up_proj", "down_proj")):
            made = make(normal(2 * layer + place))
            tensors.update({f"model.layers.{layer}.mlp.{name}.{last}": t for last, t in made.items()})
    change(tensors)
    return saved(folder, tensors, config)


def saved(folder: Path, tensors: Tensors, config: Mapping[str, Any]) -> Path:
    """model.safetensors and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: t.contiguous().clone() for k, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": config}))
    return folder


def edited(source: Path, folder: Path, change: Callable[[Tensors], object]) -> Path:
    """A copy of a checkpoint, its tensors changed."""
    shutil.copytree(source, folder)
    tensors: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(file))
        file.unlink()
    for index in folder.glob("*.index.json"):
        index.unlink()
    tensors = {k: t.clone() for k, t in tensors.items()}
    change(tensors)
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


def opened(folder: Path) -> Format:
    """Its family."""
    return format_of(open_checkpoint(folder))


def linted(folder: Path, *codes: str, other: Path | None = None, fast: bool = False) -> Lint:
    """What the rules of these codes, or themes, find."""
    rules = [r for r in all_rules() if r.code.startswith(codes)]
    assert rules
    return lint([("A", Subject(opened(folder), opened(other) if other else None, fast=fast))], rules)


def found_by(folder: Path, code: str, other: Path | None = None) -> list[RuleFinding]:
    """The findings of one rule, which had something to look at."""
    result = linted(folder, code, other=other)
    (outcome,) = result.outcomes
    assert outcome.checked is not None, outcome.skipped
    assert outcome.checked.n > 0
    return list(result.findings)
