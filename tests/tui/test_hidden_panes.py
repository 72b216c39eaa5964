"""What a key would change is seen, or comes to the screen; else the key changes nothing and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from pilots import ALPHA_A, ALPHA_B, MIDDLE, Driver, open_app
from run_processes import ended, kill_all, shell
from whence_cases import calibration, streams

from qinspect.inspector.table import Table
from qinspect.tui.alpha.alpha_words import AlphaWords
from qinspect.tui.alpha.screen import ExploreScreen


def state_of(d: Driver) -> object:
    """All that a key could change behind one's back."""
    s, table = d.screen, d.screen.table_pane
    return d.roles, d.role, d.tree_paths, table.scales.bookmarks, table.selection.sort, s.detail_pane.options


@pytest.mark.parametrize(
    ("pane", "keys", "said"),
    [
        (
            "tree",
            ("s", "S", "c", "quotation_mark", "Y", "K", "V"),
            "the scales are not on the screen: z shows all panes",
        ),
        ("tree", ("x", "y"), "the detail is not on the screen: z shows all panes"),
        ("table", ("minus", "plus"), "the layers are not on the screen: z shows all panes"),
        ("detail", ("s", "c"), "the scales are not on the screen: z shows all panes"),
    ],
)
async def test_what_is_not_seen_is_not_changed(pane: str, keys: tuple[str, ...], said: str) -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        d.screen.activate(pane)
        await d.press("z")
        before = state_of(d)
        for key in keys:
            await d.press(key)
            assert d.screen.hints.status == said
            assert state_of(d) == before
            d.screen.hints.say("")
        assert d.screen.body.zoomed == pane
        await d.press("z", *keys)
        assert not d.screen.hints.status.startswith("the ")


@pytest.mark.parametrize(("key", "view"), [("i", "histogram"), ("v", "values"), ("d", "detail"), ("t", "detail")])
async def test_a_view_fills_the_screen_where_another_pane_did(key: str, view: str) -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        await d.press("1", "z", key)
        assert (d.screen.body.zoomed, d.screen.active, d.screen.detail_pane.view) == ("detail", "detail", view)
        assert d.screen.detail_pane.region


@pytest.mark.parametrize("before", [("1", "z"), ("3", "z"), ("0",)])
async def test_what_is_filtered_is_seen_while_it_is_typed(before: tuple[str, ...]) -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        await d.press(*before, "slash")
        await d.type("out_proj")
        await d.settle()
        assert d.screen.table_pane.region
        assert 0 < len(d.roles) < len(d.screen.session.pairs)
        assert all("out_proj" in role for role in d.roles)


@pytest.mark.parametrize("before", [("1", "z"), ("0",)])
async def test_the_way_back_is_seen(before: tuple[str, ...]) -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        await d.press("M")
        largest = d.role
        await d.press("n", *before, "left_square_bracket")
        assert (d.role, d.screen.active) == (largest, "table")
        assert d.screen.table_pane.region


async def test_on_the_overview_no_row_of_the_table_is_taken_along() -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        await d.press("2", "c")
        some = d.screen.view_table()
        assert len(some.rows) == 4
        assert d.screen.command_line.startswith("qinspect show ")
        await d.press("0")
        assert d.screen.command_line == f"qinspect diff {ALPHA_A} {ALPHA_B}"
        shown = d.screen.view_table()
        assert isinstance(shown, Table)
        assert len(shown.rows) == len(d.screen.session.pairs)


async def test_points_that_are_not_seen_are_not_sorted(tmp_path: Path) -> None:
    calibration(tmp_path / "run", streams(9, 3, 5, "float16"), alphas=(0.9995,)).close()
    async with open_app(size=MIDDLE, alphas=AlphaWords(str(tmp_path / "run"))) as d:
        screen = d.app.screen
        assert isinstance(screen, ExploreScreen)
        assert screen.explorer is not None
        await d.press("2", "z", "s")
        assert screen.hints.status == "the points are not on the screen: z shows all panes"
        assert screen.explorer.chosen.sort == "forward"
        await d.press("slash")
        assert screen.table.region
        await d.press("escape", "0")
        assert screen.view.region
        await d.press("1", "s")
        assert screen.explorer.chosen.sort != "forward"


async def test_a_view_of_a_run_comes_where_the_list_fills_the_screen(tmp_path: Path) -> None:
    try:
        ended(shell("echo 'WARNING: odd'", tmp_path, "once"))
        async with open_app(size=MIDDLE) as d:
            for key, name in (("t", "conclusions"), ("d", "spec"), ("F", "log"), ("slash", "log")):
                await d.press("1", "z")
                assert not d.runs.run_pane.region
                await d.press(key)
                assert name == d.runs.run_pane.seen.NAME
                assert d.runs.run_pane.region
                if key == "slash":
                    await d.press("escape")
                await d.press("z")
    finally:
        kill_all()
