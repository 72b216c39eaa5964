"""The runs screen, with real processes: each of its keys, and what comes and goes while one looks on."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from pilots import ALPHA_A, ALPHA_B, LARGE, MIDDLE, SMALL, Driver, handlers, in_empty_folder, open_app
from run_processes import WAIT_FOR_FILE, begin, edit, ended, logged, shell, until
from textual.widgets import Input

from qinspect.inspector.calibration.stored import open_calibration
from qinspect.inspector.logs import LogLine
from qinspect.inspector.runs import Run, State, list_runs, ourselves
from qinspect.tui import start
from qinspect.tui.actions import RUN_ACTIONS, key_text
from qinspect.tui.alpha.screen import ExploreScreen
from qinspect.tui.compare.screen import CompareScreen
from qinspect.tui.dialogs.confirm import ConfirmScreen
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.key_names import with_built_in_keys
from qinspect.tui.pane import Pane
from qinspect.tui.runs.conclusions_pane import ConclusionsPane
from qinspect.tui.runs.effect_pane import EffectPane
from qinspect.tui.runs.evaluation_pane import EvaluationPane
from qinspect.tui.runs.events_pane import EventsPane
from qinspect.tui.runs.feed import written_time
from qinspect.tui.runs.form import StartScreen
from qinspect.tui.runs.gpus_pane import GpusPane
from qinspect.tui.runs.log_pane import LogPane
from qinspect.tui.runs.points_pane import PointsPane
from qinspect.tui.runs.run_list_pane import RunListPane
from qinspect.tui.runs.run_pane import RunPane
from qinspect.tui.runs.screen import RunsScreen
from qinspect.tui.runs.spec_pane import SpecPane
from qinspect.tui.runs.view import View
from qinspect.tui.theme import THEMES

Check = Callable[[Driver, str], Awaitable[None]]
CHECKS: dict[str, Check] = {}
PANES: tuple[type[Pane], ...] = (
    RunListPane, RunPane, LogPane, EvaluationPane, ConclusionsPane, PointsPane, SpecPane, EffectPane, EventsPane,
    GpusPane,
)  # fmt: skip
LINES = 200
POINTS = "".join(
    f"2026-11-22:07:18:51,17{i} DEBUG    [observer.py:174] PerTensorPercentileObserver: percentile_alpha=0.99950,"
    f" w_max={w}, clip_ratio=1.0\n"
    for i, w in enumerate(("17.693964", "2.272660", "16.033133"))
)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests wait for states; the screen looks often."""
    for name in ("FIRST_LOOK_S", "LIVE_S", "IDLE_S", "BESIDE_LIVE_S", "BESIDE_IDLE_S"):
        monkeypatch.setattr(f"qinspect.tui.runs.service.{name}", 0.05)
    monkeypatch.setattr("qinspect.tui.runs.run_pane.READ_EVERY_S", 0.05)
    monkeypatch.setattr("qinspect.tui.runs.screen.REST_S", 0.001)


def numbered(tmp_path: Path, name: str = "numbered") -> Run:
    """A run that prints its lines, waits for the file `go`, and prints one more."""
    (tmp_path / "text").write_text("".join(f"line {i} of the log\n" for i in range(LINES)) + POINTS)
    return shell(f"cat text; {WAIT_FOR_FILE}; echo the end", cwd=tmp_path, name=name)


async def shown(d: Driver, run: Run, text: str = "") -> None:
    """Wait until a run is on the right, and its log as far as a text."""
    await d.until(lambda: d.seen_run is not None and d.seen_run.run.id == run.id, "the run")
    await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.total is not None, "its lines")
    if text:
        await d.until(lambda: text in d.painted, text)


def title(d: Driver) -> str:
    return d.runs.query_one("#view-title").text  # type: ignore[attr-defined,no-any-return]


def log_text(d: Driver) -> str:
    """What the log's pane shows."""
    return "\n".join(strip.text for strip in d.log_view._painted)


