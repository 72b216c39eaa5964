"""Which evaluation on this machine is of two opened checkpoints: of their paths, and of files that are as they were."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qinspect.inspector.checkpoint import Checkpoint, open_checkpoint
from qinspect.inspector.evaluate.known import KnownEvaluation, evaluation_between
from qinspect.inspector.evaluate.layout import EVALUATION, RESULT
from qinspect.inspector.evaluate.results import Answer
from qinspect.inspector.runs import Run, RunSpec

DATA = Path(__file__).parent.parent / "data"
TINY = next(p.parent for p in sorted((DATA / "quamba").rglob("config.json")) if "m1_w8a8_pa0.9995" in str(p))


@pytest.fixture
def models(tmp_path: Path) -> tuple[Checkpoint, Checkpoint]:
    for name in ("base", "made"):
        shutil.copytree(TINY, tmp_path / name)
    return open_checkpoint(tmp_path / "base"), open_checkpoint(tmp_path / "made")


def run(folder: Path, reference: str, *models: str, created: float | None = None) -> Run:
    """An evaluation that began now, unless said otherwise."""
    spec = RunSpec(("qinspect", "evaluate"), name="mine", cwd=str(folder), created=created or time.time() + 0.5)
    made = Run(folder / f"run-{len(list(folder.iterdir()))}", spec)
    place = made.folder / EVALUATION
    place.mkdir(parents=True)
    content: dict[str, Any] = json.loads((DATA / "evaluations" / "alphas.json").read_text())
    content |= {
        "reference": reference,
        "models": [m | {"name": n} for m, n in zip(content["models"], models, strict=False)],
    }
    (place / RESULT).write_text(json.dumps(content))
    os.utime(place / RESULT, (spec.created + 1, spec.created + 1))
    return made


def between(models: tuple[Checkpoint, Checkpoint], *runs: Run) -> KnownEvaluation | None:
    return evaluation_between(*models, runs)


def test_it_is_found_by_the_names_that_the_run_was_given(tmp_path: Path, models: tuple[Checkpoint, Checkpoint]) -> None:
    found = between(models, run(tmp_path, "base", "other", str(tmp_path / "made")))
    assert found is not None
    assert found.is_of_b
    assert found.figures.name == str(tmp_path / "made")
    assert found.short == "B's predictions: KL 0.0144 [0.0136, 0.0151], perplexity worse"
    assert "same likeliest token 93.24 % (25,500 tokens, run mine)" in found.said


def test_the_other_way_round_a_is_the_model(tmp_path: Path, models: tuple[Checkpoint, Checkpoint]) -> None:
    found = between((models[1], models[0]), run(tmp_path, "base", "made"))
    assert found is not None
    assert not found.is_of_b
    assert found.short.startswith("A's predictions: KL")


def test_the_newest_is_taken(tmp_path: Path, models: tuple[Checkpoint, Checkpoint]) -> None:
    now = time.time()
    old, new = (
        run(tmp_path, "base", *names, created=now + s) for s, names in ((1, ("made",)), (2, ("x", "y", "made")))
    )
    found = between(models, old, new)
    assert found is not None
    assert found.figures.answer is Answer.EQUIVALENT
    assert found.short.endswith("perplexity equivalent within 0.01")


@pytest.mark.parametrize("of_settings", [True, False], ids=["settings", "weights"])
@pytest.mark.parametrize("which", [0, 1])
def test_of_files_that_were_touched_since_it_is_none(
    which: int, of_settings: bool, tmp_path: Path, models: tuple[Checkpoint, Checkpoint]
) -> None:
    of = run(tmp_path, "base", "made")
    assert between(models, of) is not None
    later = Run(of.folder, replace(of.spec, created=time.time() - 100))
    assert between(models, later) is None  # they were written after it began
    touched = models[which]
    path = touched.path / "config.json" if of_settings else touched.files[0].path
    path.write_bytes(path.read_bytes())
    os.utime(path, (1, 1))  # what copying with times does
    began = path.stat().st_ctime - 0.001
    assert between(models, Run(of.folder, replace(of.spec, created=began))) is None


def test_others_are_none(tmp_path: Path, models: tuple[Checkpoint, Checkpoint]) -> None:
    damaged = run(tmp_path, "base", "made")
    (damaged.folder / EVALUATION / RESULT).write_text("{}")
    none = Run(tmp_path / "nothing", damaged.spec)
    other = run(tmp_path, "made", "made")
    earlier = run(tmp_path, "base", "made")
    os.utime(earlier.folder / EVALUATION / RESULT, (1e9, 1e9))
    calibration = replace(damaged.spec, argv=("qinspect", "calibrate"))
    assert between(models, damaged, none, other, earlier, Run(earlier.folder, calibration)) is None
    assert between(models) is None
