"""Runs that stand still, for pictures: fixed times, fixed states, fixed GPUs; logs and journals are real files."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from qinspect.inspector.evaluate.layout import EVALUATION, LIVE, RESULT
from qinspect.inspector.runs import Outcome, Result, Run, RunSpec, RunState, State
from qinspect.inspector.runs.gpus import Gpu, GpuProcess, GpuSample
from qinspect.inspector.runs.show import Seen, look
from qinspect.tui.runs.watch import Looked

NOW = 1_800_000_000.0
LOG = (
    "2026-11-22:07:18:45,608 WARNING  [modelutils_mamba.py:871] Runing calibration and quantization from scratch\n"
    "2026-11-22:07:18:45,714 INFO     [modelutils_mamba.py:231] Run calibration\n"
    + "".join(f"\r{i:3}%|{'#' * (i // 10):10}| {i}/100 [00:01<00:01, 12.5it/s]" for i in range(0, 101, 20))
    + "\n"
    + "".join(
        f"2026-11-22:07:18:51,17{i} DEBUG    [observer.py:174] PerTensorPercentileObserver: percentile_alpha=0.99950, "
        f"w_max={w}, clip_ratio=1.0\n"
        for i, w in enumerate((17.693964, 2.27266, 16.033133, 1.880224, 9.5))
    )
    + "\x1b[32mApplying quantized layers\x1b[m\n"
    + "\r 41%|####      | 41/100 [00:04<00:06,  9.8it/s]"
)


def events() -> list[dict[str, Any]]:
    """A journal of that log."""
    made: list[dict[str, Any]] = [
        {"kind": "start", "pid": 4242},
        {"kind": "phase", "name": "calibration", "text": "Run calibration", "line": 2},
        {"kind": "warning", "text": "Runing calibration and quantization from scratch", "line": 1},
    ]
    made += [
        {"kind": "point", "name": "observer", "line": 4 + i, "fields": {"percentile_alpha": 0.9995, "w_max": w}}
        for i, w in enumerate((17.693964, 2.27266, 16.033133, 1.880224, 9.5))
    ]
    made += [
        {"kind": "phase", "name": "quantize layers", "line": 9},
        {"kind": "progress", "name": "quantize layers", "done": 41, "total": 100, "unit": "it", "rate": 9.8},
    ]
    return [{"seq": i + 1, "time": NOW - 60 + i, **event} for i, event in enumerate(made)]


def make_run(
    folder: Path, name: str, alpha: str, age_s: float, log: str = "", journal: bool = False, words: tuple[str, ...] = ()
) -> Run:
    """words: of its command, else those of Quamba with that alpha."""
    run = Run(
        folder / f"20270115-080000-{name[-4:]}",
        RunSpec(
            argv=words or ("python", "main.py", "state-spaces/mamba-130m", "--quantize", "--percentile_alpha", alpha),
            name=name, cwd="/home/me/Quamba", env={"CUDA_VISIBLE_DEVICES": "1"}, host="gpu1", created=NOW - age_s,
        ),
    )  # fmt: skip
    run.folder.mkdir(parents=True)
    run.log_path.write_text(log)
    if journal:
        run.events_path.write_text("".join(json.dumps(e) + "\n" for e in events()))
    return run


def still_looked(folder: Path) -> Looked:
    """Four runs in four states."""
    live = look(make_run(folder, "pa0.9995", "0.9995", 64, LOG, journal=True))
    live = Seen(live.run, RunState(State.RUNNING, heartbeat_age_s=1.0), live.progress, live.phase)
    failed = Result(Outcome.FAILED, NOW - 3000, 1, None, 125.0, "RuntimeError: CUDA error: out of memory", "Aborted")
    done = Result(Outcome.FINISHED, NOW - 7000, 0, None, 905.0)
    stopped = Result(Outcome.CANCELLED, NOW - 90000, None, "SIGTERM", 12.0, cancelled_by="me, SIGTERM")
    others = [
        Seen(make_run(folder, "pa0.99999", "0.99999", 3125), RunState(State.FAILED, "", failed), None, None),
        Seen(make_run(folder, "gptq", "0.9995", 7905), RunState(State.FINISHED, "", done), None, None),
        Seen(make_run(folder, "first try", "1", 90012), RunState(State.CANCELLED, "", stopped), None, None),
    ]
    return Looked((live, *others))


def still_gpus() -> GpuSample:
    processes = (GpuProcess(4242, "python", 31 * 10**9),)
    gigabyte = 10**9
    idle = Gpu(0, "GPU-0", "NVIDIA H200", 0, gigabyte, 141 * gigabyte, 120.0, 700.0, 34, ())
    busy = Gpu(1, "GPU-1", "NVIDIA H200", 87, 32 * gigabyte, 141 * gigabyte, 520.0, 700.0, 61, processes)
    return GpuSample(NOW, (idle, busy))


def still_evaluations(folder: Path, evaluations: Path) -> Looked:
    """One that has ended, one that goes on. evaluations: their files."""
    words = ("qinspect", "evaluate", "demo", "made/pa-0.99-w8a8", "other/model", "made/pa-0.9995-w8a8", "--here")
    live = make_run(folder, "checkpoints", "", 64, "Model: made/pa-0.99-w8a8\n", words=words)
    alphas = ("qinspect", "evaluate", "demo", "--alpha", "0.99", "--alpha", "0.9995", "--run", "demo", "--here")
    done = make_run(folder, "alphas", "", 3125, "Model: alpha 0.99\n", words=alphas)
    for run, name, of, age_s in ((live, LIVE, "figures.json", 0), (done, RESULT, "alphas.json", 3000)):
        (run.folder / EVALUATION).mkdir()
        (run.folder / EVALUATION / name).write_bytes((evaluations / of).read_bytes())
        os.utime(run.folder / EVALUATION / name, (NOW - age_s, NOW - age_s))
    ended = RunState(State.FINISHED, "", Result(Outcome.FINISHED, NOW - 3000, 0, None, 125.0))
    return Looked((Seen(live, RunState(State.RUNNING, heartbeat_age_s=1.0), None, None), Seen(done, ended, None, None)))


def stand_still(folder: Path, patch: pytest.MonkeyPatch, looked: Looked | None = None) -> None:
    """From now on the screen sees these runs only, at this time."""
    looked = looked or still_looked(folder)
    patch.setenv("TZ", "UTC")
    time.tzset()

    def took(seen: Seen) -> float:
        return 64.0 if seen.state.result is None else seen.state.result.duration_s or 0.0

    for module in ("qinspect.tui.runs.run_list", "qinspect.tui.runs.head", "qinspect.tui.runs.spec_lines"):
        patch.setattr(f"{module}.duration_s", took)
    patch.setattr("qinspect.tui.runs.run_list.clock_now", lambda: NOW)
    patch.setattr("qinspect.tui.runs.watch.RunWatch.look", lambda self: looked)
    patch.setattr("qinspect.inspector.runs.gpus.GpuSampler.sample", lambda self: still_gpus())
