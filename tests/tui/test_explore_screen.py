"""The alpha explorer: every key, numbers against torch on the values, filters, what happens while it opens."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import whence_cases as cases
from pilots import LARGE, MIDDLE, SMALL, Driver, handlers, in_empty_folder, open_app

from qinspect.inspector.alpha.sweep import grid_file
from qinspect.inspector.alpha.sweep.alphas import ALPHAS, nearest
from qinspect.inspector.alpha.sweep.grid_file import FILE
from qinspect.inspector.alpha.sweep.rules import SWEPT
from qinspect.inspector.calibration.stored import Calibration
from qinspect.tui.actions import EXPLORE_ACTIONS, Action, key_text
from qinspect.tui.alpha.alpha_words import AlphaWords, alpha_words_of
from qinspect.tui.alpha.screen import ExploreScreen
from qinspect.tui.alpha.state import SORTS, Explorer
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.key_names import with_built_in_keys
from qinspect.tui.theme import THEMES
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.text_pane import TextPane

Checked = Callable[[Driver, str], Awaitable[None]]
CHECKS: dict[str, Checked] = {}
STREAMS = cases.streams(9, 8, 5, "float16")
NAMES = tuple(STREAMS)
GIVEN = (0.9995, 0.99999)
HERE = 0.9995


def check(function: Checked) -> Checked:
    """`check_bits` is what `bits` does: called with the explorer at alpha 0.9995, rule ema, 8 bits, the first point."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration, one that kept only sums, and a checkpoint at an alpha that nothing else knows."""
    folder = tmp_path_factory.mktemp("explore")
    grid_file.opened(cases.calibration(folder / "run", STREAMS, alphas=GIVEN))
    grid_file.opened(cases.calibration(folder / "sums", STREAMS, keep_samples=False, alphas=GIVEN))
    cases.checkpoint(folder / "made", cases.scales_of(STREAMS, cases.ema, 0.99937123))
    return folder