def check(function: Check) -> Check:
    """`check_wrap` is what `wrap` does: called with a screen on one live run that printed LINES lines."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function


def test_every_action_has_a_handler_and_a_check() -> None:
    served = {name for pane in PANES for name in pane.ACTIONS | pane.EVERYWHERE}
    assert (handlers(RunsScreen) - {"keep_text", "drop_text"}) | served == {a.name for a in RUN_ACTIONS} == set(CHECKS)


@pytest.mark.parametrize("pane", PANES, ids=lambda p: p.__name__)
def test_a_pane_serves_what_it_says(pane: type[Pane]) -> None:
    assert handlers(pane) == pane.ACTIONS | pane.EVERYWHERE
    if issubclass(pane, View):
        assert pane.FRONT <= pane.EVERYWHERE


def test_what_is_served_from_everywhere_is_served_by_one() -> None:
    everywhere = [name for pane in PANES for name in pane.EVERYWHERE]
    assert len(everywhere) == len(set(everywhere))
    assert handlers(RunsScreen).isdisjoint(everywhere)


@pytest.mark.parametrize("action", RUN_ACTIONS, ids=lambda a: a.name)
async def test_an_action_does_what_its_help_says(action: object, tmp_path: Path) -> None:
    name, keys = action.name, action.keys  # type: ignore[attr-defined]
    run = numbered(tmp_path)
    logged(run, "clip_ratio")
    async with open_app() as d:
        await shown(d, run, POINTS.split("\n")[2][:40])
        active = d.app.screen.active_bindings
        assert {active[key].binding.id for key in keys} == {name}
        await CHECKS[name](d, keys[0])


async def test_the_last_run_is_not_shown_any_more_once_it_was_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is known to be removed before a look finds it gone."""
    run = shell("echo all of it", name="last")
    ended(run)
    for name in ("LIVE_S", "IDLE_S"):
        monkeypatch.setattr(f"qinspect.tui.runs.service.{name}", 1000.0)
    async with open_app() as d:
        await shown(d, run, "all of it")
        run.remove()
        d.runs.list_pane.post_message(RunListPane.Changed(run.id))
        await d.until(lambda: "no run yet" in d.painted, "an empty list")
        assert "all of it" not in d.painted


async def test_nothing_begins_once_the_screen_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = numbered(tmp_path)
    began: list[object] = []
    async with open_app() as d:
        await shown(d, run)
        app = d.app
    monkeypatch.setattr(app, "run_worker", lambda work, **_: began.append(work))
    await asyncio.sleep(0.1)  # several looks' time
    assert not began
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_look_that_ends_while_the_program_leaves_touches_nothing(tmp_path: Path) -> None:
    run = numbered(tmp_path)
    async with open_app() as d:
        await shown(d, run)
        service = d.app.runs
        assert service.looked is not None
        d.app._running = False  # as the first thing that leaving does
        await d.runs.query_one("#list-title").remove()
        service._learn(service.looked, "")


# --- moving ---


async def in_log(d: Driver) -> None:
    await d.press("2")
    assert d.runs.active == "view"


@check
async def check_down(d: Driver, key: str) -> None:
    await in_log(d)
    await d.press("g", key)
    assert d.log_view.top == 1


@check
async def check_up(d: Driver, key: str) -> None:
    await in_log(d)
    at = d.log_view.top
    await d.press(key)
    assert d.log_view.top == at - 1
    assert not d.log_view.follows


@check
async def check_page_down(d: Driver, key: str) -> None:
    await in_log(d)
    await d.press("g", key)
    assert d.log_view.top == d.log_view.page


@check
async def check_page_up(d: Driver, key: str) -> None:
    await in_log(d)
    at = d.log_view.top
    await d.press(key)
    assert d.log_view.top == at - d.log_view.page


@check
async def check_top(d: Driver, key: str) -> None:
    await in_log(d)
    await d.press(key)
    assert "line 0 of the log" in d.painted


@check
async def check_bottom(d: Driver, key: str) -> None:
    await in_log(d)
    await d.press("g")
    assert not d.log_view.follows
    await d.press(key)
    assert d.log_view.follows
    assert "[observer.py:174]" in d.painted


@check
async def check_scroll_right(d: Driver, key: str) -> None:
    await in_log(d)
    await d.press("g", key)
    assert "line 0 of the log" not in d.painted
    assert "the log" in d.painted


@check
async def check_scroll_left(d: Driver, key: str) -> None:
    await check_scroll_right(d, "l")
    await d.press(key)
    assert "line 0 of the log" in d.painted


