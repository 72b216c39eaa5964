"""The screen of findings: every key, what is shown and what is not claimed, the way from a place to its scale."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from lint_models import nvfp4_model
from pilots import LARGE, MIDDLE, SMALL, Driver, handlers, in_empty_folder, open_app
from safetensors.numpy import save_file

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.check import RuleFinding
from qinspect.inspector.lint.registry import all_rules
from qinspect.inspector.loaders import ENGINES
from qinspect.tui.actions import LINT_ACTIONS, Action
from qinspect.tui.compare.screen import CompareScreen
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.dialogs.pane_labels import PaneLabels
from qinspect.tui.lint.engines_pane import EnginesPane
from qinspect.tui.lint.experts_pane import ExpertsPane
from qinspect.tui.lint.findings_pane import FindingsPane
from qinspect.tui.lint.rule_pane import RulePane
from qinspect.tui.lint.screen import LintScreen
from qinspect.tui.theme import THEMES

Check = Callable[[Driver, str], Awaitable[None]]
CHECKS: dict[str, Check] = {}
PANES = (FindingsPane, RulePane, EnginesPane, ExpertsPane)
NAN, ZERO = "layers.1.mlp.up_proj.weight#global", "layers.0.self_attn.q_proj:input"
BROKEN = {
    "layers.1.mlp.up_proj.weight_scale_2": float("nan"),
    "layers.0.self_attn.q_proj.input_scale": 0.0,
    "layers.0.self_attn.k_proj.input_scale": 0.0,
    "layers.0.mlp.gate_proj.weight_scale_2": 4e-3,
}


def check(function: Check) -> Check:
    """`check_close` is what `close` does: called with the screen of a model with three findings, the cursor on the
    first."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvfp4_model(tmp_path_factory.mktemp("lint") / "broken", BROKEN)


def screen_of(d: Driver) -> LintScreen:
    return next(s for s in d.app.screen_stack if isinstance(s, LintScreen))


def lines_of(d: Driver) -> list[str]:
    """The rows of the list, as they are painted where there is room."""
    found = screen_of(d).findings.list
    return ["".join(text for text, _ in found.line(row, 300)).rstrip() for row in range(found.n_rows)]


def codes_of(d: Driver) -> list[str]:
    """The rules whose findings are listed."""
    return [r.finding.rule.code for r in screen_of(d).findings.list.rows if r.finding and r.place is None]


def rule_text(d: Driver) -> str:
    return " ".join(" ".join(screen_of(d).beside.rule.text.plain).split())


async def go(d: Driver) -> None:
    """From the models, until every rule has run."""
    await d.press("L")
    await d.until(lambda: screen_of(d).findings.found and not screen_of(d).hints._doing, "the findings")
    await d.settle()


def test_every_action_has_a_handler_and_a_check() -> None:
    served = {name for pane in PANES for name in pane.ACTIONS | pane.EVERYWHERE}
    assert handlers(LintScreen) | served == {a.name for a in LINT_ACTIONS} == set(CHECKS)
    for pane in PANES:
        assert handlers(pane) - {"open"} == pane.ACTIONS | pane.EVERYWHERE


@pytest.mark.parametrize("action", LINT_ACTIONS, ids=lambda a: a.name)
async def test_an_action_does_what_its_help_says(action: Action, broken: Path) -> None:
    async with open_app(broken) as d:
        await go(d)
        active = d.app.screen.active_bindings
        assert {active[key].binding.id for key in action.keys} == {action.name}
        await CHECKS[action.name](d, action.keys[0])


def cursor(d: Driver) -> int:
    return screen_of(d).findings.list.cursor


@check
async def check_down(d: Driver, key: str) -> None:
    await d.press(key)
    assert cursor(d) == 1
    assert "S02 not-positive" in rule_text(d)


@check
async def check_up(d: Driver, key: str) -> None:
    await d.press("j", key)
    assert cursor(d) == 0
    assert "S01 not-finite" in rule_text(d)