@pytest.fixture(autouse=True)
def in_made(made: Path, in_fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setattr("qinspect.tui.alpha.base.REST_S", 0.001)


def screen_of(d: Driver) -> ExploreScreen:
    return next(s for s in d.app.screen_stack if isinstance(s, ExploreScreen))


def explorer_of(d: Driver) -> Explorer:
    found = screen_of(d).explorer
    assert found is not None
    return found


def view_of(d: Driver) -> str:
    return "\n".join(screen_of(d).view.plain)


def title_of(d: Driver) -> str:
    return screen_of(d).query_one("#explore-title", TitleLine).text


def row(d: Driver, point: int = 0) -> list[str]:
    """The cells of a point, as they are painted."""
    lines = (line[: screen_of(d).table.size.width] for line in d.rows())
    line = next(line for line in lines if NAMES[point][-22:] in line and "%" in line and line[0] in " *")
    return re.findall(r"[^ ]+(?: %)?", line[2:])


# --- the actions ---


def test_every_action_has_a_handler_and_a_check() -> None:
    assert handlers(ExploreScreen) - {"keep_text", "drop_text"} == {a.name for a in EXPLORE_ACTIONS} == set(CHECKS)


@pytest.mark.parametrize("action", EXPLORE_ACTIONS, ids=lambda a: a.name)
async def test_an_action_does_what_its_help_says(action: Action) -> None:
    async with open_app(alphas=AlphaWords("run"), size=MIDDLE) as d:
        active = d.app.screen.active_bindings
        assert {active[key].binding.id for key in action.keys} == {action.name}
        for key in action.keys:
            if d.app._exit:
                break
            explorer_of(d).chosen.alpha = HERE
            screen_of(d).moved()
            await d.settle()
            await CHECKS[action.name](d, key)


@check
async def check_alpha_down(d: Driver, key: str) -> None:
    await d.press(key, key)
    assert explorer_of(d).chosen.alpha == ALPHAS[nearest(HERE) - 2]
    scale = cases.ema(STREAMS[NAMES[0]], explorer_of(d).chosen.alpha)
    assert row(d)[1] == f"{scale:.6g}"


@check
async def check_alpha_up(d: Driver, key: str) -> None:
    before = row(d)
    await d.press(key)
    assert explorer_of(d).chosen.alpha == ALPHAS[nearest(HERE) + 1]
    assert row(d) != before
    assert f"{explorer_of(d).chosen.alpha:.9g}" in title_of(d)


@check
async def check_alpha_decade_down(d: Driver, key: str) -> None:
    for alpha in (0.995, 0.95, 0.5, 0.5):
        await d.press(key)
        assert explorer_of(d).chosen.alpha == alpha
    await d.press("dollar_sign", key)
    assert explorer_of(d).chosen.alpha == ALPHAS[-2]


@check
async def check_alpha_decade_up(d: Driver, key: str) -> None:
    for alpha in (0.99995, 0.999995, 0.9999995):
        await d.press(key)
        assert explorer_of(d).chosen.alpha == alpha
    await d.press(key, key, key)
    assert explorer_of(d).chosen.alpha == 1


@check
async def check_thumb_down(d: Driver, key: str) -> None:
    for alpha in (0.999, 0.99, 0.9, 0.5, 0.5):
        await d.press(key)
        assert explorer_of(d).chosen.alpha == alpha


@check
async def check_thumb_up(d: Driver, key: str) -> None:
    for alpha in (0.9999, 0.99999, 1.0, 1.0):
        await d.press(key)
        assert explorer_of(d).chosen.alpha == alpha


@check
async def check_alpha_first(d: Driver, key: str) -> None:
    await d.press(key)
    assert explorer_of(d).chosen.alpha == 0.5


@check
async def check_alpha_last(d: Driver, key: str) -> None:
    await d.press(key)
    assert explorer_of(d).chosen.alpha == 1


@check
async def check_type_alpha(d: Driver, key: str) -> None:
    for text, alpha in (("0.99955", 0.99955), ("0.4", 0.99955), ("", 0.99955), ("0.99937123", 0.99937123)):
        await d.press(key)
        assert isinstance(d.app.screen, AskScreen)
        await d.type(text)
        await d.press("enter")
        assert explorer_of(d).chosen.alpha == alpha
        if text == "0.4":
            assert screen_of(d).hints.status == "an alpha is a number from 0.5 to 1 here, not 0.4"
    await d.until(lambda: "| exact" in view_of(d), "the exact numbers")
    line = next(line for line in view_of(d).splitlines() if line.startswith("| exact"))
    assert line.split()[2] == "0.99937123"
    assert row(d)[1] == f"{cases.ema(STREAMS[NAMES[0]], 0.99937123):.6g}"
    near = [line[:2] for line in d.rows() if "layers." in line and "%" in line]
    assert near == ["  ", *[" ~"] * 7]
    assert float(line.split()[4]) == pytest.approx(cases.ema(STREAMS[NAMES[0]], 0.99937123), rel=1e-4)
    await d.press("l")
    assert explorer_of(d).chosen.alpha == next(a for a in ALPHAS if a > 0.99937123)


@check
async def check_alpha_best(d: Driver, key: str) -> None:
    await d.press(key)
    x = explorer_of(d)
    loss = [x.grid.at("ema", i).loss_db[0, 0] for i in range(600)]
    assert loss[nearest(x.chosen.alpha)] == min(loss)
    assert row(d)[6] == f"{min(loss):.2f}"


@check
async def check_alpha_best_of_all(d: Driver, key: str) -> None:
    await d.press(key)
    x = explorer_of(d)
    mean = [x.grid.at("ema", i).loss_db[0].mean() for i in range(600)]
    assert mean[nearest(x.chosen.alpha)] == min(mean)
    line = screen_of(d).query_one("#explore-best", TitleLine).text
    assert f"all {x.chosen.alpha:.9g} {min(mean):.2f}" in line


@check
async def check_rule(d: Driver, key: str) -> None:
    seen = []
    for _ in SWEPT:
        seen.append(explorer_of(d).chosen.rule)
        assert title_of(d).startswith(seen[-1])
        n = explorer_of(d).numbers
        assert row(d)[1] == f"{n.scale[0, 0]:.6g}"
        await d.press(key)
    assert seen == list(SWEPT)
    assert explorer_of(d).chosen.rule == "ema"
    for _ in range(4):
        await d.press(key)
    await d.press("l")
    assert screen_of(d).hints.status == "mse has no alpha: > takes another rule"
    await d.press("asterisk", "B")
    assert screen_of(d).hints.status == "no alpha is better than another here"
    assert float(row(d)[6]) == 0


@check
async def check_previous_rule(d: Driver, key: str) -> None:
    await d.press(key)
    assert explorer_of(d).chosen.rule == "absmax"
    assert np.float32(explorer_of(d).numbers.scale[0, 0]) == np.float32(cases.largest(STREAMS[NAMES[0]]))
    await d.press("greater_than_sign")


@check
async def check_bits(d: Driver, key: str) -> None:
    before = row(d)
    await d.press(key)
    assert explorer_of(d).chosen.bits == 4
    assert "4 bits" in title_of(d)
    assert float(row(d)[1]) == pytest.approx(float(before[1]) * 127 / 7, rel=1e-4)
    await d.press(key)
    assert row(d) == before


@check
async def check_map(d: Driver, key: str) -> None:
    await d.press(key)
    x = explorer_of(d)
    lines = view_of(d).splitlines()
    assert lines[0].startswith("lost against the optimum, 8 bits   0 dB")
    for layer in range(4):
        cells = re.findall(r"[\d.]+", lines[2 + layer])
        assert cells[0] == str(layer)
        assert [float(c) for c in cells[1:]] == pytest.approx(
            [round(float(x.numbers.loss_db[0, 2 * layer + k]), 2) for k in range(2)], abs=0.006
        )
    assert f"[{x.numbers.loss_db[0, 0]:.2f}]" in lines[2]
    assert "1 x_conv_out:input   2 ssm_state_act:input" in view_of(d)
    await d.press("j", "j")
    assert f"[{x.numbers.loss_db[0, 2]:.2f}]" in view_of(d).splitlines()[3]
    await d.press("g", key)
    assert "| cursor" in view_of(d)


@check
async def check_quantity(d: Driver, key: str) -> None:
    await d.press(key)
    assert view_of(d).startswith("% clipped, 8 bits")
    clipped = explorer_of(d).numbers.clipped[0]
    first = re.findall(r"[\d.<]+", view_of(d).splitlines()[2])
    assert float(first[1]) == pytest.approx(100 * clipped[0], abs=1e-3)
    await d.press(key)
    assert view_of(d).startswith("lost against")
    await d.press("0")


@check
async def check_distribution(d: Driver, key: str) -> None:
    await d.press("j", key)
    assert isinstance(d.app.screen, DistributionScreen)
    assert d.app.screen.name_shown == NAMES[1]
    assert d.app.screen.pane.alpha == HERE
    await d.press("W")  # nothing here can start a run
    assert d.app.screen.hints.status == "from the runs screen; else: qinspect apply RUN --alpha A"
    await d.press("escape", "k")
    assert isinstance(d.app.screen, ExploreScreen)


@check
async def check_open(d: Driver, key: str) -> None:
    await d.press("j", key)
    assert isinstance(d.app.screen, DistributionScreen)
    assert d.app.screen.name_shown == NAMES[1]
    await d.press("escape", "k")


@check
async def check_jump(d: Driver, key: str) -> None:
    await d.press("slash", *"nothing", "enter", key)  # what is filtered away is found too
    await d.type(NAMES[1])
    await d.press("enter")
    assert screen_of(d).table.point == 1
    await d.press("g")


@check
async def check_export(d: Driver, key: str) -> None:
    with in_empty_folder() as folder:
        await d.press(key, "j", key, "m")
        rows = json.loads((folder / "qinspect-view.json").read_text())
        assert len((folder / "qinspect-view.md").read_text().splitlines()) == 2 + len(NAMES)
    assert [r["point"] for r in rows] == list(NAMES)
    assert rows[0]["scale"] == f"{cases.ema(STREAMS[NAMES[0]], HERE):.6g}"


@check
async def check_zoom(d: Driver, key: str) -> None:
    s = screen_of(d)
    before = s.view.size, s.table.size
    await d.press("2", key)
    assert s.view.size.height > before[0].height
    assert not s.table.region
    await d.press("1")  # the other one fills the screen
    assert s.table.size.height > before[1].height
    assert not s.view.region
    await d.press(key)
    assert (s.view.size, s.table.size) == before


@check
async def check_next_pane(d: Driver, key: str) -> None:
    for name in ("view", "list"):
        await d.press(key)
        assert screen_of(d).active == name


@check
async def check_previous_pane(d: Driver, key: str) -> None:
    await check_next_pane(d, key)


@check
async def check_pane_view(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).active == "view"


@check
async def check_pane_list(d: Driver, key: str) -> None:
    await d.press("2", key)
    assert screen_of(d).active == "list"


@check
async def check_label_panes(d: Driver, key: str) -> None:
    for letter, name in (("s", "view"), ("a", "list")):
        await d.press(key)
        assert sum(row.rstrip().endswith(f" {letter}") for row in d.rows()) == 1
        await d.press(letter)
        assert screen_of(d).active == name
    await d.press("z", key)
    assert d.app.screen is screen_of(d)
    assert screen_of(d).hints.status == "there is one pane to be seen: it has the keys"


@check
async def check_down(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).table.point == 1
    assert view_of(d).startswith(NAMES[1])
    await d.press("g")


@check
async def check_up(d: Driver, key: str) -> None:
    await d.press("j", "j", key)
    assert screen_of(d).table.point == 1
    await d.press("g")


@check
async def check_page_down(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).table.point == 7
    await d.press("g")


@check
async def check_page_up(d: Driver, key: str) -> None:
    await d.press("G", key)
    assert screen_of(d).table.point == 0


@check
async def check_top(d: Driver, key: str) -> None:
    await d.press("j", "j", key)
    assert screen_of(d).table.point == 0


@check
async def check_bottom(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).table.point == 7
    await d.press("g")


@check
async def check_filter(d: Driver, key: str) -> None:
    await d.press(key)
    await d.type("x_conv 2")
    assert [NAMES[i] for i in screen_of(d).table.points] == ["layers.2.mixer.x_conv_out:input"]
    await d.press("enter")
    assert "1 of 8" in title_of(d)
    assert view_of(d).startswith("layers.2.mixer.x_conv_out:input")
    await d.press(key, "z")
    assert screen_of(d).table.points == []
    assert "no point has this name" in view_of(d)
    await d.press("asterisk", "a", "Y", "enter")
    await d.press("escape")
    assert len(screen_of(d).table.points) == 8
    assert isinstance(d.app.screen, ExploreScreen)
    await d.press(key)
    await d.type("ssm")
    await d.press("escape")
    assert len(screen_of(d).table.points) == 8
    await d.press("g")


@check
async def check_sort(d: Driver, key: str) -> None:
    x = explorer_of(d)
    for name in (*SORTS[1:], SORTS[0]):
        await d.press(key)
        assert x.chosen.sort == name
        points = screen_of(d).table.points
        values = {"scale": x.numbers.scale, "clipped": x.numbers.clipped, "lost": x.numbers.loss_db}.get(name)
        if values is not None:
            assert points == sorted(range(8), key=lambda i: -values[0, i])
    assert screen_of(d).table.points == list(range(8))
    await d.press("g")


@check
async def check_reverse(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).table.points == list(range(8))[::-1]
    await d.press(key, "g")


@check
async def check_theme(d: Driver, key: str) -> None:
    for _ in THEMES:
        for shown in ("0", "0"):
            await d.press(shown)
        await d.press(key)


@check
async def check_suspend(d: Driver, key: str) -> None:
    """What it does to a real terminal is tested on one."""
    with patch.object(type(d.app), "suspend_to_shell") as suspend:
        await d.press(key)
    suspend.assert_called_once_with()


@check
async def check_repaint(d: Driver, key: str) -> None:
    before = d.painted
    await d.press(key)
    assert d.painted == before


@check
async def check_copy_row(d: Driver, key: str) -> None:
    sent: list[str] = []
    assert d.app._driver is not None
    d.app._driver.write = sent.append  # type: ignore[method-assign, assignment]
    await d.press(key)
    assert screen_of(d).hints.status == "sent to the terminal's clipboard: the row"
    await d.press("number_sign")
    await d.type("0.99937123")
    await d.press("enter")
    await d.until(lambda: "| exact" in view_of(d), "the exact numbers")
    sent.clear()
    await d.press(key)
    (found,) = (s for s in sent if s.startswith("\x1b]52"))
    name, rule, alpha, bits, scale, *_ = base64.b64decode(found.split(";")[2].rstrip("\a")).decode().split("\t")
    exact = cases.ema(STREAMS[NAMES[0]], 0.99937123)
    assert (name, rule, alpha, bits, scale) == (NAMES[0], "ema", "0.99937123", "8", f"{exact:.6g}")


@check
async def check_copy_command(d: Driver, key: str) -> None:
    await d.press(key)
    said = screen_of(d).hints.status
    assert said.endswith("qinspect alpha run --rule ema --bits 8 --alpha 0.9995 | cat")


@check
async def check_palette(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, JumpScreen)
    await d.type("bits: Codes")
    await d.press("enter")
    assert explorer_of(d).chosen.bits == 4


@check
async def check_help(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, HelpScreen)
    lines = "\n".join("".join(text for text, _ in line) for line in d.app.screen.lines())
    for action in EXPLORE_ACTIONS:
        assert with_built_in_keys(action.help) in lines
        assert key_text(action.keys[0]) in lines
    pane = d.app.screen.query_one("#help", TextPane)
    assert pane.max_scroll_x == 0  # folded: nothing is beyond the right edge
    await d.press("escape")
    assert isinstance(d.app.screen, ExploreScreen)


@check
async def check_close(d: Driver, key: str) -> None:
    await d.press("z", key)
    assert not screen_of(d).zoomed
    await d.press(key)
    assert d.app._exit


@check
async def check_leave(d: Driver, key: str) -> None:
    await d.press("question_mark")  # a dialog does not keep it
    await d.send(key)
    await d.until(lambda: d.app._exit, "the end")


@check
async def check_quit(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.app._exit


# --- what is shown ---


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE, (60, 15), (40, 10)])
async def test_nothing_is_wider_or_longer_than_its_pane(size: tuple[int, int]) -> None:
    async with open_app(alphas=AlphaWords("run", checkpoint="made"), size=size) as d:
        for keys in ((), ("0",), ("m",), ("b", "0"), ("greater_than_sign",) * 4):
            await d.press(*keys)
            view = screen_of(d).view
            assert view.max_scroll_x == 0 or size[0] < 80
            assert len(view.plain) <= max(view.size.height, 8)


