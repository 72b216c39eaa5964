"""From an activation's scale to the alpha that made it, on the screen: every key, the sentences of `qinspect whence`,
what ends it, and what is said where no run can answer."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from commands import Command
from noise_cases import ALPHAS, MIN_MAX, at_hand, checkpoint, samples, scales
from pilots import ALPHA_A, LARGE, MIDDLE, SMALL, Driver, handlers, in_empty_folder, open_app
from whence_cases import name

from qinspect.inspector.alpha.recover import recovery
from qinspect.inspector.calibration.stored import Calibration
from qinspect.tui.actions import WHENCE_ACTIONS, Action
from qinspect.tui.alpha import origin
from qinspect.tui.alpha.whence import WhenceScreen
from qinspect.tui.compare.screen import CompareScreen
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.distribution.run_points import RunSource
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.runs.form import StartScreen
from qinspect.tui.runs.screen import RunsScreen
from qinspect.tui.theme import THEMES

Check = Callable[[Driver, str], Awaitable[None]]
CHECKS: dict[str, Check] = {}
POINTS = [name(0), name(1), MIN_MAX]


def check(function: Check) -> Check:
    """`check_close` is what `close` does: called with the screen on the first point of two models."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function


@pytest.fixture
def made(own_home: Path, tmp_path: Path) -> list[Path]:
    """Two checkpoints, and the run that made them."""
    return at_hand(own_home / "state" / "qinspect", tmp_path / "made")


def screen_of(d: Driver) -> WhenceScreen:
    return next(s for s in d.app.screen_stack if isinstance(s, WhenceScreen))


def lines_of(d: Driver) -> list[str]:
    return screen_of(d).pane.plain


def flat(lines: list[str] | str) -> str:
    """Words in one line: sentences fold by the width."""
    return " ".join((lines if isinstance(lines, str) else " ".join(lines)).split())


async def asks(d: Driver, role: str = POINTS[0]) -> None:
    """From the scale to its distribution, and on."""
    d.screen.table_pane.select(role)
    await d.press("2", "a")
    assert isinstance(d.app.screen, DistributionScreen)
    await d.press("U")
    assert isinstance(d.app.screen, WhenceScreen)


def of_rule(d: Driver, label: str, rule: str) -> str:
    """The line of a rule in the block of this scale of one model."""
    lines = lines_of(d)
    start = next(i for i, line in enumerate(lines) if line.startswith("THIS SCALE"))
    block = next(i for i in range(start, len(lines)) if lines[i].startswith(f"{label} stored"))
    return next(line for line in lines[block:] if line.split()[:1] == [rule])


# --- the actions ---


def test_every_action_has_a_handler_and_a_check() -> None:
    assert handlers(WhenceScreen) == {a.name for a in WHENCE_ACTIONS} == set(CHECKS)


@pytest.mark.parametrize("action", WHENCE_ACTIONS, ids=lambda a: a.name)
async def test_an_action_does_what_its_help_says(action: Action, made: list[Path]) -> None:
    async with open_app(made[0], made[1]) as d:
        await asks(d)
        active = d.app.screen.active_bindings
        assert {active[key].binding.id for key in action.keys} == {action.name}
        await CHECKS[action.name](d, action.keys[0])


@check
async def check_next_point(d: Driver, key: str) -> None:
    for point in (*POINTS[1:], POINTS[-1]):
        await d.press(key)
        assert f"THIS SCALE  {point}" in lines_of(d)


@check
async def check_previous_point(d: Driver, key: str) -> None:
    await d.press("j", "j", key)
    assert f"THIS SCALE  {POINTS[1]}" in lines_of(d)
    await d.press(key, key)
    assert f"THIS SCALE  {POINTS[0]}" in lines_of(d)


@check
async def check_page_down(d: Driver, key: str) -> None:
    await d.press(key)
    assert screen_of(d).pane.scroll_offset.y > 5


@check
async def check_page_up(d: Driver, key: str) -> None:
    await d.press("space", key)
    assert screen_of(d).pane.scroll_offset.y == 0


@check
async def check_top(d: Driver, key: str) -> None:
    await d.press("space", key)
    assert screen_of(d).pane.scroll_offset.y == 0


@check
async def check_bottom(d: Driver, key: str) -> None:
    await d.press(key)
    assert d.rows()[-2].split()[0] == lines_of(d)[-1].split()[0] == POINTS[1]


