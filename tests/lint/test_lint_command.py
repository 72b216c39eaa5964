"""`qinspect lint`: what it prints in each of its formats, its exit codes, its settings and baselines."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest
from commands import Command
from lint_models import nvfp4_model

from qinspect.inspector.lint.registry import all_rules

UP = "layers.1.mlp.up_proj.weight_scale_2"
NAN, UNEQUAL = {UP: float("nan")}, {UP: 2e-3}


@pytest.fixture
def lint(
    capsys: pytest.CaptureFixture[str], source_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command("lint", capsys, source_root)


def test_a_sound_model_is_clean(lint: Command, tmp_path: Path) -> None:
    model = nvfp4_model(tmp_path / "m")
    out, err = lint(model)
    assert err == ""
    assert "no finding" in out
    found = lint.json(model)
    assert found["findings"] == []
    looked = {r["code"]: r["looked_at"] for r in found["rules"] if r["looked_at"]}
    assert looked["S01"] == 2 * 5 * 3
    assert looked["G01"] == 2 * 2


def test_a_scale_that_is_not_a_number_is_an_error(lint: Command, tmp_path: Path) -> None:
    model = nvfp4_model(tmp_path / "m", NAN)
    out, _ = lint(model, code=1)
    assert "S01 not-finite: error" in out
    assert "1 scale of 30 has NaN or infinite numbers" in out
    assert "layers.1.mlp.up_proj.weight#global = nan" in out
    (found,) = [f for f in lint.json(model, code=1)["findings"] if f["code"] == "S01"]
    assert found["places"] == [{"key": "layers.1.mlp.up_proj.weight#global", "index": [], "value": None, "text": ""}]


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 1), ("note", 1)])
def test_the_exit_code_goes_by_severity(lint: Command, tmp_path: Path, fail_on: str, code: int) -> None:
    out, _ = lint(nvfp4_model(tmp_path / "m", UNEQUAL), "--fail-on", fail_on, "--select", "G01", code=code)
    assert "1 of 2 gate/up groups have unequal scales" in out


def test_a_model_without_scales_is_not_called_clean(lint: Command, source_root: Path) -> None:
    out, _ = lint(source_root / "tests" / "data" / "models" / "base_mamba1" / "mamba-tiny", code=3)
    assert "nothing to check" in out


def test_rules_that_look_at_nothing_do_not_say_that_there_is_nothing(lint: Command, tmp_path: Path) -> None:
    model = nvfp4_model(tmp_path / "m", UNEQUAL)
    out, _ = lint(model, "--select", "C02", code=3)
    assert "no finding: none of 1 rule that was asked for had anything to look at" in out
    assert "no scales" not in out


def test_rules_of_files_alone_are_something(lint: Command, tmp_path: Path) -> None:
    out, _ = lint(nvfp4_model(tmp_path / "m", UNEQUAL), "--select", "F")
    assert "no finding of 9 rules that had something to look at" in out


def test_no_such_path_is_an_error(lint: Command, tmp_path: Path) -> None:
    assert "none" in lint.error(tmp_path / "none")


def codes(found: dict[str, list[dict[str, str]]]) -> set[str]:
    return {r["code"] for r in found["rules"]}


def test_only_selected_rules_run(lint: Command, tmp_path: Path) -> None:
    model = nvfp4_model(tmp_path / "m", UNEQUAL)
    assert codes(lint.json(model, "--select", "S01", "G01")) == {"S01", "G01"}
    assert codes(lint.json(model, "--select", "S", "--ignore", "not-finite")) == {
        r.code for r in all_rules() if r.code[0] == "S" and r.code != "S01"
    }
    assert codes(lint.json(model, "--select", "S01,G01", "--ignore", "s01")) == {"G01"}
    assert "there is no rule ''." in lint.error(model, "--select", "")
    assert "there is no rule S0815" in lint.error(model, "--select", "S0815")


def test_settings_are_those_of_the_nearest_file(lint: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nvfp4_model(tmp_path / "m", UNEQUAL)
    (tmp_path / "qinspect.toml").write_text('[lint]\nselect = ["G01"]\nfail-on = "warning"\n', encoding="utf-8")
    assert codes(lint.json(model, code=1)) == {"G01"}
    deeper = tmp_path / "deeper"
    deeper.mkdir()
    monkeypatch.chdir(deeper)
    assert codes(lint.json(model, code=1)) == {"G01"}
    text = '[tool.qinspect.lint]\nselect = ["G01"]\n[tool.qinspect.lint.limits.G01]\nratio = 11\n'
    (deeper / "pyproject.toml").write_text(text, encoding="utf-8")
    assert lint.json(model)["findings"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[lint]\nselct = ["S"]\n', "selct"),
        ("[lint.limits.G01]\nration = 2.0\n", "ration"),
        ("[lint.limits.G99]\nratio = 2.0\n", "G99"),
        ('[lint]\nfail-on = "never"\n', "never"),
        ("[lint.limits.G01]\nratio = nan\n", "expected a finite number; found nan"),
        ("[lint\n", "cannot be read"),
        ("[other]\n", "says nothing of lint"),
    ],
)
def test_settings_that_are_wrong_are_one_sentence(lint: Command, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "odd.toml").write_text(text, encoding="utf-8")
    error = lint.error(nvfp4_model(tmp_path / "m"), "--config", "odd.toml")
    assert said in error
    assert "odd.toml" in error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool]\nqinspect = 3\n", "[tool.qinspect] is not a table; found 3"),
        ("[tool.qinspect]\nlint = 3\n", "[tool.qinspect.lint] is not as it should be"),
        ('[tool.qinspect.lint]\nselect = "G"\n', "[tool.qinspect.lint] is not as it should be"),
    ],
)
def test_a_project_file_that_is_wrong_about_lint(lint: Command, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert said in lint.error(nvfp4_model(tmp_path / "m"))


def test_a_broken_project_file_is_an_error_where_it_is_named(lint: Command, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("broken [", encoding="utf-8")
    model = nvfp4_model(tmp_path / "m")
    lint(model)  # somebody else's
    assert "cannot be read" in lint.error(model, "--config", "pyproject.toml")


def test_what_is_known_is_left_out_until_there_is_more(lint: Command, tmp_path: Path) -> None:
    model, words = nvfp4_model(tmp_path / "m", UNEQUAL), ("--fail-on", "warning", "--select", "G01", "S01")
    out, err = lint(model, *words, "--write-baseline", "known.json")
    assert out == ""
    assert "1 place written to known.json" in err
    out, err = lint(model, *words, "--baseline", "known.json")
    assert "no finding" in out
    assert "1 known place left out" in err
    nvfp4_model(tmp_path / "m", {**UNEQUAL, "layers.0.mlp.up_proj.weight_scale_2": 1e-3})
    out, _ = lint(model, *words, "--baseline", "known.json", code=1)
    assert "2 of 2 gate/up groups" in out
    assert "(1 of 2 places are new)" in " ".join(out.split())
    assert "layers.0.mlp" in out
    assert "layers.1.mlp:" not in out


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "other/1", "known": {}}', '{"schema": 3}'])
def test_a_baseline_that_is_none_is_one_sentence(lint: Command, tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_text(text, encoding="utf-8")
    out, err = lint(nvfp4_model(tmp_path / "m"), "--baseline", "b.json", code=2)
    assert out == ""
    assert "is not a baseline of lint" in err
    _, err = lint(tmp_path / "m", "--baseline", "none.json", code=2)
    assert "none.json" in err


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "none/known.json",
            "none/known.json: cannot be written: none does not exist. Make the folder first: `mkdir -p",
        ),
        ("file/known.json", "file/known.json: cannot be written: file is no folder. Name another file."),
        ("m", "m: cannot be written: it is a folder. Name a file."),
    ],
)
def test_a_baseline_that_cannot_be_written_is_named_as_it_was_asked_for(
    lint: Command, tmp_path: Path, place: str, said: str
) -> None:
    (tmp_path / "file").touch()
    out, err = lint(nvfp4_model(tmp_path / "m"), "--write-baseline", place, code=2)
    assert out == ""
    assert said in err
    assert "unfinished" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "m"]


def test_a_baseline_on_a_full_disk_is_named_as_it_was_asked_for(lint: Command, tmp_path: Path) -> None:
    full = OSError(28, "No space left on device", ".known.json.unfinished-1")
    with patch("qinspect.inspector.whole_file.os.fsync", side_effect=full):
        _, err = lint(nvfp4_model(tmp_path / "m"), "--write-baseline", "known.json", code=2)
    assert "known.json: cannot be written: No space left on device" in err
    assert "unfinished" not in err


def test_sarif_has_a_result_for_each_place(lint: Command, tmp_path: Path) -> None:
    """As GitHub's code scanning asks: a rule for each ruleId, a location and a fingerprint for each result."""
    model = nvfp4_model(tmp_path / "m", {**NAN, "layers.0.mlp.up_proj.input_scale": 0.0})
    out, _ = lint(model, "--format", "sarif", code=1)
    sarif = json.loads(out)
    assert sarif["version"] == "2.1.0"
    (run,) = sarif["runs"]
    rules = {r["id"]: r for r in run["tool"]["driver"]["rules"]}
    results = [r for r in run["results"] if r["ruleId"] in ("S01", "S02")]
    assert [(r["ruleId"], r["level"]) for r in results] == [("S01", "error"), ("S02", "error")]
    for r in run["results"]:
        assert r["ruleId"] in rules
        assert r["message"]["text"]
        assert r["locations"][0]["physicalLocation"] == {
            "artifactLocation": {"uri": str(model)}, "region": {"startLine": 1},
        }  # fmt: skip
        assert r["partialFingerprints"]
    assert results[0]["locations"][0]["logicalLocations"] == [
        {"fullyQualifiedName": "layers.1.mlp.up_proj.weight#global", "kind": "member"}
    ]


