"""How long one weight of 4096 x 4096 takes to become float32, of each family, beside its own library and a plain copy.

    python benchmarks/dequantize.py [--peers PYTHON] [--only NAMES] [--repeat 7] [--workdir DIR] [--out FILE]

--peers: a Python with torch and gguf, compressed_tensors, bitsandbytes, hqq, optimum-quanto, torchao, mlx: what is
missing there is said at its line. Every contestant is a process of one thread; of its repeats, each of which begins at
the open file, the least CPU seconds (user and system) count. `ours` and `library` end at the whole float32 weight, the
copy is one of that. `blocks`: every block of rows once, as `qinspect dequantize` and all that reads values takes them,
and the copy is one of each block. Numbers are random and made here. Where ours and the library's differ, a line says
so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.formats.element import NF4

Array = NDArray[Any]
N = 4096
MODULE = "model.layers.0.self_attn.q_proj"
RNG = np.random.default_rng(0)
E4M3, BF16 = ml_dtypes.float8_e4m3fn, ml_dtypes.bfloat16
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

OURS = """
import json, sys, time
import numpy as np
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import format_of
from qinspect.inspector.values.inspection import row_blocks
fmt = format_of(open_checkpoint(sys.argv[1]))
(weight,) = fmt.weights()
times = []
for _ in range(int(sys.argv[2])):
    start = time.process_time()
    found = np.empty(weight.shape, np.float32)
    for first, last in row_blocks(weight):
        found[first:last] = fmt.dequantize(weight, first, last)
    times.append(time.process_time() - start)
np.save(sys.argv[3], found.reshape(-1)[::997])
parts, copies = [], []
for _ in range(int(sys.argv[2])):
    of_blocks = of_copies = 0.0
    for first, last in row_blocks(weight):
        start = time.process_time()
        block = fmt.dequantize(weight, first, last)
        between = time.process_time()
        block.copy()
        of_blocks, of_copies = of_blocks + between - start, of_copies + time.process_time() - between
    parts.append(of_blocks)
    copies.append(of_copies)
print(json.dumps([min(times), min(parts), min(copies)]))
"""
COPY = """
import sys, time
import numpy as np
found = np.ones((int(sys.argv[1]), int(sys.argv[1])), np.float32)
times = []
for _ in range(int(sys.argv[2])):
    start = time.process_time()
    copied = found.copy()
    times.append(time.process_time() - start)
    del copied