@check
async def check_export(d: Driver, key: str) -> None:
    said = lines_of(d)
    with in_empty_folder() as folder:
        await d.press(key, "t")
        saved = (folder / "qinspect-view.txt").read_text().splitlines()
    assert [line.rstrip() for line in said[:5]] == [line.strip() for line in saved[1:6]]


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


@check
async def check_copy_command(d: Driver, key: str) -> None:
    sent: list[str] = []
    assert d.app._driver is not None
    d.app._driver.write = sent.append  # type: ignore[method-assign, assignment]
    await d.press(key)
    text = base64.b64decode(sent[0].split(";")[2].rstrip("\a")).decode()
    a, b = text.split("; ")
    assert a.startswith(f"qinspect whence {d.app.session.path_a} --run ")
    assert b.startswith(f"qinspect whence {d.app.session.path_b} --run ")
    assert Calibration(Path(a.split(" --run ")[1])).points


@check
async def check_apply_alpha(d: Driver, key: str) -> None:
    """The form of `apply`, with the alpha that is said to be the best; escape comes back here."""
    line = next(line for line in lines_of(d) if "in a new checkpoint" in line)
    alpha = line.split("W puts alpha ")[1].split()[0]
    await d.press(key)
    assert isinstance(d.app.screen_stack[-2], RunsScreen)
    assert f"--alpha {alpha}" in d.painted or f" {alpha} " in d.painted
    await d.press("escape", "escape")
    assert isinstance(d.app.screen, WhenceScreen)


@check
async def check_palette(d: Driver, key: str) -> None:
    await d.press(key)
    await d.type("next_point")
    await d.press("enter")
    assert f"THIS SCALE  {POINTS[1]}" in lines_of(d)


@check
async def check_close(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, DistributionScreen)


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
    await d.press("question_mark")  # a dialog does not keep it
    await d.send(key)
    await d.until(lambda: d.app._exit, "the end")


@check
async def check_quit(d: Driver, key: str) -> None:
    await d.press(key)
    assert isinstance(d.app.screen, DistributionScreen)
    assert not d.app._exit


# --- what it says ---


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=str)
async def test_it_finds_the_alphas_in_the_words_of_the_command(
    size: tuple[int, int], made: list[Path], capsys: pytest.CaptureFixture[str], source_root: Path
) -> None:
    ask = Command("whence", capsys, source_root)
    async with open_app(made[0], made[1], size) as d:
        await asks(d)
        said = flat(lines_of(d))
        width = max(len(line) for line in lines_of(d) if str(made[0].parent) not in line)  # paths are never cut
        run = screen_of(d).source.calibration.folder
        for label, alpha in zip("AB", ALPHAS, strict=True):
            low, *high = (float(x) for x in of_rule(d, label, "ema").split()[1:4] if x[0] in "01")
            assert low - 1e-7 <= alpha <= max(low, *high) + 1e-7 if high else low == pytest.approx(alpha, abs=1e-7)
            assert "refuted" in of_rule(d, label, "pooled")
        assert width <= size[0] - 3  # nothing is cut, nothing scrolls sideways
    for path in made:
        answer = ask.json(path, "--run", run)
        for sentence in (answer["verdict"]["text"], *answer["verdict"]["evidence"], answer["verdict"]["next"]):
            assert flat(sentence) in said


async def test_the_best_alpha_is_that_of_the_alpha_command(
    made: list[Path], capsys: pytest.CaptureFixture[str], source_root: Path
) -> None:
    async with open_app(made[0], made[1]) as d:
        await asks(d)
        run, said = screen_of(d).source.calibration.folder, flat(lines_of(d))
    bests: list[dict[str, Any]] = Command("alpha", capsys, source_root).json(run)["best"]["8"]
    wanted = next(b for b in bests if b["what"] == "reached")["alpha"]
    assert f"W puts alpha {wanted:.9g} into A" in said


async def test_a_scale_that_no_alpha_reaches_is_said_to_be_one(made: list[Path]) -> None:
    async with open_app(made[0], made[1]) as d:
        await asks(d, MIN_MAX)
        said = flat(lines_of(d))
        assert said.count("No alpha reaches it: it comes from the largest |x|, and equals it to the bit.") == 2


