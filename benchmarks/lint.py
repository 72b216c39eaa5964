"""Lint of a checkpoint of 60,000 tensors, beside `qinspect scales` of the same in the same run.

    python benchmarks/lint.py [--layers N] [--experts N]

A mixture of experts in NVFP4 as ModelOpt writes it, all weights 64 x 64: as many entries as a model of 235B has, and
few bytes, so that what is timed is what grows with the number of tensors. Each is a process of its own; printed are the
best of several, CPU time and memory, and the ratio to `scales`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "quantization_config": {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
        "ignore": ["lm_head", "*mlp.gate"],
    },
}
COMMANDS: tuple[tuple[str, ...], ...] = (("scales", "--json"), ("lint", "--fast", "--json"), ("lint", "--json"))


def make(folder: Path, n_layers: int, n_experts: int) -> int:
    """Write the checkpoint, a shard of each eight layers. Returns how many tensors it has."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    n = 0
    shards = [range(start, min(start + 8, n_layers)) for start in range(0, n_layers, 8)]
    for number, layers in enumerate(shards):
        name = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        tensors = {}
        for layer in layers:
            for expert in range(n_experts):
                for projection in ("gate_proj", "up_proj", "down_proj"):
                    at = f"model.layers.{layer}.mlp.experts.{expert}.{projection}"
                    tensors[f"{at}.weight"] = rng.integers(0, 256, (64, 32), np.uint8)
                    tensors[f"{at}.weight_scale"] = rng.uniform(30, 448, (64, 4)).astype(ml_dtypes.float8_e4m3fn)
                    tensors[f"{at}.weight_scale_2"] = np.asarray(rng.uniform(1e-4, 2e-4), np.float32)
                    tensors[f"{at}.input_scale"] = np.asarray(rng.uniform(1e-3, 2e-3), np.float32)
        save_file(tensors, folder / name)
        weight_map |= dict.fromkeys(tensors, name)
        n += len(tensors)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return n


def timed(words: tuple[str, ...], model: Path) -> tuple[float, float, float]:
    """Wall and CPU seconds of a command, and its largest resident memory in MB."""
    program = (
        "import resource, sys; from qinspect.inspector.cli import main; "
        "code = main(sys.argv[1:]); u = resource.getrusage(resource.RUSAGE_SELF); "
        "print(u.ru_maxrss, file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, words[0], str(model), *words[1:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(done.stderr.split()[-1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--experts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        n = make(model, asked.layers, asked.experts)
        size = sum(p.stat().st_size for p in model.iterdir())
        print(f"{n:,} tensors, {size / 1e6:,.0f} MB")
        found: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
        for _ in range(asked.rounds):  # in turn: the machine may have other work
            for words in COMMANDS:
                found.setdefault(words, []).append(timed(words, model))
        base = min(wall for wall, _, _ in found[COMMANDS[0]])
        base_cpu = min(cpu for _, cpu, _ in found[COMMANDS[0]])
        for words, runs in found.items():
            wall, cpu, memory = (min(r[i] for r in runs) for i in range(3))
            ratio = f"{wall / base:5.2f}x of scales ({cpu / base_cpu:.2f}x of its CPU time)"
            print(f"{' '.join(words):22} {wall:6.2f} s, {cpu:6.2f} s CPU, {memory:5.0f} MB, {ratio}")


if __name__ == "__main__":
    main()
