"""What a user writes to know the same: load both models, dequantize as the library that reads the codes does, subtract,
take norms. With torch and safetensors, of GGUF with the gguf package. benchmarks/fidelity.py runs it in a process of
its own; no code of ours is used.

    python benchmarks/fidelity_rival.py ORIGINAL MADE
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any


def script(a: str, b: str) -> dict[str, float]:
    """Seconds of it all, imports left out, and the mean SQNR in dB."""
    import gguf  # noqa: F401
    import torch
    from safetensors.torch import load_file

    start, cpu = time.perf_counter(), time.process_time()
    original = load_file(Path(a) / "model.safetensors")
    made = _of_gguf(b) if b.endswith(".gguf") else _dequantized(load_file(Path(b) / "model.safetensors"))
    found = []
    for name, weight in made.items():
        x = original[name].float()
        error = torch.linalg.vector_norm(weight - x) / torch.linalg.vector_norm(x)
        found.append(-20 * math.log10(float(error)))
    return {
        "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "mean_sqnr": sum(found) / len(found),
    }  # fmt: skip


def _dequantized(tensors: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, codes in tensors.items():
        module, _, last = key.rpartition(".")
        if last not in ("weight", "weight_packed"):
            continue
        scale = tensors[f"{module}.weight_scale"].float()
        if f"{module}.weight_global_scale" in tensors:
            weight = _fp4(codes, scale / tensors[f"{module}.weight_global_scale"])
        elif last == "weight":
            weight = codes.float() * scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
        else:
            weight = _int4(codes, scale)
        found[f"{module}.weight"] = weight
    return found


def _int4(words: Any, scale: Any) -> Any:
    import torch

    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    codes = ((words[:, :, None] >> shifts) & 15).reshape(len(words), -1).float() - 8
    return (codes.reshape(*scale.shape, -1) * scale[..., None]).reshape(codes.shape)


def _fp4(pairs: Any, scale: Any) -> Any:
    import torch

    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    codes = torch.stack((pairs & 15, pairs >> 4), -1).reshape(len(pairs), -1)
    return (levels[codes.int()].reshape(*scale.shape, -1) * scale[..., None]).reshape(codes.shape)


def _of_gguf(path: str) -> dict[str, Any]:
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize

    names = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }  # fmt: skip
    found = {}
    for tensor in GGUFReader(path).tensors:
        _, layer, short, _ = tensor.name.split(".")
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
        found[f"model.layers.{layer}.{names[short]}.weight"] = values
    return found


if __name__ == "__main__":
    found = script(*sys.argv[1:])
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000
    print(json.dumps({**found, "peak_mb": peak}))
