"""The exact distribution on the screen: every key, every number against numpy on the dequantized weights, odd tensors,
sizes, and what happens while it counts."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import math
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from pilots import ALPHA_A, ALPHA_B, LARGE, MIDDLE, SMALL, Driver, handlers, in_empty_folder, open_app
from rich.text import Text
from safetensors.torch import save_file

from qinspect.inspector.alpha.sweep.wording import decibels
from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.observers import quamba_percentile
from qinspect.inspector.progress import Progress
from qinspect.inspector.values import stored_values as counting
from qinspect.inspector.values.clipping import Gauge, Marker, NamedTables
from qinspect.tui.actions import DISTRIBUTION_ACTIONS, Action, key_text
from qinspect.tui.compare.screen import CompareScreen
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.distribution import weights
from qinspect.tui.distribution.alphas import STEPS, parsed, stepped
from qinspect.tui.distribution.axis import Axis
from qinspect.tui.distribution.layout import Layout, Shown
from qinspect.tui.distribution.pane import DistributionPane
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.distribution.source import Chart, Series
from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.key_names import with_built_in_keys
from qinspect.tui.look import Line, Look
from qinspect.tui.theme import THEMES
from qinspect.tui.widgets.bars import TitleLine

Checked = Callable[[Driver, str], Awaitable[None]]
CHECKS: dict[str, Checked] = {}
WEIGHT = "layers.0.mixer.x_proj.weight"
FOUR_BITS = "m1_w4a8/quamba-small-w4a8"
HEADS, NO_HEADS = "m2_w4a8_gh_pa0.9995/quamba2-tiny-w4a8", "m2_w8a8_gh/quamba2-tiny-w8a8"
GROUPED = "layers.0.mixer.in_proj.weight"


def check(function: Checked) -> Checked:
    """`check_bits` is what `bits` does: called with the screen on WEIGHT of one model, at alpha 1."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function


def screen_of(d: Driver) -> DistributionScreen:
    return next(s for s in d.app.screen_stack if isinstance(s, DistributionScreen))


def pane_of(d: Driver) -> DistributionPane:
    return screen_of(d).pane


def said(d: Driver) -> str:
    return "\n".join(pane_of(d).plain)


async def shows(d: Driver, role: str = WEIGHT) -> None:
    """Open it on a weight."""
    d.screen.table_pane.select(role)
    await d.press("2", "a")
    assert isinstance(d.app.screen, DistributionScreen)


def row(d: Driver, label: str) -> list[str]:
    """The cells of a line of the table."""
    line = next(line for line in pane_of(d).plain if line.startswith(label))
    return re.findall(r"[^ ]+(?: %| of [^ ]+)?", line[len(label) :])


def dequantized(d: Driver, role: str = WEIGHT) -> np.ndarray[Any, Any]:
    fmt = d.app.session.a
    assert fmt is not None
    weight = next(w for w in fmt.weights() if w.role == role)
    return np.asarray(fmt.dequantize(weight), np.float32).reshape(-1)


def written_lines(lines: list[Line]) -> list[str]:
    return [x if isinstance(x, str) else x.plain if isinstance(x, Text) else "".join(t for t, _ in x) for x in lines]


def series_of(d: Driver) -> Series:
    chart = pane_of(d).chart
    assert chart is not None
    return chart.series[0]


def ticks(d: Driver) -> list[float]:
    """The numbers on the axis of |x|."""
    line = next(line for line in pane_of(d).plain if line.lstrip().startswith("|x|"))
    return [float(x) for x in re.findall(r"┴([\d.e+-]*\d)", line)]


# --- the actions ---


def test_every_action_has_a_handler_and_a_check() -> None:
    assert handlers(DistributionScreen) == {a.name for a in DISTRIBUTION_ACTIONS} == set(CHECKS)


@pytest.mark.parametrize("action", DISTRIBUTION_ACTIONS, ids=lambda a: a.name)
async def test_an_action_does_what_its_help_says(action: Action) -> None:
    async with open_app(ALPHA_A) as d:
        await shows(d)
        active = d.app.screen.active_bindings
        assert {active[key].binding.id for key in action.keys} == {action.name}
        for key in action.keys:
            if isinstance(d.app.screen, DistributionScreen):
                await d.press("dollar_sign")
                await CHECKS[action.name](d, key)


