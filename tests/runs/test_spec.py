"""What is remembered of a run, what is not, and what changed between two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_processes import begin, ended

from qinspect.inspector.errors import CannotStartRun
from qinspect.inspector.runs import RunSpec, State, compare_specs, make_spec
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.spec import NOT_STORED, spec_from_dict


def test_a_spec_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("UNRELATED", "1")
    spec = make_spec(["a", "b c"], name=" n ", env={"X": "1"}, cwd=tmp_path)
    assert (spec.name, spec.inherited, spec.env) == ("n", {"CUDA_VISIBLE_DEVICES": "1"}, {"X": "1"})
    assert spec.command == "a 'b c'"
    assert spec.variable("CUDA_VISIBLE_DEVICES") == "1"
    assert spec_from_dict(json.loads(json.dumps(spec.as_dict()))).spec == spec
    over = make_spec(["a"], env={"CUDA_VISIBLE_DEVICES": "0"}, cwd=tmp_path)
    assert (over.inherited, over.variable("CUDA_VISIBLE_DEVICES")) == ({}, "0")


@pytest.mark.parametrize("content", [{}, {"argv": 3, "env": [], "created": "x", "git_dirty": 2, "name": None}])
def test_a_spec_of_another_time_has_defaults(content: dict[str, object]) -> None:
    found = spec_from_dict(content)
    assert found.spec == RunSpec(argv=(), name="", cwd="")
    wrong = {key for key, value in content.items() if value is not None}
    assert {problem.split()[1] for problem in found.problems} == wrong


def test_secrets_reach_the_command_and_not_the_disk() -> None:
    run = begin(sys.executable, "-c", "import os; print(len(os.environ['HF_TOKEN']))", env={"HF_TOKEN": "hf_abcdef"})
    ended(run)
    assert run.log_path.read_text() == "9\n"
    assert json.loads((run.folder / files.SPEC).read_text())["env"] == {"HF_TOKEN": NOT_STORED}
    for path in run.folder.iterdir():
        assert b"hf_abcdef" not in path.read_bytes()
        if path.name in (files.SPEC, files.LOG, files.EVENTS, files.RESULT):
            assert path.stat().st_mode & 0o077 == 0
    assert run.folder.stat().st_mode & 0o077 == 0


def test_variables_of_the_command_are_not_the_supervisors() -> None:
    run = begin("/bin/sh", "-c", "echo $PYTHONHOME", env={"PYTHONHOME": "/no/python", "PATH": "/no/programs"})
    assert ended(run).state is State.FINISHED
    assert run.log_path.read_text() == "/no/python\n"
    with pytest.raises(CannotStartRun, match="expected a program in PATH"):
        begin("ls", env={"PATH": "/no/programs"})


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["python", "main.py", "x"], "main.py"),
        (["/usr/bin/python3.11", "-u", "a/b.py"], "b.py"),
        (["python", "-m", "lm_eval", "--tasks"], "lm_eval"),
        (["python", "-c", "print()"], "python"),
        (["bash", "./go.sh"], "go.sh"),
        (["/opt/bin/torchrun", "x.py"], "torchrun"),
        (["sh"], "sh"),
    ],
)
def test_a_run_without_a_name_is_called_like_its_program(words: list[str], name: str) -> None:
    assert make_spec(words).name == name


def test_what_changed() -> None:
    a = RunSpec(("python", "main.py", "--alpha", "0.5", "--gh", "--x", "-1"), "a", "/w", {"A": "1"}, git_commit="c1")
    b = RunSpec(
        ("python", "main.py", "--alpha=0.9", "--x", "-1", "--new"), "b", "/w", {"A": "2", "B": "3"}, git_commit="c2"
    )
    assert compare_specs(a, b) == [
        ("argv --alpha", "0.5", "0.9"),
        ("argv --gh", "", None),
        ("argv --new", None, ""),
        ("env A", "1", "2"),
        ("env B", None, "3"),
        ("git_commit", "c1", "c2"),
    ]
    assert compare_specs(a, a) == []
    again = RunSpec(("p", "-o", "1", "-o", "2"), "", "")
    assert compare_specs(again, RunSpec(("p", "-o", "1", "-o", "3"), "", "")) == [("argv -o (again)", "2", "3")]


def test_the_commit_of_the_working_folder(tmp_path: Path) -> None:
    assert (make_spec(["a"], cwd=tmp_path).git_commit, make_spec(["a"], cwd=tmp_path).git_dirty) == ("", None)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    (tmp_path / "f").write_text("1")
    for words in (["init", "-q"], ["add", "f"], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *words], check=True)
    spec = make_spec(["a"], cwd=tmp_path)
    assert (len(spec.git_commit), spec.git_dirty) == (40, False)
    (tmp_path / "f").write_text("2")
    assert make_spec(["a"], cwd=tmp_path).git_dirty is True
    (tmp_path / "evil").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "evil").chmod(0o755)
    subprocess.run([*git, "config", "core.fsmonitor", "./evil"], check=True)
    make_spec(["a"], cwd=tmp_path)
    assert not (tmp_path / "ran").exists()