@check
async def check_show_run(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.runs.active == "view"
    await d.press(key)
    assert d.runs.zoomed


@check
async def check_next_pane(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.runs.active == "view"
    await d.press(key)
    assert d.runs.active == "list"


@check
async def check_previous_pane(d: Driver, key: str) -> None:
    await check_next_pane(d, key)


@check
async def check_pane_list(d: Driver, key: str) -> None:
    await d.press("2", key)
    assert d.runs.active == "list"


@check
async def check_pane_view(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.runs.active == "view"


async def second_run(d: Driver) -> tuple[Run, Run]:
    """Another run, which is over: it is below the live one."""
    (first,) = list_runs()
    other = shell("echo from the other run", name="other")
    ended(other)
    await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "both runs")
    await d.until(lambda: d.runs.list_pane.list.runs[0].run.id == first.id, "the live one first")
    return first, other


@check
async def check_next_run(d: Driver, key: str) -> None:
    _, other = await second_run(d)
    await d.press("2", key)
    await shown(d, other, "from the other run")
    assert d.runs.active == "view"


@check
async def check_previous_run(d: Driver, key: str) -> None:
    first, other = await second_run(d)
    await d.press("2", "right_parenthesis")
    await shown(d, other)
    await d.press(key)
    await shown(d, first, "of the log")


# --- runs ---


@check
async def check_start_run(d: Driver, key: str) -> None:
    await d.press(key)
    await d.type("sh -c 'echo started here'")
    await d.press("enter")
    await d.until(lambda: d.app.screen is d.runs, "the screen again")
    await d.until(lambda: "started here" in log_text(d), "its log")
    assert d.seen_run is not None
    assert d.seen_run.run.spec.argv == ("sh", "-c", "echo started here")


@check
async def check_again(d: Driver, key: str) -> None:
    (first,) = list_runs()
    await d.press(key)
    values = {i.of.name: i.value for i in d.app.screen.query("FieldInput")}  # type: ignore[attr-defined]
    assert shlex.split(values["command"]) == list(first.spec.argv)
    assert (values["name"], values["cwd"]) == ("numbered", first.spec.cwd)


@check
async def check_cancel_run(d: Driver, key: str) -> None:
    (run,) = list_runs()
    await d.press(key)
    assert isinstance(d.app.screen, ConfirmScreen)
    await d.press("n")
    assert run.state().state.is_live
    await d.press(key, "y")
    await d.until(lambda: "cancelled after" in d.runs.hints.status, "the end")
    await d.until(lambda: "cancelled" in d.rows()[1], "its state")
    assert ended(run).state == "cancelled"
    await d.press(key)
    assert "only a run that is still running" in d.runs.hints.status


@check
async def check_remove_run(d: Driver, key: str) -> None:
    (run,) = list_runs()
    await d.press(key)
    assert "it is still running" in d.runs.hints.status
    Path(run.spec.cwd, "go").touch()
    await d.until(lambda: "finished" in d.rows()[1], "its end")
    await d.press(key, "n")
    assert list_runs()
    await d.press(key, "y")
    await d.until(lambda: "no run yet" in d.painted, "an empty list")
    assert list_runs() == []
    assert not run.folder.exists()


# --- views ---


@check
async def check_view_log(d: Driver, key: str) -> None:
    await d.press("d", key)
    assert "[log]" in title(d)
    assert "of the log" in d.painted


@check
async def check_view_points(d: Driver, key: str) -> None:
    await d.until(lambda: d.feed is not None and d.feed.n_points == 3, "the points")
    await d.press(key)
    assert "[points 3]" in title(d)
    assert re.search(r"observer +3x +w_max=16\.0331 .*█▁[▆▇█]", d.painted)
    assert "w_max=2.27266" in d.painted
    d.runs.activate("view")
    await d.press("enter")
    assert "w_max=2.27266" not in d.painted
    assert "w_max=16.0331" in d.painted
    await d.press("enter")
    assert [i for _, _, i in d.runs.run_pane.points_pane.list.rows] == [0, 1, 2, 3]


@check
async def check_view_spec(d: Driver, key: str) -> None:
    await d.press(key)
    assert "[spec]" in title(d)
    assert "No run of this name before it." in d.painted


@check
async def check_view_conclusions(d: Driver, key: str) -> None:
    await d.press(key)
    assert "[conclusions 1]" in title(d)
    assert "3 observers used alpha 0.9995" in d.painted
    assert "none in the log" in d.painted
    assert "So far: " in d.painted


@check
async def check_view_effect(d: Driver, key: str) -> None:
    await d.press(key)
    assert "[effect]" in title(d)
    assert "Not known while the run goes on" in d.painted


@check
async def check_view_figures(d: Driver, key: str) -> None:
    """Those of an evaluation are tested in test_evaluation_view.py."""
    assert "figures" not in title(d)
    await d.press(key)
    assert "[figures]" in title(d)
    assert "This run is no evaluation" in d.painted


@check
async def check_log_scale(d: Driver, key: str) -> None:
    await d.press(key)
    assert "the figures are not on the screen: H shows them" in d.runs.hints.status
    assert not d.runs.run_pane.evaluation_pane.other_axis
    await d.press("H", key)
    assert d.runs.run_pane.evaluation_pane.other_axis


@check
async def check_view_events(d: Driver, key: str) -> None:
    await d.until(lambda: d.feed is not None and d.feed.n_points == 3, "the points")
    await d.press(key)
    assert re.search(r"\d\d:\d\d:\d\d +point +observer percentile_alpha=0\.9995 w_max=16\.0331", d.painted)
    assert re.search(r"\d\d:\d\d:\d\d +start", d.painted)


@check
async def check_view_gpus(d: Driver, key: str) -> None:
    await d.until(lambda: d.runs.run_pane.gpus_pane.sample is not None, "the GPUs")
    await d.press(key)
    sample = d.runs.run_pane.gpus_pane.sample
    assert sample is not None
    assert "n/a: " in d.painted if not sample.gpus else f"GPU {sample.gpus[0].index}" in d.painted


# --- in the log ---


async def find(d: Driver, text: str) -> None:
    await d.press("slash")
    await d.type(text)
    await d.press("enter")
    await d.until(lambda: not d.log_pane.searching, "the answer")
    await d.settle()


@check
async def check_find(d: Driver, key: str) -> None:
    assert key == "slash"
    await find(d, "LINE 17 ")
    assert d.log_view.mark == 17
    assert "line 17 of the log" in d.painted
    await d.press("escape")
    assert not d.log_view.text
    assert d.app.screen is d.runs
    await find(d, "nowhere to be found")
    assert "not found" in d.runs.hints.status


@check
async def check_next_match(d: Driver, key: str) -> None:
    await d.press(key)
    assert "nothing to find" in d.runs.hints.status
    await in_log(d)
    await d.press("g")
    await find(d, "line 1")
    assert d.log_view.mark == 1
    await d.press(key)
    await d.until(lambda: d.log_view.mark == 10, "the next one")
    await find(d, "line 199")
    await d.press(key)
    await d.until(lambda: "from the other end" in d.runs.hints.status, "the way around")
    assert d.log_view.mark == 199


@check
async def check_previous_match(d: Driver, key: str) -> None:
    await in_log(d)
    await d.press("g")
    await find(d, "line 1")
    await d.press(key)
    await d.until(lambda: d.log_view.mark == 199, "the one before, around the beginning")
    assert "from the other end" in d.runs.hints.status


@check
async def check_follow(d: Driver, key: str) -> None:
    (run,) = list_runs()
    await d.press(key)
    assert "stays here" in title(d)
    Path(run.spec.cwd, "go").touch()
    await d.until(lambda: "1 new" in title(d), "what is new")
    assert "the end" not in d.painted
    await d.press(key)
    assert "the end" in d.painted
    assert "new" not in title(d)


@check
async def check_level(d: Driver, key: str) -> None:
    (run,) = list_runs()
    with run.log_path.open("a") as log:
        log.write("WARNING: beware\nERROR: it broke\nline after\n")
    await d.until(lambda: "line after" in d.painted, "the new lines")
    await d.press(key)
    await d.until(lambda: "line after" not in d.painted and "beware" in d.painted, "warnings")
    assert "it broke" in d.painted
    assert "warnings and errors: 2" in title(d)
    await d.press(key)
    await d.until(lambda: "beware" not in d.painted and "it broke" in d.painted, "errors")
    await d.press(key)
    await d.until(lambda: "line after" in d.painted, "all lines")


@check
async def check_wrap(d: Driver, key: str) -> None:
    (run,) = list_runs()
    with run.log_path.open("a") as log:
        log.write("x" * 300 + "tail of it\n")
    await d.until(lambda: "x" * 40 in d.painted, "the long line")
    assert "tail of it" not in d.painted
    await d.press(key)
    assert "tail of it" in d.painted
    await d.press(key)
    assert "tail of it" not in d.painted


@check
async def check_timestamps(d: Driver, key: str) -> None:
    await d.until(lambda: d.feed is not None and d.feed.n_points == 3, "the points")
    await d.press(key)
    assert re.search(r"\d\d:\d\d:\d\d 2026-11-22:07:18:51,170 DEBUG", d.painted)
    await d.press(key)
    assert not re.search(r"\d\d:\d\d:\d\d 2026-11-22:07:18:51,170 DEBUG", d.painted)


# --- the rest ---


@check
async def check_zoom(d: Driver, key: str) -> None:
    await d.press("2", key)
    assert d.log_view.size.width == MIDDLE[0]
    await d.press("1")
    assert d.runs.list_pane.list.size.width == MIDDLE[0]
    await d.press(key)
    assert d.runs.list_pane.list.size.width < MIDDLE[0]


@check
async def check_theme(d: Driver, key: str) -> None:
    before = d.app.theme
    await d.press(key)
    assert d.app.theme != before
    await d.press(*[key] * (len(THEMES) - 1))
    assert d.app.theme == before


@check
async def check_suspend(d: Driver, key: str) -> None:
    """What it does to a real terminal is tested on one."""
    with patch.object(type(d.app), "suspend_to_shell") as suspend:
        await d.press(key)
    suspend.assert_called_once_with()


@check
async def check_repaint(d: Driver, key: str) -> None:
    """What it does to a real terminal is tested on one."""
    await d.press(key)
    assert d.app.screen is d.runs


@check
async def check_copy_command(d: Driver, key: str) -> None:
    (run,) = list_runs()
    await d.press(key)
    assert d.app.clipboard == run.spec.command


@check
async def check_copy_line(d: Driver, key: str) -> None:
    (run,) = list_runs()
    await d.press(key)
    assert d.app.clipboard == f"{run.id}\tnumbered\trunning"
    await find(d, "line 23 ")
    await d.press(key)
    assert d.app.clipboard == "line 23 of the log"


@check
async def check_open_output(d: Driver, key: str) -> None:
    await d.press(key)
    assert "no folder with a model" in d.runs.hints.status
    model = Path(ALPHA_A).absolute()
    begin("/bin/sh", "-c", "sleep 60", "sh", f"--pretrained_dir={model}", name="made one")
    await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "both runs")
    await d.press("g")
    await d.until(lambda: d.seen_run is not None and d.seen_run.run.spec.name == "made one", "it")
    await d.press(key)
    await d.until(lambda: isinstance(d.app.screen, CompareScreen), "the model")
    await d.until(lambda: "Quamba W8A8" in d.painted, "what it is")
    await d.press("q")
    assert d.app.screen is d.runs


@check
async def check_distribution(d: Driver, key: str) -> None:
    await d.press(key)
    assert "is not a calibration by qinspect" in d.runs.hints.status


@check
async def check_explore(d: Driver, key: str) -> None:
    await d.press(key)
    assert "is not a calibration by qinspect" in d.runs.hints.status


@check
async def check_compare_outputs(d: Driver, key: str) -> None:
    await d.press(key)
    assert "no folder with a model" in d.runs.hints.status


@check
async def check_apply_alpha(d: Driver, key: str) -> None:
    await d.press(key)
    assert "is not a calibration by qinspect" in d.runs.hints.status


@check
async def check_palette(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, JumpScreen)
    await d.type("view_spec")
    await d.press("enter")
    await d.until(lambda: d.runs.run_pane.seen.NAME == "spec", "what was chosen")


@check
async def check_label_panes(d: Driver, key: str) -> None:
    await d.press(key, "s")
    assert d.runs.active == "view"
    await d.press(key, "a")
    assert d.runs.active == "list"


@check
async def check_jump(d: Driver, key: str) -> None:
    other = shell("true", name="another one")
    ended(other)
    d.app.runs.look_now()
    await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "both")
    for name in ("another", "numbered"):
        await d.press(key)
        await d.type(name)
        await d.press("enter")
        assert d.runs.list_pane.list.seen is not None
        assert name in d.runs.list_pane.list.seen.run.spec.name
    assert d.runs.active == "list"


