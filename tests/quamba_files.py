"""Building Quamba checkpoints for tests out of the real ones: load a state_dict, change it, save it again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

DATA = Path(__file__).parent / "data" / "quamba"
State = dict[str, Any]


def folder_of(name: str) -> Path:
    """The checkpoint folder of a fixture in the repository."""
    return only_folder(DATA / name)


def only_folder(parent: Path) -> Path:
    (folder,) = (p for p in parent.iterdir() if p.is_dir())
    return folder


def load_state(name: str) -> tuple[State, dict[str, Any]]:
    """(state_dict, config) of a fixture."""
    folder = folder_of(name)
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return dict(state), json.loads((folder / "config.json").read_text())


def save_state(folder: Path, state: State, config: dict[str, Any] | None = None) -> Path:
    """Save as torch does; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "pytorch_model.bin")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def whole_set() -> list[Path]:
    """Folders of all Quamba fixtures with a truth file, () where QINSPECT_FIXTURES is not set."""
    place = os.environ.get("QINSPECT_FIXTURES")
    if not place:
        return []
    return sorted(p.parent for p in Path(place, "quamba").glob("m*/expected.safetensors"))


def expected_hashes(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((DATA / name / "expected_sha256.json").read_text())
    return found


def expected_folded(name: str) -> dict[str, Any]:
    path = DATA / name / "expected_folded.safetensors"
    return dict(load_file(path)) if path.exists() else {}


def sha256(values: Any) -> str:
    """Of the float32 values, -0 taken as 0: integer codes have no sign of zero."""
    values = values + np.float32(0)
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def set_point_mamba1(state: State, layer: int, point: str, factor: float) -> None:
    """Multiply one Mamba1 W8A8 activation scale with all its copies, as a calibration that found it would store it."""
    m = f"backbone.layers.{layer}.mixer."
    keys = {
        "x_proj:input": ["conv1d.output_scale", "selective_scan.u_scale", "x_proj.a", "x_proj.alpha"],
        "ssm_state_act:input": ["selective_scan.ssm_state_scale"],
        "out_proj:input": ["had.x_H_scale", "out_proj.a", "out_proj.alpha"],
    }[point]
    if point == "x_proj:input":
        new = float(np.float32(state[m + "conv1d.output_scale"]) * np.float32(factor))
        state[m + "conv1d.output_scale"] = new
        state[m + "selective_scan.u_scale"] = torch.tensor(new)
        keys = keys[2:]
    for key in keys:
        state[m + key] = state[m + key] * factor
