"""What takes part in every number of a calibration, and how it is told from another one."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from qinspect.inspector.calibrate.shards import SHARD_SAMPLES
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.models.load import ProbedModel, as_numpy
from qinspect.inspector.observers.recipes import Grouping
from qinspect.inspector.samples.data import Samples


def deciding(
    settings: Settings, samples: Samples, groupings: Mapping[str, Grouping], apart: frozenset[str], model: ProbedModel
) -> dict[str, Any]:
    """What decides every table. Not the alphas: one pass answers for all."""
    return {
        "model": model_hash(model),
        "config": model.decides(),
        "rotated": model.rotated,
        "dtype": model.dtype,
        "device": device_name(model.device),
        "torch": torch.__version__,
        "recipe_points": groupings,
        "apart": sorted(apart),
        "data": samples.sha256,
        "samples": len(samples.ids),
        "batch": settings.batch,
        "shard_samples": SHARD_SAMPLES,
    }


def model_hash(model: ProbedModel) -> str:
    """sha256 of the weights that are used, name by name."""
    from hashlib import sha256

    digest = sha256()
    for name, w in sorted(model.weights().items()):
        digest.update(f"{name} {w.dtype} {tuple(w.shape)}\n".encode())
        digest.update(as_numpy(w).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def device_name(device: torch.device) -> str:
    """`cpu`, or what a GPU calls itself: another kind rounds in another way."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def versions(device: torch.device) -> Mapping[str, str]:
    """What takes part in every number."""
    from importlib.metadata import PackageNotFoundError, version

    made = {"python": platform.python_version()}
    for name in ("qinspect", "torch", "numpy", "transformers"):
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            continue
    if device.type == "cuda":
        made["cuda"] = str(torch.version.cuda)
        made["gpu"] = device_name(device)
    return made