@check
async def check_page_down(d: Driver, key: str) -> None:
    await d.press(key)
    assert cursor(d) == len(lines_of(d)) - 1


@check
async def check_page_up(d: Driver, key: str) -> None:
    await d.press("G", key)
    assert cursor(d) == 0


@check
async def check_top(d: Driver, key: str) -> None:
    await d.press("j", "j", key)
    assert cursor(d) == 0
    await d.press("2", "G", key)
    assert screen_of(d).beside.rule.text.scroll_offset.y == 0


@check
async def check_bottom(d: Driver, key: str) -> None:
    await d.press(key)
    assert cursor(d) == len(lines_of(d)) - 1


@check
async def check_open(d: Driver, key: str) -> None:
    """The places of a finding; of one of these its scale, among the scales."""
    await d.press("j", key)
    assert "q_proj:input = 0" in lines_of(d)[2]
    await d.press(key)
    assert "q_proj:input" not in "".join(lines_of(d))
    await d.press(key, "j", key)
    assert isinstance(d.app.screen, CompareScreen)
    assert d.role == ZERO


@check
async def check_expand(d: Driver, key: str) -> None:
    await d.press(key)
    assert NAN in lines_of(d)[1]
    await d.press(key)
    assert cursor(d) == 1


@check
async def check_collapse(d: Driver, key: str) -> None:
    await d.press("l", "j", key)
    assert NAN not in "".join(lines_of(d))
    assert cursor(d) == 0


@check
async def check_fold_one_more(d: Driver, key: str) -> None:
    await d.press(key)
    assert NAN in "".join(lines_of(d))
    assert ZERO in "".join(lines_of(d))


@check
async def check_fold_all(d: Driver, key: str) -> None:
    await d.press("plus", key)
    assert ZERO not in "".join(lines_of(d))


@check
async def check_next_pane(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).active == "rule"
    await d.press("j", "j")
    assert screen_of(d).beside.rule.text.scroll_offset.y > 0 or screen_of(d).beside.rule.text.size.height > 20
    await d.press(key)
    assert screen_of(d).active == "findings"


@check
async def check_previous_pane(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).active == "rule"


@check
async def check_label_panes(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, PaneLabels)
    await d.press("s")
    assert screen_of(d).active == "rule"


@check
async def check_pane_list(d: Driver, key: str) -> None:
    await d.press("2", key)
    assert screen_of(d).active == "findings"


@check
async def check_pane_view(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).active == "rule"


@check
async def check_pane_engines(d: Driver, key: str) -> None:
    """What the command prints of each engine."""
    await d.press(key)
    pane = screen_of(d).beside.engines
    assert screen_of(d).active == "engines"
    said = " ".join(" ".join(pane.text.plain).split())
    for engine in ENGINES:
        assert f"{engine.title} {engine.version}" in said
    await d.press("j", "j")
    assert pane.text.scroll_offset.y == 2


@check
async def check_pane_experts(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).active == "experts"
    assert "no scale in it is an expert's" in d.painted


@check
async def check_next_finding(d: Driver, key: str) -> None:
    """Over the places of the finding before it."""
    await d.press("l", key)
    assert "S02" in lines_of(d)[cursor(d)]


@check
async def check_previous_finding(d: Driver, key: str) -> None:
    await d.press("j", "l", "j", key)
    assert "S02" in lines_of(d)[cursor(d)]
    await d.press(key)
    assert "S01" in lines_of(d)[cursor(d)]
    await d.press(key)
    assert "no finding before" in screen_of(d).hints.status


@check
async def check_largest_finding(d: Driver, key: str) -> None:
    await d.press("G", key)
    assert "S01" in lines_of(d)[cursor(d)]


@check
async def check_level(d: Driver, key: str) -> None:
    everything = codes_of(d)
    assert "G01" in everything
    await d.press(key, key)
    assert screen_of(d).findings.least is Severity.ERROR
    assert "G01" not in codes_of(d)
    assert {"S01", "S02"} <= set(codes_of(d))
    await d.press(key)
    assert codes_of(d) == everything


