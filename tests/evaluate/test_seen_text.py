"""Text that a calibration saw is not held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.demo import MODEL
from qinspect.inspector.evaluate.seen_text import seen_said
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.work import evaluate
from qinspect.inspector.samples.data import ByteTokenizer, Samples, load_samples


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(np.random.default_rng(0).integers(97, 122, 1000).astype(np.uint8).tobytes())
    return path


def _samples(text: Path, n: int, length: int = 50) -> Samples:
    return load_samples(str(text), ByteTokenizer(), n, length)


def test_windows_are_counted(text: Path, tmp_path: Path) -> None:
    calibrated = _samples(text, 3).describe()
    assert str(seen_said(calibrated, _samples(text, 3).describe())).startswith("all 3 windows")
    assert str(seen_said(calibrated, _samples(text, 8).describe())).startswith("3 of 8 windows")
    assert "is not known" in str(seen_said(calibrated, _samples(text, 8, 40).describe()))
    other = tmp_path / "other.txt"
    other.write_text("Some other text. " * 60)
    assert seen_said(calibrated, _samples(other, 3).describe()) is None


@pytest.mark.parametrize("damaged", [None, 3, [], {}, {"source": 1}, {"source": {"sha256": None}, "order": "x"}])
def test_what_a_file_says_may_be_anything(text: Path, damaged: object) -> None:
    assert seen_said(damaged, _samples(text, 3).describe()) is None


def test_an_evaluation_warns_of_checkpoints_and_alphas(text: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    settings = Settings(str(MODEL), data=str(text), samples=2, seq_len=32, device="cpu", alphas=(0.9,), out=out)
    calibrate(settings, tmp_path)
    asked = EvaluateSettings(str(MODEL), (out,), (0.9,), str(tmp_path), data=str(text), samples=4, floor_seeds=0)
    asked_elsewhere = EvaluateSettings(str(MODEL), (out,), samples=2, seq_len=32, floor_seeds=0)
    (said,) = [w for w in evaluate(asked).warnings if "calibrated on" in w]
    assert said.startswith(f"{out} and 1 other: its text is of the file")
    assert not any("calibrated on" in w for w in evaluate(asked_elsewhere).warnings)
