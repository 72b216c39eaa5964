"""Small checkpoints as savers lay them out, sound until a test edits them: only headers and scalar scales matter."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from hostile import safetensors_bytes

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

_BITS = {"F32": 32, "BF16": 16, "F16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U8": 8, "I8": 8, "I32": 32}
LLAMA = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}
QKV = ("q_proj", "k_proj", "v_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


class Model:
    """Entries and settings; every edit returns the model."""

    def __init__(self, quantization: Mapping[str, Any] | None = None, **config: Any) -> None:
        self.entries: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
        self.config: dict[str, Any] = {**LLAMA, **config}
        if quantization is not None:
            self.config["quantization_config"] = dict(quantization)
        self.files: dict[str, Any] = {}
        self.metadata = {"format": "pt"}

    def put(self, name: str, dtype: str, *shape: int, data: bytes | None = None) -> Model:
        """An entry of zeros, or of `data`."""
        n = math.prod(shape) * _BITS[dtype] // 8
        self.entries[name] = dtype, shape, bytes(n) if data is None else data
        return self

    def number(self, name: str, value: float, *shape: int, dtype: str = "F32") -> Model:
        """A scalar."""
        made = struct.pack("<f", value) if dtype == "F32" else np.array(value, ml_dtypes.bfloat16).tobytes()
        return self.put(name, dtype, *shape, data=made * math.prod(shape))

    def set(self, part: str, value: float) -> Model:
        """Another number in every scalar whose name ends so; there is one at least."""
        found = [n for n in self.entries if n.endswith(part)]
        assert found, part
        for name in found:
            dtype, shape, _ = self.entries[name]
            self.number(name, value, *shape, dtype=dtype)
        return self

    def drop(self, part: str) -> Model:
        """Without the entries whose names end so; there is one at least."""
        found = [n for n in self.entries if n.endswith(part)]
        assert found, part
        for name in found:
            del self.entries[name]
        return self

    def say(self, **settings: Any) -> Model:
        """More in `quantization_config`; None takes a setting away."""
        said = self.config["quantization_config"]
        for key, value in settings.items():
            if value is None:
                said.pop(key, None)
            else:
                said[key] = value
        return self

    def write(self, folder: Path) -> Path:
        """The folder, with its files in it."""
        folder.mkdir(parents=True, exist_ok=True)
        header: dict[str, Any] = {"__metadata__": self.metadata}
        at = 0
        for name, (dtype, shape, data) in self.entries.items():
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
            at += len(data)
        content = b"".join(data for _, _, data in self.entries.values())
        (folder / "model.safetensors").write_bytes(safetensors_bytes(header, content))
        for name, said in {"config.json": self.config, **self.files}.items():
            if said:
                (folder / name).write_text(json.dumps(said))
        return folder

    def opened(self, folder: Path) -> Format:
        """As a command opens it."""
        return format_of(open_checkpoint(self.write(folder)))


# --- modules ---


def fp4_factor(model: Model, module: str, scale: float = 0.5, inputs: float | None = 0.25, rows: int = 32) -> None:
    """ModelOpt's NVFP4: outer scales are factors."""
    model.put(f"{module}.weight", "U8", rows, 16).put(f"{module}.weight_scale", "F8_E4M3", rows, 2)
    model.number(f"{module}.weight_scale_2", scale)
    if inputs is not None:
        model.number(f"{module}.input_scale", inputs)


def fp4_divisor(model: Model, module: str, divisor: float = 2.0, inputs: float | None = 4.0, rows: int = 32) -> None:
    """compressed-tensors' NVFP4: outer scales are divisors."""
    model.put(f"{module}.weight_packed", "U8", rows, 16).put(f"{module}.weight_scale", "F8_E4M3", rows, 2)
    model.number(f"{module}.weight_global_scale", divisor, 1)
    if inputs is not None:
        model.number(f"{module}.input_global_scale", inputs, 1)


def fp8(model: Model, module: str, scale: float = 0.5, inputs: float | None = 0.25) -> None:
    """FP8 with one scale."""
    model.put(f"{module}.weight", "F8_E4M3", 32, 32).number(f"{module}.weight_scale", scale)
    if inputs is not None:
        model.number(f"{module}.input_scale", inputs)