@check
async def check_alpha_down(d: Driver, key: str) -> None:
    await d.press(key, key)
    assert pane_of(d).alpha == STEPS[-3] == 0.9999998
    assert row(d, "A  cursor")[0] == "0.9999998"


@check
async def check_alpha_up(d: Driver, key: str) -> None:
    await d.press(key)
    assert pane_of(d).alpha == 1
    pane_of(d).move_to(0.99955)
    await d.press(key)
    assert pane_of(d).alpha == 0.9996


@check
async def check_alpha_decade_down(d: Driver, key: str) -> None:
    pane_of(d).move_to(0.9995)
    await d.press(key, key)
    assert pane_of(d).alpha == 0.95
    await d.press(key, key)
    assert pane_of(d).alpha == 0


@check
async def check_alpha_decade_up(d: Driver, key: str) -> None:
    pane_of(d).move_to(0.9)
    await d.press(key, key)
    assert pane_of(d).alpha == 0.999


@check
async def check_alpha_first(d: Driver, key: str) -> None:
    await d.press(key)
    assert pane_of(d).alpha == 0
    assert row(d, "A  cursor")[:3] == ["0", "0", "none"]  # the smallest of these is 0


@check
async def check_alpha_last(d: Driver, key: str) -> None:
    await d.press("circumflex_accent", key)
    assert pane_of(d).alpha == 1


@check
async def check_type_alpha(d: Driver, key: str) -> None:
    for text, alpha in (("0.99955", 0.99955), ("2", 0.99955), ("", 0.99955), ("1e-1", 0.1)):
        await d.press(key)
        assert isinstance(d.app.screen, AskScreen)
        await d.type(text)
        if text == "2":
            await d.send("enter")
            await d.settle()
            assert screen_of(d).hints.status == "an alpha is a number from 0 to 1, not 2"
        await d.press("enter")
        assert pane_of(d).alpha == alpha


@check
async def check_alpha_best(d: Driver, key: str) -> None:
    await d.press("b")
    await d.press(key)
    gauge = series_of(d).gauge
    best = series_of(d).curves[4].best
    assert best is not None
    target = best.w_max.middle
    nearest = min(STEPS, key=lambda a: abs(float(np.quantile(np.abs(dequantized(d)), a)) - target))
    assert pane_of(d).alpha == nearest < 1
    assert series_of(d).curves[4].below_best(gauge.at(nearest, 4)) < 0.5


@check
async def check_bits(d: Driver, key: str) -> None:
    seen = []
    for _ in range(5):
        seen.append(pane_of(d).asked.bits)
        assert f"{seen[-1]} bits" in said(d)
        assert f"w_max/{2 ** (seen[-1] - 1) - 1})" in said(d)
        assert row(d, "A  best")
        await d.press(key)
    assert seen == [8, 4, 5, 6, 8]


@check
async def check_zoom_in(d: Driver, key: str) -> None:
    before = ticks(d)
    await d.press(key, key)
    after = ticks(d)
    assert max(before) == pytest.approx(max(after), rel=0.5)
    assert min(before) * 10 < min(after)
    assert "left of the axis" in said(d)
    for _ in range(12):
        await d.press(key)
    assert ticks(d)
    pane_of(d).asked = Shown()
    await d.press("minus")


@check
async def check_zoom_out(d: Driver, key: str) -> None:
    await d.press("plus", "plus", "plus")
    near = min(ticks(d))
    for _ in range(9):
        await d.press(key)
    assert min(ticks(d)) * 10 < near
    assert "left of the axis" not in said(d)


@check
async def check_log_scale(d: Driver, key: str) -> None:
    assert "n (log)" in said(d)
    before = said(d)
    await d.press(key)
    assert "n (log)" not in said(d)
    await d.press(key)
    assert said(d) == before