@check
async def check_jump(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, JumpScreen)
    await d.type("upprojweightglobal")
    await d.press("enter")
    assert isinstance(d.app.screen, CompareScreen)
    assert d.role == NAN


@check
async def check_zoom(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).beside.has_class("hidden")
    await d.press("2")
    assert screen_of(d).findings.has_class("hidden")
    await d.press(key)
    assert not screen_of(d).findings.has_class("hidden")


@check
async def check_reload(d: Driver, key: str) -> None:
    with patch("qinspect.inspector.lint.check._outcome", side_effect=ValueError("asked again")):
        await d.press(key)
        await d.until(lambda: "asked again" in screen_of(d).hints.status, "what went wrong")


@check
async def check_theme(d: Driver, key: str) -> None:
    seen = set()
    for _ in THEMES:
        await d.press(key)
        seen.add(d.app.theme)
    assert seen == {t.name for t in THEMES}


@check
async def check_repaint(d: Driver, key: str) -> None:
    with patch.object(type(d.app), "repaint") as repaint:
        await d.press(key)
    repaint.assert_called_once()


async def copied(d: Driver, *keys: str) -> str:
    """What is sent to the terminal's clipboard."""
    sent: list[str] = []
    assert d.app._driver is not None
    d.app._driver.write = sent.append  # type: ignore[method-assign, assignment]
    await d.press(*keys)
    return base64.b64decode(sent[0].split(";")[2].rstrip("\a")).decode()


@check
async def check_copy_key(d: Driver, key: str) -> None:
    await d.press(key)
    assert "no place" in screen_of(d).hints.status
    assert await copied(d, "l", "j", key) == NAN


@check
async def check_copy_row(d: Driver, key: str) -> None:
    assert "1 scale of 30" in await copied(d, key)


@check
async def check_copy_command(d: Driver, key: str) -> None:
    assert await copied(d, key) == f"qinspect lint {d.app.session.path_a}"


@check
async def check_export(d: Driver, key: str) -> None:
    with in_empty_folder() as folder:
        await d.press(key, "t")
        assert "S01 error" in (folder / "qinspect-view.txt").read_text()
        await d.press(key, "j")
        saved = json.loads((folder / "qinspect-view.json").read_text())
    assert saved["schema"] == "qinspect.lint/1"


@check
async def check_palette(d: Driver, key: str) -> None:
    await d.press(key)
    await d.type("next_finding")
    await d.press("enter")
    assert "S02" in lines_of(d)[cursor(d)]
    await d.press(key)
    await d.type("unequal-globals")
    await d.press("enter")
    assert "G01" in lines_of(d)[cursor(d)]
    await d.press(key)
    await d.type("C01")  # found nothing: what it looks for, and at how much it looked
    await d.press("enter")
    assert rule_text(d).startswith("C01 zero-point-out-of-range error")
    assert "looks for A zero point is no code of its weight's element" in rule_text(d)
    assert "not checked: " in rule_text(d) or "nothing to look at" in rule_text(d)


@check
async def check_close(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, CompareScreen)


@check
async def check_quit(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, CompareScreen)
    assert not d.app._exit


@check
async def check_help(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, HelpScreen)


@check
async def check_suspend(d: Driver, key: str) -> None:
    with patch.object(type(d.app), "suspend_to_shell") as suspend:
        await d.press(key)
    suspend.assert_called_once_with()


@check
async def check_leave(d: Driver, key: str) -> None:
    await d.send(key)
    await d.until(lambda: d.app._exit, "the end")


# --- what it says ---


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=str)
async def test_a_sound_model_has_no_finding_and_it_says_what_was_looked_at(
    size: tuple[int, int], tmp_path: Path
) -> None:
    async with open_app(nvfp4_model(tmp_path / "sound"), size=size) as d:
        await go(d)
        assert codes_of(d) == []
        assert "no finding by" in d.painted
        assert "S01 not-finite: 30 scales" in rule_text(d)
        assert len({o.rule.code for o in screen_of(d).findings.found.outcomes}) == len(all_rules())  # type: ignore[union-attr]


