"""Patterns of the user: what they can do, and what is said where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from qinspect.inspector.logs import LogParser, load_patterns
from qinspect.inspector.logs.patterns import MAX_MATCHED_CHARACTERS, builtin_patterns

GOOD = """
[[log_pattern]]
name = "mine.layer"
kind = "point"
point = "layer error"
regex = 'layer (?P<layer>\\d+) error=(?P<error>\\S+)'
convert = { layer = "int", error = "float" }
effective = { method = "mine", last = "{layer}" }

[[log_pattern]]
name = "mine.slow"
kind = "warning"
regex = 'slow path'
needle = "slow path"
text = "the slow path was taken"

[[log_pattern]]
name = "mine.batch"
kind = "progress"
regex = 'batch (?P<done>\\d+) of (?P<total>\\d+)'

[[log_pattern]]
name = "mine.end"
kind = "note"
regex = 'converged after (?P<n>\\d+)'
text = "converged after {n} steps"

[[log_pattern]]
name = "mine.calibration"
kind = "phase"
phase = "my calibration"
regex = 'Run calibration'
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_patterns_of_the_user(config: Path) -> None:
    config.write_text('[keys]\nquit = "x"\n' + GOOD)
    patterns = load_patterns(config)
    assert patterns.problems == ()
    parser = LogParser(patterns)
    found = parser.feed(
        b"layer 3 error=0.25\nINFO: the slow path it is\nbatch 2 of 9\nconverged after 7\nRun calibration\n"
    )
    assert [(e.kind, e.fields) for e in found if e.kind not in ("setting", "phase")] == [
        ("point", {"name": "layer error", "fields": {"layer": 3, "error": 0.25}, "pattern": "mine.layer"}),
        ("warning", {"text": "the slow path was taken", "pattern": "mine.slow"}),
        ("progress", {"name": "mine.batch", "done": 2, "total": 9, "unit": "it", "rate": None, "eta_s": None,
                      "elapsed_s": None}),
        ("note", {"text": "converged after 7 steps", "rule": "mine.end", "lines": [4]}),
    ]  # fmt: skip
    assert {s.name: s.effective for s in parser.settings()} == {"method": "mine", "last": 3}
    assert [e.fields["name"] for e in found if e.kind == "phase"] == ["my calibration"]  # before the built-in one


def test_no_config_file_is_no_problem(config: Path) -> None:
    assert load_patterns(config).problems == ()


WRONG = [
    ("name = 'a'\nkind = 'point'\nregex = '('", "log_pattern 'a': the regex is not valid (missing )"),
    ("name = 'a'\nkind = 'dance'\nregex = 'x'", "log_pattern 'a': unknown kind 'dance'. Use one of phase, progress,"),
    ("name = 'a'\nkind = 'point'\nregex = '(a+)+b'", "the regex repeats a repetition, which can take for ever"),
    ("name = 'a'\nkind = 'point'\nregx = 'x'", "there is no field 'regx'. The fields are name,"),
    ("name = 'a'\nkind = 'point'", "regex is missing. Give name, regex and kind"),
    ("kind = 'point'\nregex = 'x'", "log_pattern number 2: name is missing"),
    ("name = 'a'\nkind = 'point'\nregex = 3", "regex has the wrong type. See docs/logs.md"),
    ("name = 'a'\nkind = 'progress'\nregex = 'x'", "a progress pattern needs a group (?P<done>...)"),
    ("name = 'a'\nkind = 'point'\nregex = 'x'\nlevel = 'loud'", "unknown level 'loud'. Use one of debug,"),
]


@pytest.mark.parametrize(("table", "sentence"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_pattern_is_one_sentence_and_the_rest_works(table: str, sentence: str, config: Path) -> None:
    config.write_text("[[log_pattern]]\nname = 'ok'\nkind = 'phase'\nregex = 'mine'\n\n[[log_pattern]]\n" + table)
    patterns = load_patterns(config)
    (problem,) = patterns.problems
    assert problem.startswith(f"{config}: log_pattern ")
    assert sentence in problem
    assert "\n" not in problem
    found = LogParser(patterns).feed(b"mine\nCreating Model:x\n")
    assert [e.fields["name"] for e in found if e.kind == "phase"] == ["ok", "create model"]


@pytest.mark.parametrize("content", ["[[log_pattern]\n", "log_pattern = 3\n", "\ufffd\x00"])
def test_a_broken_file_is_one_sentence(content: str, config: Path) -> None:
    config.write_text(content)
    patterns = load_patterns(config)
    (problem,) = patterns.problems
    assert problem.startswith(f"{config}: ")
    assert LogParser(patterns).feed(b"Creating Model:x\n")


def test_built_in_patterns_are_sound() -> None:
    patterns = builtin_patterns()
    assert patterns.problems == ()
    listed = [p for group in patterns.by_start.values() for p in group] + patterns.anywhere
    names = [p.name for p in listed]
    assert len(set(names)) == len(names) > 50
    for p in listed:
        used = {*p.effective.values(), *p.requested.values()}
        groups = {v[1:-1] for v in used if isinstance(v, str) and v.startswith("{")}
        assert groups | set(p.convert) <= set(p.regex.groupindex), p.name
    always = [p.name for p in patterns.by_start[""]]
    assert len(always) < 12, always  # these are tried on every line


def test_patterns_see_the_beginning_and_the_end_of_a_message() -> None:
    filler = b"x" * MAX_MATCHED_CHARACTERS
    (found,) = LogParser(builtin_patterns()).feed(filler + b" CUDA out of memory\n")
    assert found.fields["text"].endswith(" CUDA out of memory")
    assert LogParser(builtin_patterns()).feed(filler + b" CUDA out of memory " + filler + b"\n") == []
