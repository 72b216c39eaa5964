"""Pictures of the figures of an evaluation at three sizes, without colours and in plain letters. See test_snapshots.py
for how they are written anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import assert_looks_as_stored, assert_none_left_over, picture
from pilots import LARGE, MIDDLE, SMALL, open_app
from still_runs import stand_still, still_evaluations

STORED = Path(__file__).parent / "snapshots" / "evaluation"
EVALUATIONS = Path(__file__).parent.parent / "data" / "evaluations"
PICTURES: dict[str, tuple[tuple[int, int], tuple[str, ...], dict[str, str]]] = {
    "done-200x60": (LARGE, ("j",), {}),
    "done-120x40": (MIDDLE, ("j",), {}),
    "done-80x24": (SMALL, ("j", "2", "z"), {}),
    "panels-80x24": (SMALL, ("j", "2", "z", "space"), {}),
    "words-120x40": (MIDDLE, ("j", "2", "z", "space", "space"), {}),
    "logarithmic": (MIDDLE, ("j", "2", "z", "y"), {}),
    "live-120x40": (MIDDLE, (), {}),
    "live-80x24": (SMALL, (), {}),
    "sixteen": (MIDDLE, ("j", "2", "z"), {"TERM": "xterm", "COLORTERM": ""}),
    "none": (MIDDLE, ("j", "2", "z"), {"NO_COLOR": "1"}),
    "ascii": (MIDDLE, ("j", "2", "z"), {"QINSPECT_ASCII": "1"}),
}


@pytest.fixture
def still(tmp_path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stand_still(tmp_path, patch, still_evaluations(tmp_path, EVALUATIONS))
        yield
    time.tzset()


@pytest.mark.parametrize("name", PICTURES)
async def test_figures_look_as_they_did(
    name: str, tmp_path: Path, still: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, keys, environment = PICTURES[name]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    async with open_app(size=size) as d:
        await d.until(lambda: "GPU 1" in d.painted, "the GPUs")
        await d.press("H", *keys[:1])
        await d.until(lambda: d.runs.run_pane.evaluation_pane.found is not None, "the figures")
        await d.press(*keys[1:])
        await d.settle()
        assert_looks_as_stored(picture(d.app), STORED / f"{name}.svg.gz", tmp_path)


def test_no_picture_is_left_over_and_none_knows_where_it_was_made(source_root: Path) -> None:
    assert_none_left_over(STORED, PICTURES, source_root)