@check
async def check_next_point(d: Driver, key: str) -> None:
    screen = screen_of(d)
    first = screen.name_shown
    await d.press(key)
    assert screen.name_shown != first
    assert screen.query_one(TitleLine).text.endswith(screen.name_shown)
    assert pane_of(d).chart is not None
    assert pane_of(d).chart.name == screen.name_shown  # type: ignore[union-attr]
    await d.press(*[key] * 40)
    last = screen.name_shown
    await d.press(key)
    assert screen.name_shown == last == "norm_f.weight"
    await d.press(*["k"] * 20)


@check
async def check_previous_point(d: Driver, key: str) -> None:
    screen = screen_of(d)
    await d.press(*[key] * 40)
    assert screen.name_shown == "embedding.weight"
    assert "float16, as stored" in said(d)
    await d.press("j", key)
    assert screen.name_shown == "embedding.weight"


@check
async def check_top(d: Driver, key: str) -> None:
    await d.press("j", "j", key)
    assert screen_of(d).name_shown == "embedding.weight"


@check
async def check_bottom(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).name_shown == "norm_f.weight"


@check
async def check_jump(d: Driver, key: str) -> None:
    await d.press(key)
    await d.type("norm_f")
    await d.press("enter")
    assert screen_of(d).name_shown == "norm_f.weight"
    assert pane_of(d).chart is not None
    assert pane_of(d).chart.name == "norm_f.weight"  # type: ignore[union-attr]


@check
async def check_export(d: Driver, key: str) -> None:
    with in_empty_folder() as folder:
        await d.press(key, "c")
        header, row = csv.reader(io.StringIO((folder / "qinspect-view.csv").read_text()))
    assert header[:4] == ["point", "model", "alpha", "bits"]
    assert row[:4] == [WEIGHT, "A", "1.0", "8"]
    assert float(row[4]) == float(np.abs(dequantized(d)).max())


@check
async def check_theme(d: Driver, key: str) -> None:
    seen = [d.app.theme]
    for _ in THEMES:
        await d.press(key)
        seen.append(d.app.theme)
    assert set(seen) == {t.name for t in THEMES}


@check
async def check_suspend(d: Driver, key: str) -> None:
    """What it does to a real terminal is tested on one."""
    with patch.object(type(d.app), "suspend_to_shell") as suspend:
        await d.press(key)
    suspend.assert_called_once_with()


@check
async def check_repaint(d: Driver, key: str) -> None:
    with patch.object(type(d.app), "repaint") as repaint:
        await d.press(key)
    repaint.assert_called_once()


@check
async def check_label_panes(d: Driver, key: str) -> None:
    """One alpha at most is known of a weight: tests of whence look at two models'."""
    await d.press(key)
    assert isinstance(d.app.screen, DistributionScreen)
    assert screen_of(d).hints.status == "no two lines have an alpha of their own"


@check
async def check_copy_row(d: Driver, key: str) -> None:
    sent: list[str] = []
    assert d.app._driver is not None
    d.app._driver.write = sent.append  # type: ignore[method-assign, assignment]
    pane_of(d).move_to(0.999)
    await d.press(key)
    (found,) = sent
    text = base64.b64decode(found.split(";")[2].rstrip("\a")).decode()
    role, label, alpha, bits, w_max, scale, beyond, *_, rule = text.split("\t")
    x = np.abs(dequantized(d))
    assert (role, label, alpha, bits) == (WEIGHT, "A", "0.999", "8")
    assert float(w_max) == float(np.float32(np.quantile(x.astype(np.float64), 0.999)))
    assert float(scale) == float(np.float32(w_max) / np.float32(127))
    assert float(beyond) == float(np.mean(x > np.float32(w_max)))
    assert rule.startswith("quantile(|x|, 0.999, linear, float64 rank)")


@check
async def check_apply_alpha(d: Driver, key: str) -> None:
    await d.press(key)
    assert "the runs screen has those of a calibration" in screen_of(d).hints.status


@check
async def check_whence(d: Driver, key: str) -> None:
    """Of an activation it leads on: see test_whence_screen.py."""
    await d.press(key)
    assert isinstance(d.app.screen, DistributionScreen)
    assert "alpha makes no scale of a weight" in screen_of(d).hints.status


