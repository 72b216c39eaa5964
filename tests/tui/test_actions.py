"""Every action: it has a handler and keys of its own, and pressing a key does what the help says."""

from __future__ import annotations

import base64
import contextlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from pilots import ALPHA_A, ALPHA_B, Driver, handlers, open_app
from textual.driver import Driver as TerminalDriver
from textual.widgets import Input

from qinspect.tui.actions import ACTIONS, ALL_ACTIONS, SCREENS, Action, bindings, key_text
from qinspect.tui.compare.detail_pane import DetailPane
from qinspect.tui.compare.overview_pane import OverviewPane
from qinspect.tui.compare.panes import Panes
from qinspect.tui.compare.rows import sorts
from qinspect.tui.compare.runs_pane import RunsPane
from qinspect.tui.compare.screen import CompareScreen
from qinspect.tui.compare.table_pane import TablePane
from qinspect.tui.compare.tree_pane import TreePane
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.dialogs.export import ExportScreen
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.dialogs.pane_labels import PaneLabels
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.glyphs import SIGNS
from qinspect.tui.key_names import with_built_in_keys
from qinspect.tui.lint.screen import LintScreen
from qinspect.tui.runs.screen import RunsScreen
from qinspect.tui.theme import THEMES
from qinspect.tui.widgets.text_pane import TextPane

Check = Callable[[Driver, str], Awaitable[None]]
CHECKS: dict[str, Check] = {}
NAMES = {a.name for a in ACTIONS}
PANES = (OverviewPane, TreePane, TablePane, DetailPane, RunsPane, Panes)
DIFFERENT = [
    "layers.0.mixer.x_proj:input",
    "layers.0.mixer.ssm_state_act:input",
    "layers.1.mixer.x_proj:input",
    "layers.1.mixer.ssm_state_act:input",
]
WITH_WEIGHT = "layers.0.mixer.in_proj.weight"