@check
async def check_export(d: Driver, key: str) -> None:
    (run,) = list_runs()
    with in_empty_folder() as folder:
        await d.press(key, "c", key, "t")
        header, row = (folder / "qinspect-view.csv").read_text().splitlines()
        assert "of the log" in (folder / "qinspect-view.txt").read_text()
    assert header == "run,name,state,command,log"
    assert row.startswith(f"{run.id},")


@check
async def check_close_runs(d: Driver, key: str) -> None:
    """Where it is the first screen there is nothing to go back to."""
    await d.press(key)
    assert d.app.screen is d.runs
    assert not d.app._exit


@check
async def check_help(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, HelpScreen)
    said = "\n".join("".join(text for text, _ in line) for line in d.app.screen.lines())
    for action in RUN_ACTIONS:
        assert with_built_in_keys(action.help) in said
        assert key_text(action.keys[0]) in said
    assert "Next difference" not in said


@check
async def check_leave(d: Driver, key: str) -> None:
    await d.press("question_mark")  # a dialog does not keep it
    await d.send(key)
    await d.until(lambda: d.app._exit, "the end")


@check
async def check_quit(d: Driver, key: str) -> None:
    (run,) = list_runs()
    await d.send(key)
    await d.until(lambda: d.app._exit, "the end")
    assert run.state().state.is_live