@check
async def check_palette(d: Driver, key: str) -> None:
    await d.press(key)
    await d.type("alpha_first")
    await d.press("enter")
    assert pane_of(d).alpha == 0


@check
async def check_close(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, CompareScreen)
    assert d.role == WEIGHT


@check
async def check_help(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, HelpScreen)
    lines = "\n".join("".join(text for text, _ in line) for line in d.app.screen.lines())
    for action in DISTRIBUTION_ACTIONS:
        assert with_built_in_keys(action.help) in lines
        assert key_text(action.keys[0]) in lines
    assert "least error" in lines
    await d.press("escape")
    assert isinstance(d.app.screen, DistributionScreen)


@check
async def check_leave(d: Driver, key: str) -> None:
    await d.press("question_mark")  # a dialog does not keep it
    await d.send(key)
    await d.until(lambda: d.app._exit, "the end")


@check
async def check_quit(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, CompareScreen)
    assert not d.app._exit


# --- the numbers ---


@pytest.mark.parametrize("alpha", [0.5, 0.99, 0.9995, 1.0])
async def test_the_numbers_are_those_of_the_values(alpha: float) -> None:
    async with open_app(ALPHA_A, size=LARGE) as d:
        await shows(d)
        await d.press("number_sign")
        await d.type(str(alpha))
        await d.press("enter")
        x = np.abs(dequantized(d)).astype(np.float64)
        for bits in (8, 4):
            q_max = (1 << bits - 1) - 1
            w_max = np.float32(np.quantile(x, alpha))
            scale = w_max / np.float32(q_max)
            codes = np.rint(x.astype(np.float32) / scale)
            kept = np.minimum(codes, q_max)
            mse = float(np.mean((x - (kept * scale).astype(np.float64)) ** 2))
            cells = row(d, "A  cursor")
            assert [float(c) for c in cells[:3]] == pytest.approx([alpha, w_max, scale], rel=1e-4)
            beyond, coverage = np.mean(x > w_max), np.mean(codes <= q_max)
            assert cells[3:5] == [percents(float(beyond)), percents(float(coverage))]
            assert cells[5] == ("inf" if mse == 0 else f"{10 * math.log10(np.mean(x**2) / mse):.2f}")
            assert float(cells[7]) == pytest.approx(mse, rel=1e-4)
            unused = (q_max + 1) - np.unique(kept).size
            assert cells[9] == f"{unused} of {q_max + 1}"
            if bits == 8:
                await d.press("b")
        heading = pane_of(d).plain[0]
        assert f"{x.size:,} values, {np.unique(x).size} exact magnitudes, {int((x == 0).sum())} zero" in heading


