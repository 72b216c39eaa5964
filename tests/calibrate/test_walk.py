"""An alpha goes one way from the command line to its scale, and docs/calibration.md says which."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.demo import MODEL
from qinspect.inspector.observers.rule import Rule

ROOT = Path(__file__).parent.parent.parent
SECTION = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8").partition("## The walk of an alpha")[2]
WALK = re.findall(r"^\d+\. `inspector/([\w/]+\.py)`", SECTION.partition("\n## ")[0], re.MULTILINE)


def test_the_walk_is_short_and_of_files_that_exist() -> None:
    assert 5 <= len(WALK) <= 10
    assert len(set(WALK)) == len(WALK)
    assert all((ROOT / "inspector" / name).is_file() for name in WALK)


def test_an_alpha_walks_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, stacks, made = 0.98765, [], Rule.scale

    def scale(rule: Rule, samples: Any) -> float:
        if f"{alpha!r}" in str(rule):
            stacks.append(_files(sys._getframe(1)))
        return made(rule, samples)

    monkeypatch.setattr(Rule, "scale", scale)
    calibrate(Settings(str(MODEL), alphas=(alpha,), samples=2, seq_len=16, device="cpu"), tmp_path / "state")
    assert stacks
    for stack in stacks:  # what an alpha is handed on by, when its scale is made: nothing is entered twice
        assert len(set(stack)) == len(stack)
        assert [f for f in WALK if f in stack] == stack


def _files(frame: Any) -> list[str]:
    """The files of the calls that led here, the first first; of calls within a file once."""
    found: list[str] = []
    while frame is not None:
        _, inside, name = frame.f_code.co_filename.rpartition("/inspector/")
        if inside and (not found or found[-1] != name):
            found.append(name)
        frame = frame.f_back
    return found[::-1]