def fp8_block(model: Model, module: str, rows: int = 256, columns: int = 256, dtype: str = "F32") -> None:
    """FP8 in blocks of 128 x 128."""
    model.put(f"{module}.weight", "F8_E4M3", rows, columns)
    model.put(f"{module}.weight_scale_inv", dtype, -(-rows // 128), -(-columns // 128))


def gptq(model: Model, module: str) -> None:
    """Four bits, one group."""
    model.put(f"{module}.qweight", "I32", 16, 32).put(f"{module}.qzeros", "I32", 1, 4)
    model.put(f"{module}.scales", "F16", 1, 32).put(f"{module}.g_idx", "I32", 128)


def dense(model: Model, make: Any, layers: int = 1, **how: Any) -> Model:
    """Attention and MLP in every layer."""
    for module in of_dense(layers):
        make(model, module, **how)
    return model


def of_dense(layers: int = 1) -> Iterator[str]:
    """The modules of `dense`."""
    for i in range(layers):
        yield from (f"model.layers.{i}.self_attn.{p}" for p in (*QKV, "o_proj"))
        yield from (f"model.layers.{i}.mlp.{p}" for p in MLP)


def experts(model: Model, make: Any, layers: int = 1, n: int = 3, **how: Any) -> Model:
    """Experts in every layer."""
    for i in range(layers):
        for e in range(n):
            for p in MLP:
                make(model, expert(p, e, i), **how)
    return model


def expert(name: str, number: int = 0, layer: int = 0) -> str:
    """A projection of an expert."""
    return f"model.layers.{layer}.mlp.experts.{number}.{name}"


# --- models ---

_FP4 = {"num_bits": 4, "type": "float", "group_size": 16}


def modelopt(algorithm: str = "NVFP4", **said: Any) -> Model:
    """ModelOpt's settings."""
    return Model({"quant_method": "modelopt", "quant_algo": algorithm, "ignore": ["lm_head"], **said})


def compressed(inputs: bool = True, weights: Mapping[str, Any] = _FP4, **said: Any) -> Model:
    """compressed-tensors' settings."""
    group = {
        "targets": ["Linear"],
        "weights": dict(weights),
        "input_activations": {**weights, "dynamic": "local"} if inputs else None,
    }
    return Model(
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"], **said}
    )


def fine_grained(**said: Any) -> Model:
    """`fp8`, in blocks."""
    return Model({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], **said})


def nvfp4() -> Model:
    """ModelOpt, dense."""
    return dense(modelopt(), fp4_factor)


def nvfp4_experts() -> Model:
    """ModelOpt, experts."""
    return experts(modelopt(), fp4_factor)


def ct_nvfp4(inputs: bool = True) -> Model:
    """compressed-tensors, dense."""
    return dense(compressed(inputs), fp4_divisor, inputs=4.0 if inputs else None)


def ct_nvfp4_experts(inputs: bool = True) -> Model:
    """compressed-tensors, experts."""
    return experts(compressed(inputs), fp4_divisor, inputs=4.0 if inputs else None)


def mo_fp8(**how: Any) -> Model:
    """ModelOpt FP8, dense."""
    return dense(modelopt("FP8"), fp8, **how)


def mo_fp8_experts() -> Model:
    """ModelOpt FP8, experts."""
    return experts(modelopt("FP8"), fp8)


def with_cache(model: Model, k: float | None = 0.5, v: float | None = 0.5, algorithm: str | None = "FP8") -> Model:
    """The same with scales of the KV cache as ModelOpt puts them."""
    for name, value in (("k", k), ("v", v)):
        if value is not None:
            model.number(f"model.layers.0.self_attn.{name}_proj.{name}_scale", value)
    return model.say(kv_cache_quant_algo=algorithm) if algorithm else model


def ct_cache(strategy: str = "tensor", **said: Any) -> Model:
    """compressed-tensors with an FP8 cache: scales beside the attention."""
    scheme = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, "dynamic": False, **said}
    model = ct_nvfp4().say(kv_cache_scheme=scheme)
    n = (2, 1, 1) if strategy == "attn_head" else (1,)
    for name in "kvq":
        model.number(f"model.layers.0.self_attn.{name}_scale", 0.5, *n)
    return model


def blocks(**how: Any) -> Model:
    """`fp8` in blocks, dense."""
    return dense(fine_grained(), fp8_block, **how)


def static_fp8() -> Model:
    """`fp8` with one scale, activations too."""
    return dense(fine_grained(activation_scheme="static").say(weight_block_size=None), fp8)


def gptq_model(**said: Any) -> Model:
    """GPTQ, symmetric, four bits."""
    base = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False, **said}
    return dense(Model(base), gptq)


def gptoss() -> Model:
    """`mxfp4`: stacked experts."""
    model = Model({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, architectures=["GptOssForCausalLM"])
    for name in ("gate_up_proj", "down_proj"):
        base = f"model.layers.0.mlp.experts.{name}"
        model.put(f"{base}_blocks", "U8", 2, 32, 1, 16).put(f"{base}_scales", "U8", 2, 32, 1)
    return model


def comfy(form: str = "float8_e4m3fn", prefix: str = "") -> Model:
    """ComfyUI: a marker beside each layer; no config.json."""
    model = Model()
    model.config = {}
    marker = json.dumps({"format": form}).encode()
    for i in range(2):
        layer = f"{prefix}blocks.{i}.lin"
        if form == "nvfp4":
            fp4_factor(model, layer, inputs=None)
        else:
            fp8(model, layer)
        model.put(f"{layer}.comfy_quant", "U8", len(marker), data=marker)
    return model


def comfy_old(prefix: str = "", marker: str | None = None, dtype: str = "F8_E4M3") -> Model:
    """ComfyUI before markers: `scaled_fp8` over all."""
    model = Model()
    model.config = {}
    for i in range(2):
        layer = f"{prefix}blocks.{i}.lin"
        model.put(f"{layer}.weight", dtype, 16, 16).number(f"{layer}.scale_weight", 0.01)
        model.number(f"{layer}.scale_input", 2.0)
    return model.put(f"{prefix if marker is None else marker}scaled_fp8", dtype, 0)