print(min(times))
"""


def codes(shape: tuple[int, ...], least: int, most: int, dtype: Any = np.uint8) -> Array:
    return RNG.integers(least, most, shape).astype(dtype)


def steps(*shape: int, dtype: Any = np.float32) -> Array:
    return (RNG.random(shape, np.float32) * 0.01 + 0.001).astype(dtype)


def words(*shape: int) -> Array:
    return codes(shape, -(1 << 31), 1 << 31, np.int32)


def small_floats(*shape: int) -> Array:
    """Numbers of E4M3 without NaN."""
    return np.where(found := codes(shape, 0, 0x7F), found, 0x38).astype(np.uint8).view(E4M3)


def group(bits: int, kind: str, strategy: str, size: int | None = None, form: str = "") -> dict[str, Any]:
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": size, "symmetric": True,
               "dynamic": False}  # fmt: skip
    return {"quant_method": "compressed-tensors", "format": form, "ignore": [],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "format": form}}}  # fmt: skip


Made = tuple[dict[str, Array], dict[str, Any] | None]
"""Tensors by the last part of their names, and the settings."""


def ct_int8() -> Made:
    return {"weight": codes((N, N), -127, 128, np.int8), "weight_scale": steps(N, 1, dtype=BF16)}, group(
        8, "int", "channel", form="int-quantized"
    )


def ct_fp8() -> Made:
    return {"weight": small_floats(N, N), "weight_scale": steps(N, 1, dtype=BF16)}, group(
        8, "float", "channel", form="float-quantized"
    )


def ct_int4() -> Made:
    return {
        "weight_packed": words(N, N // 8), "weight_scale": steps(N, N // 128, dtype=BF16),
        "weight_shape": np.array([N, N], np.int64),
    }, group(4, "int", "group", 128, "pack-quantized")  # fmt: skip


def ct_nvfp4() -> Made:
    return {
        "weight_packed": codes((N, N // 2), 0, 256), "weight_scale": small_floats(N, N // 16),
        "weight_global_scale": np.array([512.0], np.float32),
    }, group(4, "float", "tensor_group", 16, "nvfp4-pack-quantized")  # fmt: skip


def bnb_int8() -> Made:
    return {"weight": codes((N, N), -127, 128, np.int8), "SCB": steps(N)}, None


def bnb_nf4() -> Made:
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [N, N]}
    return {
        "weight": codes((N * N // 2, 1), 0, 256), "weight.absmax": steps(N * N // 64),
        "weight.quant_map": np.array(NF4, np.float32),
        "weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8),
    }, None  # fmt: skip


def hqq_4bit() -> Made:
    n = N * N // 64
    return {
        "W_q": codes((n // 2, 64), 0, 256), "scale": steps(n, 1, dtype=np.float16),
        "zero": (RNG.random((n, 1), np.float32) * 15).astype(np.float16), "shape": np.array([N, N], np.int64),
        "nbits": np.array(4, np.int32), "group_size": np.array(64, np.int32), "axis": np.array(1, np.int32),
        "packing": np.frombuffer(b"4bit_u8", np.uint8),
    }, None  # fmt: skip


def quanto_int8() -> Made:
    return {"weight._data": codes((N, N), -127, 128, np.int8), "weight._scale": steps(N, 1, dtype=BF16)}, None


def quanto_int4() -> Made:
    n = N * N // 128
    return {
        "weight._data._data": codes((n // 2, 128), 0, 256), "weight._scale": steps(n, 1, dtype=np.float16),
        "weight._shift": steps(n, 1, dtype=np.float16), "bias": np.zeros(N, np.float16),
    }, None  # fmt: skip


def gptq_4bit() -> Made:
    return {
        "qweight": words(N // 8, N), "qzeros": words(N // 128, N // 8), "scales": steps(N // 128, N, dtype=np.float16),
        "g_idx": np.arange(N, dtype=np.int32) // 128,
    }, {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": False}  # fmt: skip


def awq_4bit() -> Made:
    return {
        "qweight": words(N, N // 8), "qzeros": words(N // 128, N // 8), "scales": steps(N // 128, N, dtype=np.float16),
    }, {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}  # fmt: skip


def fp8_blocks() -> Made:
    return {"weight": small_floats(N, N), "weight_scale_inv": steps(N // 128, N // 128)}, {
        "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]
    }  # fmt: skip


def modelopt_nvfp4() -> Made:
    return {
        "weight": codes((N, N // 2), 0, 256), "weight_scale": small_floats(N, N // 16),
        "weight_scale_2": np.array(0.002, np.float32), "input_scale": np.array(0.01, np.float32),
    }, {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": [], "producer": {"name": "modelopt"}}  # fmt: skip


def comfy_int8() -> Made:
    mark = np.frombuffer(json.dumps({"format": "int8_tensorwise"}).encode(), np.uint8)
    return {"weight": codes((N, N), -127, 128, np.int8), "weight_scale": steps(N, 1), "comfy_quant": mark}, None


def mlx_affine() -> Made:
    return {
        "weight": words(N, N // 8).view(np.uint32), "scales": steps(N, N // 64, dtype=BF16),
        "biases": steps(N, N // 64, dtype=BF16),
    }, {"mlx": {"group_size": 64, "bits": 4, "mode": "affine"}}  # fmt: skip


def mlx_mxfp8() -> Made:
    return {"weight": small_floats(N, N).view(np.uint32), "scales": codes((N, N // 32), 110, 120)}, {
        "mlx": {"group_size": 32, "bits": 8, "mode": "mxfp8"}
    }


def torchao_int8() -> Made:
    return {"_weight_qdata": codes((N, N), -127, 128, np.int8), "_weight_scale": steps(N, 1)}, torchao(
        "Int8Tensor", ["qdata", "scale"], act_quant_kwargs=None, block_size=[1, N]
    )


def torchao_fp8() -> Made:
    preference = {"_type": "KernelPreference", "_data": "AUTO"}
    return {"_weight_qdata": small_floats(N, N), "_weight_scale": steps(N, 1)}, torchao(
        "Float8Tensor", ["qdata", "scale"], act_quant_kwargs=None, block_size=[1, N], mm_config=None,
        kernel_preference=preference,
    )  # fmt: skip


def torchao_int4() -> Made:
    target = {"_type": "torch.dtype", "_data": "int4"}
    return {
        "_weight_qdata": codes((N, N), -8, 8, np.int8), "_weight_scale": steps(N, N // 32),
        "_weight_zero_point": np.zeros((N, N // 32), np.int8),
    }, torchao(
        "IntxUnpackedToInt8Tensor", ["qdata", "scale", "zero_point"], target_dtype=target, block_size=[1, 32],
        activation_quantization=None,
    )  # fmt: skip


def torchao(kind: str, names: list[str], **data: Any) -> dict[str, Any]:
    """What stands in the header of its file."""
    said = {"_type": kind, "_data": {**data, "dtype": {"_type": "torch.dtype", "_data": "float32"}}}
    header = {f"{MODULE}.weight": json.dumps({**said, "_tensor_data_names": names})}
    return {"header": {**header, "tensor_names": json.dumps([f"{MODULE}.weight"]), "format": "pt"}}


SAFETENSORS: dict[str, Callable[[], Made]] = {
    "compressed-tensors int8": ct_int8, "compressed-tensors FP8": ct_fp8, "compressed-tensors int4 g128": ct_int4,
    "compressed-tensors NVFP4": ct_nvfp4, "bitsandbytes int8": bnb_int8, "bitsandbytes NF4": bnb_nf4,
    "HQQ 4-bit g64": hqq_4bit, "quanto int8": quanto_int8, "quanto int4 g128": quanto_int4,
    "GPTQ 4-bit g128": gptq_4bit, "AWQ 4-bit g128": awq_4bit, "FP8 blocks 128x128": fp8_blocks,
    "ModelOpt NVFP4": modelopt_nvfp4, "ComfyUI int8": comfy_int8, "MLX 4-bit g64": mlx_affine,
    "MLX MXFP8": mlx_mxfp8, "torchao int8": torchao_int8, "torchao FP8": torchao_fp8,
    "torchao int4 g32": torchao_int4,
}  # fmt: skip
GGUF_TYPES = ("Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS")


def write(folder: Path, name: str) -> Path:
    """A checkpoint of one weight; the path to open."""
    if name.startswith("GGUF"):
        return write_gguf(folder, name.removeprefix("GGUF "))
    tensors, said = SAFETENSORS[name]()
    said = said or {}
    named = {f"{MODULE}.{last}": t for last, t in tensors.items()}
    save_file(named, folder / "model.safetensors", said.get("header", {"format": "mlx"} if "mlx" in said else None))
    settings = {"quantization": said["mlx"]} if "mlx" in said else {"quantization_config": said}
    if said and "header" not in said:
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", **settings}))
    return folder


def write_gguf(folder: Path, called: str) -> Path:
    import gguf

    kind = gguf.GGMLQuantizationType[called]
    per_block, nbytes = gguf.GGML_QUANT_SIZES[kind]
    raw = RNG.integers(0, 256, (N, N // per_block, nbytes), np.uint8)
    for at in {"Q4_K": (0, 2), "Q6_K": (208,)}.get(called, (0,)):
        raw[..., at : at + 2] = steps(N, N // per_block, 1, dtype=np.float16).view(np.uint8)
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", raw.reshape(N, -1), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "model.gguf"


def output_of(command: list[str]) -> tuple[str, str]:
    """What a process prints, and the last line that it complains with where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
    if done.returncode:
        return "", (done.stderr.strip().splitlines() or ["failed"])[-1][:100]
    return done.stdout.strip().splitlines()[-1], ""


