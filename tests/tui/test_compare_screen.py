"""The compare screen as a person meets it: what is opened, what is broken, what changes while one looks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pilots import ALPHA_A, ALPHA_B, CHARACTERS, GROUPED, LARGE, MIDDLE, PERMUTED, SMALL, Driver, open_app
from quamba_files import load_state, save_state
from rich.cells import cell_len
from safetensors.numpy import save_file
from test_terminal_safety import HOSTILE_NAMES
from textual import events
from textual.scrollbar import ScrollBar

from qinspect.tui import views
from qinspect.tui.actions import keys_now
from qinspect.tui.compare.screen import CompareScreen
from qinspect.tui.compare.session import Drawn, Opened
from qinspect.tui.compare.table import ScaleTable
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.settings import MOST_PAIRS, State
from qinspect.tui.theme import ANSI, DARK, LIGHT
from qinspect.tui.widgets.bars import PlainScrollBar
from qinspect.tui.widgets.lines import LineList

if TYPE_CHECKING:
    from conftest import Plain

FOUR_BITS = "m1_w4a8/quamba-small-w4a8"
PAIRS = (
    (ALPHA_A, ALPHA_B),
    (GROUPED, PERMUTED),
    (ALPHA_A, FOUR_BITS),
    (FOUR_BITS, GROUPED),
    ("m2_w4a16/quamba2-tiny-w4a16", "m2_w8a8_gh/quamba2-tiny-w8a8"),
)
KEYS_OF_VIEWS = "diworv"


def assert_no_controls(rows: list[str]) -> None:
    """Nothing that a terminal obeys, nothing that hides or reorders text."""
    for row in rows:
        bad = [c for c in row if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
        assert not bad, f"{bad!r} in {row!r}"


# --- opening ---


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p[0].split('/')[0]} {p[1].split('/')[0]}")
async def test_every_view_of_every_kind_of_scale(pair: tuple[str, str]) -> None:
    async with open_app(*pair) as d:
        kinds = {(p.status, p.record.kind, len(p.record.shape), bool(p.a)): p.role for p in d.screen.session.pairs}
        for role in list(kinds.values())[:12]:
            d.screen.table_pane.select(role)
            for view in views.VIEWS:
                d.screen.detail_pane.view = view
                d.screen.show_selected()
                await d.settle()
                assert "cannot be drawn" not in d.detail, (role, view, d.detail)
                assert d.screen.hints.status == ""
        for row in range(len(d.tree_paths)):
            d.screen.tree_pane.nodes.move_to(row)
        await d.press("plus", "plus", "G", "t", "d")
        assert_no_controls(d.rows())


async def test_both_columns_show_their_own_model_where_cells_cannot_be_compared() -> None:
    async with open_app(ALPHA_A, FOUR_BITS, LARGE) as d:
        found = 0
        for pair in d.screen.session.pairs:
            if pair.a and pair.b and pair.difference is None and not pair.status.counts_as_same:
                d.screen.table_pane.select(pair.role)
                await d.settle()
                own, other = d.screen.table_pane.scales.values[pair.role]
                for fmt, record, shown in ((d.screen.session.a, pair.a, own), (d.screen.session.b, pair.b, other)):
                    assert fmt is not None
                    x = np.asarray(fmt.values(record), np.float64)
                    assert shown == (x.min(), x.max(), 0)
                found += own != other
        assert found


async def test_the_detail_of_one_model_alone_says_what_the_headline_does(tmp_path: Path) -> None:
    """The first scale is in the detail before all scales are read."""
    scale = np.array([1.0, np.nan], np.float32)
    save_file({"l.weight": np.zeros((2, 4), np.int8), "l.weight_scale": scale}, tmp_path / "m.safetensors")
    async with open_app(tmp_path / "m.safetensors") as d:
        assert "numbers that no scale should be" in " ".join(d.rows())
        d.screen.table_pane.select("l.weight_scale")
        await d.settle()
        before = d.detail
        d.screen.show_selected()
        await d.settle()
        assert "A broken" in before
        assert d.detail == before


async def test_a_broken_b_opens_a_and_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 64)
    async with open_app(ALPHA_A, broken) as d:
        first, second = d.text_of("#models").splitlines()
        assert "77 entries" in first
        assert second.startswith("B  ")
        assert " cannot be opened: " in second
        assert len(d.roles) == 32
        assert not d.screen.table_pane.scales.two
        assert any(re.search(r"scale layers\.… +value kind", row) for row in d.rows())  # the columns of one model
        await d.press("n")
        assert "one model" in d.screen.hints.status
        await d.press("t")
        assert "cannot be opened" in d.detail
        assert d.detail.replace("\n", "").replace(" ", "").endswith(d.screen.session.error_b[-60:].replace(" ", ""))


async def test_a_broken_a_says_why_and_leaves(tmp_path: Path) -> None:
    async with open_app(tmp_path / "nowhere", ALPHA_B) as d:
        assert "no such file or folder" in d.text_of("#verdict")
        await d.press("j", "k", "enter", "n", "M", "t", "w", "z", "c", "s", "f", "escape", "C", "Y", "q")
        assert d.app.return_code == 2


async def test_one_model_is_the_same_screen_without_b() -> None:
    async with open_app(ALPHA_A) as d:
        assert d.text_of("#models").count("\n") == 0
        assert len(d.roles) == 32
        header = next(row for row in d.rows() if "scale" in row and "value" in row)
        assert "B" not in header.split("scale")[1]
        assert any("0.0354614" in row for row in d.rows())
        assert not any(sign in row for row in d.rows() for sign in "≠▲▼")
        await d.press("2", "C")
        assert d.screen.command_line == f"qinspect show {ALPHA_A} backbone.layers.0.norm.output_scale"
        for key in KEYS_OF_VIEWS:
            await d.press(key)
            assert "cannot be drawn" not in d.detail


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
async def test_one_model_has_no_empty_line_for_a_verdict(size: tuple[int, int]) -> None:
    async with open_app(ALPHA_A, None, size) as d:
        assert d.rows()[1].startswith(" 1 layers")
        await d.press("w", "z", "z", "d")
        assert d.rows()[1].startswith(" 1 layers")
        await d.pilot.resize_terminal(100, 30)
        await d.settle()
        assert d.rows()[1].startswith(" 1 layers")
    async with open_app(ALPHA_A, "nowhere.safetensors", size) as d:
        assert "nowhere" in d.text_of("#verdict")
        assert d.screen.query_one("#verdict").display


async def test_a_model_without_scales_shows_its_tree(plain: Plain) -> None:
    path = plain("plain.safetensors", {"w": np.ones((4, 4), np.float32), "m.b": np.zeros(3, np.float16)})
    for second in (None, path):
        async with open_app(path, second) as d:
            assert d.tree_paths[0] == ""
            assert d.roles == []
            assert "2 entries in A" in d.detail
            await d.press(
                "j",
                "2",
                "n",
                "M",
                "w",
                "i",
                "Y",
                "quotation_mark",
                "apostrophe",
                "d",
                "3",
                "left_square_bracket",
                "s",
                "c",
            )


async def test_a_bug_in_the_comparison_leaves_the_tree_and_a_report(
    monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug of this test")

    monkeypatch.setattr("qinspect.inspector.compare.compare", fail)
    async with open_app(ALPHA_A, ALPHA_B) as d:
        (report,) = (own_home / "state/qinspect").glob("qinspect-crash-*.txt")
        assert "a bug of this test" in report.read_text()
        said = d.text_of("#verdict").replace("\n", "")
        assert "ZeroDivisionError" in said
        assert "layers.0" in d.tree_paths


async def test_a_view_that_raises_shows_its_error_in_its_own_pane(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("\x1b[31mdrawn\x1b[0m [bold]by a test")

    async with open_app(ALPHA_A, ALPHA_B) as d:
        monkeypatch.setitem(views.VIEWS, "codes", fail)
        await d.press("o")
        assert d.detail == "  codes cannot be drawn: \\x1b[31mdrawn\\x1b[0m [bold]by a test"
        assert d.screen.hints.status == ""
        await d.press("d", "n")
        assert "formula" in d.detail


async def test_leaving_while_codes_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.inspector import compare as package

    comparing, go_on = threading.Event(), threading.Event()
    real = package.compare

    def slow(a: Any, b: Any, weights: Any, progress: Any, ready: Any, sources: Any) -> Any:
        def blocked(phase: str, done: int, total: int) -> None:
            comparing.set()
            assert go_on.wait(20)
            progress(phase, done, total)

        return real(a, b, weights, blocked, ready)

    monkeypatch.setattr(package, "compare", slow)
    async with open_app(ALPHA_A, ALPHA_B, wait=False) as d:
        await d.until(comparing.is_set)
        await d.send("j", "2", "j")  # it stays usable
        await d.send("q")
        assert d.app.return_code == 0
        go_on.set()


async def test_escape_ends_a_long_comparison_of_codes_and_scales_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.inspector import compare as package

    comparing, go_on = threading.Event(), threading.Event()
    real = package.compare

    def slow(a: Any, b: Any, weights: Any, progress: Any, ready: Any, sources: Any) -> Any:
        def blocked(phase: str, done: int, total: int) -> None:
            if phase == "weights":
                progress(phase, done, total)
                comparing.set()
                assert go_on.wait(20)
            progress(phase, done, total)

        return real(a, b, weights, blocked, ready)

    monkeypatch.setattr(package, "compare", slow)
    monkeypatch.setattr("qinspect.tui.compare.session.REPORT_EVERY_S", 0.0)
    async with open_app(ALPHA_A, ALPHA_B, wait=False) as d:
        await d.until(comparing.is_set)
        await d.until(lambda: "esc skips them" in d.screen.hints.status)
        await d.send("escape")
        go_on.set()
        await d.settle()
        assert d.screen.session.comparison is not None
        assert not d.screen.session.comparison.weights_compared
        assert "weights: not compared" in d.screen.hints.status
        await d.press("M")
        assert "139.67 %" in d.screen.hints.status


async def test_a_row_that_raises_shows_its_error_and_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ScaleTable.line

    def fail(table: ScaleTable, row: int, width: int) -> Any:
        if row == 1:
            raise ZeroDivisionError("\x1b[31ma bug")
        return real(table, row, width)

    monkeypatch.setattr(ScaleTable, "line", fail)
    async with open_app(ALPHA_A, ALPHA_B) as d:
        painted = "\n".join(d.rows())
        assert "this row cannot be shown: ZeroDivisionError: \\x1b[31ma bug" in painted
        assert "0.mixer.in_proj:output" in painted
        await d.press("2", "j", "j")
        assert d.role == "layers.0.mixer.in_proj:output"


async def test_the_tree_fills_as_files_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was opened or closed by then stays so."""
    monkeypatch.setattr("qinspect.tui.compare.session.FILL_EVERY_S", 0.0)
    for i in range(4):
        save_file(
            {f"model.layers.{i}.proj.{k}": np.ones(2, np.float32) for k in ("weight", "weight_scale")},
            tmp_path / f"model-{i}.safetensors",
        )
    seen: list[tuple[int, bool]] = []
    opened_at_the_second = "layers.0"

    def on_opened(screen: CompareScreen, event: Opened) -> None:
        seen.append((event.tree.root.n_a, event.complete))
        real(screen, event)
        if len(seen) == 2:
            screen.tree_pane.nodes.reveal(opened_at_the_second)
            screen.tree_pane.nodes.toggle()

    real = CompareScreen._on_opened
    monkeypatch.setitem(CompareScreen._decorated_handlers, Opened, [(on_opened, {})])
    async with open_app(tmp_path) as d:
        assert seen == [(2, False), (4, False), (6, False), (8, True)]
        assert d.tree_paths == ["", "layers", "layers.0", "layers.0.proj", "layers.1", "layers.2", "layers.3"]
        assert d.screen.tree_pane.nodes.node is not None
        assert d.screen.tree_pane.nodes.node.path == opened_at_the_second