# --- what comes and goes ---


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
async def test_a_run_is_seen_from_its_start_to_its_end(size: tuple[int, int], tmp_path: Path) -> None:
    async with open_app(size=size) as d:
        await d.until(lambda: "no run yet: ! starts one" in d.painted, "an empty list")
        bar = r"printf '\rquantize:  41%%|####      | 41/100 [00:04<00:06,  9.8it/s]\r'"
        run = shell(f"{bar}; {WAIT_FOR_FILE}; echo; exit 3", cwd=tmp_path, name="long")
        await d.until(lambda: "running" in d.rows()[1] and "41 %" in d.rows()[1], "its progress")
        assert "1 run, 1 live" in d.painted
        assert "-6s" in d.rows()[1]
        (tmp_path / "go").touch()
        await d.until(lambda: "failed" in d.rows()[1], "its end")
        assert "long failed after" in d.runs.hints.status
        assert "exit code 3" in d.painted
        assert ended(run).state == "failed"
        await d.until(lambda: d.runs.run_pane.shown is not None and d.runs.run_pane.shown.all_read, "all of it read")
        await d.until(lambda: not d.runs.run_pane.looks_again, "no more reading")


async def test_runs_over_the_models_and_back(tmp_path: Path) -> None:
    run = numbered(tmp_path, "beside")
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.until(lambda: "4 runs" in d.painted, "the pane")
        assert "1 live" in d.painted
        await d.press("4")
        assert d.screen.active == "runs"
        await d.press("tab")
        assert d.screen.active == "tree"
        await d.press("4", "enter")
        await shown(d, run, "of the log")
        await d.press("escape")
        assert d.app.screen is d.screen
        await d.press("R", "q")
        assert d.app.screen is d.screen
        (tmp_path / "go").touch()
        await d.until(lambda: "beside finished after" in d.screen.hints.status, "what became of it")
        await d.until(lambda: "1 run, 0 live" in d.painted, "it stays in the pane")
        await d.press("n")
        assert d.role


