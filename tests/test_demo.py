"""`qinspect demo`: a real calibration of the model that comes along, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qinspect.inspector.cli import main
from qinspect.inspector.demo import HELD_OUT_TEXT, MODEL
from qinspect.inspector.runs import State, list_runs


def demo(state: Path) -> dict[str, Any]:
    """What it prints without a terminal."""
    env = {**os.environ, "QINSPECT_STATE_DIR": str(state)}
    done = subprocess.run(
        [sys.executable, "-m", "qinspect.inspector", "demo", "--json"],
        check=False,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_it_calibrates_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo(tmp_path)
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path))
    (run,) = list_runs()
    assert run.spec.name == "demo"
    assert run.state().state is State.FINISHED
    assert first["verdict"]["rule"] == "alpha-signature"
    assert (first["noise"]["run"], first["noise"]["run_at_hand"], first["noise"]["same_order"]) == ("demo", True, True)
    assert first["effect"]["kind"] == "effective"
    assert len(first["effect"]["beyond_noise"]) == first["effect"]["up"] == 16
    assert demo(tmp_path) == first
    assert list_runs() == [run]


def test_it_calibrates_again_where_that_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("qinspect.inspector.demo.prepare.SAMPLES", 4)  # enough to make both checkpoints

    def printed() -> dict[str, Any]:
        assert main(["demo", "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    first = printed()
    one = Path(first["a"]["path"])
    made = (one / "model.safetensors").read_bytes()
    (one / "config.json").unlink()  # as if it had been cut short
    assert printed() == first
    assert (one / "model.safetensors").read_bytes() == made
    assert [r.spec.name for r in list_runs()] == ["demo", "demo"]


def test_the_model_is_small_and_its_text_is_text() -> None:
    assert sum(f.stat().st_size for f in MODEL.iterdir()) < 12e6
    text = HELD_OUT_TEXT.read_text(encoding="ascii")
    assert len(text) > 200_000
    assert "Prospero" in text.title()
