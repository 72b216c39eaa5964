"""How long counting takes, and every question to a table: `python benchmarks/distribution.py`. Best of several runs.

The data is synthetic: SiLU of gaussians with 1/1600 of the values times 12, as float16 and as bfloat16.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import (
    DistributionFile,
    MagnitudeTable,
    best_dual_scale,
    coverage,
    entropy_optimal_scale,
    log_histogram,
    merge,
    mse,
    mse_optimal_scale,
    write_distributions,
)
from qinspect.inspector.observers import quamba_percentile
from qinspect.kernels import magnitude_counts, reference, signed_counts
from qinspect.kernels.cpu import body_name

N = 1 << 24
POINTS, ALPHAS, SCALES, SAMPLES = 384, 600, 200, 512
DTYPES: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def seconds(call: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def activation(n: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n, dtype=np.float32) * np.float32(1.2)
    x /= 1 + np.exp(-x)
    x[rng.random(n) < 1 / 1600] *= 12
    return x


def counting() -> None:
    rng = np.random.default_rng(1)
    gaussian = rng.standard_normal(N, dtype=np.float32)
    kinds = {
        "gaussian": gaussian,
        "SiLU-like": activation(N),
        "90 % zeros": np.where(rng.random(N) < 0.9, np.float32(0), gaussian),
        "constant": np.full(N, 1.5, np.float32),
    }
    print(f"counting {N:,} values, body: {body_name()}; million values a second")
    print(f"  {'':22}{'magnitude':>10}{'signed':>10}{'np.bincount':>13}")
    for name, dtype in DTYPES.items():
        for kind, values in kinds.items():
            x = values.astype(dtype)
            speeds = [N / seconds(partial(f, x)) / 1e6 for f in (magnitude_counts, signed_counts)]
            plain = N / seconds(partial(reference.magnitude_counts, x), 2) / 1e6
            print(f"  {name:9} {kind:12}{speeds[0]:10,.0f}{speeds[1]:10,.0f}{plain:13,.0f}")
    for n in (8_192, 98_304, 786_432):
        x = gaussian[:n].astype(np.float16)
        print(f"  {n:,} values of float16: {seconds(partial(magnitude_counts, x), 50) * 1e6:,.0f} us")


def questions(name: str) -> None:
    table = MagnitudeTable.of(activation(1 << 22).astype(DTYPES[name]))
    tables = [MagnitudeTable.of(activation(1 << 18, seed).astype(DTYPES[name])) for seed in range(POINTS)]
    alphas = np.linspace(0.9, 1.0, ALPHAS)
    scales = table.absmax / 127 * np.geomspace(1 / 64, 1, SCALES)
    w_max = float(table.quantile(0.999))
    fp32 = activation(1 << 22)
    few = activation(1 << 16)
    rows: dict[str, tuple[Callable[[], object], int]] = {
        f"{POINTS} points x {ALPHAS} alphas": (lambda: [t.quantile(alphas) for t in tables], 3),
        "the same, float64 rank": (lambda: [t.quantile(alphas, "float64") for t in tables], 3),
        "one quantile": (lambda: table.quantile(0.9995), 20),
        "alpha_of one value": (lambda: table.alpha_of(w_max), 5),
        f"coverage at {SCALES} scales": (lambda: coverage(table, scales), 5),
        f"MSE at {SCALES} scales, 8 bits": (lambda: mse(table, scales), 5),
        f"MSE at {SCALES} scales, 4 bits": (lambda: mse(table, scales * 18, 4), 5),
        "MSE-optimal scale": (lambda: mse_optimal_scale(table), 3),
        "entropy-optimal scale, 1,921 thresholds": (lambda: entropy_optimal_scale(table), 3),
        "best dual scale": (lambda: best_dual_scale(table), 2),
        "histogram of 200 bins": (lambda: log_histogram(table, 200), 20),
        f"merge of {POINTS} tables": (lambda: merge(tables), 3),
        "a table of 4 M float32 values (bounded)": (lambda: MagnitudeTable.of(fp32), 3),
        "a table of 65,536 float32 values (exact)": (lambda: MagnitudeTable.of(few), 3),
    }
    print(f"\nquestions to a table of {table.n:,} {name} values, {table.magnitudes.size:,} of them different; ms")
    for label, (call, times) in rows.items():
        call()
        print(f"  {label:42}{seconds(call, times) * 1e3:10,.2f}")


def samples(name: str) -> None:
    tables = [MagnitudeTable.of(activation(98_304, seed).astype(DTYPES[name])) for seed in range(SAMPLES)]
    rule = quamba_percentile(0.9995)
    scale = rule.scale(tables)
    print(f"\n{SAMPLES} samples of 98,304 {name} values; ms")
    print(f"  {'replay of one alpha':42}{seconds(lambda: rule.scale(tables), 3) * 1e3:10,.2f}")
    alphas = np.linspace(0.9, 1.0, ALPHAS)
    print(f"  {f'replay of {ALPHAS} alphas':42}{seconds(lambda: rule.scales_at(tables, alphas), 2) * 1e3:10,.2f}")
    print(f"  {'alpha of a scale':42}{seconds(lambda: rule.alpha_of(tables, scale), 2) * 1e3:10,.2f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        start = time.perf_counter()
        size = write_distributions(path, {"point": tables})
        print(f"  {'written':42}{(time.perf_counter() - start) * 1e3:10,.2f}")
        print(f"  {'all samples read':42}{seconds(lambda: DistributionFile(path).samples('point'), 2) * 1e3:10,.2f}")
        print(f"  {'bytes a sample':42}{size / SAMPLES:10,.0f}")


def main() -> None:
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}\n")
    counting()
    for name in DTYPES:
        questions(name)
        samples(name)


if __name__ == "__main__":
    main()
