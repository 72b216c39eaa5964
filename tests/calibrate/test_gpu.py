"""Calibrations on a GPU: forwards as graphs, points of two dtypes, memory that really runs out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import saved_ids, saved_model

from qinspect.inspector.calibrate import engine
from qinspect.inspector.calibrate.counting import Counter
from qinspect.inspector.calibrate.engine import Pass, Progress, find_points
from qinspect.inspector.calibrate.graphs import Graph, Graphs
from qinspect.inspector.calibrate.grouped import GroupedAbsmax
from qinspect.inspector.calibrate.shards import Shards
from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.demo import MODEL
from qinspect.inspector.distribution import DistributionFile
from qinspect.inspector.models.load import open_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def tables(folder: Path) -> bytes:
    return (folder / "distributions.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["demo", "llama", "albert"])
def test_graphs_count_what_forwards_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    model = MODEL if kind == "demo" else saved_model(tmp_path / "model", kind, torch.bfloat16)
    data = "" if kind == "demo" else str(saved_ids(tmp_path / "ids.json", [40] * 8))
    settings = Settings(str(model), samples=8, seq_len=40, data=data, device="cuda", per_sample=("*",))
    made: list[Graph] = []
    of = Graphs.of

    def seen(self: Graphs, shape: tuple[int, ...]) -> Graph | None:
        found = of(self, shape)
        made.extend([found] if found else [])
        return found

    monkeypatch.setattr(Graphs, "of", seen)
    calibrate(settings, tmp_path / "graphs")
    assert len(made) == 8
    monkeypatch.setattr(Graphs, "can_help", lambda _model: False)
    calibrate(settings, tmp_path / "eager")
    if kind == "llama":  # its masks are not made in a capture as they are without: attention rounds otherwise
        files = [DistributionFile(tmp_path / name / "distributions.safetensors") for name in ("graphs", "eager")]
        assert files[0].points == files[1].points
        for a, b in ([f.pooled(name) for f in files] for name in files[0].points):
            assert a.n == b.n
            assert a.absmax == pytest.approx(b.absmax, rel=2**-6)
    else:
        assert tables(tmp_path / "graphs") == tables(tmp_path / "eager")


def test_points_of_two_dtypes_keep_their_place() -> None:
    half, single = torch.randn(1, 9, 4, device="cuda").half(), torch.randn(1, 9, 4, device="cuda")
    counter = Counter({"h": "float16", "s": "float32"}, frozenset({"h", "s"}))
    shown = [("h", half), ("s", single), ("h", half * 2)]
    for _ in range(2):
        counter.count_again(shown)
        (pending,) = counter.finish()
        found = pending()
        assert (found["h"].n, found["s"].n) == (72, 36)
    pooled = counter.pooled()
    assert (pooled["h"].n, pooled["s"].n) == (144, 72)


def test_memory_that_runs_out_in_a_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [np.random.default_rng(i).integers(0, 256, 40) for i in range(6)]

    def run(folder: Path, greedy: bool) -> list[str]:
        folder.mkdir()
        model = open_model(str(MODEL), True, torch.device("cuda"))
        points = find_points(model, ids[0][:16])
        forward = model.forward

        def hungry(x: Any, observe: Any) -> Any:
            if greedy and torch.cuda.graphs.is_current_stream_capturing():
                torch.empty(1 << 45, device="cuda")
            return forward(x, observe)

        monkeypatch.setattr(model, "forward", hungry)
        said: list[str] = []
        shards = Shards(folder, "f", len(ids))
        apart = frozenset(p.name for p in points)
        Pass(model, points, apart, GroupedAbsmax({}, 1, 1), Progress(say=said.append)).run(ids, shards)
        shards.join([p.name for p in points], {})
        return said

    assert run(tmp_path / "a", False) == []
    said = run(tmp_path / "b", True)
    assert len(said) <= 1  # the driver may call it a failed capture, which costs the graph and no more
    assert all("not kept as CUDA graphs" in text for text in said)
    assert tables(tmp_path / "a") == tables(tmp_path / "b")


def test_every_level_of_the_ladder_counts_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HOLD_BYTES_WHEN_SHORT", 10_000)
    ids = [np.random.default_rng(i).integers(0, 256, 40) for i in range(5)]
    model = open_model(str(MODEL), True, torch.device("cuda"))
    points = find_points(model, ids[0][:16])
    found = []
    for level in range(4):
        folder = tmp_path / str(level)
        folder.mkdir()
        shards = Shards(folder, "f", len(ids))
        one = Pass(model, points, frozenset(p.name for p in points[::2]), GroupedAbsmax({}, 1, 1), Progress())
        for _ in range(level):
            one._make_room(torch.OutOfMemoryError("CUDA out of memory."))
        one.run(ids, shards)
        shards.join([p.name for p in points], {})
        found.append(tables(folder))
    assert found == found[:1] * 4


def test_the_cpu_sees_what_the_gpu_sees_to_rounding(tmp_path: Path) -> None:
    settings = Settings(str(MODEL), samples=4, seq_len=64, device="cpu")
    calibrate(settings, tmp_path / "cpu")
    calibrate(replace(settings, device="cuda"), tmp_path / "gpu")
    files = [DistributionFile(tmp_path / name / "distributions.safetensors") for name in ("cpu", "gpu")]
    apart = [abs(b.absmax / a.absmax - 1) for name in files[0].points for a, b in [[f.pooled(name) for f in files]]]
    print("largest and median difference of absmax", max(apart), float(np.median(apart)))
    assert max(apart) < 0.02
    assert np.median(apart) < 0.001


def test_a_spread_model(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model, ids = saved_model(tmp_path / "model", "llama"), saved_ids(tmp_path / "ids.json", [20, 30])
    settings = Settings(str(model), data=str(ids), device="auto", per_sample=("*",))
    calibrate(settings, tmp_path / "auto")
    calibrate(replace(settings, device="cuda"), tmp_path / "one")
    assert (tmp_path / "auto" / "distributions.safetensors").stat().st_size > 0
    names = [DistributionFile(tmp_path / x / "distributions.safetensors").points for x in ("auto", "one")]
    assert names[0] == names[1]
