"""Walking the differences: inside of what the filter and the tree leave, and out of it again."""

from __future__ import annotations

from pilots import ALPHA_A, ALPHA_B, Driver, open_app

DIFFERING = [f"layers.{i}.mixer.{p}" for i in (0, 1) for p in ("x_proj:input", "ssm_state_act:input")]


async def scope(d: Driver, path: str) -> None:
    """The cursor of the tree on a node."""
    d.screen.tree_pane.nodes.reveal(path)
    await d.settle()
    row = next(i for i, p in enumerate(d.tree_paths) if p == path)
    d.screen.tree_pane.nodes.move_to(row)
    await d.settle()
    assert d.screen.table_pane.selection.under == path


async def walk(d: Driver, key: str, n: int) -> list[str]:
    found = []
    for _ in range(n):
        await d.press(key)
        found.append(d.role)
    return found


async def test_next_stays_in_the_filter() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("slash")
        await d.type("ssm_state")
        await d.press("enter")
        inside = [r for r in DIFFERING if "ssm_state" in r]
        rows = d.roles
        assert d.role == inside[0]  # it is the first row
        assert await walk(d, "n", 3) == [inside[1], *inside]
        assert await walk(d, "N", 2) == [inside[0], inside[1]]
        assert "2 outside of 'ssm_state': esc leaves it" in d.screen.hints.status
        await d.press("M")
        assert d.role in inside
        assert (d.roles, d.screen.table_pane.selection.text) == (rows, "ssm_state")
        await d.press("escape")
        assert set(await walk(d, "n", 4)) == set(DIFFERING)
        assert d.screen.table_pane.selection.text == ""


async def test_where_the_filter_leaves_no_difference_that_is_said() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("slash")
        await d.type("out_proj")
        await d.press("enter")
        rows = d.roles
        for key in "nNM":
            await d.press(key)
            assert d.screen.hints.status == "no difference here; 4 outside of 'out_proj': esc leaves it"
            assert d.roles == rows


async def test_next_stays_in_the_scope_of_the_tree_and_escape_leaves_it() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        everything = d.roles
        await scope(d, "layers.1")
        inside = [r for r in DIFFERING if r.startswith("layers.1.")]
        assert set(await walk(d, "n", 4)) == set(inside)
        assert d.screen.table_pane.selection.under == "layers.1"
        assert "under layers.1 (esc: all)" in d.text_of("#table-title")
        await d.press("escape")
        assert d.screen.table_pane.selection.under == ""
        assert d.roles == everything
        assert "under" not in d.text_of("#table-title")
        assert set(await walk(d, "n", 4)) == set(DIFFERING)


async def test_escape_leaves_one_thing_after_the_other() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await scope(d, "layers.1")
        await d.press("2", "slash")
        await d.type("proj")
        await d.press("enter", "z")
        states = []
        for _ in range(4):
            s = d.screen.table_pane.selection
            states.append((s.text, d.screen.body.zoomed, s.under))
            await d.press("escape")
        assert states == [("proj", "table", "layers.1"), ("", "table", "layers.1"), ("", "", "layers.1"), ("", "", "")]