async def test_the_checkpoints_scales_lie_where_they_were_made() -> None:
    async with open_app(alphas=AlphaWords("run", checkpoint="made"), size=LARGE) as d:
        low, high = sorted((ALPHAS[nearest(0.99937123)], ALPHAS[nearest(0.99937123) + 1]))
        told = row(d)[-1].lstrip("~")
        assert float(told) in (low, high, ALPHAS[nearest(0.99937123) - 1])
        line = next(line for line in view_of(d).splitlines() if line.startswith("C stored"))
        assert f"{cases.ema(STREAMS[NAMES[0]], 0.99937123):.5g}" in line


async def test_only_sums_are_marked() -> None:
    async with open_app(alphas=AlphaWords("sums", rule="ema")) as d:
        assert "* the pooled rule answers" in title_of(d)
        assert all(line.startswith("* ") for line in d.rows() if "layers." in line and "%" in line)
        assert "only the sum of all samples was kept" in view_of(d)
        await d.press("greater_than_sign")
        assert "*" not in title_of(d)


async def test_the_curve_peaks_where_the_mark_of_the_best_is() -> None:
    async with open_app(alphas=AlphaWords("run"), size=LARGE) as d:
        lines = view_of(d).splitlines()
        axis = next(i for i, line in enumerate(lines) if line.lstrip().startswith("alpha└"))
        marks = lines[axis + 1]
        await d.press("asterisk")
        cursor = next(line for line in view_of(d).splitlines()[1:axis] if "│" in line).index("│")
        assert marks[cursor] in "*#"
        assert marks.count("A") + marks.count("#") >= 1


