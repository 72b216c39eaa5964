"""Inputs of open_compare.py, each made by a process of its own: `python open_compare_inputs.py KIND FOLDER FRACTION`.

KIND is `safetensors-group`, `safetensors-channel`, `bin-group`, `bin-channel` or `quamba`. FOLDER/A and FOLDER/B are
the two checkpoints. A big pair has 20,000 linear layers of a 4-bit model: int32 codes and a float16 bias, which are
holes in sparse files (100 GB each that take no disk), and float16 scales with real bytes. `group`: one scale per 128
inputs (154 kB a tensor, 3.1 GB a model), as GPTQ and AWQ store; `channel`: one per output (7.7 kB, 154 MB).
B differs from A by 0.2 % in a few elements of every 20th scale tensor.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

N_SHARDS = 20
LINEARS_PER_SHARD = 1000
OUT_FEATURES, IN_FEATURES = 3840, 2560
GROUP = 128
CHANGED_EVERY = 20
POOL_ELEMENTS = 1 << 22


def linear_names(first: int, n: int) -> Iterator[str]:
    """Modules of a mixture of experts: 100 layers of 100 experts of two linear layers, by number."""
    for i in range(first, first + n):
        layer, rest = divmod(i, 200)
        expert, which = divmod(rest, 2)
        yield f"model.layers.{layer}.mlp.experts.{expert}.{('up_proj', 'down_proj')[which]}"


def tensors_of(first: int, n: int, granularity: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """name -> (dtype, shape) of `n` linear layers."""
    scales = (OUT_FEATURES, IN_FEATURES // GROUP if granularity == "group" else 1)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for module in linear_names(first, n):
        tensors[f"{module}.weight"] = ("I32", (OUT_FEATURES, IN_FEATURES // 8))
        tensors[f"{module}.weight_scale"] = ("F16", scales)
        tensors[f"{module}.bias"] = ("F16", (OUT_FEATURES,))
    return tensors


class ScaleBytes:
    """Bytes of scale tensors: slices of one pool of plausible float16 scales, the same for A and B but for changes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.pool = rng.uniform(1e-3, 2e-2, POOL_ELEMENTS).astype(np.float16)

    def of(self, number: int, n_elements: int, changed: bool) -> bytes:
        """Bytes of scale tensor `number`. changed: as B has it, where B differs."""
        start = number * 7919 % (POOL_ELEMENTS - n_elements)
        values = self.pool[start : start + n_elements]
        if changed and number % CHANGED_EVERY == 0:
            values = values.copy()
            values[::100] = (values[::100].astype(np.float32) * 1.002).astype(np.float16)
        return values.tobytes()