def percents(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{100 * share:.4f} %"


async def test_the_stored_scale_is_found_again() -> None:
    async with open_app(ALPHA_A, size=LARGE) as d:
        await shows(d)
        fmt = d.app.session.a
        assert fmt is not None
        stored = float(fmt.values(next(r for r in fmt.scales() if r.role == WEIGHT)))
        assert float(row(d, "A  stored")[2]) == pytest.approx(stored, rel=1e-4)
        assert row(d, "A  stored")[0] == "1"  # the alpha that makes it: the maximum
        assert row(d, "A  stored")[5:7] == ["inf", "0.00"]  # its own codes lose nothing
        await d.press("b")
        assert float(row(d, "A  range")[1]) == pytest.approx(stored * 127, rel=1e-4)
        assert float(row(d, "A  range")[6]) > 0


async def test_what_is_lost_has_the_sign_and_the_words_of_the_explorer() -> None:
    """Decibels below the best, nothing or more."""
    async with open_app(ALPHA_A, size=LARGE) as d:
        await shows(d)
        (header,) = (line for line in pane_of(d).plain if line.startswith("8 bits"))
        assert " SQNR dB   lost " in header
        for alpha in (0.9, 0.99, 0.999):
            pane_of(d).move_to(alpha)
            await d.settle()
            series = series_of(d)
            lost = series.curves[8].below_best(series.gauge.at(alpha, 8))
            assert lost > 0
            assert row(d, "A  cursor")[6] == decibels(lost)


async def test_two_models_with_the_same_values_are_one() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await shows(d)
        assert [s.label for s in pane_of(d).chart.series] == ["AB"]  # type: ignore[union-attr]
        assert row(d, "AB stored")


async def test_two_models_that_differ_are_over_each_other() -> None:
    async with open_app(ALPHA_A, FOUR_BITS) as d:
        await shows(d)
        assert [s.label for s in pane_of(d).chart.series] == ["A", "B"]  # type: ignore[union-attr]
        for label in ("A", "B"):
            assert row(d, f"{label}  cursor")
            assert row(d, f"{label}  stored")
        plot = "\n".join(pane_of(d).plain[2:14])
        assert set("█A") <= set(plot) or "█" in plot
        assert "stored 4-bit scales" in said(d)
        await d.press("left_curly_bracket", "left_curly_bracket")
        assert {"│", "┊"} <= set("".join(pane_of(d).plain))


async def test_what_only_one_model_has_is_said() -> None:
    async with open_app(HEADS, FOUR_BITS) as d:
        d.screen.tree_pane.nodes.reveal("layers.0.mixer.norm.weight")
        await d.press("1", "a")
        assert "B has no floating-point values of this name" in said(d)
        assert row(d, "A  cursor")


async def test_many_scales_are_a_range() -> None:
    async with open_app(HEADS, NO_HEADS, LARGE) as d:
        await shows(d, GROUPED)
        assert pane_of(d).asked.bits == 4  # A's own
        marks = [line for line in pane_of(d).plain if re.match(r" +[AB] +[\[A*#]", line)]
        assert len(marks) == 2
        for label, line in zip("AB", marks, strict=True):
            signs = line.split(maxsplit=1)[1]
            assert signs.index("[") < signs.index(label) < signs.index("]")
        assert "stored 4-bit scales" in said(d)
        assert row(d, "A  stored")[0] == "median"


# --- what opens it ---


async def test_a_tensor_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(ALPHA_A) as d:
        for path, name in (("norm_f.weight", "norm_f.weight"), ("layers.0.mixer.x_proj.weight", WEIGHT)):
            d.screen.tree_pane.nodes.reveal(path)
            await d.press("1", "a")
            assert screen_of(d).name_shown == name
            assert row(d, "A  cursor")
            await d.press("escape")
        d.screen.tree_pane.nodes.reveal("layers.0.mixer.conv1d.output_scale")
        await d.press("a")
        assert d.screen.hints.status == "no calibration here yet: R, then !, calibrates"
        d.screen.table_pane.scales.move_to(d.roles.index("layers.0.mixer.x_proj:input"))
        await d.press("2", "a")
        assert isinstance(d.app.screen, CompareScreen)
        assert d.screen.hints.status == "no calibration here yet: R, then !, calibrates"


# --- odd tensors ---


ODD: dict[str, torch.Tensor] = {
    "empty": torch.zeros(0),
    "zeros": torch.zeros(40),
    "one": torch.tensor([2.5]),
    "same": torch.full((30,), -0.125),
    "nan": torch.tensor([math.nan, 1.0, 2.0]),
    "all-nan": torch.full((4,), math.nan),
    "inf": torch.tensor([1.0, math.inf, -2.0, -math.inf]),
    "tiny": torch.tensor([1e-45, 1e-40]),
    "huge": torch.tensor([3e38, -1.0, 1e-30]),
    "half": torch.linspace(-4, 4, 1001).to(torch.float16),
    "eight": torch.linspace(-4, 4, 300).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("size", [SMALL, (60, 16), (24, 8)], ids=str)
async def test_odd_tensors_have_a_picture(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({**{f"{k}.weight": v for k, v in ODD.items()}, "whole.weight": torch.ones(3, dtype=torch.int64)}, path)
    expected = {
        "empty": "no values: there is nothing to draw",
        "zeros": "no finite value but 0",
        "all-nan": "4 NaN: no quantile",
        "nan": "1 NaN: no quantile",
        "inf": "2 infinite",
        "one": "1 values, 1 exact magnitudes, no zero",
        "whole": "A has no floating-point values of this name",
    }
    async with open_app(path, size=size) as d:
        for name in [*ODD, "whole"]:
            d.screen.tree_pane.nodes.reveal(f"{name}.weight")
            await d.press(
                "1", "a", "b", "left_curly_bracket", "+", "-", "-", "y", "circumflex_accent", "asterisk", "dollar_sign"
            )
            assert screen_of(d).name_shown == f"{name}.weight"
            assert "cannot" not in said(d)
            if size == SMALL:
                assert expected.get(name, "") in said(d)
                assert len(pane_of(d).plain) <= pane_of(d).size.height
            await d.press("escape")


def layout_of(x: np.ndarray[Any, Any], look: Look, asked: Shown, *markers: Marker) -> Layout:
    table = MagnitudeTable.of(x)
    gauge = Gauge(NamedTables("p", [table], table, markers), weights.RULE, STEPS)
    chart = Chart("p", (Series("A", "float32, as stored", gauge),))
    chart.draw_curves(asked.bits, lambda phase, done, total: None)
    return Layout(chart, asked, look, ASCII if look.plain else Glyphs())


LOOK = Look(77, 22, (1, 2, 3), (4, 5, 6), (7, 8, 9))


def test_a_table_that_is_not_exact_is_shown_as_intervals() -> None:
    x = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    lines = written_lines(layout_of(x, LOOK, Shown()).lines(0.999))
    assert "magnitudes to 2^-11" in lines[0]
    cursor = next(line for line in lines if line.startswith("A  cursor"))
    assert cursor.count("~") >= 3
    between = next(line for line in lines if "between: w_max" in line)
    found = re.search(r"w_max ([\d.]+)\.\.([\d.]+) ", between)
    assert found
    assert float(found[1]) <= float(np.quantile(np.abs(x).astype(np.float64), 0.999)) <= float(found[2])


def test_every_value_is_in_the_histogram() -> None:
    x = np.array([0.0, 0.001, 0.5, 1.0, 1.0, 2.0, 4.0], np.float32)
    made = layout_of(x, replace(LOOK, width=137), Shown(octaves=3))
    assert made.axis is not None
    assert (made.axis.low, made.axis.high) == pytest.approx((-1.0, 2.0))
    assert "7 values, 6 exact magnitudes, 1 zero" in written_lines(made.lines(1.0))[0]
    assert "1 left of the axis" in written_lines(made.lines(1.0))[0]
    bottom = written_lines(made.lines(0.0))[made.histogram_rows][9:]
    assert [i for i, c in enumerate(bottom) if c != " "] == [0, 42, 85, 127]  # 0.5, 1, 2, 4: an octave is 42.7 cells


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("size", [(77, 22), (117, 38), (197, 58), (30, 6)])
def test_all_of_it_has_room(size: tuple[int, int], colors: bool, plain: bool) -> None:
    look = Look(*size, *((LOOK.a, LOOK.b, LOOK.mark) if colors else (None, None, None)), plain)
    x = np.random.default_rng(0).standard_normal(5000).astype(np.float16)
    for asked in (Shown(), Shown(4, 40.0, False), Shown(8, 0.25)):
        lines = written_lines(layout_of(x, look, asked, Marker("A", 0.001, 0.02, 0.5, 8)).lines(0.99))
        assert len(lines) <= max(22, size[1])
        assert max(map(len, lines)) <= max(77, size[0])
        assert all(line.isascii() for line in lines) or not plain


# --- the axis and the cursor ---


@pytest.mark.parametrize("low", [-140.0, -14.0, -3.0, 0.0, 0.9])
@pytest.mark.parametrize("width", [10, 68, 190])
def test_ticks_stand_at_their_numbers_and_apart(low: float, width: int) -> None:
    axis = Axis(9, width, low, 1.0)
    (line,) = written_lines([axis.tick_line("|x|", 1.0, plain=False)])
    assert len(line) == 9 + width
    for found in re.finditer(r"┴([\de.+-]+)", line):
        assert found.start() - 9 == axis.column_of(float(found[1]))
    assert axis.column_of(2.0) == width - 1
    assert axis.column_of(2.1) == width
    assert axis.column_of(2**low / 1.01) == -1
    assert axis.column_of(0.0) == axis.column_of(-1.0) == axis.column_of(math.nan) == axis.column_of(math.inf) == -1


def test_the_cursor_stretches_near_1() -> None:
    assert list(STEPS) == sorted(set(STEPS))
    assert {0.9, 0.99, 0.999, 0.9995, 0.9999, 0.99995, 0.99999} <= set(STEPS)
    for alpha in (0.0, 0.5, 0.99, 0.9995, 1.0):
        assert stepped(alpha, 0) == alpha
        assert stepped(stepped(alpha, 1), -1) == alpha or alpha == 1.0
    assert [parsed(t) for t in ("0.5", " 0,5 ", "1", "1.1", "-0.1", "nan", "x", "")] == [
        0.5, 0.5, 1.0, None, None, None, None, None,
    ]  # fmt: skip


async def test_the_cursor_is_at_its_magnitude() -> None:
    async with open_app(ALPHA_A) as d:
        await shows(d)
        drawn = pane_of(d)._drawn
        assert drawn is not None
        assert drawn.axis is not None
        for alpha in (0.1, 0.9, 0.999, 1.0):
            pane_of(d).move_to(alpha)
            column = drawn.axis.column_of(float(np.quantile(np.abs(dequantized(d)).astype(np.float64), alpha)))
            lines = [line for line in pane_of(d).plain if "│" in line]
            assert len(lines) == drawn.histogram_rows + drawn.curve_rows
            assert {line.index("│") for line in lines} == {9 + column}


# --- while it counts ---


class Gate:
    """Counting that waits until it is let through, and says whether it was cancelled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counting, self.go_on, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.calls = 0
        real = counting.count_values

        def slow(values: Any, check: Any) -> Any:
            self.calls += 1
            self.counting.set()
            assert self.go_on.wait(20)
            try:
                return real(values, check)
            finally:
                self.ended.set()

        monkeypatch.setattr(weights, "count_values", slow)


async def test_leaving_ends_the_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with open_app(ALPHA_A) as d:
        d.screen.table_pane.select(WEIGHT)
        await d.press("2")
        await d.send("a")
        await d.until(gate.counting.is_set)
        assert screen_of(d).hints.status.startswith("counting")
        assert "A  cursor" not in said(d)
        await d.send("l", "h", "b", "plus", "y", "asterisk", "Y")  # keys find nothing yet, and break nothing
        await d.send("escape")
        await d.until(lambda: isinstance(d.app.screen, CompareScreen))
        gate.go_on.set()
        await d.until(gate.ended.is_set)
        await d.settle()
        assert "Traceback" not in d.painted


async def test_keys_that_come_before_the_screen_is_there_wait_for_it() -> None:
    async with open_app(ALPHA_A) as d:
        for keys in (
            ("left_curly_bracket",),
            ("plus", "y", "b", "right_curly_bracket", "left_curly_bracket"),
            ("asterisk", "dollar_sign", "left_curly_bracket", "Y"),
        ):
            made = DistributionScreen(OneRun(), "x:input", d.screen.glyphs)
            d.app.push_screen(made)
            assert not made.is_mounted
            await d.press(*keys)
            assert d.app.screen is made
            assert made.pane.alpha == stepped(1.0, -9)
            d.app.push_screen(DistributionScreen(OneRun(), "x:input", d.screen.glyphs))
            await d.press("j", "escape")
            assert d.app.screen is made
            await d.press("q")


async def test_only_the_last_of_several_is_counted_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(ALPHA_A) as d:
        await shows(d)
        gate = Gate(monkeypatch)
        monkeypatch.setattr("qinspect.tui.distribution.screen.REST_S", 0.2)
        await d.send("j", "j", "j")  # all within the rest
        gate.go_on.set()
        await d.settle()
        assert gate.calls == 1
        assert pane_of(d).chart is not None
        assert pane_of(d).chart.name == screen_of(d).name_shown  # type: ignore[union-attr]


async def test_what_was_counted_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(ALPHA_A) as d:
        await shows(d)
        gate = Gate(monkeypatch)
        gate.go_on.set()
        await d.press("escape", "a", "b", "b")
        assert gate.calls == 0
        for _ in range(weights.KEPT):
            await d.press("j")
        for _ in range(weights.KEPT):
            await d.press("k")
        assert gate.calls == weights.KEPT + 1  # the first one was dropped for the last
        await d.press("escape", "ctrl+r")
        await shows(d)
        assert gate.calls == weights.KEPT + 2  # opened anew: it may be another file


async def test_a_tensor_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is \x1b[31mgone")

    monkeypatch.setattr(weights, "count_values", broken)
    async with open_app(ALPHA_A) as d:
        await shows(d)
        assert said(d) == f"{WEIGHT} cannot be counted: the disk is \\x1b[31mgone"
        await d.press("l", "b", "escape")
        assert isinstance(d.app.screen, CompareScreen)


async def test_nothing_begins_once_the_screen_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[object] = []
    async with open_app(ALPHA_A) as d:
        await shows(d)
        app, screen = d.app, screen_of(d)
        await d.send("j")
    monkeypatch.setattr(screen, "run_worker", lambda work, **_: began.append(work))
    screen._load_now()
    await asyncio.sleep(0.15)
    assert not began
    assert app._exit or not app.is_running
    assert asyncio.all_tasks() == {asyncio.current_task()}


# --- other sources ---


class OneRun:
    """Two points of a run: samples by themselves, a moving average over them."""

    names = ("x:input", "y:input")

    def load(self, name: str, bits: int, check: Progress) -> Chart:
        rng = np.random.default_rng(len(name))
        samples = [MagnitudeTable.of((rng.standard_normal(4000) * k).astype(np.float16)) for k in range(1, 9)]
        point = NamedTables(name, samples, merge(samples))
        chart = Chart(name, (Series("", "8 samples", Gauge(point, quamba_percentile(0.9995), STEPS)),))
        chart.draw_curves(bits or chart.bits, check)
        return chart

    def beside(self, name: str, steps: int) -> str:
        return self.names[steps > 0]


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=str)
async def test_a_run_s_points_are_shown_by_the_same_screen(size: tuple[int, int]) -> None:
    async with open_app(ALPHA_A, size=size) as d:
        await d.app.push_screen(DistributionScreen(OneRun(), "x:input", d.screen.glyphs))
        await d.settle()
        rule = "quantile(|x|, 0.9995, linear) ∘ ema 0.01 ∘ map(w_max/127, clamp 1e-6)"
        pane_of(d).move_to(0.9995)
        assert rule in said(d)
        series = series_of(d)
        scale = quamba_percentile(0.9995).scale(series.gauge.tables.samples)
        assert float(row(d, "   cursor")[2]) == pytest.approx(scale, rel=1e-4)
        await d.press("j")
        assert screen_of(d).query_one(TitleLine).text.endswith("y:input")


# --- looks ---


async def test_without_colours_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("QINSPECT_ASCII", "1")
    async with open_app(ALPHA_A, FOUR_BITS, SMALL) as d:
        await shows(d)
        await d.press("left_curly_bracket")
        assert d.painted.isascii()
        assert " o pooled o map(w_max/127)" in said(d)
        assert {"#", "|", ":", "*"} <= set(said(d))


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=str)
@pytest.mark.parametrize("pair", [(ALPHA_A, None), (ALPHA_A, FOUR_BITS), (HEADS, NO_HEADS)], ids=lambda p: str(p[1]))
async def test_it_is_seen_whole(pair: tuple[str, str | None], size: tuple[int, int]) -> None:
    async with open_app(*pair, size) as d:
        await shows(d, WEIGHT if pair[0] == ALPHA_A else GROUPED)
        for key in ("h", "b", "b", "plus", "j", "j"):
            await d.press(key)
            assert len(pane_of(d).plain) <= pane_of(d).size.height
            assert max(map(len, pane_of(d).plain)) <= pane_of(d).content_region.width
            assert row(d, "A  cursor" if "\nA  cursor" in said(d) else "AB cursor")
            assert "bits used" in said(d)