def measured(name: str, folder: Path, repeat: int, peers: str, copy: float) -> str:
    place, script = write(folder, name), str(Path(__file__).with_name("dequantize_peers.py"))
    values, truth = folder / "ours.npy", folder / "theirs.npy"
    ours, wrong = output_of([sys.executable, "-c", OURS, str(place), str(repeat), str(values)])
    if wrong:
        return f"{name:30} failed: {wrong}"
    cpu, blocks, copies = json.loads(ours)
    line = f"{name:30} {cpu * 1e3:8.1f} {cpu / copy:7.2f}x {blocks * 1e3:8.1f} {blocks / copies:7.2f}x"
    theirs, wrong = output_of([peers, "-P", script, name, str(place), str(repeat), str(truth)]) if peers else ("", "")
    if not theirs:
        return f"{line}{'':>10}  {wrong}".rstrip()
    said = json.loads(theirs)
    line = f"{line} {said['cpu'] * 1e3:9.1f} {said['cpu'] / cpu:7.2f}x  {said['version']}"
    a, b = np.load(values), np.load(truth)
    return line if np.allclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=True) else f"{line}; the values differ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--workdir")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    names = [*SAFETENSORS, *(f"GGUF {t}" for t in GGUF_TYPES)]
    names = [n for n in names if not args.only or any(part in n for part in args.only.split(","))]
    copy = float(output_of([sys.executable, "-c", COPY, str(N), str(args.repeat)])[0])
    lines = [
        f"python benchmarks/dequantize.py, Python {platform.python_version()}, numpy {np.__version__}, one thread",
        f"one weight of {N} x {N} to float32: least CPU ms of {args.repeat}; copying it takes {copy * 1e3:.1f}",
        "", f"{'':30} {'ours':>8} {'/copy':>8} {'blocks':>8} {'/copy':>8} {'library':>9} {'/ours':>8}",
    ]  # fmt: skip
    print("\n".join(lines), flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(dir=args.workdir) as folder:
            lines.append(measured(name, Path(folder), args.repeat, args.peers, copy))
        print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