def check(function: Check) -> Check:
    """`check_open` is what `open` does: called with the app and one of the action's keys."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function


def test_every_action_has_a_handler_and_no_handler_is_unknown() -> None:
    served = {name for pane in PANES for name in pane.ACTIONS | pane.EVERYWHERE}
    assert (handlers(CompareScreen) - {"keep_text", "drop_text"}) | served == NAMES
    for pane in PANES:
        assert handlers(pane) == pane.ACTIONS | pane.EVERYWHERE


def test_what_is_served_from_everywhere_is_served_by_one() -> None:
    everywhere = Counter(name for pane in PANES for name in pane.EVERYWHERE)
    assert [name for name, n in everywhere.items() if n > 1] == []
    assert handlers(CompareScreen).isdisjoint(everywhere)


@pytest.mark.parametrize("actions", ALL_ACTIONS, ids=list(SCREENS))
def test_no_key_is_bound_twice(actions: tuple[Action, ...]) -> None:
    keys = Counter(key for a in actions for key in a.keys)
    assert [k for k, n in keys.items() if n > 1] == []
    assert len({a.name for a in actions}) == len(actions)


@pytest.mark.parametrize("key", sorted({key for actions in ALL_ACTIONS for a in actions for key in a.keys}))
def test_a_key_means_one_thing_on_every_screen(key: str) -> None:
    meanings = {a.means for actions in ALL_ACTIONS for a in actions if key in a.keys}
    assert len(meanings) == 1, f"{key} is {' and '.join(sorted(meanings))}"


@pytest.mark.parametrize("means", sorted({a.means for actions in ALL_ACTIONS for a in actions}))
def test_a_meaning_has_the_same_first_key_on_every_screen(means: str) -> None:
    assert len({a.keys[0] for actions in ALL_ACTIONS for a in actions if a.means == means}) == 1


@pytest.mark.parametrize("actions", ALL_ACTIONS, ids=list(SCREENS))
def test_a_binding_per_action_with_the_id_that_the_config_file_names(actions: tuple[Action, ...]) -> None:
    assert [(b.id, b.action, tuple(b.key.split(","))) for b in bindings(actions)] == [
        (a.name, f"act({a.name!r})", a.keys) for a in actions
    ]
    assert all(a.help.endswith(".") and len(a.help) <= 53 for a in actions)
    assert all(len(key_text(a.keys[0])) <= 9 for a in actions)


def test_every_action_is_checked() -> None:
    assert set(CHECKS) == NAMES


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.name)
async def test_an_action_does_what_its_help_says(
    action: Action, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        active = d.app.screen.active_bindings
        assert {active[key].binding.id for key in action.keys} == {action.name}
        monkeypatch.chdir(tmp_path)
        await CHECKS[action.name](d, action.keys[0])


# --- moving ---


async def in_table(d: Driver, row: int = 0) -> None:
    d.screen.activate("table")
    d.screen.table_pane.scales.move_to(row)
    await d.settle()


@check
async def check_down(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.screen.tree_pane.nodes.cursor == 1
    await d.press("k")
    await in_table(d, 30)
    await d.press(key, key, key)
    assert d.screen.table_pane.scales.cursor == 31  # stops at the last row


@check
async def check_up(d: Driver, key: str) -> None:
    await in_table(d, 2)
    await d.press(key)
    assert d.screen.table_pane.scales.cursor == 1
    await d.press(key, key, key)
    assert d.screen.table_pane.scales.cursor == 0


@check
async def check_page_down(d: Driver, key: str) -> None:
    await in_table(d)
    await d.press(key)
    assert d.screen.table_pane.scales.cursor == d.screen.table_pane.scales.page > 5


@check
async def check_page_up(d: Driver, key: str) -> None:
    await in_table(d, 31)
    await d.press(key)
    assert d.screen.table_pane.scales.cursor == 31 - d.screen.table_pane.scales.page


@check
async def check_top(d: Driver, key: str) -> None:
    await in_table(d, 20)
    await d.press(key)
    assert (d.screen.table_pane.scales.cursor, d.screen.table_pane.scales.scroll_offset.y) == (0, 0)


@check
async def check_bottom(d: Driver, key: str) -> None:
    await in_table(d)
    await d.press(key)
    assert d.screen.table_pane.scales.cursor == 31
    assert any("1.mixer.out_proj" in row for row in d.rows())


@check
async def check_open(d: Driver, key: str) -> None:
    layers = d.tree_paths.index("layers")
    d.screen.tree_pane.nodes.move_to(layers)
    await d.press(key)
    assert "layers.0" not in d.tree_paths
    await d.press(key)
    assert "layers.0" in d.tree_paths
    await in_table(d)
    await d.press(key)
    assert d.screen.body.zoomed == "detail"
    assert d.screen.detail_pane.text.size.width > 110
    await d.press(key)
    assert d.screen.body.zoomed == ""


@check
async def check_expand(d: Driver, key: str) -> None:
    d.screen.tree_pane.nodes.move_to(d.tree_paths.index("layers.0"))
    await d.press(key)
    assert "layers.0.mixer" in d.tree_paths
    await d.press(key)
    assert d.screen.tree_pane.nodes.node is not None
    assert d.screen.tree_pane.nodes.node.path == "layers.0.mixer"
    await in_table(d)
    await d.press(key)
    assert d.screen.active == "detail"


@check
async def check_collapse(d: Driver, key: str) -> None:
    d.screen.tree_pane.nodes.move_to(d.tree_paths.index("layers.0"))
    await d.press(key)
    assert d.screen.tree_pane.nodes.node is not None
    assert d.screen.tree_pane.nodes.node.path == "layers"
    await d.press(key)
    assert "layers.0" not in d.tree_paths
    d.screen.activate("detail")
    await d.press(key)
    assert d.screen.active == "table"
    await d.press(key)
    assert d.screen.active == "tree"


@check
async def check_next_pane(d: Driver, key: str) -> None:
    seen = []
    for _ in range(3):
        await d.press(key)
        seen.append(d.screen.active)
    assert seen == ["table", "detail", "tree"]


@check
async def check_previous_pane(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.screen.active == "detail"


async def goes_to_pane(d: Driver, key: str, name: str, other: str) -> None:
    d.screen.activate(other)
    await d.press(key)
    assert d.screen.active == name
    assert d.screen.query_one(f"#{name}-title").has_class("active")
    assert not d.screen.query_one(f"#{other}-title").has_class("active")
    # With another pane over the whole screen, the key shows this one.
    d.screen.body.zoom(other)
    await d.press(key)
    assert d.screen.active == name
    assert d.screen.query_one(f"#{name}").size.height > 3, "the pane with the keys is not on the screen"


@check
async def check_pane_overview(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.screen.active == "overview"
    assert "layer 0, mixer.in_proj:input" in d.painted


@check
async def check_measure(d: Driver, key: str) -> None:
    await d.press("0", key)
    assert d.screen.overview.map.measure.key == "changed"
    assert "How many elements of the scale differ." in d.screen.hints.status


@check
async def check_pane_tree(d: Driver, key: str) -> None:
    await goes_to_pane(d, key, "tree", "table")


@check
async def check_pane_table(d: Driver, key: str) -> None:
    await goes_to_pane(d, key, "table", "detail")


@check
async def check_pane_detail(d: Driver, key: str) -> None:
    await goes_to_pane(d, key, "detail", "tree")


@check
async def check_back(d: Driver, key: str) -> None:
    first = d.role
    await d.press("n")
    await d.press("n")
    await d.press(key)
    assert d.role == DIFFERENT[0]
    await d.press(key, key, key)
    assert d.role == first


@check
async def check_forward(d: Driver, key: str) -> None:
    await d.press("n")
    await d.press("n")
    await d.press("left_square_bracket")
    await d.press(key)
    assert d.role == DIFFERENT[1]
    await d.press(key)
    assert d.role == DIFFERENT[1]


def labels_are_shown(d: Driver) -> bool:
    return isinstance(d.app.screen, PaneLabels)


@check
async def check_label_panes(d: Driver, key: str) -> None:
    await d.press(key)
    assert labels_are_shown(d)
    titles = [row for row in d.rows() if re.match(r" 1 layers .* a .*2 scales .* s |.*3 detail.* d ", row)]
    assert len(titles) == 2
    for letter, name in (("d", "detail"), ("s", "table"), ("a", "tree")):
        await d.press(letter)
        assert d.screen.active == name
        await d.press(key)
    await d.press("q")  # no label: nothing is chosen, and nothing is done
    assert (d.app.screen, d.screen.active) == (d.screen, "tree")
    await d.press(key, "escape", "0", key)
    assert d.app.screen is d.screen
    assert d.screen.hints.status == "there is one pane to be seen: it has the keys"


@check
async def check_close(d: Driver, key: str) -> None:
    await in_table(d)
    d.screen.body.zoom("table")
    await d.press(key)
    assert d.screen.body.zoomed == ""
    await d.press(key)
    assert d.screen.active == "overview"


# --- finding ---


@check
async def check_next_difference(d: Driver, key: str) -> None:
    seen = []
    for _ in range(5):
        await d.press(key)
        seen.append(d.role)
    assert seen == [*DIFFERENT, DIFFERENT[0]]  # forward order, and round again
    assert d.screen.active == "table"


@check
async def check_previous_difference(d: Driver, key: str) -> None:
    seen = []
    for _ in range(5):
        await d.press(key)
        seen.append(d.role)
    assert seen == [*reversed(DIFFERENT), DIFFERENT[-1]]


@check
async def check_largest_difference(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.role == "layers.0.mixer.ssm_state_act:input"
    assert "+139.67 %" in d.screen.hints.status


@check
async def check_filter(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.focused, Input)
    await d.type("x_proj act")
    assert d.roles == [f"layers.{i}.mixer.x_proj:{p}" for i in (0, 1) for p in ("input", "output")]
    await d.press("enter")
    assert d.app.focused is None
    assert d.screen.active == "table"
    assert not d.screen.query_one("#filter").display
    assert len(d.roles) == 4
    await d.press("escape")
    assert len(d.roles) == 32
    await d.press(key)
    await d.type("format:w8a8 role:weight name:in_proj")
    assert d.roles == [f"layers.{i}.mixer.in_proj.weight" for i in (0, 1)]
    await d.press("escape")


@check
async def check_jump(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, JumpScreen)
    await d.type("1xprojin")
    await d.press("enter")
    assert not isinstance(d.app.screen, JumpScreen)
    assert d.role == "layers.1.mixer.x_proj:input"
    await d.press(key)
    await d.type("norm_f.weight")
    await d.press("enter")
    assert d.screen.active == "tree"
    assert d.screen.tree_pane.nodes.node is not None
    assert d.screen.tree_pane.nodes.node.path == "norm_f.weight"
    await d.press(key)
    await d.press("escape")
    assert isinstance(d.app.screen, CompareScreen)


@check
async def check_only_changed(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.roles == DIFFERENT
    assert "only changed" in d.text_of("#table-title")
    await d.press(key)
    assert len(d.roles) == 32


@check
async def check_sort(d: Driver, key: str) -> None:
    await d.press("n")
    here = d.role
    forward = d.roles
    await d.press(key)
    assert d.roles[:4] == [DIFFERENT[1], DIFFERENT[0], DIFFERENT[3], DIFFERENT[2]]
    assert "by B vs A" in d.text_of("#table-title")
    assert d.role == here
    seen = [d.screen.table_pane.selection.sort]
    while d.screen.table_pane.selection.sort != "forward":
        await d.press(key)
        seen.append(d.screen.table_pane.selection.sort)
    assert seen == [*sorts(True)[1:], "forward"]
    assert d.roles == forward


@check
async def check_reverse(d: Driver, key: str) -> None:
    forward = d.roles
    await d.press(key)
    assert d.roles == forward[::-1]
    assert "reversed" in d.text_of("#table-title")


@check
async def check_bookmark(d: Driver, key: str) -> None:
    await in_table(d)
    await d.press(key)
    assert d.screen.table_pane.scales.bookmarks == {d.role}
    assert sum(d.screen.glyphs.bookmark in row for row in d.rows()) == 1
    await d.press(key)
    assert d.screen.table_pane.scales.bookmarks == set()


@check
async def check_next_bookmark(d: Driver, key: str) -> None:
    for row in (3, 9):
        await in_table(d, row)
        await d.press("quotation_mark")
    marked = [d.roles[3], d.roles[9]]
    await in_table(d)
    seen = []
    for _ in range(3):
        await d.press(key)
        seen.append(d.role)
    assert seen == [*marked, marked[0]]


@check
async def check_go_to_index(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, AskScreen)
    await d.type("99")
    await d.press("enter")
    assert d.screen.detail_pane.view == "values"
    assert d.screen.hints.status == "there is no index 99"
    await d.press(key, "escape")
    assert isinstance(d.app.screen, CompareScreen)


# --- looking ---


@check
async def check_fold_all(d: Driver, key: str) -> None:
    d.screen.tree_pane.nodes.move_to(d.tree_paths.index("layers.1"))
    await d.press(key)
    assert d.tree_paths == ["", "embedding", "layers", "lm_head", "norm_f"]
    assert d.screen.tree_pane.nodes.node is not None
    assert d.screen.tree_pane.nodes.node.path == "layers"


@check
async def check_fold_one_more(d: Driver, key: str) -> None:
    d.screen.tree_pane.nodes.move_to(d.tree_paths.index("layers.1"))
    await d.press(key)
    assert {"layers.0.mixer", "layers.1.mixer", "norm_f.weight"} <= set(d.tree_paths)
    assert d.screen.tree_pane.nodes.node is not None
    assert d.screen.tree_pane.nodes.node.path == "layers.1"
    d.screen.detail_pane.view = "weight"
    d.screen.activate("detail")
    n = len(d.tree_paths)
    await d.press(key)
    assert (d.screen.detail_pane.options.zoom, len(d.tree_paths)) == (0.5, n)  # on a histogram it zooms


async def shows_view(d: Driver, key: str, name: str, *expected: str) -> None:
    d.screen.table_pane.select(WITH_WEIGHT)
    await d.press("v" if name == "detail" else "d")
    await d.press(key)
    assert d.screen.detail_pane.view == name
    said = "error 1/3" if name == "error" else name  # the first of several charts
    assert d.text_of("#detail-title") == f"3 {said} {d.screen.glyphs.dot} {WITH_WEIGHT}"
    assert d.screen.hints.status == ""
    for text in expected:
        assert text in d.detail


@check
async def check_view_detail(d: Driver, key: str) -> None:
    await shows_view(d, key, "detail", "formula     x ~ scale * q", "backbone.layers.0.mixer.in_proj.b")


@check
async def check_view_histogram(d: Driver, key: str) -> None:
    await shows_view(d, key, "histogram", "One number")


@check
async def check_view_weight(d: Driver, key: str) -> None:
    await shows_view(d, key, "weight", "in_proj.weight [", "absmax", "a bin:")


@check
async def check_view_codes(d: Driver, key: str) -> None:
    await shows_view(d, key, "codes", ", 256 levels", "  A = B [", "  -128 ", "   127 ")


@check
async def check_view_profile(d: Driver, key: str) -> None:
    await shows_view(d, key, "profile", "One number")


@check
async def check_view_values(d: Driver, key: str) -> None:
    await shows_view(d, key, "values", "0 %")


@check
async def check_view_error(d: Driver, key: str) -> None:
    await shows_view(d, key, "error", "A is quantized itself", "every value is equal")


@check
async def check_distribution(d: Driver, key: str) -> None:
    d.screen.table_pane.select(WITH_WEIGHT)
    await d.press("2", key)
    assert isinstance(d.app.screen, DistributionScreen)
    assert f"exact |x| {d.screen.glyphs.dot} {WITH_WEIGHT}" in d.painted
    await d.press("escape")
    assert isinstance(d.app.screen, CompareScreen)
    d.screen.table_pane.select(DIFFERENT[0])
    await d.press(key)
    assert isinstance(d.app.screen, CompareScreen)
    assert d.screen.hints.status == "no calibration here yet: R, then !, calibrates"


@check
async def check_log_scale(d: Driver, key: str) -> None:
    await shows_view(d, "w", "weight")
    linear = d.detail
    await d.press(key)
    assert d.screen.detail_pane.options.log_counts
    assert "1,000┤" in d.detail
    await d.press(key)
    assert d.detail == linear


@check
async def check_log_axis(d: Driver, key: str) -> None:
    await shows_view(d, "w", "weight")
    assert "left out" not in d.detail
    await d.press(key)
    assert d.screen.detail_pane.options.log_axis
    assert "left out" in d.detail  # a logarithm has no place for half of the weights


@check
async def check_verdict(d: Driver, key: str) -> None:
    await d.press(key)
    c = d.screen.session.comparison
    assert c is not None
    flat = " ".join(d.detail.split())
    for reason in (c.headline, *c.reasons):
        assert f"{reason.text} [{reason.rule}]" in flat
    assert all(note in flat for note in c.notes)
    assert max(map(len, d.screen.detail_pane.text.plain)) <= d.screen.detail_pane.text.size.width
    assert d.screen.active == "detail"


@check
async def check_zoom(d: Driver, key: str) -> None:
    for name in ("tree", "table", "detail"):
        d.screen.activate(name)
        await d.press(key)
        assert d.screen.body.zoomed == name
        pane = d.screen.query_one(f"#{name}")
        assert pane.size.width > 110
        assert pane.size.height > 30
        await d.press(key)
        assert d.screen.body.zoomed == ""
        assert pane.size.width < 110 or pane.size.height < 30
    await d.press(key)
    await d.press("escape")
    assert d.screen.body.zoomed == ""


@check
async def check_theme(d: Driver, key: str) -> None:
    seen = [d.app.theme]
    for _ in range(3):
        await d.press(key)
        seen.append(d.app.theme)
    assert seen == [t.name for t in THEMES] + [THEMES[0].name]


@check
async def check_reload(d: Driver, key: str) -> None:
    await d.press("n")
    here, before = d.role, d.screen.session
    with contextlib.chdir(Path(__file__).parents[1] / "data" / "quamba"):  # the models were named from there
        await d.press(key)
    assert d.screen.session is not before
    assert d.screen.session.comparison is not None
    assert d.role == here


@check
async def check_lint(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, LintScreen)
    await d.until(lambda: "finding by" in d.painted, "what the rules found")
    await d.press("escape")
    assert isinstance(d.app.screen, CompareScreen)


@check
async def check_runs(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, RunsScreen)
    await d.press("escape")
    assert isinstance(d.app.screen, CompareScreen)


@check
async def check_pane_runs(d: Driver, key: str) -> None:
    """Where there are runs is tested with the runs."""
    await d.press(key)
    assert d.screen.active == "tree"
    assert "no run is active" in d.screen.hints.status


@check
async def check_suspend(d: Driver, key: str) -> None:
    """What it does to a real terminal is tested on one."""
    with patch.object(type(d.app), "suspend_to_shell") as suspend:
        await d.press(key)
    suspend.assert_called_once_with()


@check
async def check_repaint(d: Driver, key: str) -> None:
    """What it does to a real terminal is tested on one."""
    with patch.object(d.app, "repaint") as repaint:
        await d.press(key)
    repaint.assert_called_once_with()


# --- taking along ---


def copied(d: Driver, written: list[str]) -> str:
    (sequence,) = written
    found = re.fullmatch(r"\x1b]52;c;([A-Za-z0-9+/=]*)\a", sequence)
    assert found, sequence
    return base64.b64decode(found[1]).decode()


def record_writes(d: Driver) -> list[str]:
    """What is written to the terminal from now on, by this program itself."""
    driver = d.app._driver
    assert isinstance(driver, TerminalDriver)
    written: list[str] = []
    driver.write = written.append  # type: ignore[method-assign, assignment]
    return written


@check
async def check_copy_row(d: Driver, key: str) -> None:
    await d.press("n")
    written = record_writes(d)
    await d.press(key)
    assert copied(d, written) == "layers.0.mixer.x_proj:input\t0.0830309\t0.168991\t+103.53 %\tdifferent"
    assert "clipboard" in d.screen.hints.status


@check
async def check_copy_key(d: Driver, key: str) -> None:
    await d.press("n")
    written = record_writes(d)
    await d.press(key)
    assert copied(d, written) == "backbone.layers.0.mixer.conv1d.output_scale"


@check
async def check_copy_value(d: Driver, key: str) -> None:
    await d.press("n")
    written = record_writes(d)
    await d.press(key)
    assert [f"{float(x):.6g}" for x in copied(d, written).split("\t")] == ["0.0830309", "0.168991"]


@check
async def check_copy_command(d: Driver, key: str) -> None:
    written = record_writes(d)
    await d.press(key)
    assert copied(d, written) == f"qinspect diff {ALPHA_A} {ALPHA_B}"
    written.clear()
    await d.press("n", key)
    assert copied(d, written) == f"qinspect show {ALPHA_A} backbone.layers.0.mixer.conv1d.output_scale"


@check
async def check_export(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, ExportScreen)
    await d.press("c")
    assert Path("qinspect-view.csv").read_text().count("\n") == 33
    assert "qinspect-view.csv" in d.screen.hints.status


@check
async def check_palette(d: Driver, key: str) -> None:
    await d.press(key)
    await d.type("largest")
    await d.press("enter")
    assert d.role == DIFFERENT[1]
    await d.press(key)
    await d.type("histogram of the deq")
    await d.press("enter")
    assert d.screen.detail_pane.view == "weight"
    await d.press(key, "escape")
    assert isinstance(d.app.screen, CompareScreen)


@check
async def check_help(d: Driver, key: str) -> None:
    await d.press("0", key)
    screen = d.app.screen
    assert isinstance(screen, HelpScreen)
    lines = [line.strip() for line in screen.query_one(TextPane).plain]
    of_pane, own, everywhere = (lines.index(x) for x in ("In this pane", "Looking", "Looking, on every screen"))
    assert lines.index("Signs: in lists of scales") > everywhere > own > of_pane == 0
    (measure,) = (i for i, line in enumerate(lines) if line.endswith(" The next measure."))
    assert of_pane < measure < own
    for action in ACTIONS:
        said = d.screen.overview.SENTENCES.get(action.name, with_built_in_keys(action.help))
        assert f" {said} " in f"{' '.join(lines)} "  # a long one is folded
    for sign in SIGNS:
        assert any(line.startswith(sign.of(d.screen.glyphs)) for line in lines)
    await d.press("G", "g", "j", "escape")
    assert isinstance(d.app.screen, CompareScreen)


@check
async def check_leave(d: Driver, key: str) -> None:
    await d.press("question_mark")  # a dialog does not keep it
    await d.send(key)
    await d.until(lambda: d.app._exit, "the end")


@check
async def check_quit(d: Driver, key: str) -> None:
    await d.send(key)
    await d.until(lambda: d.app._exit)
    assert d.app.return_code == 0
