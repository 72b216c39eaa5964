"""Pictures of the runs screen, of runs that stand still. See test_snapshots.py for how they are written anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import assert_looks_as_stored, assert_none_left_over, normalized
from pilots import LARGE, MIDDLE, SMALL, Driver, open_app
from still_runs import stand_still

from qinspect.tui.theme import ANSI, LIGHT

STORED = Path(__file__).parent / "snapshots" / "runs"
PICTURES: dict[str, tuple[tuple[int, int], tuple[str, ...], str]] = {
    "runs-80x24": (SMALL, (), ""),
    "runs-120x40": (MIDDLE, (), ""),
    "runs-200x60": (LARGE, ("2", "Z", "at"), ""),
    "runs-light": (MIDDLE, ("v", "2"), LIGHT.name),
    "runs-ansi": (MIDDLE, ("semicolon", "2"), ANSI.name),
    "runs-failed-80x24": (SMALL, ("j",), ""),
    "runs-gpus": (MIDDLE, ("u",), ""),
    "runs-help-80x24": (SMALL, ("question_mark",), ""),
    "runs-found": (MIDDLE, ("2", "slash", *"w_max", "enter"), ""),
    "start-80x24": (SMALL, ("exclamation_mark", "ctrl+n", "ctrl+n", "m", "down", "down", "down", "5"), ""),
    "calibrate-80x24": (SMALL, ("exclamation_mark", "ctrl+n", "down"), ""),
    "evaluate-120x40": (MIDDLE, ("exclamation_mark", *["ctrl+p"] * 2, *"demo", "down"), ""),
    "start-120x40": (MIDDLE, ("exclamation_mark", *"echo", "space", "apostrophe", "x"), ""),
}


@pytest.fixture
def still(tmp_path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stand_still(tmp_path, patch)
        patch.chdir("/")  # the form shows it
        yield
    time.tzset()


async def press_all(d: Driver, names: tuple[str, ...]) -> None:
    for name in names:
        await d.press(name)
        await d.until(lambda: not d.log_pane.searching, "the search")
    await d.settle()


@pytest.mark.parametrize("name", PICTURES)
async def test_the_screen_looks_as_it_did(name: str, tmp_path: Path, still: None) -> None:
    size, names, theme = PICTURES[name]
    async with open_app(size=size) as d:
        if theme:
            d.app.theme = theme
        await d.until(lambda: d.runs.run_pane.gpus_pane.sample is not None, "the GPUs")
        await d.until(lambda: d.feed is not None and d.feed.n_events == 10, "the journal")
        await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.total is not None, "the log")
        await press_all(d, names)
        await d.until(lambda: d.log_pane.source is None or d.log_pane.source.total is not None, "the log")
        await d.settle()
        made = normalized(d.app.export_screenshot(title="qinspect"))
    assert_looks_as_stored(made, STORED / f"{name}.svg", tmp_path)


def test_no_picture_is_left_over_and_none_knows_where_it_was_made(source_root: Path) -> None:
    assert_none_left_over(STORED, PICTURES, source_root)
