"""The alpha explorer on a run of a large model: `python benchmarks/alpha.py`.

400 points of 512 samples each: how long every number at 600 alphas takes to compute once, to open again, and what a
step of the cursor costs: the numbers of all points, and the lines of the whole screen.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.sweep.alphas import ALPHAS
from qinspect.inspector.alpha.sweep.best import best
from qinspect.inspector.alpha.sweep.grid import Grid
from qinspect.inspector.alpha.sweep.grid_file import FILE, opened
from qinspect.inspector.alpha.sweep.rules import SWEPT
from qinspect.inspector.calibration.layout import RESULT, SCHEMA, TABLES
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.distribution.packing import pack
from qinspect.inspector.distribution.storage import PointTables, write_points
from qinspect.inspector.text import size
from qinspect.tui.alpha.base import WIDE
from qinspect.tui.alpha.curve import curve_lines
from qinspect.tui.alpha.heat import heat_lines
from qinspect.tui.alpha.state import Explorer, chosen_for
from qinspect.tui.alpha.table import PointTable
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.look import Look

POINTS, SAMPLES, VALUES = 400, 512, 98_304
DIFFERENT = 64
"""Samples that are counted; points have them in other orders and amounts. Reading one again is no quicker."""
KINDS = ("in_proj:input", "x_conv_out:input", "ssm_state_act:input", "out_proj:input", "out_proj:output")
COLORS = (90, 169, 230), (242, 153, 74), (242, 193, 78)
DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}


def sample(seed: int) -> NDArray[np.float64]:
    """What a convolution with SiLU puts out, with rare spikes, louder and quieter."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(VALUES)
    x = x / (1 + np.exp(-x)) * np.exp(0.3 * rng.standard_normal())
    x[rng.random(VALUES) < 0.002] *= 12
    return np.asarray(x)


def run(folder: Path, dtype: str) -> Calibration:
    """A calibration of POINTS points."""
    tables = [MagnitudeTable.of(sample(i).astype(DTYPES[dtype])) for i in range(DIFFERENT)]
    packed = [pack(t, 0) for t in tables]
    names = [f"layers.{i // len(KINDS)}.mixer.{KINDS[i % len(KINDS)]}" for i in range(POINTS)]
    picks = [np.random.default_rng(i).integers(0, DIFFERENT, SAMPLES) for i in range(POINTS)]
    tables_of = (
        (name, PointTables(merge([tables[i] for i in pick]), [packed[i] for i in pick]))
        for name, pick in zip(names, picks, strict=True)
    )
    write_points(folder / TABLES, tables_of)
    points = [{"point": n, "dtype": dtype, "rotated": False, "scale": 1.0} for n in names]
    record = {
        "schema": SCHEMA,
        "settings": {"recipe": "quamba"},
        "alphas": [{"alpha": 0.9995, "points": points, "checkpoints": []}],
    }
    (folder / RESULT).write_text(json.dumps(record))
    return Calibration(folder)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def milliseconds(call: Callable[[int], object]) -> str:
    """Median, and what 95 % of the steps along the grid do not exceed."""
    taken = sorted(1e3 * seconds(lambda i=i: call(i)) for i in range(0, 600, 3))  # type: ignore[misc]
    return f"{statistics.median(taken):6.2f} ms, 95 % within {taken[int(0.95 * len(taken))]:.2f} ms"


def screen_steps(calibration: Calibration, grid: Grid) -> None:
    """All that is painted at another alpha: the rows that are seen, the curve with its marks and numbers; the map."""
    x = Explorer(calibration, grid, {}, chosen_for(calibration, None, None, 8))
    table = PointTable(Glyphs(), id="points")
    table.explorer, table.points = x, x.rows()
    for width, height in ((80, 24), (200, 60)):
        look = Look(width // (2 if width >= WIDE else 1) - 3, height * 3 // 5, *COLORS)

        def rows(i: int, n: int = height, room: int = look.width) -> None:
            x.chosen.alpha = ALPHAS[i]
            for row in range(min(n, POINTS)):
                table.line(row, room)

        curve = milliseconds(partial(both, rows, partial(curve_lines, x, 7, look, Glyphs())))
        print(f"  a step: table and curve at {f'{width}x{height}':16}{curve}")
        heat = milliseconds(partial(both, rows, partial(heat_lines, x, 7, "lost", look)))
        print(f"  a step: table and map at {f'{width}x{height}':18}{heat}")


def both(rows: Callable[[int], None], draw: Callable[[], object], i: int) -> None:
    rows(i)
    draw()


def measured(dtype: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calibration = run(folder, dtype)
        stored = size((folder / TABLES).stat().st_size)
        print(f"{POINTS} points x {SAMPLES} samples of {VALUES:,} {dtype}: tables of {stored}")
        cpu = time.process_time()
        wall = seconds(lambda: opened(calibration))
        print(f"  first opening: compute and store           {wall:6.1f} s, {time.process_time() - cpu:.1f} s of CPU")
        stored = size((folder / FILE).stat().st_size)
        print(f"  again: read {stored:31}{1e3 * seconds(lambda: opened(calibration)):6.1f} ms")
        grid = opened(calibration).grid
        print(f"  a step: all points, one rule               {milliseconds(lambda i: grid.at('ema', i))}")
        every = milliseconds(lambda i: [grid.at(r, i) for r in SWEPT])
        print(f"  a step: all points, all {len(SWEPT)} rules             {every}")
        screen_steps(calibration, grid)
        all_best = 1e3 * seconds(lambda: [best(grid, "ema", b) for b in (8, 4)])
        print(f"  best alphas of all kinds, both bits        {all_best:6.1f} ms\n")
        calibration.close()


def main() -> None:
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before"
    print(f"Python {platform.python_version()}, numpy {np.__version__}, x86_64, {load}\n")
    for dtype in DTYPES:
        measured(dtype)


if __name__ == "__main__":
    main()