def test_the_first_paint_is_before_numpy(in_fixtures: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from qinspect.tui.app import QinspectApp\n"
        "from qinspect.tui.compare.screen import CompareScreen\n"
        "seen = {}\n"
        "real = CompareScreen.open_models\n"
        "def open_models(self):\n"
        "    seen['modules'] = set(sys.modules)\n"
        "    seen['painted'] = [''.join(s.text for s in strip) for strip in self._compositor.render_strips()]\n"
        "    return real(self)\n"
        "CompareScreen.open_models = open_models\n"
        "async def main():\n"
        f"    async with QinspectApp({ALPHA_A!r}, {ALPHA_B!r}).run_test(size=(80, 24)) as pilot:\n"
        "        while 'modules' not in seen:\n"
        "            await pilot.pause()\n"
        "asyncio.run(main())\n"
        "assert any('0 overview' in row for row in seen['painted'])\n"
        "assert any('quit' in row for row in seen['painted'])\n"
        "heavy = {'numpy', 'ml_dtypes', 'plotext', 'torch', 'transformers', 'cyclopts'}\n"
        "assert not heavy & seen['modules'], heavy & seen['modules']\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- files that change ---


@pytest.mark.parametrize("what", ["changes", "vanishes"])
async def test_a_file_that_changes_under_us_is_noticed(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qinspect.tui.compare.head.WATCH_EVERY_S", 0.01)
    state, config = load_state("m1_w8a8_pa0.9995")
    folder = save_state(tmp_path / "model", state, config)
    async with open_app(ALPHA_A, folder) as d:
        assert "CHANGED" not in d.text_of("#models")
        (weights,) = folder.glob("*.bin")
        if what == "changes":
            save_state(folder, {**state, "new": state["lm_head.weight"]}, config)
        else:
            weights.unlink()
        word = "CHANGED ON DISK" if what == "changes" else "GONE FROM DISK"
        await d.until(lambda: word in d.text_of("#models").splitlines()[1])
        assert "ON DISK" not in d.text_of("#models").splitlines()[0]
        assert d.screen.hints.status == "B changed on disk: ctrl+r opens again"
        await d.press("2", "G", *KEYS_OF_VIEWS, "t")
        if what == "vanishes":
            await d.press("M", "w")


# --- names ---


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x60"])
async def test_no_name_reaches_the_terminal_raw(
    size: tuple[int, int], tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {name: np.full((2, 3), i + 1, np.float32) for i, name in enumerate(HOSTILE_NAMES) if name}
    a = plain("a\x1b[31m[red].safetensors", tensors)
    b = plain("b\u202e.safetensors", {n: x * 2 for n, x in tensors.items()})
    monkeypatch.chdir(tmp_path)
    async with open_app(a.name, b.name, size) as d:
        assert d.roles
        await d.press("plus", "plus", "plus")
        for pane in "123":
            await d.press(pane, "z", "g")
            for _ in range(4):
                assert_no_controls(d.rows())
                await d.press("pagedown")
            await d.press("z")
        await d.press("2", "g")
        for _ in d.roles:
            for key in "dv":
                await d.press(key)
                assert_no_controls(d.rows())
            await d.press("j")
        await d.press("f")
        assert_no_controls(d.rows())
        if size != SMALL:
            assert any("[bold red]markup[/bold red].scales" in row for row in d.rows())
        await d.press("escape")
        await d.press("Y")
        assert_no_controls(d.rows())
        await d.press("e", "m")
        assert_no_controls(Path("qinspect-view.md").read_text().splitlines())


async def test_the_folder_of_an_export_is_no_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getcwd()
    async with open_app(ALPHA_A, ALPHA_B) as d:
        (tmp_path / "\x1b[31m").mkdir()
        monkeypatch.chdir(tmp_path / "\x1b[31m")
        await d.press("e", "s")
        assert_no_controls(d.rows())
        assert list(Path.cwd().iterdir()) == [Path.cwd() / "qinspect-view.svg"]
        monkeypatch.chdir(here)


async def test_wide_letters_do_not_shift_the_columns(plain: Plain) -> None:
    names = [f"layers.0.{n}.scales" for n in ("plain", "中文的名字", "n\u00e4me", "e\u0301")]
    a = plain("中文.safetensors", {n: np.array([1.0], np.float32) for n in names})
    b = plain("b.safetensors", {n: np.array([2.0], np.float32) for n in names})
    for size in (SMALL, MIDDLE):
        async with open_app(a, b, size) as d:
            await d.press("plus", "plus", "plus")
            rows = d.rows()
            assert {cell_len(row) for row in rows} == {size[0]}
            ends = {
                cell_len(row[: row.index("+100.00 %") + 9]) for row in rows if "+100.00 %" in row and "scale" in row
            }
            assert len(ends) <= 2  # of the table, and of the detail


# --- shape ---


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
async def test_every_line_is_as_wide_as_the_terminal_and_columns_meet_their_names(size: tuple[int, int]) -> None:
    async with open_app(ALPHA_A, ALPHA_B, size) as d:
        rows = d.rows()
        assert len(rows) == size[1]
        assert {cell_len(row) for row in rows} == {size[0]}
        header = next(row for row in rows if "B vs A" in row and "scale" in row)
        row = next(row for row in rows if "▲" in row and "x_proj:input" in row and "+103.53 %" in row)
        assert header.index("B vs A") + len("B vs A") == row.index("+103.53 %") + len("+103.53 %")
        assert rows[-1].rstrip().endswith("quit")
        for text in (d.text_of("#models"), d.text_of("#verdict")):
            assert max(map(len, text.splitlines())) <= size[0] - 2
        await d.press("question_mark")
        help_rows = d.rows()
        help_screen = d.app.screen
        assert isinstance(help_screen, HelpScreen)
        assert max(map(len, d.app.screen.query_one("#help").plain)) <= d.app.screen.query_one("#help").size.width  # type: ignore[attr-defined]
        assert any("Keys. escape closes." in row for row in help_rows)


async def test_a_long_verdict_is_cut_with_a_sign_and_t_shows_it() -> None:
    async with open_app(ALPHA_A, ALPHA_B, SMALL) as d:
        lines = d.text_of("#verdict").splitlines()
        assert len(lines) <= 3
        assert lines[-1].endswith("… (t: all)")
        await d.pilot.resize_terminal(*LARGE)
        await d.settle()
        assert "t: all" not in d.text_of("#verdict")


async def test_a_resize_keeps_the_cursor_in_sight() -> None:
    async with open_app(ALPHA_A, ALPHA_B, LARGE) as d:
        await d.press("2", "G", "k")
        role = d.role
        for size in (SMALL, (100, 30), (60, 16), LARGE, SMALL):
            await d.pilot.resize_terminal(*size)
            await d.settle()
            assert d.role == role
            table = d.screen.table_pane.scales
            top = table.scroll_offset.y
            assert top <= table.cursor < top + table.scrollable_content_region.height, size


async def test_a_detail_is_folded_for_the_size_of_its_pane() -> None:
    async with open_app(ALPHA_A, ALPHA_B, SMALL) as d:
        await d.press("n")
        assert (
            max(map(len, d.screen.detail_pane.text.plain)) <= d.screen.detail_pane.text.scrollable_content_region.width
        )
        narrow = len(d.screen.detail_pane.text.plain)
        await d.press("3", "z")
        assert len(d.screen.detail_pane.text.plain) < narrow
        await d.press("z")
        assert len(d.screen.detail_pane.text.plain) == narrow


async def test_a_plot_follows_the_size_of_its_pane() -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        await d.press("n", "w")
        small = max(map(len, d.screen.detail_pane.text.plain))
        await d.press("3", "z")
        zoomed = max(map(len, d.screen.detail_pane.text.plain))
        assert zoomed > small + 20
        await d.press("z")
        assert max(map(len, d.screen.detail_pane.text.plain)) == small
        await d.pilot.resize_terminal(*LARGE)
        await d.settle()
        assert max(map(len, d.screen.detail_pane.text.plain)) > small + 20


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (20, 5), (30, 8), (300, 90)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_a_terminal_of_any_size(size: tuple[int, int]) -> None:
    async with open_app(ALPHA_A, ALPHA_B, size) as d:
        for key in (
            *"nwrovi",
            "t",
            "z",
            "z",
            "1",
            "z",
            "escape",
            "slash",
            "escape",
            "question_mark",
            "escape",
            "f",
            "escape",
        ):
            await d.press(key)
        assert d.screen.session.comparison is not None


# --- hands faster than the screen ---


@pytest.mark.parametrize(
    ("keys", "text", "n_scales"),
    [
        ("/ x p r o j enter j j", "xproj", 0),
        ("/ d t enter o", "dt", 6),
        ("/ d t escape j o", "", 32),
        ("/ d t enter / A _ l enter o", "A_l", 2),
    ],
)
async def test_keys_that_come_in_one_burst_go_where_they_belong(keys: str, text: str, n_scales: int) -> None:
    """Over a slow line they do: what follows an enter is no letter of the filter."""
    async with open_app(ALPHA_A, ALPHA_B) as d:
        for key in keys.replace("/", "slash").split():
            d.app.post_message(events.Key(key, CHARACTERS.get(key, key if len(key) == 1 else None)))
        await d.until(lambda: d.screen.table_pane.selection.text == text)
        await d.settle()
        assert d.screen.table_pane.selection.text == text
        assert len(d.roles) == n_scales
        if keys.endswith("o"):
            assert d.screen.detail_pane.view == "codes"


async def test_a_jump_that_is_typed_faster_than_names_are_ranked() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        for key in ("f", "A", "_", "l", "o", "g", "enter"):
            d.app.post_message(events.Key(key, CHARACTERS.get(key, key if len(key) == 1 else None)))
        await d.until(lambda: d.role == "layers.0.mixer.A_log")


async def test_a_filter_and_a_step_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qinspect.tui.compare.rest.REST_S", 0.2)  # all keys come within the rest
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("slash", *"ssm", "enter", "j")
        assert all("ssm" in role for role in d.roles)
        assert d.roles


async def test_a_move_in_the_tree_and_a_jump_in_the_table_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qinspect.tui.compare.rest.REST_S", 0.2)
    async with open_app(ALPHA_A, ALPHA_B) as d:
        d.screen.tree_pane.nodes.move_to(d.tree_paths.index("layers.1"))
        await d.press("2", "j")
        assert d.screen.table_pane.selection.under == "layers.1"
        assert all(role.startswith("layers.1.") for role in d.roles)


def says_drawing(d: Driver) -> bool:
    return d.screen.hints.status.startswith("drawing")


async def test_another_view_while_one_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, go_on = threading.Event(), threading.Event()

    def slow(s: Any, pair: Any, look: Any, options: Any, check: Any) -> list[str]:
        check(1, 2)
        drawing.set()
        assert go_on.wait(20)
        return ["late"]

    monkeypatch.setitem(views.VIEWS, "weight", slow)
    for key, expected in (("d", "formula"), ("t", "[alpha-signature]")):
        drawing.clear()
        go_on.clear()
        async with open_app(ALPHA_A, ALPHA_B) as d:
            await d.send("w")
            await d.until(drawing.is_set)
            await d.until(partial(says_drawing, d))
            await d.send(key)
            go_on.set()
            await d.settle()
            assert expected in d.detail
            assert d.screen.hints.status == ""


async def test_a_late_answer_is_dropped() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("w")
        before = d.detail
        d.screen.detail_pane.drawing = True
        d.screen.detail_pane.post_message(Drawn(d.screen.detail_pane.request - 1, ["late"]))
        await d.settle()
        assert d.detail == before


async def test_of_two_requests_the_second_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first answer is on its way when the second is asked for."""

    def echo(s: Any, pair: Any, look: Any, options: Any, check: Any) -> list[str]:
        return [f"cursor {options.cursor}"]

    monkeypatch.setitem(views.VIEWS, "weight", echo)
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("w", "3")
        for _ in range(20):
            d.screen.detail_pane.move_cursor(0.01)
            d.screen.show_selected()
            d.screen.detail_pane.move_cursor(0.01)
            d.screen.show_selected()
            await d.settle()
            assert d.detail == f"cursor {d.screen.detail_pane.options.cursor}"


# --- the mouse ---


def line_of(d: Driver, selector: str, text: str) -> tuple[int, int]:
    """Where in a list a text stands."""
    widget = d.screen.query_one(selector, LineList)
    for y in range(widget.size.height):
        if text in "".join(s.text for s in widget.render_line(y)):
            return (3, y)
    raise AssertionError(text)


async def test_a_click_on_a_column_sorts_by_it_and_a_second_one_reverses() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        header = next(row for row in d.rows() if "B vs A" in row)
        x = header.index("B vs A") + 2 - d.screen.table_pane.scales.region.x
        await d.pilot.click("#table-header", offset=(x, 0))
        await d.settle()
        assert "by B vs A" in d.text_of("#table-title")
        assert d.roles[0] == "layers.0.mixer.ssm_state_act:input"
        assert "B vs A*" in "\n".join(d.rows())
        await d.pilot.click("#table-header", offset=(x, 0))
        await d.settle()
        assert d.screen.table_pane.selection.reverse
        assert d.roles[-1] == "layers.0.mixer.ssm_state_act:input"
        await d.pilot.click("#table-header", offset=(6, 0))
        await d.settle()
        assert d.screen.table_pane.selection.sort == "scale"


async def test_a_click_selects_and_a_second_one_opens() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.pilot.click("#table", offset=line_of(d, "#table", "x_proj:input"))
        await d.settle()
        assert d.role == "layers.0.mixer.x_proj:input"
        assert d.screen.active == "table"
        assert d.screen.body.zoomed == ""
        await d.pilot.click("#tree", offset=line_of(d, "#tree", " 1 "))
        await d.settle()
        assert d.screen.active == "tree"
        assert d.screen.table_pane.selection.under == "layers.1"
        await d.pilot.click("#tree", offset=line_of(d, "#tree", " 1 "))
        await d.settle()
        assert "layers.1.mixer" in d.tree_paths
        await d.pilot.click("#detail", offset=(3, 3))
        await d.settle()
        assert d.screen.active == "detail"


# --- config, themes, what is remembered ---


async def test_remapped_keys_work_and_are_shown(own_home: Path) -> None:
    config = own_home / "config/qinspect/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[keys]\nnext_difference = "f8"\nview_weight = ["W", "f9"]\nquit = "j"\n')
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("n", "w")
        assert (d.screen.active, d.screen.detail_pane.view) == ("tree", "detail")
        await d.press("f8")
        assert d.role == "layers.0.mixer.x_proj:input"
        await d.press("W")
        assert d.screen.detail_pane.view == "weight"
        assert "f8 next diff" in d.rows()[-1]
        assert "n next diff" not in d.rows()[-1]
        await d.press("question_mark")
        lines = d.app.screen.query_one("#help").plain  # type: ignore[attr-defined]
        found = {line.strip().split("  ")[-1].strip(): line.split("  ")[1].strip() for line in lines if "  " in line}
        assert found["Next difference in forward order."] == "f8"
        assert found["Histogram of the dequantized weight."] == "W, f9"
        assert found["Next row."] == "down"  # `j` was taken for another action
        await d.press("escape")
        await d.send("j")
        await d.until(lambda: d.app._exit)


async def test_a_click_on_a_hint_does_what_its_key_does() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        x = d.rows()[-1].index("next diff")
        await d.pilot.click("#hints", offset=(x, 0))
        await d.settle()
        assert d.role == "layers.0.mixer.x_proj:input"
        await d.pilot.click("#hints", offset=(d.rows()[-1].index("/ filter"), 0))
        await d.settle()
        assert d.screen.query_one("#filter").display


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[keys]\nfly = "x"\n', "no action 'fly'"),
        ("[keys\n", "the built-in keys are used"),
        ("keys = 3\n", "must be a table"),
        ("[keys]\nquit = 3\n", "quit must be a key"),
        ("[keys]\nquit = [1]\n", "quit must be a key"),
        ('[keys]\nquit = ""\n', "quit must be a key"),
    ],
    ids=["unknown", "syntax", "no table", "number", "list of numbers", "empty"],
)
async def test_a_bad_config_file_is_said_and_stays_said(content: str, words: str, own_home: Path) -> None:
    config = own_home / "config/qinspect/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(content)
    async with open_app(ALPHA_A, ALPHA_B, (300, 40)) as d:
        assert words in d.text_of("#models").splitlines()[-1]
        await d.press("n")
        assert d.role == "layers.0.mixer.x_proj:input"


@pytest.mark.parametrize("first", ["quit", "next_difference"])
@pytest.mark.parametrize("key", ["f8", "slash"])
async def test_two_actions_on_one_key_are_said_and_one_has_it(first: str, key: str, own_home: Path) -> None:
    config = own_home / "config/qinspect/config.toml"
    config.parent.mkdir(parents=True)
    lines = ['quit = "f8"', 'next_difference = ["f8", "f9"]', 'largest_difference = "f7"']
    lines = [line.replace("f8", key) for line in (lines if first == "quit" else lines[::-1])]
    config.write_text("[keys]\n" + "\n".join(lines))
    async with open_app(ALPHA_A, ALPHA_B, (300, 40)) as d:
        said = d.text_of("#models").splitlines()[-1]
        names = "quit and next_difference" if first == "quit" else "next_difference and quit"
        shown = {"slash": "/"}.get(key, key)
        assert said == f"{config}: {names} have one key, {shown}: it does next_difference"
        await d.press(key)
        assert d.role == "layers.0.mixer.x_proj:input"
        await d.press("f9")
        assert d.role == "layers.0.mixer.ssm_state_act:input"
        assert not d.app._exit
        assert keys_now(d.screen)["quit"] == []


async def test_theme_and_view_are_remembered(own_home: Path) -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("T", "T", "v", "q")
    saved = json.loads((own_home / "state/qinspect/screen.json").read_text())
    pair = "\n".join(os.path.abspath(p) for p in (ALPHA_A, ALPHA_B))
    assert saved == {"themes": {"many": ANSI.name}, "views": {pair: "values"}}
    async with open_app(ALPHA_A, os.path.abspath(ALPHA_B)) as d:
        assert (d.app.theme, d.screen.detail_pane.view) == (ANSI.name, "values")
        assert "0.0354614" in d.detail


IN_COLORS: dict[str, dict[str, str]] = {
    "many": {"TERM": "tmux-256color"}, "sixteen": {"TERM": "xterm"}, "none": {"TERM": "tmux-256color", "NO_COLOR": "1"},
}  # fmt: skip
"""What the environment says of a kind of terminal."""


async def theme_of(kind: str, *keys: str) -> str:
    """The theme of a terminal of that kind at first, after these keys."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLORTERM", "NO_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in IN_COLORS[kind].items():
            patch.setenv(name, value)
        async with open_app(ALPHA_A) as d:
            first = d.app.theme
            await d.press(*keys, "q")
    return first


async def test_a_theme_is_remembered_for_the_kind_of_terminal_that_it_was_chosen_in() -> None:
    assert [await theme_of(kind) for kind in IN_COLORS] == [DARK.name, ANSI.name, DARK.name]
    await theme_of("sixteen", "T")
    assert [await theme_of(kind) for kind in IN_COLORS] == [DARK.name, DARK.name, DARK.name]
    await theme_of("many", "T")
    assert [await theme_of(kind) for kind in IN_COLORS] == [LIGHT.name, DARK.name, DARK.name]
    await theme_of("sixteen", "T", "T")
    await theme_of("none", "T", "T")
    assert [await theme_of(kind) for kind in IN_COLORS] == [LIGHT.name, ANSI.name, ANSI.name]


@pytest.mark.parametrize("kind", IN_COLORS)
async def test_labels_stand_on_the_panes_in_every_kind_of_terminal(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLORTERM", raising=False)
    for name, value in IN_COLORS[kind].items():
        monkeypatch.setenv(name, value)
    async with open_app(ALPHA_A, ALPHA_B) as d:
        before = d.painted
        await d.press("J")
        assert re.search(r" 1 layers .* a .*2 scales .* s ", d.painted)
        changed = [a for a, b in zip(before, d.painted, strict=True) if a != b]
        assert 3 <= len(changed) <= 9, "nothing but the labels"


async def test_the_theme_that_an_older_version_remembered_is_that_of_many_colours(own_home: Path) -> None:
    path = own_home / "state/qinspect/screen.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"theme": LIGHT.name, "views": {}}))
    assert [await theme_of(kind) for kind in IN_COLORS] == [LIGHT.name, ANSI.name, DARK.name]


@pytest.mark.parametrize("pair", [(ALPHA_A, None), (ALPHA_B, ALPHA_A), (ALPHA_A, GROUPED)], ids=str)
async def test_the_view_of_one_pair_is_not_imposed_on_another(pair: tuple[str, str | None]) -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("w", "q")
    async with open_app(*pair, overview=True) as d:
        assert (d.screen.active, d.screen.detail_pane.view) == ("overview", "detail")
        await d.press("2", "o", "q")
    async with open_app(ALPHA_A, ALPHA_B) as d:
        assert d.screen.detail_pane.view == "weight"


async def test_so_many_pairs_are_remembered_and_no_more(own_home: Path) -> None:
    state = State()
    for i in range(3 * MOST_PAIRS):
        state = state.with_view(f"a{i}", "b", "codes")
    assert list(state.views) == [f"a{i}\nb" for i in range(2 * MOST_PAIRS, 3 * MOST_PAIRS)]
    assert state.with_view(f"a{3 * MOST_PAIRS - 1}", "b", "detail").view_of(f"a{3 * MOST_PAIRS - 1}", "b") == "detail"


async def test_what_is_remembered_of_another_version_is_no_harm(own_home: Path) -> None:
    path = own_home / "state/qinspect/screen.json"
    path.parent.mkdir(parents=True)
    for content in (
        '{"theme": "mauve", "view": "weight"}', '{"views": ["weight"]}', '{"views": {"a": ["weight"], "b": "smell"}}',
        "[]", "nonsense", "",
    ):  # fmt: skip
        path.write_text(content)
        async with open_app(ALPHA_A) as d:
            assert (d.app.theme, d.screen.detail_pane.view) == ("qinspect-dark", "detail")


@pytest.mark.parametrize("variables", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, {"QINSPECT_ASCII": "1"}], ids=str)
async def test_a_plain_locale_has_signs_of_ascii(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with open_app(GROUPED, PERMUTED) as d:
        await d.press("plus")
        for view in KEYS_OF_VIEWS:
            await d.press(view)
            assert d.detail.isascii()
        g = d.screen.glyphs
        signs = [g.up, g.down, g.same, g.different[0], g.odd, g.broken, "A", "B"]
        assert "".join(signs).isascii()
        assert len(set(signs)) == len(signs)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x60"])
async def test_a_plain_locale_shows_every_name_in_ascii(
    size: tuple[int, int], plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QINSPECT_ASCII", "1")
    monkeypatch.setattr(ScrollBar, "renderer", PlainScrollBar)  # as the program does before it opens the screen
    names = [f"layers.0.{n}.scales" for n in ("n\u00e4me", "\u4e2d\u6587", "\U00010400", "plain")]
    names += ["layers.0.\u00fcscale", *(f"layers.1.{i}.\u00e9_scale" for i in range(40))]
    a = plain("m\u00f6del.safetensors", {n: np.arange(1, 5, dtype=np.float32) for n in names})
    b = plain("b.safetensors", {n: np.arange(2, 6, dtype=np.float32) for n in names[:-1]})
    monkeypatch.chdir(tmp_path)

    async def look() -> None:
        rows = d.rows()
        assert not [row for row in rows if not row.isascii()]
        assert {len(row) for row in rows} == {size[0]}
        assert d.detail.isascii()

    for second in (b.name, None, "n\u00f6where.safetensors"):
        async with open_app(a.name, second, size) as d:
            assert "A  m\\u00f6del.safetensors" in d.text_of("#models")
            await d.press("plus", "plus", "plus", "2", "g")
            assert any("n\\u00e4me" in row for row in d.rows())
            for _ in range(4 if second == b.name else 1):
                for key in "divwort":
                    await d.press(key)
                    await look()
                await d.press("2", "j")
            for key in "123":
                await d.press(key, "z", "G")
                await look()
                await d.press("z")
            for key in ("question_mark", "f", "colon", "e"):
                await d.press(key)
                await look()
                await d.press("escape")
            await d.press("K")
            await look()


async def test_no_color_has_no_colours_in_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_app(GROUPED, PERMUTED) as d:
        assert d.app.no_color
        look = d.screen.detail_pane.look
        assert (look.a, look.b, look.mark) == (None, None, None)
        for view in "wr":
            await d.press("2", view)
            assert d.detail
