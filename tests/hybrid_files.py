"""A small hybrid of Mamba2, experts, attention and an MLP, in full precision and as ModelOpt exports it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

N_HEADS, HEAD, N_GROUPS, STATES, MODEL = 4, 32, 2, 16, 128
CONVOLVED = N_HEADS * HEAD + 2 * N_GROUPS * STATES
ROWS = N_HEADS * HEAD + CONVOLVED + N_HEADS
CONFIG = {
    "model_type": "nemotron_h", "hybrid_override_pattern": "ME*-", "num_hidden_layers": 4, "mamba_num_heads": N_HEADS,
    "mamba_head_dim": HEAD, "n_groups": N_GROUPS, "ssm_state_size": STATES, "hidden_size": MODEL,
}  # fmt: skip


def original(place: Path) -> Path:
    """In bfloat16."""
    place.mkdir()
    save_file(_tensors(), place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(CONFIG))
    return place


def exported(place: Path) -> Path:
    """The Mamba layer in FP8, experts in NVFP4, the rest as it was."""
    place.mkdir()
    tensors = _tensors()
    layers: dict[str, dict[str, str | int]] = {}
    for name in list(tensors):
        module = name.removesuffix(".weight")
        if name.endswith(("in_proj.weight", "out_proj.weight")):
            scale = tensors[name].float().abs().max() / 448
            tensors[name] = (tensors[name].float() / scale).to(torch.float8_e4m3fn)
            tensors |= {f"{module}.weight_scale": scale, f"{module}.input_scale": torch.tensor(0.01)}
            layers[module] = {"quant_algo": "FP8"}
        elif ".experts." in name:
            rows, columns = tensors[name].shape
            tensors[name] = torch.randint(0, 256, (rows, columns // 2), dtype=torch.uint8)
            tensors[f"{module}.weight_scale"] = torch.ones(rows, columns // 16).to(torch.float8_e4m3fn)
            tensors |= {f"{module}.weight_scale_2": torch.tensor(0.01), f"{module}.input_scale": torch.tensor(0.01)}
            layers[module] = {"quant_algo": "NVFP4", "group_size": 16}
    save_file(tensors, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(CONFIG))
    said = {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": None, "quantized_layers": layers}
    (place / "hf_quant_config.json").write_text(
        json.dumps({"producer": {"name": "modelopt", "version": "0.47.0"}, "quantization": said})
    )
    return place


def _tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "embeddings.weight": (64, MODEL), "norm_f.weight": (MODEL,),
        "layers.0.mixer.in_proj.weight": (ROWS, MODEL), "layers.0.mixer.conv1d.weight": (CONVOLVED, 1, 4),
        "layers.0.mixer.A_log": (N_HEADS,), "layers.0.mixer.out_proj.weight": (MODEL, N_HEADS * HEAD),
        **{f"layers.1.mixer.experts.{e}.{p}_proj.weight": (64, MODEL) for e in range(2) for p in ("up", "gate")},
        **{f"layers.2.mixer.{p}_proj.weight": (64, MODEL) for p in "qkv"},
        "layers.3.mixer.up_proj.weight": (64, MODEL),
    }  # fmt: skip
    return {f"backbone.{n}": torch.randn(s, generator=generator).to(torch.bfloat16) for n, s in shapes.items()}
