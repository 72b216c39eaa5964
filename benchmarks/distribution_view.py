"""What a move of the cursor over alpha costs in the distribution view: `python benchmarks/distribution_view.py`.

All numbers of the point (range, scale, shares, error, code usage), and the lines of the whole view at 80x24 and 200x60;
beside the same numbers from the values, as a notebook computes them. Best and median of several moves.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.observers import Quantile, Rule, quamba_percentile
from qinspect.inspector.values.clipping import Gauge, Marker, NamedTables
from qinspect.tui.distribution.alphas import STEPS
from qinspect.tui.distribution.layout import Layout, Shown
from qinspect.tui.distribution.source import Chart, Series
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.look import Look

N = 1 << 24
MOVES = STEPS[20:]
WEIGHT_RULE = Rule(Quantile(1.0, "float64"), "pooled", clamp=0.0)


def milliseconds(call: Callable[[float], object]) -> tuple[float, float]:
    """(best, median) over the moves."""
    taken = []
    for alpha in MOVES:
        start = time.perf_counter()
        call(alpha)
        taken.append(1e3 * (time.perf_counter() - start))
    return min(taken), statistics.median(taken)


def spread(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Gaussians with a long tail: many octaves, so many magnitudes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n, dtype=np.float32) * np.exp2(3 * rng.standard_normal(n, dtype=np.float32))
    return np.clip(x, -60_000, 60_000)  # float16 has no larger ones


def from_the_values(x: NDArray[np.float32], alpha: float) -> None:
    """The same numbers without a table."""
    magnitudes = np.abs(x)
    w_max = np.float32(np.quantile(magnitudes, alpha))
    scale = w_max / np.float32(127)
    codes = np.rint(magnitudes / scale)
    kept = np.minimum(codes, 127)
    np.mean(magnitudes > w_max), np.mean(codes <= 127)
    np.mean(np.square(magnitudes - kept * scale, dtype=np.float64))
    np.bincount(kept.astype(np.int64), minlength=128)


def point(name: str, gauge: Gauge) -> None:
    start = time.perf_counter()
    chart = Chart(name, (Series("A", name, gauge),))
    chart.draw_curves(8, lambda *_: None)
    curve = 1e3 * (time.perf_counter() - start)
    told = [milliseconds(lambda alpha: gauge.at(alpha, 8))]
    for size in ((77, 22), (197, 58)):
        layout = Layout(chart, Shown(), Look(*size, (90, 169, 230), (242, 153, 74), (242, 193, 78)), Glyphs())
        told.append(milliseconds(layout.lines))
    cells = "".join(f"{best:9.2f} /{median:6.2f}" for best, median in told)
    print(f"  {name:34}{gauge.table.magnitudes.size:10,}{cells}{curve:11.0f}")


def main() -> None:
    print(f"Python {platform.python_version()}, numpy {np.__version__}, x86_64\n")
    print("a move of the cursor, ms, best / median; the curve of the error, once, in a thread")
    print(f"  {'':34}{'magnitudes':>10}{'numbers':>17}{'view 80x24':>17}{'view 200x60':>17}{'curve':>11}")
    x = spread(N)
    marker = Marker("A", 0.05, 0.05, 0.05, 8)
    tables = {
        f"float16, {N:,} values": MagnitudeTable.of(x.astype(np.float16)),
        f"float32 in intervals, {N:,}": MagnitudeTable.of(x),
        "float32, the most kept exactly": merge([MagnitudeTable.of(x[i << 16 : (i + 1) << 16]) for i in range(2)]),
    }
    for name, table in tables.items():
        point(name, Gauge(NamedTables(name, [table], table, (marker,)), WEIGHT_RULE, STEPS))
    samples = [MagnitudeTable.of(x[i * 32_768 : (i + 1) * 32_768].astype(np.float16)) for i in range(512)]
    run = NamedTables("run", samples, merge(samples), (marker,))
    point("512 samples of float16, EMA", Gauge(run, quamba_percentile(0.9995), STEPS))
    print("\nthe same numbers from the values, ms")
    for n in (1 << 20, 1 << 22):
        start = time.perf_counter()
        from_the_values(x[:n], 0.9995)
        print(f"  {f'{n:,} values of float32':34}{1e3 * (time.perf_counter() - start):10.0f}")


if __name__ == "__main__":
    main()