# --- opening ---


async def test_it_is_computed_and_stored_when_it_is_opened_first(tmp_path: Path) -> None:
    cases.calibration(tmp_path / "fresh", STREAMS, alphas=GIVEN).close()
    async with open_app(alphas=AlphaWords(str(tmp_path / "fresh"))) as d:
        assert (tmp_path / "fresh" / FILE).exists()
        assert row(d)[1] == f"{cases.ema(STREAMS[NAMES[0]], HERE):.6g}"


async def test_progress_is_shown_and_escape_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases.calibration(tmp_path / "fresh", STREAMS, alphas=GIVEN).close()
    going, goes_on = threading.Event(), threading.Event()

    def slow(calibration: Calibration, progress: Callable[[int, int], None]) -> grid_file.OpenedGrid:
        progress(3, 8)
        going.set()
        goes_on.wait(60)
        progress(4, 8)
        raise AssertionError("it was not cancelled")

    monkeypatch.setattr("qinspect.tui.alpha.base.opened", slow)
    async with open_app(alphas=AlphaWords(str(tmp_path / "fresh")), wait=False) as d:
        await d.until(lambda: "every alpha of every point 37 %" in screen_of(d).hints.status, "the progress")
        await d.send(
            "l",
            "j",
            "b",
            "greater_than_sign",
            "0",
            "m",
            "asterisk",
            "B",
            "a",
            "Y",
            "C",
            "s",
            "S",
            "number_sign",
            "escape",
        )
        await d.send("escape")
        goes_on.set()
        await d.until(lambda: d.app._exit, "the end")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (AlphaWords("nowhere"), "no run is called nowhere"),
        (AlphaWords("made"), "there is no finished calibration"),
        (AlphaWords("run", checkpoint="gone"), "gone"),
    ],
)
async def test_what_cannot_be_opened_is_said(wanted: AlphaWords, said: str) -> None:
    async with open_app(alphas=wanted) as d:
        await d.until(lambda: screen_of(d).problem, "the problem")
        assert said in view_of(d).replace("\n", " ")
        await d.press("l", "0", "asterisk", "a", "q")
        assert d.app._exit


