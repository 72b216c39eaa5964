"""The overview that the screen opens on: the answer, the map, the way into a cell and back."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pilots import ALPHA_A, ALPHA_B, GROUPED, LARGE, MIDDLE, PERMUTED, SMALL, Driver, open_app
from rich.cells import cell_len
from safetensors.numpy import save_file
from textual import events

from qinspect.inspector.compare.layer_map import layer_map, worth_of
from qinspect.tui.compare.cell_text import short_number, short_percent
from qinspect.tui.compare.overview import _numbers
from qinspect.tui.compare.overview_cells import NUMBERED
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.kinds import kind_legend, short_kinds
from qinspect.tui.widgets.text_pane import TextPane

ANSWER = "ALPHA TOOK EFFECT: 4 of 4 points, +35.46 ... +139.67 %, beyond noise; 10 of 10 min-max points the same"


def cursor(d: Driver) -> str:
    return d.screen.overview.map.cell_name


def made(folder: Path, factor: float, names: list[str]) -> Path:
    folder.mkdir()
    save_file({n: np.full(2, 1.0 if i else factor, np.float32) for i, n in enumerate(names)}, folder / "m.safetensors")
    return folder


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE])
async def test_it_opens_on_the_answer_and_the_map(size: tuple[int, int]) -> None:
    async with open_app(ALPHA_A, ALPHA_B, size=size, overview=True) as d:
        assert d.screen.active == "overview"
        painted = " ".join(d.painted.split())
        assert ANSWER in painted
        rows = [r for r in d.rows() if r.strip().startswith(("0 ", "1 "))]
        assert any(r.count("=") >= 14 for r in rows)


async def test_into_a_cell_and_back_to_it() -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        await d.press("M")
        assert cursor(d) == "layer 0, mixer.ssm_state_act:input"
        assert "+139.67 % of A" in d.painted
        await d.press("enter")
        assert d.screen.active == "table"
        assert d.roles == ["layers.0.mixer.ssm_state_act:input"]
        assert "of layer 0, mixer.ssm_state_act:input" in d.text_of("#table-title")
        await d.press("escape")
        assert d.screen.active == "overview"
        assert cursor(d) == "layer 0, mixer.ssm_state_act:input"
        assert len(d.roles) == 32


async def test_what_is_of_one_scale_changes_nothing_behind_the_map() -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        table = d.screen.table_pane
        before = (d.role, list(d.roles), table.selection.sort, table.selection.reverse, set(table.scales.bookmarks))
        for key in ("s", "S", "c", "quotation_mark", "K", "V"):
            await d.press(key)
            assert d.screen.hints.status == "that is of one scale: enter shows those of the cell"
            after = (d.role, list(d.roles), table.selection.sort, table.selection.reverse, set(table.scales.bookmarks))
            assert (d.screen.active, after) == ("overview", before)
        await d.press("apostrophe")
        assert (d.screen.active, d.screen.hints.status) == ("overview", "no bookmark is set")
        table.scales.bookmarks.add(d.roles[3])
        await d.press("apostrophe")
        assert (d.screen.active, d.role) == ("table", d.roles[3])


async def test_copying_on_the_map_takes_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        await d.press("n")
        assert d.app._driver is not None
        d.app._driver.write = sent.append  # type: ignore[method-assign, assignment]
        await d.press("Y")
        name, said = base64.b64decode(sent[0].split(";")[2].rstrip("\a")).decode().split("\t")
        assert name == cursor(d)
        assert said == d.screen.query_one("#overview-readout", TextPane).plain[1]


@pytest.mark.parametrize(("key", "view"), [("w", "weight"), ("v", "values"), ("d", "detail")])
async def test_a_view_is_of_the_cell_under_the_cursor(key: str, view: str) -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        await d.press("n", "n", key)
        assert (d.screen.active, d.screen.detail_pane.view) == ("table", view)
        assert d.role == "layers.0.mixer.ssm_state_act:input"
        assert len(d.roles) == 32
        await d.press("escape")
        assert cursor(d) == "layer 0, mixer.ssm_state_act:input"


async def test_the_distribution_is_of_the_cell_under_the_cursor() -> None:
    async with open_app(ALPHA_A, overview=True) as d:
        while not cursor(d).endswith("mixer.x_proj.weight"):
            await d.press("l")
        await d.press("a")
        assert isinstance(d.app.screen, DistributionScreen)
        assert d.app.screen.name_shown == "layers.0.mixer.x_proj.weight"


async def test_the_next_difference_walks_the_cells_that_differ() -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        seen = []
        for _ in range(4):
            await d.press("n")
            seen.append(cursor(d))
        assert seen == [
            "layer 0, mixer.x_proj:input", "layer 0, mixer.ssm_state_act:input",
            "layer 1, mixer.x_proj:input", "layer 1, mixer.ssm_state_act:input",
        ]  # fmt: skip
        await d.press("N")
        assert cursor(d) == seen[2]


async def test_a_cell_without_scales_leads_into_the_tree() -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        await d.press("G", "enter")
        assert d.screen.active == "tree"
        assert d.screen.tree_pane.nodes.node is not None
        assert d.screen.tree_pane.nodes.node.path.startswith("lm_head")


async def test_every_measure_is_drawn_of_models_of_another_order() -> None:
    async with open_app(GROUPED, PERMUTED, overview=True) as d:
        titles = []
        for _ in range(9):
            titles.append(d.text_of("#overview-title"))
            assert "cannot be shown" not in d.painted
            await d.press("m")
        assert len(set(titles)) == 9


@pytest.mark.parametrize("size", [SMALL, MIDDLE])
async def test_only_cells_that_differ_by_a_number_are_coloured(size: tuple[int, int]) -> None:
    """A colour fills its cell, as wide as it is, and runs into none beside it."""
    async with open_app(ALPHA_A, ALPHA_B, size=size, overview=True) as d:
        m = d.screen.overview.map
        for row in (0, 1):
            ground = [s.bgcolor for text, s, _ in m.render_line(row) for _ in text if s is not None]
            common = ground[0]
            coloured = [i for i, color in enumerate(ground) if color != common]
            cells = sorted({(i - m._left()) // m.cell_width for i in coloured})
            assert cells == [5, 13]
            assert len(coloured) == 2 * m.cell_width


async def test_one_model_alone_shows_its_scales() -> None:
    async with open_app(ALPHA_A, overview=True) as d:
        await d.until(lambda: ".0355" in d.painted, "the scales")
        await d.press("n")
        assert "one model" in d.screen.hints.status
        await d.press("enter")
        assert d.roles == ["layers.0.mixer.in_proj:input"]


@pytest.mark.parametrize(
    "names",
    [
        ["a.weight_scale", "b.weight_scale"],
        [f"layers.{i}.mlp.up.weight_scale" for i in range(200)],
        [f"layers.{i}.mlp.experts.{e}.up.weight_scale" for i in range(3) for e in range(128)],
        [f"layers.0.{k}.weight_scale" for k in (f"k{i}" for i in range(300))],
    ],
    ids=["no layers", "200 layers", "128 experts", "300 kinds"],
)
@pytest.mark.parametrize("size", [(20, 5), SMALL, LARGE])
async def test_models_of_every_form_are_drawn_whole(tmp_path: Path, names: list[str], size: tuple[int, int]) -> None:
    a, b = made(tmp_path / "a", 1.0, names), made(tmp_path / "b", 1.5, names)
    async with open_app(a, b, size=size, overview=True) as d:
        await d.press("M")
        assert d.screen.overview.map.cell is not None
        assert d.screen.overview.map.cell.differing == 1
        await d.press("l", "h", "G", "g", "n", "enter")
        assert names[0] in d.roles
        assert "cannot be shown" not in d.painted


async def test_nothing_that_differs_is_said_and_nothing_is_marked() -> None:
    async with open_app(ALPHA_A, ALPHA_A, overview=True) as d:
        assert "NO DIFFERENCE" in d.painted
        await d.press("M")
        assert "no difference" in d.screen.hints.status


async def test_numbers_of_a_cell_fit() -> None:
    values = [0.0, 1e-9, 0.004999, 0.005, 0.1234, 0.999, 1.0, 9.96, 35.46, 999.9, 9999.4, 1e8]
    for value in (*values, *(-v for v in values)):
        assert len(short_percent(value)) <= 6
        assert len(short_number(value)) <= 6
    assert short_percent(139.67) == "+140%"
    assert short_number(0.0354614) == ".0355"
    assert short_kinds(["mixer.a.x", "mixer.b"]) == ["a.x", "b"]
    assert short_kinds(["a"]) == ["a"]


async def test_a_model_that_comes_later_keeps_the_cursor(tmp_path: Path) -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        await d.press("M")
        here = cursor(d)
        pairs = [replace(p) for p in d.screen.session.pairs]
        d.screen.overview.show(layer_map(pairs, ()), True, {})
        await d.settle()
        assert cursor(d) == here


@pytest.mark.parametrize("width", range(150, 290, 20))
async def test_no_digit_of_a_number_is_ever_cut(width: int) -> None:
    """At any width a cell has the number of its measure whole, or none, under the cursor too."""
    async with open_app(GROUPED, "m2_w8a8_pa0.9995/quamba2-tiny-w8a8", size=(width, 40), overview=True) as d:
        shown = d.screen.overview.map
        known = [w.value for c in d.screen.overview.map.cells if (w := worth_of(c, shown.measure)).value]
        told = {short_percent(value).removesuffix("%") for value in known}
        seen = set()
        for _ in range(40):
            await d.press("n")
            line = "".join(text for text, _ in shown.line(shown.cursor, width))
            seen |= set(re.findall(r"[+-]\d[\d.]*(?:e-?\d+)?", line))
        assert seen <= told
        assert bool(seen) is (shown.cell_width >= NUMBERED)


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
async def test_the_name_of_every_column_is_said_where_lines_are_free(size: tuple[int, int]) -> None:
    async with open_app(ALPHA_A, ALPHA_B, size=size, overview=True) as d:
        m = d.screen.overview.map
        heads = m.heads(size[0] - 3, 99)
        said = " ".join(" ".join(text for text, _ in line) for line in heads[:-1])
        assert "16 out_proj.weight" in said
        painted = " ".join(d.painted.split())
        assert all(name.strip() in painted for name in said.split("   "))
        assert "more" not in said


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("most", [0, 1, 3, 400])
def test_a_legend_says_what_it_leaves_out(n: int, most: int) -> None:
    lines = kind_legend([f"k{i}" for i in range(n)], 1, 40, most, "…")
    assert len(lines) <= most
    assert all(len(line) <= 40 for line in lines)
    text = "   ".join(line.strip() for line in lines)
    names = [part for part in text.split("   ") if not part.startswith("…")] if text else []
    assert names == [f"{i + 1} k{i}" for i in range(len(names))]
    if most:
        assert (f"… {n - len(names)} more" in text) is (len(names) < n)


def test_a_name_longer_than_a_legend_has_its_ends() -> None:
    (line,) = kind_legend(["a" * 10_000 + ".weight"], 1, 40, 3, "…")
    assert len(line) == 40
    assert line.startswith("  1 aa")
    assert line.endswith(".weight")


def test_what_is_in_no_layer_does_not_count_for_what_kinds_begin_with() -> None:
    assert short_kinds(["mixer.a", "mixer.b", "lm_head:input"], ["mixer.a", "mixer.b"]) == ["a", "b", "lm_head:input"]


@pytest.mark.parametrize("width", range(2, 10))
def test_numbers_of_columns_stand_whole_under_their_own(width: int) -> None:
    line = _numbers(range(5, 130), width)
    found = list(re.finditer(r"\d+", line))
    assert found
    for number in found:
        assert number.end() == (int(number[0]) - 5) * width - 1
    if width > 3:
        assert len(found) == 125


@pytest.mark.parametrize("size", [(20, 5), SMALL, LARGE])
async def test_a_map_of_more_columns_than_fit_says_so(tmp_path: Path, size: tuple[int, int]) -> None:
    names = [f"layers.0.k{i}.weight_scale" for i in range(300)]
    async with open_app(made(tmp_path / "a", 1.0, names), made(tmp_path / "b", 1.5, names), size, overview=True) as d:
        for _ in range(3):
            await d.press("l")
        if size != (20, 5):
            assert re.search(r"columns 1-\d+ of 300", d.text_of("#overview-title"))


NAMES = {
    "long": [f"model.layers.{i}.{'x' * 10_000}.{k}.weight_scale" for i in range(3) for k in "ab"],
    "right to left": [f"layers.{i}.\u05d0\u05d1\u05d2_\u202e{k}.weight_scale" for i in range(3) for k in "ab"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
async def test_a_storm_of_sizes_leaves_every_line_whole(tmp_path: Path, names: list[str]) -> None:
    async with open_app(made(tmp_path / "a", 1.0, names), made(tmp_path / "b", 1.5, names), overview=True) as d:
        for keys in ((), ("2",), ("z",)):
            await d.press(*keys)
            for size in ((20, 5), LARGE, (1, 1), (81, 23), SMALL):
                await d.pilot.resize_terminal(*size)
            await d.until(lambda: {cell_len(row) for row in d.rows()} == {SMALL[0]}, "lines of the last size")
            await d.settle()
            assert "cannot be shown" not in d.painted


async def test_a_click_on_the_map_stays_on_the_map() -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        await d.pilot.click("#overview", offset=(3, 1))
        await d.pilot.click("#overview-readout", offset=(3, 0))
        await d.settle()
        assert d.screen.active == "overview"
        assert cursor(d).startswith("layer 1, ")


@pytest.mark.parametrize(
    ("keys", "active", "role"),
    [
        ("enter j", "table", "layers.0.mixer.in_proj:input"),
        ("1 n j", "table", "layers.0.mixer.x_proj.weight"),
        ("1 M k", "table", "layers.0.mixer.dt_proj.bias"),
        ("w j", "table", "layers.0.mixer.in_proj.weight"),
        ("t h", "table", "layers.0.mixer.in_proj:input"),
    ],
)
async def test_keys_of_one_burst_work_in_the_pane_that_they_led_to(keys: str, active: str, role: str) -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        for key in keys.split():
            d.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await d.until(lambda: d.screen.active == active)
        await d.settle()
        assert (d.screen.active, d.role) == (active, role)
