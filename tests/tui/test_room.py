"""Room for plots on small terminals: the detail pane grows with the view, never with the scale."""

from __future__ import annotations

import pytest
from pilots import ALPHA_A, ALPHA_B, GROUPED, LARGE, MIDDLE, PERMUTED, SMALL, Driver, open_app

from qinspect.tui.compare.panes import SMALL_TABLE

FOUR_BITS = "m1_w4a8/quamba-small-w4a8"
PLOTS = "iwr"


def shape(d: Driver) -> list[tuple[int, int, int, int]]:
    """Where every pane is."""
    return [d.screen.query_one(f"#{name}").region for name in ("models", "verdict", "tree", "table", "detail", "hints")]


@pytest.mark.parametrize("pair", [(ALPHA_A, ALPHA_B), (GROUPED, PERMUTED), (ALPHA_A, FOUR_BITS)], ids=lambda p: p[1])
@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
async def test_a_plot_is_seen_whole_and_nothing_jumps(pair: tuple[str, str], size: tuple[int, int]) -> None:
    async with open_app(*pair, size) as d:
        await d.press("2", "l", "l")  # a cursor: its read-out takes lines too
        kinds = {(p.status, p.record.kind, p.record.shape, bool(p.a)): p.role for p in d.screen.session.pairs}
        for view in PLOTS:
            await d.press(view)
            before = shape(d)
            for role in list(kinds.values())[:10]:
                d.screen.table_pane.select(role)
                await d.settle()
                assert shape(d) == before
                assert len(d.screen.detail_pane.text.plain) <= d.screen.detail_pane.text.size.height, (role, d.detail)
                assert max(map(len, d.screen.detail_pane.text.plain)) <= d.screen.detail_pane.text.content_region.width
                assert "cannot be drawn" not in d.detail


async def test_a_small_terminal_gives_a_plot_what_the_detail_does_not_need() -> None:
    async with open_app(ALPHA_A, ALPHA_B, SMALL) as d:
        await d.press("n")
        usual = shape(d)
        await d.press("w")
        assert d.screen.query_one("#detail").size.height == 14
        assert d.screen.query_one("#table-box").size.height == SMALL_TABLE
        assert len(d.text_of("#verdict").splitlines()) == 1
        assert d.text_of("#verdict").endswith("(t: all)")
        await d.press("2")
        for _ in range(5):
            await d.press("j")
            table = d.screen.table_pane.scales
            assert table.scroll_offset.y <= table.cursor < table.scroll_offset.y + table.size.height
        d.screen.table_pane.select("layers.0.mixer.x_proj.weight")
        await d.settle()
        text = d.detail
        for part in ("┤", "└", "A = B in every bin, absmax", "clip A, B", "]"):
            assert part in text
        await d.press("d")
        assert shape(d) == usual
        await d.press("w", "t", "v", "d")
        assert shape(d) == usual


async def test_a_view_is_drawn_once_for_the_size_that_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.tui import views

    drawn = []
    real = views.VIEWS["weight"]

    def counted(*args: object) -> object:
        drawn.append(args[2])
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setitem(views.VIEWS, "weight", counted)
    async with open_app(ALPHA_A, ALPHA_B, SMALL) as d:
        await d.press("n")
        await d.press("w")
        assert drawn == [d.screen.detail_pane.look]
