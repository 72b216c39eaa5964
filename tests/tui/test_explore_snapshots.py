"""Pictures of the alpha explorer, of a calibration made here. See test_snapshots.py for how they are written anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import whence_cases as cases
from pictures import assert_looks_as_stored, assert_none_left_over, normalized
from pilots import LARGE, MIDDLE, SMALL, open_app

from qinspect.tui.alpha.alpha_words import AlphaWords
from qinspect.tui.theme import ANSI, LIGHT

STORED = Path(__file__).parent / "snapshots" / "explore"
STREAMS = cases.streams(9, 8, 5, "float16")
DOWN = ("j", "j")
PICTURES: dict[str, tuple[tuple[int, int], tuple[str, ...], str]] = {
    "points-80x24": (SMALL, DOWN, ""),
    "points-120x40": (MIDDLE, (*DOWN, "L", "b"), ""),
    "points-200x60": (LARGE, (*DOWN, "full_stop"), ""),
    "points-light": (MIDDLE, ("s", "s", "s", "s"), LIGHT.name),
    "points-ansi": (MIDDLE, ("O", "slash", *"ssm", "enter"), ANSI.name),
    "map-80x24": (SMALL, (*DOWN, "0", "z"), ""),
    "map-120x40": (MIDDLE, ("0", "comma"), ""),
    "map-clipped-200x60": (LARGE, ("m",), ""),
    "map-light": (MIDDLE, ("0",), LIGHT.name),
    "map-ansi": (MIDDLE, ("0",), ANSI.name),
    "rule-without-alpha": (MIDDLE, ("R", "R"), ""),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    cases.calibration(folder / "run", STREAMS, alphas=(0.9995, 0.99999)).close()
    cases.checkpoint(folder / "made", cases.scales_of(STREAMS, cases.ema, 0.99937123))
    return folder


@pytest.mark.parametrize("name", PICTURES)
async def test_the_screen_looks_as_it_did(
    name: str, made: Path, in_fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    size, names, theme = PICTURES[name]
    async with open_app(alphas=AlphaWords("run", checkpoint="made"), size=size) as d:
        if theme:
            d.app.theme = theme
        await d.settle()
        await d.press(*names)
        picture = normalized(d.app.export_screenshot(title="qinspect"))
    assert_looks_as_stored(picture, STORED / f"{name}.svg", tmp_path)


def test_no_picture_is_left_over_and_none_knows_where_it_was_made(source_root: Path) -> None:
    assert_none_left_over(STORED, PICTURES, source_root)