async def test_runs_that_ended_before_are_not_in_the_pane() -> None:
    ended(shell("true", name="old"))
    async with open_app(ALPHA_A) as d:
        await d.until(lambda: d.app.runs.looked is not None and d.app.runs.looked.runs, "a look")
        await d.settle()
        assert "4 runs" not in d.painted
        await d.press("4")
        assert "no run is active" in d.screen.hints.status


async def test_the_list_stays_on_its_run_when_others_come_and_go(tmp_path: Path) -> None:
    first = numbered(tmp_path, "first")
    async with open_app() as d:
        await shown(d, first)
        others = [shell("sleep 60", name=f"other{i}") for i in range(3)]
        await d.until(lambda: len(d.runs.list_pane.list.runs) == 4, "all of them")
        assert d.runs.list_pane.list.chosen == first.id
        assert d.runs.list_pane.list.seen is not None
        assert d.runs.list_pane.list.seen.run.id == first.id
        for other in others:
            other.cancel()
        await d.until(lambda: sum(s.state.state.is_live for s in d.runs.list_pane.list.runs) == 1, "their end")
        assert d.runs.list_pane.list.cursor == 0
        assert d.seen_run is not None
        assert d.seen_run.run.id == first.id


async def test_what_changed_since_the_run_before_of_the_same_name() -> None:
    for alpha in ("0.9995", "0.99999"):
        ended(begin("/bin/echo", "main.py", "--percentile_alpha", alpha, name="pa"))
    async with open_app() as d:
        await d.until(lambda: d.feed is not None, "the run")
        await d.press("d")
        assert "Changed since the run before it" in d.painted
        assert re.search(r"argv --percentile_alpha +0\.9995 -> 0\.99999", d.painted)


async def test_a_run_without_a_log_says_so_and_the_others_work() -> None:
    broken, fine = shell("true", name="broken"), shell("echo all is well", name="fine")
    ended(broken), ended(fine)
    broken.log_path.unlink()
    async with open_app() as d:
        await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "both")
        d.runs.list_pane.list.choose(broken.id)
        await d.until(lambda: "No such file" in log_text(d), "what is wrong")
        d.runs.list_pane.list.choose(fine.id)
        await d.until(lambda: "all is well" in d.painted, "the other")


async def test_a_lost_run_says_why() -> None:
    run = shell("true", name="gone")
    ended(run)
    (run.folder / "result.json").unlink()
    edit(run.folder / "spec.json", boot_id="another boot")
    async with open_app() as d:
        await d.until(lambda: "the host was rebooted while it ran" in d.painted, "why")
        assert "lost" in d.rows()[1]


def test_the_time_of_a_line_that_nobody_saw_come_is_what_it_says() -> None:
    wanted = datetime(2026, 11, 22, 7, 18, 45, 608000).timestamp()  # noqa: DTZ001 - of this host, as loggers write it
    assert written_time(LogLine(0, b"2026-11-22:07:18:45,608 INFO     [m.py:1] text")) == wanted
    assert written_time(LogLine(0, b"no time here")) is None
    assert written_time(LogLine(0, b"\x00\xff 2026")) is None


async def test_leaving_while_everything_works(tmp_path: Path) -> None:
    numbered(tmp_path)
    async with open_app(ALPHA_A, ALPHA_B, wait=False) as d:
        for _ in range(5):
            await d.send("R")
            await d.until(lambda: isinstance(d.app.screen, RunsScreen), "the runs")
            await d.send("q")
            await d.until(lambda: isinstance(d.app.screen, CompareScreen), "the models")
        await d.settle()
        assert d.app.crash_report is None


