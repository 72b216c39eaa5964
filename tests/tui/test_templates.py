"""Templates of the start form: those that ship, those of the user, and the commands that come of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qinspect.inspector.errors import UsageError
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.runs.spec import ourselves
from qinspect.tui.runs.templates import Field, Template, load_templates, parse_variables


def template(name: str) -> Template:
    return next(t for t in load_templates()[0] if t.name == name)


def test_what_ships_is_whole() -> None:
    templates, problems = load_templates()
    names = ["command", "calibrate", "Quamba", "lm_eval", "apply", "evaluate", "evaluate alphas"]
    assert [t.name for t in templates] == names
    assert problems == []
    assert all(t.help for t in templates)


def test_what_writes_a_folder_has_a_name_for_it_that_nothing_has_yet() -> None:
    """Quamba loads what it finds there, and does not calibrate."""
    written = {t.name: [f.name for f in t.fields if f.fresh and f.default] for t in load_templates()[0]}
    assert written == {
        "command": [], "calibrate": ["out"], "Quamba": ["pretrained_dir"], "lm_eval": ["output_path"], "apply": ["out"],
        "evaluate": [], "evaluate alphas": [],
    }  # fmt: skip


def test_quamba() -> None:
    quamba = template("Quamba")
    values = {f.name: f.default for f in quamba.fields}
    assert quamba.problems(values) == {"model": "model is needed"}
    values |= {"model": "state-spaces/mamba-130m", "percentile_alpha": "0.9995", "pretrained_dir": "out", "w_bits": "4"}
    assert quamba.problems(values) == {}
    assert quamba.argv(values) == [
        "python", "main.py", "state-spaces/mamba-130m", "--pretrained_dir", "out", "--quantize", "--w_bits", "4",
        "--a_bits", "8", "--percentile_alpha", "0.9995", "--verbose",
    ]  # fmt: skip


def test_lm_eval() -> None:
    lm_eval = template("lm_eval")
    values = {f.name: f.default for f in lm_eval.fields} | {"model": "a b", "limit": "100"}
    assert lm_eval.argv(values) == [
        "lm_eval", "--model", "hf", "--model_args", "pretrained=a b", "--tasks", "lambada_openai",
        "--batch_size", "auto", "--limit", "100", "--output_path", "results",
    ]  # fmt: skip


def test_evaluations_are_what_the_command_line_reads() -> None:
    evaluate = template("evaluate")
    values = {f.name: f.default for f in evaluate.fields}
    assert evaluate.problems(values) == {"reference": "reference is needed", "model": "model is needed"}
    values |= {"reference": "base", "model": "a b", "model_3": "c", "margin": "0.02", "floor_seeds": "0"}
    assert evaluate.problems(values) == {}
    argv = evaluate.argv(values)
    assert argv == [
        *ourselves(),
        "evaluate", "base", "a b", "c", "--here", "--samples", "128", "--seq-len", "512", "--margin", "0.02",
        "--floor-seeds", "0",
    ]  # fmt: skip
    alphas = template("evaluate alphas")
    values = {f.name: f.default for f in alphas.fields}
    assert alphas.problems(values) == {"reference": "reference is needed", "run": "run is needed"}
    values |= {"reference": "demo", "run": "mine"}
    assert alphas.argv(values) == [
        *ourselves(), "evaluate", "demo", "--run", "mine", "--here", "--alpha", "0.9995", "--alpha", "0.99999",
        "--samples", "128", "--seq-len", "512",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("alphas", "", True), ("alphas", "0, 1", False), ("alphas", "0.5, 1.5", True), ("seq_len", "1", True),
        ("seq_len", "2", False), ("samples", "0", True), ("margin", "0", True), ("margin_points", "0", True),
        ("margin_points", "1e-9", False), ("floor_seeds", "0", False), ("floor_seeds", "17", True),
    ],
)  # fmt: skip
def test_an_evaluation_is_refused_where_the_command_refuses_it(name: str, value: str, refused: bool) -> None:
    field = next(f for f in template("evaluate alphas").fields if f.name == name)
    assert bool(field.problem(value)) == refused
    read = tuple(float(v) for v in value.split(",") if v) if name == "alphas" else float(value)
    read = int(value) if field.type == "integer" else read
    settings = replace(EvaluateSettings("demo", run="mine", alphas=(0.5,)), **{name: read})  # type: ignore[arg-type]
    if refused:
        with pytest.raises(UsageError):
            settings.check()
    else:
        settings.check()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", ""), ("0.9995", ""), ("1", ""), ("1e-3", ""),
        ("0", "above 0, at most 1"), ("1.5", "above 0, at most 1"), ("-1", "above 0, at most 1"),
        ("x", "a number"), ("nan", "a number that is finite"), ("inf", "a number that is finite"),
    ],
)  # fmt: skip
def test_a_number_with_a_range(value: str, problem: str) -> None:
    alpha = next(f for f in template("Quamba").fields if f.name == "percentile_alpha")
    assert alpha.problem(value) == problem


def test_choices_integers_and_needed_ones() -> None:
    assert Field("f", type="flag").problem("maybe") == "one of no, yes"
    assert Field("f", choices=("4", "8")).problem("5") == "one of 4, 8"
    assert Field("f", type="integer", min=1).problem("1.5") == "a whole number"
    assert Field("f", type="integer", min=1).problem("0") == "at least 1"
    assert Field("f", required=True).problem("") == "f is needed"
    assert Field("f").problem("a\0b") != ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "command is needed"), ("   ", "command is needed"), ("echo 'a", "no closing quotation"), ("echo 'a b'", "")],
)
def test_a_plain_command_is_read_as_a_shell_reads_it(text: str, problem: str) -> None:
    plain = template("command")
    assert plain.problems({"command": text}).get("command", "") == problem
    if not problem:
        assert plain.argv({"command": text}) == ["echo", "a b"]


def test_a_value_is_one_word_whatever_is_in_it() -> None:
    made = Template("t", words=("run", "{a}", "x={b}"), fields=(Field("a"), Field("b")))
    assert made.argv({"a": "{b} $(rm) 'q", "b": "two words"}) == ["run", "{b} $(rm) 'q", "x=two words"]
    assert made.argv({"a": "", "b": "1"}) == ["run", "x=1"]


HEAD = "[[run_template]]\nname = 'a'\nwords = ['x']\n"
USER = """
[[run_template]]
name = "mine"
words = ["make", "{target}"]
cwd = "/"
[[run_template.field]]
name = "target"
required = true
[[run_template]]
name = "Quamba"
words = ["quamba.sh"]
"""


def test_the_users_templates_come_first_and_replace(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(USER)
    templates, problems = load_templates(config)
    assert [t.name for t in templates] == [
        "command",
        "mine",
        "Quamba",
        "calibrate",
        "lm_eval",
        "apply",
        "evaluate",
        "evaluate alphas",
    ]
    assert problems == []
    assert templates[1].cwd == "/"
    assert templates[2].argv({}) == ["quamba.sh"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run_template = 3", "must be written [[run_template]]"),
        ("run_template = [3]", "must be a table"),
        ("[[run_template]]\nwords = ['x']", "has no name"),
        ("[[run_template]]\nname = 'a'", "a: has no words"),
        ("[[run_template]]\nname = 'a'\nwords = 'x'", "words must be a list"),
        ("[[run_template]]\nname = 'a'\nwords = ['x']\nfield = 3", "written [[run_template.field]]"),
        ("[[run_template]]\nname = 'a'\nwords = ['x']\n[[run_template.field]]\nname = ''", "a field has no name"),
        ("[[run_template]]\nname = 'a'\nwords = ['x']\n[[run_template.field]]\nname = 'f'\ntype = 'z'", "type must be"),
        ("[[run_template]]\nname = 'a'\nwords = ['x']\n[[run_template.field]]\nname = 'f'\nmin = 'z'", "min must be"),
        (
            HEAD + "[[run_template.field]]\nname = 'f'\ntype = 'integer'\ndefault = 'x'",
            "the default must be a whole number",
        ),
        (
            HEAD + "[[run_template.field]]\nname = 'f'\n[[run_template.field]]\nname = 'f'",
            "two fields have one name",
        ),
        ("not toml", "only the built-in templates"),
    ],
)
def test_what_is_wrong_with_the_users_is_said_and_the_others_are_there(text: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    templates, problems = load_templates(config)
    names = ["command", "calibrate", "Quamba", "lm_eval", "apply", "evaluate", "evaluate alphas"]
    assert [t.name for t in templates] == names
    (problem,) = problems
    assert said in problem


def test_variables() -> None:
    assert parse_variables("A=1 B='two words' C=") == {"A": "1", "B": "two words", "C": ""}
    for wrong in ("A", "=1", "A='"):
        with pytest.raises(ValueError, match=r"NAME=VALUE|quotation"):
            parse_variables(wrong)
