"""The grid of a calibration in its folder, so that it is computed once.

A `.npz` whose members have checksums. It is what the tables gave: a fingerprint of them, and of how it is computed, is
in it, and a file of other tables, of another version, or a damaged one is made anew."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from qinspect.inspector.alpha.sweep.alphas import ALPHAS
from qinspect.inspector.alpha.sweep.build import build
from qinspect.inspector.alpha.sweep.grid import Grid, PointInfo
from qinspect.inspector.alpha.sweep.rules import BITS, SWEPT, WITH_ALPHA, WITHOUT
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.progress import Steps
from qinspect.inspector.whole_file import replacing

FILE = "alphas.npz"
VERSION = 1
"""Of what the file holds and how it is computed."""
_ARRAYS = ("alphas", "rows", "w_max", "beyond", "clipped", "sqnr_db", "fixed")


@dataclass(frozen=True, eq=False)
class OpenedGrid:
    """grid. was_kept: it was read, not computed. problem: why it could not be stored, "" where it was."""

    grid: Grid
    was_kept: bool
    problem: str = ""


def opened(calibration: Calibration, progress: Steps | None = None) -> OpenedGrid:
    """The grid: read from the run's folder, else computed and stored there. Raises BrokenFile where tables are
    damaged."""
    path, mark = calibration.folder / FILE, fingerprint(calibration)
    found = read(path, mark)
    if found is not None:
        return OpenedGrid(found, True)
    grid = build(calibration, progress)
    try:
        write(path, grid, mark)
    except OSError as e:  # somebody else's run, or a full disk: it is only slower the next time
        return OpenedGrid(grid, False, f"{path} cannot be written: {e.strerror or e}")
    return OpenedGrid(grid, False)


def fingerprint(calibration: Calibration) -> str:
    """Of all that decides the grid: tables, points, alphas, rules."""
    rules = [str(c.at(bits=bits)) for c in SWEPT.values() for bits in BITS]
    points = [[p.name, p.dtype, p.rotated] for p in calibration.points.values()]
    parts = json.dumps([VERSION, ALPHAS, rules, calibration.recipe, points, calibration.fingerprint()])
    return sha256(parts.encode()).hexdigest()


def write(path: Path, grid: Grid, mark: str) -> None:
    """Store it, whole or not at all. Raises OSError."""
    points = json.dumps([asdict(p) for p in grid.points])
    with replacing(path) as f:
        np.savez(f, mark=np.array(mark), points=np.array(points), **{n: getattr(grid, n) for n in _ARRAYS})


def read(path: Path, mark: str) -> Grid | None:
    """What was stored, None for a file that is missing, of other tables, or damaged."""
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as stored:
            if any(m.compress_type != zipfile.ZIP_STORED for m in stored.zip.infolist()) or str(stored["mark"]) != mark:
                return None  # what `write` writes takes no more memory than disk
            points = tuple(PointInfo(**p) for p in json.loads(str(stored["points"])))
            grid = Grid(points, *(stored[name] for name in _ARRAYS))
    except Exception:  # whatever zip, npy, JSON and MemoryError have in store: it is made anew
        return None
    return grid if _fits(grid) else None


def _fits(grid: Grid) -> bool:
    """Whether the arrays belong together: they are indexed without asking again."""
    p, a, u, b = len(grid.points), len(ALPHAS), grid.w_max.shape[:1], len(BITS)
    shapes: dict[str, tuple[Any, ...]] = {
        "alphas": (a,), "w_max": (*u, a), "beyond": (*u, a), "clipped": (*u, b, a), "sqnr_db": (*u, b, a),
        "rows": (len(WITH_ALPHA), p), "fixed": (5, len(WITHOUT), b, p),
    }  # fmt: skip
    for name, shape in shapes.items():
        array, wanted = getattr(grid, name), {"alphas": np.float64, "rows": np.int32}.get(name, np.float32)
        if array.shape != shape or array.dtype != wanted:
            return False
    if any(type(getattr(point, f.name)).__name__ != f.type for point in grid.points for f in fields(point)):
        return False
    return not p or (int(grid.rows.min()) >= 0 and int(grid.rows.max()) < u[0])
