"""A stored calibration that was damaged, or was made to harm: one sentence, whatever its record holds."""

from __future__ import annotations

import json
import math
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
        (lambda r: r["alphas"][0]["points"][0].update(scale=10**400), r"key alphas\[0\]\.points\[0\]\.scale: is not a"),
        (lambda r: r["alphas"][0]["points"][0].update(scale="x"), r"key alphas\[0\]\.points\[0\]\.scale: is not a"),
        (lambda r: r["alphas"][0]["points"][0].update(scale=[1, [2]]), r"key alphas\[0\]\.points\[0\]\.scale: is not"),
        (lambda r: r["alphas"][0]["points"][0].update(scale={}), r"key alphas\[0\]\.points\[0\]\.scale: is not a"),
        (lambda r: r["alphas"][0]["points"][0].pop("rotated"), r"key alphas\[0\].points\[0\]: .*field `rotated`"),
        (lambda r: r["alphas"][0]["points"][0].update(dtype="float8"), r"points\[0\]\.dtype: .*'float8'"),
        (lambda r: r["alphas"][0]["points"][0].update(dtype=["float16"]), r"\.dtype: .*got `array`"),
        (lambda r: r["alphas"][0].update(alpha=1.5), r"\.alpha: does not hold .*<= 1\.0"),
        (lambda r: r["alphas"][0].update(alpha=float("nan")), r"\.alpha: does not hold .*>= 0\.0"),
        (lambda r: r["alphas"][0].update(alpha=10**400), r"\.alpha: does not hold what it should"),
        (lambda r: r["alphas"][0].update(alpha=True), r"\.alpha: does not hold what it should"),
        (lambda r: r["alphas"][0].update(alpha="\udc80"), "holds text that is not valid Unicode"),
        (lambda r: r["alphas"][0].update(points=[]), r"key alphas\[0\]\.points: has no observation point"),
        (lambda r: r["alphas"][0].update(points={}), r"\.points: does not hold .*got `object`"),
        (lambda r: r["alphas"][0].update(checkpoints=[1]), r"checkpoints\[0\]: does not hold .*got `int`"),
        (lambda r: r.update(alphas=[]), r"key alphas: does not hold .*length >= 1"),
        (lambda r: r.update(settings=None), r"key settings: does not hold what it should"),
        (lambda r: r["settings"].update(recipe="none"), r"key settings\.recipe: names no recipe"),
    ],
)  # fmt: skip
def test_a_record_that_no_calibration_writes_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    cases.calibration(tmp_path / "run", STREAMS).close()
    path = tmp_path / "run" / RESULT
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(BrokenFile, match=said):
        Calibration(path.parent)


def test_what_a_newer_version_writes_beside_it_is_left_alone(tmp_path: Path) -> None:
    cases.calibration(tmp_path / "run", STREAMS).close()
    path = tmp_path / "run" / RESULT
    record = json.loads(path.read_text())
    record["newer"] = record["alphas"][0]["points"][0]["newer"] = {"x": 1e300}
    record["alphas"][0]["points"][0]["scale"] = "nan"
    path.write_text(json.dumps(record))
    found = Calibration(path.parent)
    assert found.record["newer"] == {"x": 1e300}
    assert math.isnan(next(iter(found.results[0].scales.values())))
    found.close()
