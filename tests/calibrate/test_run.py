"""A calibration as a run: killed, resumed, looked at, and its log understood."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_processes import begin, ended, kill_all, until

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.cli import main
from qinspect.inspector.demo import MODEL
from qinspect.inspector.logs import summarize
from qinspect.inspector.runs import State, list_runs
from qinspect.inspector.runs.state import read_processes

SAMPLES = 96


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    yield
    kill_all()


@pytest.mark.slow
def test_a_killed_calibration_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [
        str(MODEL), "--samples", str(SAMPLES), "--seq-len", "16", "--device", "cpu", "--out", str(out),
        "--alpha", "0.9", "--alpha", "0.99999",
    ]  # fmt: skip
    assert main(["calibrate", *words]) == 0
    (run,) = list_runs()
    shards = run.folder / "calibration" / "shards"
    until(lambda: any(shards.glob("*.safetensors")), "the first shard")
    processes = read_processes(run.folder)
    assert processes is not None
    os.killpg(processes.pgid, signal.SIGKILL)
    assert ended(run).state is State.FAILED
    there = sorted(shards.glob("*.safetensors"))
    assert 1 <= len(there) < SAMPLES // 32
    times = [p.stat().st_mtime_ns for p in there]
    assert not (run.folder / "calibration" / "calibration.json").exists()
    assert not out.exists() or not any(out.iterdir())

    assert main(["calibrate", "--resume", run.id]) == 0
    (again,) = (r for r in list_runs() if r.id != run.id)
    assert ended(again).state is State.FINISHED
    assert [p.stat().st_mtime_ns for p in there] == times  # not made again
    settings = Settings(
        str(MODEL), samples=SAMPLES, seq_len=16, device="cpu", alphas=(0.9, 0.99999), out=str(tmp_path / "undisturbed")
    )
    calibrate(settings, tmp_path / "state")
    made = run.folder / "calibration" / "distributions.safetensors"
    assert made.read_bytes() == (tmp_path / "state" / "distributions.safetensors").read_bytes()
    for alpha in ("0.9", "0.99999"):
        for name in ("config.json", "model.safetensors"):
            place = Path(f"pa-{alpha}-w8a8") / name
            assert (out / place).read_bytes() == (tmp_path / "undisturbed" / place).read_bytes()
    resumed = json.loads((run.folder / "calibration" / "calibration.json").read_text())
    assert resumed["timing"]["samples"] == SAMPLES - 32 * len(there)


def test_what_cannot_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(sys.executable, "-c", "pass")
    ended(run)
    assert main(["calibrate", "--resume", run.id]) == 2
    assert "is not a calibration" in capsys.readouterr().err
    assert main(["calibrate", "--samples", "3", "--resume", run.id]) == 2
    assert "--resume takes model and settings from the run" in capsys.readouterr().err


def test_what_an_earlier_run_holds_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that has the words of a calibration among its own."""
    for program in (
        ["/bin/sh", "-c", f"touch {tmp_path}/evil"],
        [sys.executable, "-c", f"open('{tmp_path}/evil', 'w')"],
    ):
        run = begin(*program, "calibrate", "demo", "--here")
        ended(run)
        (tmp_path / "evil").unlink()
        assert main(["calibrate", "--resume", run.id]) == 2
        assert "is not a calibration" in capsys.readouterr().err
    assert not (tmp_path / "evil").exists()


def test_what_is_resumed_is_said_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By this program, whatever program the earlier run names, and with settings that a calibration has."""
    from qinspect.inspector.runs import cli as commands

    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    words = [
        "model",
        "--alpha",
        "0.9",
        "--alpha",
        "0.99",
        "--samples",
        "7",
        "--shuffle",
        "--out",
        str(tmp_path),
        "--here",
    ]
    run = begin(str(program), "-P", "-m", "qinspect.inspector", "calibrate", *words, name="mine")
    ended(run)
    asked: list[tuple[tuple[str, ...], dict[str, object]]] = []

    def ask(*argv: str, **more: object) -> int:
        asked.append((argv, more))
        return 0

    monkeypatch.setattr(commands, "run", ask)
    assert main(["calibrate", "--resume", run.id]) == 0
    ((argv, more),) = asked
    assert argv[0] == sys.executable
    settings, state = argv[5:-3], argv[-3:]
    assert Settings("model", alphas=(0.9, 0.99), samples=7, shuffle=True, out=str(tmp_path)).words() == list(settings)
    assert state == ("--state", str(run.folder / "calibration"), "--here")
    assert (more["name"], more["cwd"]) == ("mine", run.spec.cwd)
    broken = begin(str(program), "-P", "-m", "qinspect.inspector", "calibrate", "model", "--evil", "x", "--here")
    ended(broken)
    assert main(["calibrate", "--resume", broken.id]) == 2


def test_the_log_of_a_calibration_is_understood(tmp_path: Path) -> None:
    words = ["--samples", "33", "--seq-len", "8", "--device", "cpu", "--here", "--state", str(tmp_path / "state")]
    command = [sys.executable, "-P", "-m", "qinspect.inspector", "calibrate", str(MODEL), *words]
    run = begin(*command, "--alpha", "0.9999995", "--out", str(tmp_path / "out"))
    assert ended(run).state is State.FINISHED
    log = summarize(run.log_path)
    assert [p.name for p in log.phases] == [
        "create model", "calibration data", "calibration", "store distributions", "store model", "save result"
    ]  # fmt: skip
    observers = [row.fields for row in log.points["observer"]]
    assert len(observers) == 16
    assert observers[0]["point"] == "layers.0.mixer.x_conv_out:input"
    assert {o["percentile_alpha"] for o in observers} == {0.9999995}
    settings = {s.name: (s.requested, s.effective) for s in log.settings}
    assert settings["calib_data_num"] == (33, 33)
    assert settings["recipe"][1] == "quamba"
    assert settings["group_heads"][1] is False
    notes = [n.text for n in log.notes]
    assert "calibrated with 33 samples of heldout.txt" in notes
    assert "16 observers used alpha 0.9999995" in notes
    assert not any("incomplete" in n for n in notes)


def test_zero_percentile_lines_are_reported_as_zero(tmp_path: Path) -> None:
    words = ["--samples", "2", "--seq-len", "8", "--device", "cpu", "--here", "--state", str(tmp_path / "state")]
    command = [sys.executable, "-P", "-m", "qinspect.inspector", "calibrate", str(MODEL), *words]
    run = begin(*command, "--recipe", "quamba-group-heads")
    assert ended(run).state is State.FINISHED
    notes = [n.text for n in summarize(run.log_path).notes]
    assert any(n.startswith("0 observers used alpha: percentile_alpha 0.9995") and "group heads" in n for n in notes)
    assert "PerTensorPercentileObserver" not in run.log_path.read_text()
