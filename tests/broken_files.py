"""Checkpoints of several files that are damaged in ways in which it happens, and what lint says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from qinspect.inspector.lint.check import Lint, RuleFinding, lint
from qinspect.inspector.lint.opening import opened_subjects
from qinspect.inspector.progress import unseen

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors")
GIT_LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a2146' * 8}\nsize 4976698672\n"


def sharded(folder: Path) -> Path:
    """An FP8 model of three layers in three shards with an index; the scale of layer 1 is NaN."""
    folder.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    for layer, shard in enumerate(SHARDS):
        module = f"model.layers.{layer}.mlp.up_proj"
        codes = np.full((4, 8), layer + 1, np.uint8)
        scale = np.array([np.nan if layer == 1 else 0.5], np.float32)
        tensors: dict[str, np.ndarray] = {f"{module}.weight": codes, f"{module}.weight_scale": scale}
        save_file(tensors, folder / shard)
        as_float8(folder / shard)
        weight_map |= dict.fromkeys(tensors, shard)
    write_index(folder, weight_map)
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "fp8"}}))
    return folder


def as_float8(path: Path) -> None:
    """Call the bytes of a file FP8."""
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + n].replace(b'"U8"', b'"F8_E4M3"')
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + n :])


def write_index(folder: Path, weight_map: Mapping[str, str]) -> None:
    """The index of a folder."""
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict(weight_map)}))


def weight_map_of(folder: Path) -> dict[str, str]:
    """What the index says."""
    found: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    return found


def replaced_in_header(path: Path, old: bytes, new: bytes) -> None:
    """Change the header of a safetensors file, and nothing else."""
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    assert old in raw[8 : 8 + n]
    header = raw[8 : 8 + n].replace(old, new, 1)
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + n :])


def linted(path: Path, fast: bool = False) -> Lint:
    """All that lint finds in one checkpoint."""
    return lint(opened_subjects(str(path), None, None, fast, unseen))


def of_rule(found: Lint, code: str) -> list[RuleFinding]:
    """What one rule found."""
    return [f for f in found.findings if f.rule.code == code]


def codes(found: Lint) -> set[str]:
    """The codes of the rules that found something."""
    return {f.rule.code for f in found.findings}