def write_big_pair(folder: Path, kind: str, granularity: str, fraction: float) -> None:
    """Both models, sharded, with an index as Transformers writes it."""
    n_shards = max(1, round(N_SHARDS * fraction))
    source = ScaleBytes()
    stem, suffix = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    for model in ("A", "B"):
        place = folder / model
        place.mkdir()
        weight_map = {}
        for shard in range(n_shards):
            name = f"{stem}-{shard + 1:05}-of-{n_shards:05}.{suffix}"
            first = shard * LINEARS_PER_SHARD
            tensors = tensors_of(first, LINEARS_PER_SHARD, granularity)
            offsets = (write_safetensors if kind == "safetensors" else write_bin)(place / name, tensors)
            fill_scales(place / name, tensors, offsets, source, first, model == "B")
            weight_map.update(dict.fromkeys(tensors, name))
        (place / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def fill_scales(
    path: Path,
    tensors: dict[str, tuple[str, tuple[int, ...]]],
    offsets: dict[str, int],
    source: ScaleBytes,
    first: int,
    changed: bool,
) -> None:
    """Write the bytes of the scales; everything else stays a hole."""
    scales = [name for name in tensors if name.endswith("scale")]
    with path.open("r+b") as f:
        for number, name in enumerate(scales, first):
            n = int(np.prod(tensors[name][1]))
            f.seek(offsets[name])
            f.write(source.of(number, n, changed))


def write_safetensors(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, int]:
    """A sparse file in the order that the safetensors library writes, widest dtype first, then by name.

    Returns the offset of each tensor in the file.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    width = {"I32": 4, "F16": 2}
    starts = {}
    position = 0
    for name in sorted(tensors, key=lambda name: (-width[tensors[name][0]], name)):
        dtype, shape = tensors[name]
        starts[name] = position
        end = position + width[dtype] * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + position)
    return {name: 8 + len(text) + start for name, start in starts.items()}


def write_bin(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, int]:
    """A sparse zip that torch.save itself writes, leaving out the storages' bytes. Returns each tensor's offset."""
    import torch
    from torch._subclasses import FakeTensorMode

    dtypes = {"I32": torch.int32, "F16": torch.float16}
    with FakeTensorMode():
        state = OrderedDict((name, torch.empty(shape, dtype=dtypes[dtype])) for name, (dtype, shape) in tensors.items())
        with torch.serialization.skip_data(materialize_fake_tensors=True):
            torch.save(state, path)
    reader: Any = torch._C.PyTorchFileReader(str(path))  # its stubs lack the method
    # torch.save numbers storages in the order of the state_dict.
    return {name: reader.get_record_offset(f"data/{i}") for i, name in enumerate(tensors)}


# --- Quamba2-2.7B ---

D_MODEL, D_INNER, D_STATE, N_HEADS, N_LAYERS, VOCABULARY = 2560, 5120, 128, 80, 64, 50288
D_CONV = D_INNER + 2 * D_STATE
HEAD_GROUPS = 4


def write_quamba_pair(folder: Path, fraction: float) -> None:
    """Quamba2-2.7B, W8A8, head groups, quantized embedding and lm_head: 2.9 GB each, keys as Quamba saves them.

    B has other values in two activation scales of every eighth layer.
    """
    import torch

    n_layers = max(1, round(N_LAYERS * fraction))
    config = {
        "d_model": D_MODEL, "d_intermediate": 0, "n_layer": n_layers, "vocab_size": 50280,
        "ssm_cfg": {"layer": "W8A8QMamba2"}, "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": True,
        "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 16, "tie_embeddings": False,
        "norm_cfg": {"norm": "QRMSNorm"}, "embedding_cfg": {"layer": "W8O16Embedding"},
        "lm_head_cfg": {"layer": "W8A8B16O16Linear"},
    }  # fmt: skip
    state = quamba_state(torch.Generator().manual_seed(0), n_layers)
    for model in ("A", "B"):
        place = folder / model
        place.mkdir()
        if model == "B":
            for layer in range(0, n_layers, 8):
                mixer = f"backbone.layers.{layer}.mixer"
                state[f"{mixer}.qchunk_scan.ssm_state_scale"] *= 1.001
                state[f"{mixer}.had.x_H_scale"] *= 1.001
                a, b = state[f"{mixer}.out_proj.a"], state[f"{mixer}.out_proj.b"]
                a[:] = state[f"{mixer}.had.x_H_scale"]  # a copy, and the next one holds it too
                state[f"{mixer}.out_proj.alpha"] = float(a * b)
        torch.save(state, place / "pytorch_model.bin")
        (place / "config.json").write_text(json.dumps(config))


def quamba_state(rng, n_layers: int) -> OrderedDict:  # type: ignore[no-untyped-def, type-arg]
    """The state_dict: the keys, dtypes and strides of a W8A8 checkpoint with head groups, random codes."""
    import torch

    def codes(*shape: int) -> torch.Tensor:
        return torch.randint(-127, 128, shape, dtype=torch.int8, generator=rng)

    def scale(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=rng) * 0.1 + 0.01

    def number() -> float:
        return float(scale())

    def linear(path: str, n_in: int, n_out: int, s_in: str, per_channel: bool = False) -> dict[str, object]:
        made = {f"{path}.weight": codes(n_out, n_in).t(), f"{path}.a": torch.tensor([[state[s_in]]])}
        made[f"{path}.b"] = scale(1, n_out if per_channel else 1)
        alpha = {} if per_channel else {f"{path}.alpha": float(made[f"{path}.a"] * made[f"{path}.b"])}
        return {**made, **alpha}

    state: OrderedDict[str, object] = OrderedDict()
    state["backbone.embedding.weight"] = codes(VOCABULARY, D_MODEL)
    state["backbone.embedding.scales"] = scale(VOCABULARY).half()
    dims = torch.arange(HEAD_GROUPS * HEAD_GROUPS, dtype=torch.int32).reshape(1, HEAD_GROUPS, HEAD_GROUPS) + 1
    ranges = {
        "x_head_group_range": torch.arange(1, HEAD_GROUPS + 1, dtype=torch.int32)[None] * (N_HEADS // HEAD_GROUPS),
        "x_dim_group_range": dims % HEAD_GROUPS * (D_INNER // N_HEADS // HEAD_GROUPS),
    }
    groups = (1, HEAD_GROUPS, HEAD_GROUPS)
    for i in range(n_layers):
        norm, mixer = f"backbone.layers.{i}.norm", f"backbone.layers.{i}.mixer"
        conv, scan = f"{mixer}.conv1d", f"{mixer}.qchunk_scan"
        state[f"{norm}.weight"] = scale(D_MODEL).half()
        state[f"{norm}.output_scale"] = number()
        state.update(linear(f"{mixer}.in_proj", D_MODEL, D_INNER + D_CONV + N_HEADS, f"{norm}.output_scale", True))
        state[f"{conv}.weight"], state[f"{conv}.bias"] = codes(D_CONV, 4), codes(D_CONV)
        state.update({f"{conv}.{name}": value.clone() for name, value in ranges.items()})
        state[f"{conv}.x_out_scales"] = scale(*groups)
        state[f"{conv}.B_out_scales"], state[f"{conv}.C_out_scales"] = scale(1), scale(1)
        for name in ("x", "B", "C", "wx", "wB", "wC", "bx", "bB", "bC"):
            state[f"{conv}.{name}_scale"] = number()
        state[f"{scan}.dt_bias"] = scale(N_HEADS).half()
        for name in ("A_log", "D"):
            state[f"{scan}.{name}"], state[f"{scan}.{name}_scale"] = codes(N_HEADS), scale()
        state[f"{scan}.dt_scale"], state[f"{scan}.ssm_state_scale"] = scale(), scale(*groups, D_STATE)
        state[f"{scan}.x_scales"] = state[f"{conv}.x_out_scales"].clone()  # type: ignore[attr-defined]
        state.update({f"{scan}.{name}": value.clone() for name, value in ranges.items()})
        for name in ("B", "C"):  # the scan's inputs are the convolution's outputs
            state[f"{scan}.{name}_scale"] = state[f"{conv}.{name}_out_scales"].clone()  # type: ignore[attr-defined]
        state[f"{mixer}.norm.weight"] = scale(D_INNER).half()
        state[f"{mixer}.norm.z_scale"], state[f"{mixer}.norm.output_scale"] = number(), None
        state[f"{mixer}.had.x_H_scale"] = number()
        state.update(linear(f"{mixer}.out_proj", D_INNER, D_MODEL, f"{mixer}.had.x_H_scale"))
    state["backbone.norm_f.weight"], state["backbone.norm_f.output_scale"] = scale(D_MODEL).half(), number()
    state.update(linear("lm_head", D_MODEL, VOCABULARY, "backbone.norm_f.output_scale"))
    return state


def main() -> None:
    kind, folder, fraction = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    folder.mkdir(parents=True)
    if kind == "quamba":
        write_quamba_pair(folder, fraction)
    else:
        container, granularity = kind.split("-")
        write_big_pair(folder, container, granularity, fraction)
    os.sync()  # no write-back while others are timed


if __name__ == "__main__":
    main()
