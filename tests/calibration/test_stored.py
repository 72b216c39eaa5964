"""A stored calibration that was damaged, or was made to harm: one sentence, whatever its record holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import whence_cases as cases

from qinspect.inspector.calibration.layout import RESULT
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import BrokenFile

STREAMS = cases.streams(1, 2, 2, "float16", 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda first: first["points"][0].update(scale=10**400), "does not hold what it should"),
        (lambda first: first["points"][0].update(dtype="float8"), "a point of an unknown dtype"),
        (lambda first: first["points"][0].update(dtype=["float16"]), "a point of an unknown dtype"),
        (lambda first: first.update(alpha=1.5), "an alpha that is no share"),
        (lambda first: first.update(alpha=float("nan")), "an alpha that is no share"),
        (lambda first: first.update(alpha=10**400), "does not hold what it should"),
        (lambda first: first.update(points=[]), "has no observation point"),
        (lambda first: first.update(points={}), "has no observation point"),
    ],
)  # fmt: skip
def test_a_record_that_no_calibration_writes_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    cases.calibration(tmp_path / "run", STREAMS).close()
    path = tmp_path / "run" / RESULT
    record = json.loads(path.read_text())
    change(record["alphas"][0])
    path.write_text(json.dumps(record))
    with pytest.raises(BrokenFile, match=said):
        Calibration(path.parent)
