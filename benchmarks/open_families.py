"""How long opening a model of 60,000 entries takes, of each quantization family, beside reading its header alone.

    python benchmarks/open_families.py [--only gptq,gguf] [--repeat 5] [--workdir DIR] [--out FILE]

Opening is all that a tree of the model needs: the header, the family, its scales and weights, its description. Every
contestant is a process: CPU seconds (user and system) of it, with its imports; the least of all runs, which take turns.
Files are sparse and made here; numbers in them are zeros, but for the shapes that compressed-tensors reads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

N_ENTRIES = 60_000
OUT, IN = 256, 512
WIDTHS = {"I32": 32, "F16": 16, "BF16": 16, "F32": 32, "I64": 64, "U8": 8, "F8_E4M3": 8}
Entries = dict[str, tuple[str, list[int]]]

OURS = """
import sys
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import format_of
fmt = format_of(open_checkpoint(sys.argv[1]))
print(fmt.family, len(fmt.scales()), len(fmt.weights()), fmt.description)
"""
HEADER = """
import sys
import numpy
from safetensors import safe_open
with safe_open(sys.argv[1] + "/model.safetensors", "np") as f:
    slices = map(f.get_slice, f.keys())
    print(len([(s.get_dtype(), s.get_shape()) for s in slices]))
"""
GGUF_HEADER = """
import sys
from gguf import GGUFReader
print(len([(t.name, t.tensor_type, t.shape) for t in GGUFReader(sys.argv[1] + "/model.gguf").tensors]))
"""


def modules(n: int) -> Iterator[str]:
    """Linear layers of a mixture of experts."""
    for i in range(n):
        layer, rest = divmod(i, 300)
        expert, which = divmod(rest, 3)
        yield f"model.layers.{layer}.mlp.experts.{expert}.{('gate_proj', 'up_proj', 'down_proj')[which]}"


def of_parts(parts: Entries) -> Entries:
    """As many modules of these entries as make N_ENTRIES."""
    return {f"{m}.{last}": form for m in modules(N_ENTRIES // len(parts)) for last, form in parts.items()}


GPTQ: Entries = {
    "qweight": ("I32", [IN // 8, OUT]), "qzeros": ("I32", [IN // 128, OUT // 8]), "scales": ("F16", [IN // 128, OUT]),
    "g_idx": ("I32", [IN]),
}  # fmt: skip
AWQ: Entries = {
    "qweight": ("I32", [IN, OUT // 8]), "qzeros": ("I32", [IN // 128, OUT // 8]), "scales": ("F16", [IN // 128, OUT]),
}  # fmt: skip
FP8: Entries = {"weight": ("F8_E4M3", [OUT, IN]), "weight_scale_inv": ("F32", [OUT // 128, IN // 128])}
PACKED: Entries = {
    "weight_packed": ("I32", [OUT, IN // 8]), "weight_scale": ("BF16", [OUT, IN // 128]), "weight_shape": ("I64", [2]),
}  # fmt: skip
NVFP4: Entries = {
    "weight": ("U8", [OUT, IN // 2]), "weight_scale": ("F8_E4M3", [OUT, IN // 16]), "weight_scale_2": ("F32", []),
    "input_scale": ("F32", []),
}  # fmt: skip
PLAIN: Entries = {"weight": ("BF16", [OUT, IN]), "bias": ("BF16", [OUT])}
CONFIGS: dict[str, dict[str, Any]] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    "compressed-tensors": {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": [],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
            "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True, "dynamic": False,
        }}},
    },
    "modelopt": {
        "quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": [], "producer": {"name": "modelopt"},
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
            "num_bits": 4, "type": "float", "group_size": 16, "dynamic": False,
        }}},
    },
    "plain": {},
}  # fmt: skip
PARTS = {
    "plain": PLAIN, "gptq": GPTQ, "awq": AWQ, "fp8": FP8, "compressed-tensors": PACKED, "modelopt": NVFP4,
}  # fmt: skip


def write_safetensors(folder: Path, family: str) -> None:
    """A model in one sparse file, with its settings."""
    entries = of_parts(PARTS[family])
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    shapes = []
    for name, (dtype, shape) in sorted(entries.items(), key=lambda e: -WIDTHS[e[1][0]]):
        size = WIDTHS[dtype] // 8
        for d in shape:
            size *= d
        if name.endswith("weight_shape"):
            shapes.append(position)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with (folder / "model.safetensors").open("wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        f.truncate(8 + len(raw) + position)
        for at in shapes:
            f.seek(8 + len(raw) + at)
            f.write(struct.pack("<qq", OUT, IN))
    config = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}
    settings = CONFIGS[family]
    (folder / "config.json").write_text(
        json.dumps({**config, **({"quantization_config": settings} if settings else {})})
    )


def write_gguf(folder: Path, _family: str) -> None:
    """A model of Q8_0 blocks, 34 bytes for 32 weights."""
    facts = (("general.architecture", "llama"), ("general.name", "open_families"))
    raw = b"GGUF" + struct.pack("<IQQ", 3, N_ENTRIES, len(facts))
    for key, value in facts:
        raw += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<IQ", 8, len(value)) + value.encode()
    table = bytearray()
    nbytes = OUT * IN // 32 * 34
    for i in range(N_ENTRIES):
        layer, rest = divmod(i, 600)
        expert, which = divmod(rest, 3)
        name = f"blk.{layer}.ffn_{('gate', 'up', 'down')[which]}.{expert}.weight".encode()
        table += struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, IN, OUT, 8, i * nbytes)
    raw += bytes(table)
    raw += b"\0" * (-len(raw) % 32)
    with (folder / "model.gguf").open("wb") as f:
        f.write(raw)
        f.truncate(len(raw) + N_ENTRIES * nbytes)


FAMILIES: dict[str, tuple[Callable[[Path, str], None], str]] = {
    **dict.fromkeys(PARTS, (write_safetensors, HEADER)),
    "gguf": (write_gguf, GGUF_HEADER),
}


def cpu_seconds(code: str, folder: Path) -> tuple[float, str]:
    """CPU seconds of a process that runs `code`, and what it printed. Raises SystemExit where it fails."""
    command = [sys.executable, "-c", code, str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        printed = out.read().strip()
    if process.returncode:
        raise SystemExit(f"failed:\n{printed[-2000:]}")
    return usage.ru_utime + usage.ru_stime, printed


def measure(family: str, work: Path, repeat: int) -> str:
    """A line of the table."""
    write, header = FAMILIES[family]
    folder = work / family
    if not folder.exists():
        folder.mkdir()
        write(folder, family)
    ours, theirs = [], []
    for _ in range(repeat):
        seconds, printed = cpu_seconds(OURS, folder)
        ours.append(seconds)
        theirs.append(cpu_seconds(header, folder)[0])
    return f"{family:<20}{min(ours):>9.2f}{min(theirs):>9.2f}   {printed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(FAMILIES), help=f"of {','.join(FAMILIES)}")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--workdir", type=Path, help="where the models are made and kept (default: nowhere)")
    parser.add_argument("--out", type=Path, help="write the table here too")
    options = parser.parse_args()
    lines = [
        f"Opening {N_ENTRIES:,} entries, CPU seconds with imports, the least of {options.repeat} runs in turn.",
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.",
        f"{'':<20}{'qinspect':>9}{'header':>9}   found: family, scales, weights",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as temporary:
        work = options.workdir or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for family in options.only.split(","):
            lines.append(measure(family, work, options.repeat))
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
