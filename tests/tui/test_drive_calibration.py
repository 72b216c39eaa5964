"""A calibration from the form to the comparison, in a real terminal, with the screen killed in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from drive_calibration import drive

from qinspect.inspector.calibration.stored import Calibration


@pytest.mark.slow
def test_a_calibration_survives_its_screen_and_ends_in_a_comparison(tmp_path: Path) -> None:
    seen = drive("demo", 96, 128, "cpu", tmp_path)
    assert "Run calibration" in seen["its log"]
    assert "/96 it" in seen["after the screen was killed"]
    assert "alpha 0.9995, B alpha 0.99999" in seen["a distribution"]
    (folder,) = (tmp_path / "state" / "runs").glob("*/calibration")
    calibration = Calibration(folder)
    assert [r.alpha for r in calibration.results] == [0.9995, 0.99999]
    assert calibration.record["data"]["samples"] == 96
    assert [p.name for p in calibration.checkpoints] == ["pa-0.9995-w8a8", "pa-0.99999-w8a8"]
    calibration.close()
