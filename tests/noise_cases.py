"""A run at hand: a finished calibration in the state folder, and the checkpoints that it made at two alphas."""

from __future__ import annotations

import json
from pathlib import Path

import native_files
import numpy as np
from whence_cases import Samples, calibration, ema, largest, name, streams

from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.calibration.layout import RESULT
from qinspect.inspector.runs import make_spec
from qinspect.inspector.runs.folder import SPEC, write_json

ALPHAS = (0.99, 0.9999)
MIN_MAX = "layers.0.mixer.z_act:input"


def samples(seed: int = 1) -> dict[str, Samples]:
    """Two points that alpha reaches, and one that it does not."""
    of = streams(seed, 3, 24, "float16", 256)
    return {name(0): of[name(0)], name(1): of[name(1)], MIN_MAX: of[name(2)]}


def scales(of: dict[str, Samples], alpha: float) -> dict[str, float]:
    return {n: largest(s) if n == MIN_MAX else ema(s, alpha) for n, s in of.items()}


def checkpoint(folder: Path, found: dict[str, float]) -> Path:
    points = {n: PointScale(np.float32(s), "hidden", n != MIN_MAX) for n, s in found.items()}
    return native_files.written(folder, activation_scales=points)


def at_hand(state: Path, folder: Path, named: str = "mine", fixed: bool = True) -> list[Path]:
    """The checkpoints, in `folder`; state: what QINSPECT_STATE_DIR names. fixed: with a point that no alpha
    reaches."""
    of = {n: s for n, s in samples().items() if fixed or n != MIN_MAX}
    run = state / "runs" / "20261122-101112-abcd"
    run.mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    write_json(run / SPEC, make_spec(["qinspect", "calibrate", "demo", "--here"], name=named).as_dict())
    calibration(run / "calibration", of).close()
    made = []
    results = []
    for alpha in ALPHAS:
        found = scales(of, alpha)
        made.append(checkpoint(folder / f"pa-{alpha}", found))
        points = [{"point": n, "dtype": "float16", "rotated": False, "scale": s} for n, s in found.items()]
        results.append({"alpha": alpha, "points": points, "checkpoints": [str(made[-1])]})
    path = run / "calibration" / RESULT
    record = json.loads(path.read_text()) | {"alphas": results, "data": native_files.PROVENANCE.data}
    path.write_text(json.dumps(record))
    return made
