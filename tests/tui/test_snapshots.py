"""Pictures of the screen, compared with stored ones. They were looked at; look again when one changes.

QINSPECT_UPDATE_SNAPSHOTS=1 writes them anew. A failed comparison leaves the new picture beside the test's other files
and says where.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pictures import assert_looks_as_stored, normalized
from pilots import ALPHA_A, ALPHA_B, GROUPED, LARGE, MIDDLE, PERMUTED, SMALL, Driver, open_app

from qinspect.tui.theme import ANSI, DARK, LIGHT

STORED = Path(__file__).parent / "snapshots"
Steps = Callable[[Driver], Awaitable[None]]


def keys(*names: str) -> Steps:
    async def press(d: Driver) -> None:
        await d.press(*names)

    return press


def themed(name: str) -> Steps:
    async def choose(d: Driver) -> None:
        await d.press("n")
        while d.app.theme != name:
            await d.press("T")

    return choose


def at_scale(role: str, *names: str) -> Steps:
    async def go(d: Driver) -> None:
        d.screen.table_pane.select(role)
        await d.press("2", *names)

    return go


def painted(text: str) -> Steps:
    async def wait(d: Driver) -> None:
        await d.until(lambda: text in "".join(d.rows()[:6]), text)

    return wait


PAIR = (ALPHA_A, ALPHA_B)
X_PROJ = "layers.0.mixer.x_proj.weight"
FOUR_BITS, WIDER = "m1_w4a8/quamba-small-w4a8", "m2_w8a8_gh/quamba2-tiny-w8a8"
TURNED = (GROUPED, PERMUTED)
PICTURES: dict[str, tuple[tuple[str, str | None], tuple[int, int], Steps]] = {
    "compare-80x24": (PAIR, SMALL, keys("n")),
    "compare-120x40": (PAIR, MIDDLE, themed(DARK.name)),
    "compare-200x60": (PAIR, LARGE, keys("n", "n")),
    "compare-light": (PAIR, MIDDLE, themed(LIGHT.name)),
    "compare-ansi": (PAIR, MIDDLE, themed(ANSI.name)),
    "one-model": ((ALPHA_A, None), MIDDLE, keys("2", "j")),
    "broken-b": ((ALPHA_A, "nowhere/quamba-tiny-w8a8"), MIDDLE, painted("hf download")),
    "help-80x24": (PAIR, SMALL, keys("question_mark")),
    "histogram": (PAIR, MIDDLE, at_scale("layers.0.mixer.x_proj.weight", "w", "3", "l")),
    "histogram-80x24": (PAIR, SMALL, at_scale("layers.0.mixer.x_proj.weight", "w")),
    "distribution-80x24": (PAIR, SMALL, at_scale(X_PROJ, "a", "b", "H", "H", "H")),
    "distribution": ((GROUPED, WIDER), MIDDLE, at_scale("layers.0.mixer.in_proj.weight", "a", "H", "H", "H")),
    "distribution-200x60": ((ALPHA_A, FOUR_BITS), LARGE, at_scale(X_PROJ, "a", "b", "H", "H")),
    "codes": (PAIR, MIDDLE, at_scale("layers.0.mixer.x_proj.weight", "o")),
    "profile": (TURNED, MIDDLE, at_scale("layers.0.mixer.in_proj.weight", "r", "3", "z")),
    "verdict-80x24": (PAIR, SMALL, keys("t", "z")),
    "fidelity": ((GROUPED, WIDER), MIDDLE, keys("0", "m", "m", "m", "m", "m", "m", "M")),
    "only-changed": (PAIR, MIDDLE, keys("c", "s", "2", "quotation_mark")),
}


@pytest.mark.parametrize("name", PICTURES)
async def test_the_screen_looks_as_it_did(name: str, tmp_path: Path) -> None:
    (a, b), size, steps = PICTURES[name]
    async with open_app(a, b, size) as d:
        await steps(d)
        made = normalized(d.app.export_screenshot(title="qinspect"))
    assert_looks_as_stored(made, STORED / f"{name}.svg", tmp_path)


def test_no_picture_is_left_over() -> None:
    assert {p.stem for p in STORED.glob("*.svg")} == set(PICTURES)


def test_no_picture_knows_where_it_was_made(source_root: Path) -> None:
    for path in STORED.glob("*.svg"):
        content = path.read_text(encoding="utf-8")
        assert str(source_root) not in content
        assert str(Path.home()) + "/" not in content
