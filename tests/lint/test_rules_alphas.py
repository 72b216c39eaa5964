"""What a checkpoint and its folder say of the alpha that made its scales."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import native_files
import numpy as np
import pytest
from broken_files import linted, of_rule
from quamba_files import load_state, save_state

from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.finding import Severity
from qinspect.inspector.provenance import Provenance

if TYPE_CHECKING:
    from conftest import Quamba

POINTS = {f"layers.{i}.mixer.x_conv_out:input": PointScale(np.float32(0.5), "hidden", True) for i in range(2)}


def native(folder: Path, *alphas: float) -> Path:
    """A checkpoint whose provenance says these alphas of its points."""
    effective = dict(zip(POINTS, alphas, strict=False))
    provenance = Provenance({"alphas": list(dict.fromkeys(alphas))}, {"alpha": effective}, {}, {})
    return native_files.written(folder, activation_scales=POINTS, provenance=provenance)


@pytest.mark.parametrize(
    ("folder", "alphas", "severity"),
    [
        ("pa-0.9999", (0.9995, 0.9995), Severity.WARNING),
        ("pa-1", (0.999996, 0.999996), Severity.NOTE),  # five decimals of it
        ("pa-0.9995", (0.9995, 0.9995), None),
        ("m", (0.9995, 0.9995), None),
        ("pa-0.9999", (0.9995, 0.999), Severity.WARNING),
        ("pa-0.9995", (0.9995, 0.999), None),
    ],
)
def test_a_folder_that_claims_another_alpha(
    folder: str, alphas: tuple[float, ...], severity: Severity | None, tmp_path: Path
) -> None:
    found = of_rule(linted(native(tmp_path / folder, *alphas)), "D09")
    assert [f.severity for f in found] == ([] if severity is None else [severity])
    for f in found:
        assert folder.removeprefix("pa-") in f.found.text


def test_scales_of_a_percentile_that_nobody_names(tmp_path: Path, quamba: Quamba) -> None:
    state, config = load_state("m1_w8a8_pa0.9995")
    (one,) = of_rule(linted(save_state(tmp_path / "m", state, config)), "D10")
    assert "4 scales" in one.found.text
    assert one.severity is Severity.NOTE
    assert not of_rule(linted(save_state(tmp_path / "pa-0.9995", state, config)), "D10")
    assert not of_rule(linted(quamba("m2_w8a8_gh")), "D10")  # alpha reaches none of its scales
    assert not of_rule(linted(native(tmp_path / "n", 0.9995, 0.9995)), "D10")