async def test_tables_that_went_away_are_said_and_the_grid_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(alphas=AlphaWords("run")) as d:
        monkeypatch.setattr(Calibration, "pooled", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        before = row(d)
        await d.press("number_sign")
        await d.type("0.99950001")
        await d.press("enter")
        await d.until(lambda: "gone" in screen_of(d).hints.status, "what is wrong")
        assert row(d) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run",), AlphaWords("run")),
        (("run", "--alpha", "0.99", "--bits=4"), AlphaWords("run", 0.99, None, 4)),
        (("--rule", "mse", "run", "--checkpoint", "c"), AlphaWords("run", None, "mse", 8, "c")),
        ((), None),
        (("run", "other"), None),
        (("run", "--json"), None),
        (("run", "--best"), None),
        (("run", "--point", "x"), None),
        (("run", "--alpha"), None),
        (("run", "--alpha", "x"), None),
        (("run", "--alpha", "0.3"), None),
        (("run", "--rule", "nonsense"), None),
        (("run", "--rule", "mse", "--alpha", "0.9"), None),
        (("run", "--bits", "5"), None),
        (("run", "--bits", "4", "--bits", "8"), None),
        (("--help",), None),
    ],
    ids=str,
)
def test_what_the_words_want(words: tuple[str, ...], expected: AlphaWords | None) -> None:
    assert alpha_words_of(words) == expected


async def test_hostile_names_reach_no_terminal(tmp_path: Path) -> None:
    names = [f"layers.{i}.\x1b[31mx\n[red]:input" for i in range(2)]
    streams = dict(zip(names, list(STREAMS.values())[:2], strict=True))
    cases.calibration(tmp_path / "odd", streams, alphas=GIVEN).close()
    async with open_app(alphas=AlphaWords(str(tmp_path / "odd"))) as d:
        for keys in ((), ("0",), ("0", "less_than_sign", "less_than_sign"), ("a",)):
            await d.press(*keys)
            assert "\x1b" not in d.painted
            if keys != ("0",):  # a map that has no room for names
                assert r"\x1b[31mx\x0a[red]" in d.painted
