"""How fast two checkpoints are measured against each other, and in how much memory.

    python benchmarks/fidelity.py [--layers N] [--formats W4A16,FP8,...] [--keep FOLDER] [--rival] [--device cuda]

Layers have the shapes of a model of 8B parameters. Codes are random, scales plausible, and the base is what they stand
for plus noise, in BF16: real bytes of each format. The yardstick, in the same run: plain numpy that reads the same
bytes of both files and widens A's to float32. --rival: also what a user writes with torch (fidelity_rival.py). Every
run is a process of its own, whose peak of memory is the system's. `of numpy` is our rate over numpy's: by the clock,
and, where other work keeps the machine busy, better by CPU time, of which we have that of every core. `whole`: the same
without rounding to nearest and groups. --device cuda: on a GPU too, and whether that finds the same. After that:
dequantizing, on one core, against copying the float32 that comes out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.safetensors import header_bytes
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.values.inspection import row_blocks
from qinspect.kernels.distance import distance_sums

Array = NDArray[Any]
HIDDEN, INNER, KV = 4096, 14336, 1024
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV, HIDDEN), "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}  # fmt: skip
SAFETENSORS = {
    "uint8": "U8", "int32": "I32", "int64": "I64", "bfloat16": "BF16", "float16": "F16",
    "float32": "F32", "float8_e4m3fn": "F8_E4M3",
}  # fmt: skip
Made = tuple[dict[str, Array], dict[str, Any]]
rng = np.random.default_rng(0)


def scales(*shape: int) -> Array:
    return (rng.random(shape, np.float32) * 0.01 + 0.005).astype(ml_dtypes.bfloat16)


def w4a16(rows: int, columns: int) -> Made:
    words = rng.integers(0, 1 << 32, (rows, columns // 8), np.uint32).view(np.int32)
    tensors = {
        "weight_packed": words, "weight_scale": scales(rows, columns // 128), "weight_shape": np.array([rows, columns]),
    }  # fmt: skip
    return tensors, {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}


def fp8(rows: int, columns: int) -> Made:
    codes = rng.integers(0, 0x7F, (rows, columns), np.uint8) | rng.integers(0, 2, (rows, columns), np.uint8) << 7
    tensors = {"weight": codes.view(ml_dtypes.float8_e4m3fn), "weight_scale": scales(rows // 128, columns // 128)}
    said = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "block", "block_structure": [128, 128]}
    return tensors, said


def nvfp4(rows: int, columns: int) -> Made:
    scale = rng.integers(0x38, 0x7E, (rows, columns // 16), np.uint8).view(ml_dtypes.float8_e4m3fn)
    tensors = {
        "weight_packed": rng.integers(0, 256, (rows, columns // 2), np.uint8), "weight_scale": scale,
        "weight_global_scale": np.array([1000.0], np.float32),
    }  # fmt: skip
    return tensors, {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}


def words(*shape: int) -> Array:
    return rng.integers(0, 1 << 32, shape, np.uint32).view(np.int32)


def gptq(rows: int, columns: int) -> Made:
    halves = scales(columns // 128, rows).astype(np.float16)
    tensors = {
        "qweight": words(columns // 8, rows), "qzeros": words(columns // 128, rows // 8), "scales": halves,
        "g_idx": np.arange(columns, dtype=np.int32) // 128,
    }  # fmt: skip
    return tensors, {"bits": 4, "group_size": 128, "desc_act": False, "checkpoint_format": "gptq_v2"}


def awq(rows: int, columns: int) -> Made:
    halves = scales(columns // 128, rows).astype(np.float16)
    tensors = {"qweight": words(columns, rows // 8), "qzeros": words(columns // 128, rows // 8), "scales": halves}
    return tensors, {"bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}


def int4(rows: int, columns: int) -> Made:
    """ModelOpt's, with a factor for each input channel."""
    tensors = {
        "weight": rng.integers(0, 256, (rows // 2, columns), np.uint8), "weight_scale": scales(rows, columns // 128),
        "pre_quant_scale": (rng.random(columns, np.float32) + 0.5).astype(ml_dtypes.bfloat16),
    }  # fmt: skip
    return tensors, {
        "quant_algo": "W4A16_AWQ",
        "group_size": 128,
        "producer": {"name": "modelopt", "version": "0.37.0"},
    }


FORMATS: dict[str, tuple[Callable[[int, int], Made], str]] = {
    "W4A16": (w4a16, "pack-quantized"), "FP8": (fp8, "float-quantized"), "NVFP4": (nvfp4, "nvfp4-pack-quantized"),
    "GPTQ": (gptq, ""), "AWQ": (awq, ""), "INT4": (int4, ""),
}  # fmt: skip
METHODS = {"GPTQ": "gptq", "AWQ": "awq", "INT4": "modelopt"}
GGUF = {"Q3_K": (110, (108,)), "Q4_K": (144, (0, 2)), "Q5_K": (176, (0, 2)), "Q6_K": (210, (208,))}
"""Bytes of a block of 256 values, and where in it there are float16."""


def module_names(layers: int) -> Iterator[tuple[str, tuple[int, int]]]:
    for i in range(layers):
        for name, shape in SHAPES.items():
            yield f"model.layers.{i}.{name}", shape


def write_quantized(name: str, folder: Path, layers: int) -> Path:
    if name in GGUF:
        return write_gguf(name, folder / "model.gguf", layers)
    make, layout = FORMATS[name]
    folder.mkdir()
    said: dict[str, Any] = {}
    header: dict[str, object] = {}
    parts: list[Array] = []
    end = 0
    for module, shape in module_names(layers):
        tensors, said = make(*shape)
        for last, t in tensors.items():
            header[f"{module}.{last}"] = {
                "dtype": SAFETENSORS[t.dtype.name], "shape": list(t.shape), "data_offsets": [end, end + t.nbytes],
            }  # fmt: skip
            parts.append(t)
            end += t.nbytes
    with (folder / "model.safetensors").open("wb") as f:
        f.write(header_bytes(header))
        for t in parts:
            f.write(np.ascontiguousarray(t).view(np.uint8).data)
    config = {"quant_method": METHODS[name], **said} if name in METHODS else compressed_tensors(said, layout)
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    return folder


def compressed_tensors(said: dict[str, Any], layout: str) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": said, "input_activations": None, "format": layout}
    return {
        "quant_method": "compressed-tensors", "format": layout, "config_groups": {"group_0": group}, "ignore": [],
        "quantization_status": "compressed", "version": "0.12.0",
    }  # fmt: skip


def write_gguf(name: str, path: Path, layers: int) -> Path:
    from gguf import GGMLQuantizationType, GGUFWriter

    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    path.parent.mkdir()
    block_bytes, places = GGUF[name]
    writer = GGUFWriter(path, "qwen2")  # whose rows are in the order of the original
    writer.add_block_count(layers)
    for i in range(layers):
        for module, (rows, columns) in SHAPES.items():
            blocks = rng.integers(0, 256, (rows, columns // 256, block_bytes), np.uint8)
            for at in places:
                halves = (rng.random((rows, columns // 256, 1), np.float32) * 1e-3 + 1e-4).astype(np.float16)
                blocks[..., at : at + 2] = halves.view(np.uint8)
            writer.add_tensor(
                f"blk.{i}.{names[module]}.weight", blocks.reshape(rows, -1), raw_dtype=GGMLQuantizationType[name]
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_base(fmt: Format, folder: Path) -> Path:
    """What the codes stand for plus 5 % noise, in BF16."""
    folder.mkdir()
    header: dict[str, object] = {}
    end = 0
    for w in fmt.weights():
        n = 2 * w.shape[0] * w.shape[1]
        header[w.name] = {"dtype": "BF16", "shape": list(w.shape), "data_offsets": [end, end + n]}
        end += n
    with (folder / "model.safetensors").open("wb") as f:
        f.write(header_bytes(header))
        for w in fmt.weights():
            for start, stop in row_blocks(w):
                values = fmt.effective(w, start, stop)
                noise = rng.standard_normal(values.shape, np.float32) * np.float32(0.05) * values.std()
                f.write((values + noise).astype(ml_dtypes.bfloat16).view(np.uint8).data)
    return folder


def measured(a: str, b: str, device: str = "cpu") -> dict[str, Any]:
    from qinspect.inspector.fidelity.blocks import UNIT_ELEMENTS
    from qinspect.inspector.fidelity.measuring import measure_fidelity
    from qinspect.inspector.fidelity.piece import measured as on_cpu

    body: Callable[..., Any] = on_cpu
    elements = UNIT_ELEMENTS
    if device != "cpu":
        from qinspect.inspector.fidelity.on_device import ELEMENTS, measured_on

        body, elements = measured_on(device), ELEMENTS
    first, second = format_of(open_checkpoint(a)), format_of(open_checkpoint(b))
    if device != "cpu":
        measure_fidelity(first, second, body=body, elements=elements)  # which starts it, and has its kernels loaded
    start, before = time.perf_counter(), time.process_time()
    found = measure_fidelity(first, second, body=body, elements=elements)
    seconds, cpu = time.perf_counter() - start, time.process_time() - before
    sqnr = [w.sums.sqnr for w in found.weights]
    nearest = [w.nearest.sqnr if w.nearest and w.nearest.sqnr else 0.0 for w in found.weights]
    mean = sum(sqnr) / max(1, len(sqnr))
    return {"seconds": seconds, "cpu": cpu, "mean_sqnr": mean, "sqnr": sqnr, "nearest": nearest}


def measured_whole(a: str, b: str) -> dict[str, Any]:
    """Of tensors and channels alone."""
    from qinspect.inspector.fidelity import work

    work._cells = lambda _pair: None  # type: ignore[assignment]  # of private names, which this alone needs
    work._grid = lambda _pair, _records: "left out"  # type: ignore[assignment]
    return measured(a, b)


def dequantized(_: str, b: str) -> dict[str, float]:
    """Seconds of CPU to dequantize all weights in blocks of rows, and to copy what comes out."""
    fmt = format_of(open_checkpoint(b))
    ours = copies = 0.0
    for w in fmt.weights():
        for start, stop in row_blocks(w):
            before = time.process_time()
            values = fmt.dequantize(w, start, stop)
            between = time.process_time()
            values.copy()
            ours, copies = ours + between - before, copies + time.process_time() - between
    return {"seconds": ours, "copies": copies}


def measured_on_cuda(a: str, b: str) -> dict[str, Any]:
    return measured(a, b, "cuda")


def widened(a: str, b: str) -> dict[str, float]:
    """Read both files in pieces of 2 MB, and A's values as float32."""
    start, before = time.perf_counter(), time.process_time()
    total = 0.0
    for path, widen in ((a, True), (b, False)):
        files = sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else [Path(path)]
        for file in files:
            with file.open("rb", buffering=0) as f:
                while piece := f.read(1 << 21):
                    if widen and len(piece) % 2 == 0:
                        total += float(np.frombuffer(piece, ml_dtypes.bfloat16).astype(np.float32)[0])
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - before, "total": total}


def peak_mb() -> float:
    """Of this program: what the parent held when it was forked counts in what getrusage says."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1000


def alone(what: str, a: Path, b: Path) -> dict[str, Any]:
    """A run in a process of its own, with its peak of resident memory in MB."""
    words = [sys.executable, __file__, "--run", what, str(a), str(b)]
    if what == "script":
        words = [sys.executable, str(Path(__file__).with_name("fidelity_rival.py")), str(a), str(b)]
    found = subprocess.run(words, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def size_of(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--formats", default=",".join((*FORMATS, *GGUF)))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--rival", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--run", nargs=3)
    asked = parser.parse_args()
    if asked.run:
        what, a, b = asked.run
        runs = {
            "measured": measured, "whole": measured_whole, "cuda": measured_on_cuda, "widened": widened,
            "dequantized": dequantized,
        }  # fmt: skip
        result = runs[what](a, b)
        peak = peak_mb()
        print(json.dumps({**result, "peak_mb": peak}))
        return
    with tempfile.TemporaryDirectory(prefix="qinspect-fidelity-") as passing:
        place = asked.keep or Path(passing)
        one = np.ones((1, 1), np.float32)
        print(f"compiled body: {'no' if distance_sums(one, one) is None else 'yes'}")
        headings = ["format", "GB", "seconds", "CPU s", "numpy s", "CPU s", "of numpy", "of CPU", "peak MB", "dB"]
        headings += ["whole s", "of numpy", "of CPU"]
        headings += ["script s", "CPU s", "MB", "faster", "by CPU"] if asked.rival else []
        headings += ["cuda s", "GB/s", "CPU s", "MB", "same"] if asked.device == "cuda" else []
        headings += ["values", "copies", "times"]
        print(" ".join(f"{heading:>8}" for heading in headings))
        for name in asked.formats.split(","):
            a, b = files_of(name, place, asked.layers)
            print(" ".join(f"{cell:>8}" for cell in (name, *row(a, b, asked.rival, asked.device))), flush=True)
            if not asked.keep:
                shutil.rmtree(place / name)


def files_of(name: str, place: Path, layers: int) -> tuple[Path, Path]:
    folder = place / name
    folder.mkdir(parents=True, exist_ok=True)
    b = folder / "quantized" if name not in GGUF else folder / "quantized" / "model.gguf"
    if not b.exists():
        write_quantized(name, folder / "quantized", layers)
        write_base(format_of(open_checkpoint(b)), folder / "base")
    return folder / "base", b


def row(a: Path, b: Path, rival: bool, device: str) -> list[str]:
    plain, ours = alone("widened", a, b), alone("measured", a, b)
    gb, cores = (size_of(a) + size_of(b)) / 1e9, len(os.sched_getaffinity(0))
    cells = [
        f"{gb:.2f}", f"{ours['seconds']:.2f}", f"{ours['cpu']:.2f}", f"{plain['seconds']:.2f}", f"{plain['cpu']:.2f}",
        f"{plain['seconds'] / ours['seconds']:.0%}", f"{plain['cpu'] / (ours['cpu'] / cores):.0%}",
        f"{ours['peak_mb']:.0f}", f"{ours['mean_sqnr']:.2f}",
    ]  # fmt: skip
    whole = alone("whole", a, b)
    cells += [
        f"{whole['seconds']:.2f}", f"{plain['seconds'] / whole['seconds']:.0%}",
        f"{plain['cpu'] / (whole['cpu'] / cores):.0%}",
    ]  # fmt: skip
    if rival and a.parent.name in METHODS:
        cells += 5 * ["-"]  # the script does not read them
    elif rival:
        theirs = alone("script", a, b)
        assert abs(theirs["mean_sqnr"] - ours["mean_sqnr"]) < 1e-2
        cells += [
            f"{theirs['seconds']:.2f}", f"{theirs['cpu']:.2f}", f"{theirs['peak_mb']:.0f}",
            f"{theirs['seconds'] / ours['seconds']:.1f}x", f"{theirs['cpu'] / ours['cpu']:.1f}x",
        ]  # fmt: skip
    if device == "cuda":
        there = alone("cuda", a, b)
        same = np.allclose(there["sqnr"], ours["sqnr"], rtol=1e-9) and np.allclose(
            there["nearest"], ours["nearest"], rtol=1e-6
        )
        cells += [
            f"{there['seconds']:.2f}", f"{gb / there['seconds']:.2f}", f"{there['cpu']:.2f}",
            f"{there['peak_mb']:.0f}", "yes" if same else "NO",
        ]  # fmt: skip
    out = alone("dequantized", a, b)
    return [*cells, f"{out['seconds']:.2f}", f"{out['copies']:.2f}", f"{out['seconds'] / out['copies']:.1f}"]


if __name__ == "__main__":
    main()