async def test_each_screen_listens_once_and_opens_its_models_once() -> None:
    async with open_app(ALPHA_A) as d:
        assert len(d.app.runs.listeners) == 1
        await d.press("R")
        assert len(d.app.runs.listeners) == 2
        await d.press("q")
        assert len(d.app.runs.listeners) == 1


async def test_the_palette_of_the_runs_knows_no_differences(tmp_path: Path) -> None:
    async with open_app() as d:
        await d.press("colon")
        assert "next_difference" not in d.painted


async def test_keys_are_remapped_on_both_screens(own_home: Path) -> None:
    config = own_home / "config" / "qinspect" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[keys]\nruns = "F5"\nhelp = "F6"\nview_spec = "F7"\n')
    async with open_app(ALPHA_A) as d:
        await d.press("f5")
        assert d.app.screen is d.runs
        await d.press("f7")
        assert d.runs.run_pane.seen.NAME == "spec"
        await d.press("f6")
        assert isinstance(d.app.screen, HelpScreen)


@pytest.mark.parametrize(("how", "sequence"), [("bell", "\a"), ("osc9", "\x1b]9;short failed after"), ("none", None)])
async def test_an_end_is_announced_as_configured(
    how: str, sequence: str | None, own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = own_home / "config" / "qinspect" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[runs]\nnotify = "{how}"\n')
    shell(f"{WAIT_FOR_FILE}; exit 1", cwd=tmp_path, name="short")
    async with open_app(ALPHA_A) as d:
        await d.until(lambda: "4 runs" in d.painted, "the pane")
        written: list[str] = []
        monkeypatch.setattr(d.app._driver, "write", written.append)
        (tmp_path / "go").touch()
        await d.until(lambda: "short failed" in d.screen.hints.status, "the end")
        found = [w for w in written if sequence and w.startswith(sequence)]
        assert len(found) == (1 if sequence else 0)


async def test_what_is_wrong_in_the_config_is_said(own_home: Path) -> None:
    config = own_home / "config" / "qinspect" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[runs]\nnotify = "fireworks"\n')
    async with open_app() as d:
        await d.until(lambda: "notify must be one of" in d.runs.hints.status, "what is wrong")


def test_leaving_says_what_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    start.say_what_goes_on()
    assert capsys.readouterr().err == ""
    runs = [shell(WAIT_FOR_FILE, cwd=tmp_path) for _ in range(2)]
    start.say_what_goes_on()
    assert "2 runs are still running. `qinspect runs` lists them" in capsys.readouterr().err
    (tmp_path / "go").touch()
    until(lambda: not any(r.state().state.is_live for r in runs))
    start.say_what_goes_on()
    assert capsys.readouterr().err == ""


async def test_the_find_line_takes_letters_that_are_keys(tmp_path: Path) -> None:
    run = numbered(tmp_path)
    async with open_app() as d:
        await shown(d, run)
        await d.press("slash")
        await d.type("xDq")
        assert d.runs.query_one("#find", Input).value == "xDq"
        await d.press("escape")
        assert d.app.screen is d.runs
        assert run.state().state.is_live
        assert os.path.exists(run.folder)


async def test_a_calibration_leads_to_its_points_and_its_checkpoints(tmp_path: Path) -> None:
    words = ("--samples", "6", "--seq-len", "24", "--device", "cpu", "--out", str(tmp_path / "out"))
    alphas = ("--alpha", "0.9", "--alpha", "0.999")
    run = begin(*ourselves("calibrate", "demo", *words, *alphas, "--here"), cwd=tmp_path, name="ours")
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None and d.seen_run.state.state is State.FINISHED, "its end")
        feed = d.feed
        assert feed is not None
        points = {p.name.removeprefix("running "): p.latest["w_max"] for p in feed.points.values() if p.is_named}
        calibration = open_calibration(run)
        assert points.keys() >= calibration.points.keys()
        largest = calibration.pooled("layers.0.mixer.z_act:input").largest
        assert points["layers.0.mixer.z_act:input"] == pytest.approx(largest, rel=1e-5)

        await d.press("a")
        screen = d.app.screen
        assert isinstance(screen, DistributionScreen)
        await d.until(lambda: screen.pane.chart is not None and screen.pane.chart.series[0].curves, "its curve")
        name = "layers.0.mixer.x_conv_out:input"
        assert screen.name_shown == name
        stored = [r.scales[name] for r in calibration.results]
        assert screen.pane.chart is not None
        assert [m.middle for m in screen.pane.chart.series[0].gauge.tables.markers] == stored
        assert "A alpha 0.9, B alpha 0.999" in d.painted
        await d.press("j")
        await d.until(lambda: screen.pane.chart is not None and screen.pane.chart.name != name, "the next point")
        await d.press("escape")

        await d.press("A")
        explorer = d.app.screen
        assert isinstance(explorer, ExploreScreen)
        await d.until(lambda: explorer.explorer is not None, "every alpha")
        assert explorer.explorer is not None
        n = explorer.explorer.numbers
        assert explorer.explorer.chosen.alpha == 0.9
        assert [np.float32(n.scale[0, explorer.explorer.grid.names.index(name)])] == [np.float32(stored[0])]
        await d.press("a")
        await d.until(lambda: isinstance(d.app.screen, DistributionScreen), "a point of the explorer")
        await d.press("W")
        await d.until(lambda: isinstance(d.app.screen, StartScreen), "the form of apply, from the explorer")
        form = d.app.screen
        assert isinstance(form, StartScreen)
        assert (form.values["run"], form.values["alpha"]) == (run.id, "0.9")
        await d.press("escape", "escape", "q")
        assert d.app.screen is d.runs

        await d.press("a")
        again = d.app.screen
        assert isinstance(again, DistributionScreen)
        await d.until(lambda: again.pane.chart is not None, "the distribution again")
        await d.press("W")
        await d.until(lambda: isinstance(d.app.screen, StartScreen), "the form of apply")
        applying = d.app.screen
        assert isinstance(applying, StartScreen)
        to, typed = str(calibration.checkpoints[0]), f"{again.pane.alpha:g}"
        out = f"{to}-alpha-{typed}"
        await d.until(lambda: applying.values, "its fields")
        assert applying.template.argv(applying.values)[-8:] == [
            "apply", run.id, "--alpha", typed, "--to", to, "--out", out
        ]  # fmt: skip
        await d.press("enter")
        await d.until(lambda: d.app.screen is again, "its start")
        await d.press("escape")
        calibration.close()
        await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "it in the list")
        applied = next(r for r in list_runs() if r.id != run.id)
        assert ended(applied).state is State.FINISHED
        assert (Path(out) / "model.safetensors").exists()
        await d.until(lambda: d.seen_run is not None and d.seen_run.run.id == applied.id, "it")
        runs = d.runs.list_pane.list.runs
        await d.press("right_parenthesis" if runs[0].run.id == applied.id else "left_parenthesis")
        await d.until(lambda: d.seen_run is not None and d.seen_run.run.id == run.id, "the calibration again")

        await d.press("v")
        rows = d.runs.run_pane.points_pane.list.rows
        at = next(i for i, (point, *_) in enumerate(rows) if point.name.endswith("layers.1.mixer.z_act:input"))
        d.runs.run_pane.points_pane.list.move_to(at)
        await d.press("a")
        chosen = d.app.screen
        assert isinstance(chosen, DistributionScreen)
        assert chosen.name_shown == "layers.1.mixer.z_act:input"
        await d.press("escape", "asterisk")

        await d.press("W")
        await d.until(lambda: isinstance(d.app.screen, StartScreen), "the form, for any alpha")
        any_alpha = d.app.screen
        assert isinstance(any_alpha, StartScreen)
        assert any_alpha.values["to"] == to
        await d.press("escape")
        await d.press("I")
        await d.until(lambda: isinstance(d.app.screen, CompareScreen), "the two models")
        await d.until(lambda: "Hadamard rotation" in d.painted, "what they are")
        assert (d.screen.session.path_a, d.screen.session.path_b) == tuple(map(str, calibration.checkpoints))
        await d.until(lambda: d.screen.session.comparison is not None, "their comparison")
        assert "ALPHA TOOK EFFECT" in d.painted
        d.screen.table_pane.select(name)
        await d.press("2", "a")
        await d.until(lambda: isinstance(d.app.screen, DistributionScreen), "the distribution behind the scale")
        behind = d.app.screen
        assert isinstance(behind, DistributionScreen)
        await d.until(lambda: behind.pane.chart is not None and behind.pane.chart.series[0].curves, "its curve")
        assert behind.pane.chart is not None
        markers = behind.pane.chart.series[0].gauge.tables.markers
        assert [(m.label, np.float32(m.middle)) for m in markers] == list(
            zip("AB", map(np.float32, stored), strict=True)
        )
        assert "activations of run ours, with the stored scales of A and B" in " ".join(d.painted.split())
        assert "not known" not in d.painted
        await d.press("W")
        await d.until(lambda: isinstance(d.app.screen, StartScreen), "the form of apply, from two models")
        asked = d.app.screen
        assert isinstance(asked, StartScreen)
        assert asked.values["to"] == to
        await d.press("escape", "q", "escape", "q")
        assert d.app.screen is d.runs