async def test_a_scale_changed_by_hand_has_another_origin(own_home: Path, tmp_path: Path) -> None:
    """What is not known is said: no alpha, and the verdict names the scale."""
    made = at_hand(own_home / "state" / "qinspect", tmp_path / "made")
    found = scales(samples(), ALPHAS[0]) | {name(1): 1e3}
    other = checkpoint(tmp_path / "changed", found)
    async with open_app(made[0], other) as d:
        await asks(d, name(1))
        assert "exactly" in of_rule(d, "A", "ema")
        assert "no alpha" in of_rule(d, "B", "ema")
        assert "[no-rule]" in flat(lines_of(d))


async def test_one_model_alone_is_asked_too(made: list[Path]) -> None:
    async with open_app(made[0]) as d:
        await asks(d)
        assert "exactly" in of_rule(d, "A", "ema")
        assert not any(line.startswith("B ") for line in lines_of(d))


async def test_escape_leads_back_to_the_same_place(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(made[0], made[1]) as d:
        d.screen.table_pane.select(POINTS[1])
        await d.press("2", "a")
        await d.press("left_curly_bracket", "left_curly_bracket")
        at = d.app.screen.pane.alpha  # type: ignore[attr-defined]
        assert at < 1
        await d.press("U", "j")
        assert f"THIS SCALE  {MIN_MAX}" in lines_of(d)
        await d.press("escape")
        screen = d.app.screen
        assert isinstance(screen, DistributionScreen)
        assert (screen.name_shown, screen.pane.alpha) == (POINTS[1], at)

        def again(*_: object) -> None:
            raise AssertionError("the answers are kept")

        monkeypatch.setattr("qinspect.tui.alpha.whence.origins_of", again)
        await d.press("U")
        assert "exactly" in of_rule(d, "A", "ema")
        await d.press("escape", "escape")
        assert isinstance(d.app.screen, CompareScreen)
        assert d.role == POINTS[1]


async def test_a_letter_leads_to_the_alpha_of_a_line(made: list[Path]) -> None:
    async with open_app(made[0], made[1]) as d:
        d.screen.table_pane.select(POINTS[0])
        await d.press("2", "a")
        shown = d.app.screen
        assert isinstance(shown, DistributionScreen)
        known = {}
        for letter in "as":
            await d.press("J")
            (line,) = (row for row in d.rows() if row.rstrip().endswith(f"  {letter}"))
            await d.press(letter)
            assert d.app.screen is shown
            assert isinstance(shown, DistributionScreen)
            label, _, told, *_ = line.split()
            known[label] = (float(told), shown.pane.alpha)
        assert all(of_line == at for of_line, at in known.values())
        assert set(known) == {"A", "B"}, "the best is above all alphas"


async def test_keys_that_come_before_the_screen_is_there_wait_for_it(made: list[Path]) -> None:
    async with open_app(made[0], made[1]) as d:
        await asks(d)
        await d.press("escape")
        shown = d.app.screen
        assert isinstance(shown, DistributionScreen)
        source = shown.source
        assert isinstance(source, RunSource)
        assert source.stored is not None
        for keys, point in ((("j",), 1), (("j", "j", "k"), 1), (("space", "G", "g"), 0)):
            made_anew = WhenceScreen(source, source.stored.of, POINTS[0], d.screen.glyphs, None)
            d.app.push_screen(made_anew)
            assert not made_anew.is_mounted
            await d.press(*keys)
            assert f"THIS SCALE  {POINTS[point]}" in lines_of(d)
            await d.press("escape")
            assert d.app.screen is shown


async def test_the_scale_that_it_begins_with_is_answered_first(
    made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = origin.origins_of

    def slow(*of: Any) -> Any:
        go_on.wait(60)
        return real(*of)

    monkeypatch.setattr("qinspect.tui.alpha.whence.origins_of", slow)
    async with open_app(made[0], made[1]) as d:
        d.screen.table_pane.select(POINTS[0])
        await d.press("2", "a")
        await d.send("U")
        await d.until(lambda: isinstance(d.app.screen, WhenceScreen) and d.app.screen.of_point, "the first answer")
        await d.until(lambda: f"THIS SCALE  {POINTS[0]}" in lines_of(d), "its lines")
        first = {label: of_rule(d, label, "ema") for label in "AB"}
        assert screen_of(d).source.origins is None
        go_on.set()
        await d.until(lambda: screen_of(d).source.origins is not None, "all answers")
        await d.settle()
        for label, words in ((label, line.split()) for label, line in first.items()):
            assert of_rule(d, label, "ema").split()[: len(words)] == words


async def test_it_is_asked_off_the_screen_and_escape_ends_it(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asking, go_on = threading.Event(), threading.Event()
    seen: list[str] = []
    real = recovery.recovery_of

    def slow(*of: Any) -> Any:
        asking.set()
        go_on.wait(60)
        return real(*of)

    monkeypatch.setattr("qinspect.tui.alpha.origin.recovery_of", slow)
    async with open_app(made[0], made[1]) as d:
        d.screen.table_pane.select(POINTS[0])
        await d.press("2", "a")
        await d.send("U")
        await d.until(asking.is_set, "the question")
        screen = screen_of(d)
        await d.until(lambda: "solving for the alpha of" in screen.hints.status, "its progress")
        seen.append(screen.hints.status)
        await d.send("escape")
        await d.until(lambda: isinstance(d.app.screen, DistributionScreen), "the distribution")
        go_on.set()
        await d.settle()
        source = d.app.screen.source  # type: ignore[attr-defined]
        assert isinstance(source, RunSource)
        assert source.origins is None
        assert "(esc ends it)" in seen[0]


async def test_what_a_run_cannot_answer_is_said(
    made: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """B is of another model: A has its answer, B the error of the command."""
    points = {name(0): 0.01} | {f"layers.7.mixer.other_{i}:input": 0.5 for i in range(9)}
    stranger = checkpoint(tmp_path / "stranger", points)
    async with open_app(made[0], stranger) as d:
        await asks(d)
        assert "[recovered]" in flat(lines_of(d))
        assert "belong to no point of the run" in flat(lines_of(d))


async def test_tables_that_cannot_be_read_are_a_sentence(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("qinspect.tui.alpha.whence.origins_of", damaged)
    async with open_app(made[0], made[1]) as d:
        await asks(d)
        assert lines_of(d) == ["the disk is gone"]
        await d.press("W")
        assert "not known" in screen_of(d).hints.status


async def test_what_is_applied_is_found_from_the_folder_of_the_run(
    made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made[0].parent)
    async with open_app(made[0].name, made[1].name) as d:
        await asks(d)
        await d.press("W")
        await d.until(lambda: isinstance(d.app.screen, StartScreen) and d.app.screen.values, "the form")
        form = d.app.screen
        assert isinstance(form, StartScreen)
        assert Path(form.values["cwd"]) != Path.cwd()
        assert Path(form.values["cwd"], form.values["to"]).samefile(made[0])
        assert not Path(form.values["cwd"], form.values["out"]).exists()


# --- where there is nothing to ask ---


async def test_a_weight_and_a_run_alone_have_no_scales_to_ask_about(made: list[Path]) -> None:
    async with open_app(ALPHA_A) as d:
        d.screen.table_pane.select("layers.0.mixer.x_proj.weight")
        await d.press("2", "a", "U")
        assert isinstance(d.app.screen, DistributionScreen)
        assert "alpha makes no scale of a weight" in d.app.screen.hints.status
    async with open_app() as d:
        await d.press("a", "U")
        assert isinstance(d.app.screen, DistributionScreen)
        assert "the run made these scales itself" in d.app.screen.hints.status


async def test_why_no_run_can_be_asked(own_home: Path, tmp_path: Path) -> None:
    """None there, none with the point, none of this model: and what to do."""
    state = own_home / "state" / "qinspect"
    strange = checkpoint(tmp_path / "strange", {"layers.3.mixer.nowhere:input": 0.5})
    async with open_app(strange) as d:
        d.screen.table_pane.select("layers.3.mixer.nowhere:input")
        await d.press("2", "a")
        assert d.screen.hints.status == "no calibration here yet: R, then !, calibrates"
    (made, _) = at_hand(state, tmp_path / "made")
    async with open_app(strange) as d:
        d.screen.table_pane.select("layers.3.mixer.nowhere:input")
        await d.press("2", "a")
        assert d.screen.hints.status == "none of 1 run here has this point: R, then !, calibrates"
    record = next((state / "runs").glob("*/calibration/calibration.json"))
    known = json.loads(record.read_text())
    record.write_text(json.dumps(known | {"decides": {"model": "0" * 64}}))
    config = made / "config.json"
    known = json.loads(config.read_text())
    known["provenance"]["effective"]["model_sha256"] = "1" * 64
    config.write_text(json.dumps(known))
    async with open_app(made) as d:
        d.screen.table_pane.select(POINTS[0])
        await d.press("2", "a")
        assert d.screen.hints.status == "the run that has it is of another model: R, then !, calibrates"
