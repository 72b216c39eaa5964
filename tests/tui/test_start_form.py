"""The form that starts a run: what is typed, what is wrong with it, what comes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pilots import SMALL, Driver, open_app
from run_processes import begin, ended
from textual.widgets import Static

from qinspect.inspector.runs import list_runs
from qinspect.tui.runs import form
from qinspect.tui.runs.form import StartScreen


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVE_S", "IDLE_S"):
        monkeypatch.setattr(f"qinspect.tui.runs.service.{name}", 0.05)


def form_of(d: Driver) -> StartScreen:
    assert isinstance(d.app.screen, StartScreen)
    return d.app.screen


def said(d: Driver, name: str) -> str:
    return str(form_of(d).query_one(f"#{name}", Static).content)


def focused(d: Driver) -> str:
    found = form_of(d).focused
    assert isinstance(found, form.FieldInput)
    return found.of.name


async def fill(d: Driver, name: str, text: str) -> None:
    """Type into a field."""
    for _ in range(60):
        if focused(d) == name:
            break
        await d.press("down")
    assert focused(d) == name
    await d.type(text)


async def open_form(d: Driver, template: str = "command") -> None:
    await d.press("exclamation_mark")
    await d.until(lambda: isinstance(d.app.screen, StartScreen) and form_of(d).inputs, "the form")
    while form_of(d).template.name != template:
        await d.press("ctrl+n")


async def test_the_command_is_shown_as_it_is_typed_and_its_errors_at_its_field() -> None:
    async with open_app(size=SMALL) as d:
        await open_form(d)
        await d.type("echo 'a b")
        assert said(d, "problem-command") == "no closing quotation"
        await d.press("enter")
        assert form_of(d)
        await d.type("'")
        assert said(d, "problem-command") == ""
        assert said(d, "start-command") == "$ echo 'a b'"
        await d.press("escape")
        assert d.app.screen is d.runs
        assert list_runs() == []


async def test_name_folder_and_variables_reach_the_run(tmp_path: Path) -> None:
    async with open_app(size=SMALL) as d:
        await open_form(d)
        await fill(d, "command", "sh -c 'pwd; echo $CUDA_VISIBLE_DEVICES/$MORE'")
        await fill(d, "name", "mine")
        form_of(d).inputs[2].value = str(tmp_path)
        await fill(d, "CUDA_VISIBLE_DEVICES", "7")
        await fill(d, "variables", "MORE='two words'")
        await d.press("enter")
        await d.until(lambda: d.app.screen is d.runs, "the screen again")
        (run,) = list_runs()
        ended(run)
        assert run.log_path.read_text() == f"{tmp_path}\n7/two words\n"
        assert run.spec.name == "mine"
        await d.until(lambda: d.seen_run is not None and d.seen_run.run.id == run.id, "it is chosen")


async def test_what_is_wrong_keeps_the_form_open(tmp_path: Path) -> None:
    async with open_app() as d:
        await open_form(d)
        await d.press("enter")
        assert said(d, "problem-command") == "command is needed"
        await fill(d, "command", "no-such-program-anywhere")
        form_of(d).inputs[2].value = str(tmp_path / "nowhere")
        await d.press("enter")
        assert said(d, "problem-cwd") == "there is no such folder"
        assert focused(d) == "cwd"
        form_of(d).inputs[2].value = str(tmp_path)
        await fill(d, "variables", "A")
        await d.press("enter")
        assert "NAME=VALUE" in said(d, "problem-variables")
        await d.type("=1")
        await d.press("enter")
        await d.until(lambda: "there is no such program" in said(d, "start-said"), "why it cannot be started")
        assert list_runs() == []
        assert d.app.crash_report is None


async def test_a_template_with_choices_and_ranges() -> None:
    async with open_app(size=SMALL) as d:
        await open_form(d, "Quamba")
        await d.type("m")
        await fill(d, "w_bits", "5")
        assert "one of 4, 8" in said(d, "problem-w-5f-bits")
        await d.press("backspace", "space")
        assert form_of(d).values["w_bits"] == "16"
        await d.press("space")
        assert form_of(d).values["w_bits"] == "4"
        await fill(d, "percentile_alpha", "2")
        assert said(d, "problem-percentile-5f-alpha") == "above 0, at most 1"
        await d.press("backspace")
        await d.type("0.9995")
        await fill(d, "group_heads", "")
        await d.press("space")
        assert said(d, "start-command") == (
            "$ python main.py m --pretrained_dir quantized --quantize --w_bits 4 --a_bits 8"
            " --percentile_alpha 0.9995 --group_heads --verbose"
        )
        await d.press("ctrl+p")
        assert form_of(d).template.name == "calibrate"
        await d.press("ctrl+p")
        assert form_of(d).template.name == "command"


async def test_a_calibration_of_ours_has_defaults_that_work() -> None:
    async with open_app() as d:
        await open_form(d, "calibrate")
        words = "calibrate demo --here --alpha 0.9995 --alpha 0.99999 --out quantized --samples 128 --seq-len 512"
        assert said(d, "start-command") == f"$ qinspect {words}"
        argv = form_of(d).template.argv(form_of(d).values)
        assert argv == [sys.executable, "-P", "-m", "qinspect.inspector", *words.split()]
        await fill(d, "alphas", "")
        await d.type(", 2")
        assert said(d, "problem-alphas") == "at least 0, at most 1"
        await d.press("backspace")
        await d.type("x")
        assert said(d, "problem-alphas") == "a number"


async def test_an_evaluation_names_its_models_and_completes_their_paths(tmp_path: Path) -> None:
    (tmp_path / "quantized-model").mkdir()
    async with open_app() as d:
        await open_form(d, "evaluate")
        await d.type("demo")
        await fill(d, "model", f"{tmp_path}/quan")
        await d.press("tab")
        assert form_of(d).values["model"] == f"{tmp_path}/quantized-model/"
        await fill(d, "margin", "0")
        assert said(d, "problem-margin") == "above 0"
        await d.type(".02")
        assert said(d, "problem-margin") == ""
        words = f"evaluate demo {tmp_path}/quantized-model/ --here --samples 128 --seq-len 512 --margin 0.02"
        assert form_of(d).template.argv(form_of(d).values)[-len(words.split()) :] == words.split()


async def test_an_evaluation_of_alphas_needs_a_calibration() -> None:
    async with open_app() as d:
        await open_form(d, "evaluate alphas")
        await d.type("demo")
        await d.press("enter")
        assert focused(d) == "run"
        assert said(d, "problem-run") == "run is needed"
        await fill(d, "run", "mine")
        words = "evaluate demo --run mine --here --alpha 0.9995 --alpha 0.99999 --samples 128 --seq-len 512"
        assert said(d, "start-command") == f"$ qinspect {words}"


async def test_warnings_are_shown_before_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "check_before_start", lambda spec: ["run other is still running and may use GPU 0 too"])
    async with open_app() as d:
        await open_form(d)
        await d.type("true")
        await d.press("enter")
        await d.until(lambda: "may use GPU 0 too" in said(d, "start-said"), "the warning")
        assert "enter again" in said(d, "start-said")
        assert list_runs() == []
        await d.press("enter")
        await d.until(lambda: d.app.screen is d.runs, "the screen again")
        assert [r.spec.argv for r in list_runs()] == [("true",)]


async def test_a_warning_is_asked_again_for_another_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "check_before_start", lambda spec: ["beware"])
    async with open_app() as d:
        await open_form(d)
        await d.type("tru")
        await d.press("enter")
        await d.until(lambda: "beware" in said(d, "start-said"), "the warning")
        await d.type("e")
        await d.press("enter")
        await d.settle()
        assert list_runs() == []


async def test_again_has_what_the_run_had(tmp_path: Path) -> None:
    run = begin("/bin/echo", "a b", "--x=1", cwd=tmp_path, name="first", env={"A": "1 2", "HF_TOKEN": "secret"})
    ended(run)
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("E")
        values = form_of(d).values
        assert values["command"] == "/bin/echo 'a b' --x=1"
        assert (values["name"], values["cwd"], values["variables"]) == ("first", str(tmp_path), "A='1 2'")
        await d.press("enter")
        await d.until(lambda: len(list_runs()) == 2, "the second")


async def test_the_users_templates_and_what_is_wrong_with_them(own_home: Path) -> None:
    config = own_home / "config" / "qinspect" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        '[[run_template]]\nname = "mine"\nwords = ["echo", "{a b}"]\n[[run_template.field]]\nname = "\u00e4/x y"\n'
        '[[run_template]]\nname = "bad"\n'
    )
    async with open_app() as d:
        await open_form(d)
        assert "bad: has no words" in said(d, "start-said")
        await d.press("ctrl+n")
        assert form_of(d).template.name == "mine"
        assert said(d, "start-command") == "$ echo '{a b}'"


async def test_tab_completes_a_path_and_goes_on_where_there_is_nothing_to_complete(tmp_path: Path) -> None:
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "models" / "other.safetensors").write_bytes(b"")
    async with open_app(size=SMALL) as d:
        await open_form(d, "calibrate")
        (model,) = (i for i in form_of(d).inputs if i.of.name == "model")
        model.value = str(tmp_path / "mod")
        await d.press("tab")
        assert model.value == f"{tmp_path}/models/"
        await d.press("tab")
        assert model.value == f"{tmp_path}/models/o"
        assert "one/  other.safetensors" in said(d, "start-said")
        await d.type("t")
        await d.press("tab")
        assert model.value == f"{tmp_path}/models/other.safetensors"
        assert focused(d) == "model"
        await d.press("tab")
        assert focused(d) == "recipe"
        await d.press("tab")
        assert focused(d) == "alphas"
        await d.press("up", "up")
        model.value = "/no/such/fol"
        await d.press("tab")
        assert focused(d) == "recipe"
        assert d.app.crash_report is None


async def test_templates_are_a_list() -> None:
    async with open_app(size=SMALL) as d:
        await open_form(d)
        await d.press("ctrl+t")
        assert all(name in d.painted for name in ("command", "calibrate", "Quamba", "lm_eval", "apply"))
        await d.type("appl")
        await d.press("enter")
        await d.until(lambda: isinstance(d.app.screen, StartScreen) and form_of(d).template.name == "apply", "apply")
        await d.press("ctrl+t", "escape")
        assert form_of(d).template.name == "apply"


async def test_what_is_written_has_a_name_that_nothing_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_app(size=SMALL) as d:
        await open_form(d, "calibrate")
        assert form_of(d).values["out"] == "quantized"
        (tmp_path / "quantized").mkdir()
        await d.press("ctrl+n", "ctrl+p")
        assert form_of(d).values["out"] == "quantized-2"


async def test_a_name_for_what_is_written_is_free_in_the_folder_that_it_is_written_in(tmp_path: Path) -> None:
    """Quamba loads what it finds under that name, and calibrates nothing."""
    (tmp_path / "quantized").mkdir()
    async with open_app() as d:
        await d.press("exclamation_mark", "ctrl+n", "ctrl+n")
        form = d.app.screen
        assert isinstance(form, StartScreen)
        assert form.template.name == "Quamba"
        fields = {i.of.name: i for i in form.inputs}
        fields["cwd"].value = str(tmp_path)
        await d.settle()
        assert fields["pretrained_dir"].value == "quantized-2"
        fields["pretrained_dir"].value = "mine"
        fields["cwd"].value = "/"
        await d.settle()
        assert fields["pretrained_dir"].value == "mine"