async def test_a_model_without_scales_is_not_a_clean_one(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    save_file({"model.norm.weight": np.ones(64, np.float32)}, folder / "model.safetensors")
    async with open_app(folder) as d:
        await go(d)
        assert "nothing to check, there are no scales and no quantized weights" in d.painted
        assert "no finding by" not in d.painted


async def test_what_a_rule_left_out_is_listed(broken: Path) -> None:
    async with open_app(broken) as d:
        await go(d)
        assert "G03: 1 input group not looked at: a scale of theirs is no positive number" in lines_of(d)


async def test_of_two_models_each_finding_names_its_own(broken: Path, tmp_path: Path) -> None:
    async with open_app(nvfp4_model(tmp_path / "sound"), broken) as d:
        await go(d)
        assert all(line.startswith("▸ B ") for line in lines_of(d) if line.startswith("▸"))
        assert "B S01" in "".join(lines_of(d))


EXPERTS = tuple(f"mlp.experts.{e}.{p}_proj" for e in range(12) for p in ("gate", "up", "down"))


async def test_experts_are_a_map_whose_cell_leads_to_its_scale(tmp_path: Path) -> None:
    scalars = {
        "layers.1.mlp.experts.3.up_proj.input_scale": 0.0,
        "layers.1.mlp.experts.9.down_proj.input_scale": float("inf"),
        "layers.0.mlp.experts.2.down_proj.input_scale": float("nan"),
    }
    model = nvfp4_model(tmp_path / "moe", scalars, modules=EXPERTS)
    async with open_app(model) as d:
        await go(d)
        await d.press("4")
        pane = screen_of(d).beside.experts
        rows = ["".join(text for text, _ in pane.map.line(row, 80)) for row in (0, 1)]
        assert rows == ["    0 ==!=========", "    1 ===0=====!=="]
        assert "0 zero 1" in d.painted
        assert "! not finite 2" in d.painted
        assert "layers.0.mlp expert 2: not finite" in d.painted
        assert "down_proj:input" in d.painted
        await d.press("n")
        assert "layers.1.mlp expert 3: zero" in d.painted
        assert "up_proj:input = 0" in d.painted
        await d.press("n", "n")
        assert "layers.1.mlp expert 9: not finite" in d.painted
        assert "all experts after this one are sound" in screen_of(d).hints.status
        await d.press("N", "h", "l", "l")
        assert "layers.1.mlp expert 4: shared on purpose" in d.painted
        await d.press("N", "enter")
        assert isinstance(d.app.screen, CompareScreen)
        assert d.role == "layers.1.mlp.experts.3.up_proj:input"


async def test_findings_are_not_told_apart_by_all_their_places(broken: Path) -> None:
    """Of 60,000 places that took minutes, while the screen stood still."""
    async with open_app(broken) as d:
        await go(d)
        dear = AssertionError("by all places")
        with (
            patch.object(RuleFinding, "__hash__", side_effect=dear),
            patch.object(RuleFinding, "__eq__", side_effect=dear),
        ):
            await d.press("plus", "j")
            assert NAN in lines_of(d)[1]
            screen_of(d).findings.show(screen_of(d).findings.found)  # type: ignore[arg-type]
            assert cursor(d) == 1
            await d.press("h")
            assert cursor(d) == 0
            assert NAN not in "".join(lines_of(d))
            assert ZERO in "".join(lines_of(d))


async def test_what_ends_it_ends_the_reading(broken: Path) -> None:
    async with open_app(broken) as d:
        await d.press("L", "escape")
        assert isinstance(d.app.screen, CompareScreen)
        await d.press("L")
        await d.until(lambda: screen_of(d).findings.found, "the findings")
