"""The same by the libraries that write these formats. benchmarks/dequantize.py runs it in a process of its own; no code
of ours is used.

    python -P benchmarks/dequantize_peers.py NAME CHECKPOINT REPEAT OUT

-P: transformers imports a package `kernels`, which is not the benchmark beside this.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

MODULE = "model.layers.0.self_attn.q_proj."
Tensors = dict[str, Any]


def ct(t: Tensors) -> Any:
    """Codes of one byte."""
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    return dequantize(t["weight"], t["weight_scale"].float(), args=_args(8, _kind(t["weight"]), "channel"))


def _kind(weight: Any) -> str:
    return "float" if weight.is_floating_point() else "int"


def _args(bits: int, kind: str, strategy: str, size: int | None = None) -> Any:
    from compressed_tensors.quantization import QuantizationArgs

    return QuantizationArgs(num_bits=bits, type=kind, strategy=strategy, group_size=size)


def ct_int4(t: Tensors) -> Any:
    import torch
    from compressed_tensors.compressors.pack_quantized import unpack_from_int32
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    found = unpack_from_int32(t["weight_packed"], 4, torch.Size(t["weight_shape"].tolist()))
    return dequantize(found, t["weight_scale"].float(), args=_args(4, "int", "group", 128))


def ct_nvfp4(t: Tensors) -> Any:
    import torch
    from compressed_tensors.compressors.nvfp4 import unpack_fp4_from_uint8
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    rows, half = t["weight_packed"].shape
    found = unpack_fp4_from_uint8(t["weight_packed"], rows, 2 * half, dtype=torch.float32)
    scales = t["weight_scale"].float()
    return dequantize(found, scales, args=_args(4, "float", "tensor_group", 16), global_scale=t["weight_global_scale"])


def bnb_int8(t: Tensors) -> Any:
    from bitsandbytes.functional import int8_vectorwise_dequant

    return int8_vectorwise_dequant(t["weight"], t["SCB"])


def bnb_nf4(t: Tensors) -> Any:
    import torch
    from bitsandbytes.functional import QuantState, dequantize_4bit

    said = json.loads(bytes(t["weight.quant_state.bitsandbytes__nf4"].tolist()))
    state = QuantState(
        t["weight.absmax"], torch.Size(said["shape"]), t["weight.quant_map"], said["blocksize"], "nf4", torch.float32
    )
    return dequantize_4bit(t["weight"], state)


def hqq(t: Tensors) -> Any:
    import torch
    from hqq.core.quantize import Quantizer

    meta = {
        "nbits": 4, "axis": 1, "group_size": 64, "packing": "4bit_u8", "view_as_float": False,
        "scale": t["scale"].float(), "zero": t["zero"].float(), "shape": t["shape"].tolist(),
        "compute_dtype": torch.float32,
    }  # fmt: skip
    return Quantizer.dequantize(t["W_q"], meta)


def quanto_int8(t: Tensors) -> Any:
    from optimum.quanto import WeightQBytesTensor, qint8

    data = t["weight._data"]
    return WeightQBytesTensor(qint8, 0, data.shape, data.stride(), data, t["weight._scale"].float(), None).dequantize()


def quanto_int4(t: Tensors) -> Any:
    import torch
    from optimum.quanto import WeightQBitsTensor, qint4
    from optimum.quanto.tensor.packed import PackedTensor

    stored = t["weight._data._data"]
    rows, columns = 2 * stored.shape[0], stored.shape[1]
    n_out = len(t["bias"])
    size = torch.Size((n_out, rows * columns // n_out))
    packed = PackedTensor(stored, 4, torch.Size((rows, columns)), (columns, 1))
    return WeightQBitsTensor(
        qint4, 0, columns, size, (size[1], 1), packed, t["weight._scale"].float(), t["weight._shift"].float()
    ).dequantize()


def torchao(path: str) -> Any:
    from safetensors import safe_open
    from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict

    with safe_open(Path(path) / "model.safetensors", "pt") as f:
        tensors, said = {name: f.get_tensor(name) for name in f.keys()}, f.metadata()  # noqa: SIM118  # no mapping
    found = unflatten_tensor_state_dict(tensors, said)
    (weight,) = (found[0] if isinstance(found, tuple) else found).values()
    return weight.dequantize().float().contiguous().numpy()


def mlx(path: str) -> Any:
    import mlx.core as mx
    import numpy as np

    mx.set_default_device(mx.cpu)
    said = json.loads((Path(path) / "config.json").read_text())["quantization"]
    t = {name.removeprefix(MODULE): x for name, x in mx.load(str(Path(path) / "model.safetensors")).items()}
    form = {k: said[k] for k in ("group_size", "bits", "mode")}
    affine = {k: t[k].astype(mx.float32) if "biases" in t else t[k] for k in ("scales", "biases") if k in t}
    found = mx.dequantize(t["weight"], **affine, **form).astype(mx.float32)
    return np.array(found)


BY_NAME: dict[str, tuple[str, Callable[[Tensors], Any]]] = {
    "compressed-tensors int8": ("compressed-tensors", ct), "compressed-tensors FP8": ("compressed-tensors", ct),
    "compressed-tensors int4 g128": ("compressed-tensors", ct_int4),
    "compressed-tensors NVFP4": ("compressed-tensors", ct_nvfp4),
    "bitsandbytes int8": ("bitsandbytes", bnb_int8), "bitsandbytes NF4": ("bitsandbytes", bnb_nf4),
    "HQQ 4-bit g64": ("hqq", hqq), "quanto int8": ("optimum-quanto", quanto_int8),
    "quanto int4 g128": ("optimum-quanto", quanto_int4),
}  # fmt: skip


def of_gguf(path: str) -> Any:
    from gguf import GGUFReader
    from gguf.quants import dequantize

    (tensor,) = GGUFReader(path).tensors
    return dequantize(tensor.data, tensor.tensor_type)


def of_safetensors(path: str, made: Callable[[Tensors], Any]) -> Any:
    from safetensors.torch import load_file

    loaded = load_file(Path(path) / "model.safetensors")
    found = made({name.removeprefix(MODULE): t for name, t in loaded.items()})
    return found.float().contiguous().numpy()


def main() -> None:
    import numpy as np

    name, path, repeat, out = sys.argv[1:]
    if name.startswith("GGUF"):
        package, of = "gguf", partial(of_gguf, path)
    elif name.startswith("torchao"):
        import torch

        torch.set_num_threads(1)
        package, of = "torchao", partial(torchao, path)
    elif name.startswith("MLX"):
        package, of = "mlx", partial(mlx, path)
    elif name in BY_NAME:
        import torch

        torch.set_num_threads(1)
        package, made = BY_NAME[name]
        of = partial(of_safetensors, path, made)
    else:
        sys.exit("no library")
    of()  # what it imports
    times = []
    for _ in range(int(repeat)):
        start = time.process_time()
        found = of()
        times.append(time.process_time() - start)
    np.save(out, np.asarray(found).reshape(-1)[::997])
    print(json.dumps({"cpu": min(times), "version": f"{package} {importlib.metadata.version(package)}"}))


if __name__ == "__main__":
    main()