def test_locations_are_those_of_the_model_and_are_uris(lint: Command, tmp_path: Path) -> None:
    a, b = nvfp4_model(tmp_path / "sound"), nvfp4_model(tmp_path / "50% of 1", NAN)
    results = json.loads(lint(a, b, "--format", "sarif", "--select", "S01", code=1)[0])["runs"][0]["results"]
    uris = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results]
    assert uris == [f"{tmp_path}/50%25%20of%201"]
    out, _ = lint(a, b, "--format", "github", "--select", "S01", code=1)
    assert out.startswith(f"::error file={tmp_path}/50%25 of 1,")


def test_github_shows_a_finding_in_one_line(lint: Command, tmp_path: Path) -> None:
    model = nvfp4_model(tmp_path / "50%,a:b", NAN)
    out, _ = lint(model, "--format", "github", "--select", "S01", code=1)
    first, *rest = out.splitlines()
    assert first.startswith(f"::error file={tmp_path}/50%25%2Ca%3Ab,title=S01 not-finite::1 scale of 30")
    assert "%0Alayers.1.mlp.up_proj.weight#global = nan" in first
    assert rest == ["1 error of 1 rule that had something to look at"]


def test_a_rule_is_explained(lint: Command) -> None:
    out, _ = lint("--explain", "s01")
    assert out.startswith("S01 not-finite: error\n")
    assert "compressed-tensors#832" in out
    assert lint("--explain", "not-finite")[0] == out
    listed, _ = lint("--explain", "all")
    assert [line.split()[0] for line in listed.splitlines()] == [r.code for r in all_rules()]
    assert "there is no rule" in lint("--explain", "not-finit", code=2)[1]


