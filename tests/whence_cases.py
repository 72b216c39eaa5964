"""Calibrations and checkpoints whose alpha only the test knows: heavy-tailed activations, scales by torch and numpy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import native_files
import numpy as np
import torch
from numpy.typing import NDArray

from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.calibration.layout import RESULT, SCHEMA, TABLES
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.distribution import MagnitudeTable, write_distributions
from qinspect.inspector.distribution.storage import PointTables, write_points
from qinspect.inspector.formats import Format, format_of

Samples = Sequence[NDArray[Any]]
Streams = Mapping[str, Samples]
"""Of each point the values of every sample, in order."""
How = Callable[[Samples, float], float]
"""A rule: samples and alpha to a scale."""

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def streams(seed: int, n_points: int, n_samples: int, dtype: str, n_values: int = 2048) -> Streams:
    """Activations: Student's t, each sample of an amplitude of its own (one for all points: long and short texts), each
    point of a size of its own that does not depend on the seed."""
    rng = np.random.default_rng(seed)
    loudness = np.exp(0.3 * rng.standard_normal(n_samples))
    made: dict[str, list[NDArray[Any]]] = {}
    for p in range(n_points):
        size = 0.1 * 2.0 ** (p % 5)
        own = np.exp(0.2 * rng.standard_normal(n_samples)) * loudness * size
        made[name(p)] = [(a * rng.standard_t(3 + p % 3, n_values)).astype(DTYPES[dtype]) for a in own]
    return made


def name(p: int) -> str:
    return f"layers.{p // 2}.mixer.{('x_conv_out', 'ssm_state_act')[p % 2]}:input"


def ema(samples: Samples, alpha: float) -> float:
    """Quamba's percentile observer, by torch."""
    w = None
    for x in samples:
        found = torch.quantile(torch.from_numpy(x.astype(np.float32)).abs(), alpha)
        w = found if w is None else w + 0.01 * (found - w)
    assert w is not None
    return float((w / 127).clamp(min=1e-6))


def pooled(samples: Samples, alpha: float) -> float:
    """numpy's quantile of everything."""
    return float(
        np.float32(np.quantile(np.abs(np.concatenate(list(samples)).astype(np.float64)), alpha)) / np.float32(127)
    )


def largest(samples: Samples, alpha: float = 1.0) -> float:
    """Quamba's min-max observer: in the dtype of the values."""
    found = torch.stack([torch.from_numpy(x.astype(np.float32)).abs().amax() for x in samples]).amax()
    dtype = torch.bfloat16 if samples[0].dtype == DTYPES["bfloat16"] else torch.float16
    return float((found.to(dtype) / 127).float())


def calibration(
    folder: Path,
    of: Streams,
    *,
    keep_samples: bool = True,
    recipe: str = "quamba",
    alphas: Sequence[float] = (0.5,),
) -> Calibration:
    """The folder that a calibration on these leaves, opened."""
    folder.mkdir(parents=True)
    tables = {n: [MagnitudeTable.of(x) for x in samples] for n, samples in of.items()}
    if keep_samples:
        write_distributions(folder / TABLES, tables)
    else:
        from qinspect.inspector.distribution import merge

        write_points(folder / TABLES, ((n, PointTables(merge(t))) for n, t in tables.items()))
    points = [{"point": n, "dtype": s[0].dtype.name, "rotated": False, "scale": 1.0} for n, s in of.items()]
    record = {
        "schema": SCHEMA,
        "settings": {"recipe": recipe},
        "alphas": [{"alpha": alpha, "points": points, "checkpoints": []} for alpha in alphas],
    }
    (folder / RESULT).write_text(json.dumps(record))
    return Calibration(folder)


def checkpoint(folder: Path, scales: Mapping[str, float], references: Mapping[str, float] | None = None) -> Format:
    """A checkpoint with these scales, opened. references: those that say of themselves that they are min-max."""
    points = {n: PointScale(np.float32(s), "hidden", True) for n, s in scales.items()}
    points |= {n: PointScale(np.float32(s), "hidden", False) for n, s in (references or {}).items()}
    return format_of(open_checkpoint(str(native_files.written(folder, activation_scales=points))))


def scales_of(of: Streams, how: How, alpha: float) -> dict[str, float]:
    return {n: how(samples, alpha) for n, samples in of.items()}