def test_rules_are_explained_to_programs(
    capsys: pytest.CaptureFixture[str], source_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    lint = Command("lint", capsys, source_root, "rules")
    (one,) = lint.json("--explain", "g01")["rules"]
    assert (one["code"], one["severity"], one["theme"]) == ("G01", "warning", "groups")
    assert one["looks_for"] in " ".join(lint("--explain", "G01")[0].split())
    assert [r["code"] for r in lint.json("--explain", "all")["rules"]] == [r.code for r in all_rules()]
    assert "there is no rule" in lint("--explain", "not-finit", "--json", code=2)[1]
    assert "has no --format sarif" in lint("--explain", "S01", "--format", "sarif", code=2)[1]


def test_two_quantized_models_are_both_checked(lint: Command, tmp_path: Path) -> None:
    a, b = nvfp4_model(tmp_path / "a"), nvfp4_model(tmp_path / "b", NAN)
    found = lint.json(a, b, "--select", "S01", code=1)
    assert [f["model"] for f in found["findings"]] == ["B"]
    assert {(r["model"], r["looked_at"]) for r in found["rules"]} == {("A", 30), ("B", 30)}
    assert "B: 1 scale of 30" in lint(a, b, "--select", "S01", code=1)[0]
    assert "no second checkpoint was given" not in lint(a, b, code=1)[0]


def test_fast_leaves_out_what_is_large_and_says_so(lint: Command, tmp_path: Path) -> None:
    model = nvfp4_model(tmp_path / "m")
    (s01,) = lint.json(model, "--fast", "--select", "S01")["rules"]
    assert (s01["looked_at"], s01["left"]) == (20, 10)
    assert "10 scales not looked at" in lint(model, "--fast", "--select", "S01")[0]
