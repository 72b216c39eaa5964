"""`qinspect logs` of a run: which run it is, what its log says, and the words that start it again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import jsonschema
import pytest
from run_processes import begin, ended, shell

from qinspect.inspector.cli import main
from qinspect.inspector.runs import Run


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["logs", *words]) == code
    found = capsys.readouterr()
    return found.out if code == 0 else found.err


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """One with a name and a variable, whose log has a warning."""
    script = "echo 'WARNING: $WORD is \"odd\"'; echo $WORD > made"
    found = begin("/bin/sh", "-c", script, cwd=tmp_path, name="first try", env={"WORD": "a b"})
    ended(found)
    return found


def test_by_its_name_its_id_and_its_folder(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {said(capsys, word) for word in ("first try", run.id, run.id[-4:], str(run.folder), f"{run.folder}/")}
    (text,) = texts
    first, command, again, log, *_ = text.splitlines()
    assert first.startswith(f"run {run.id} finished after ")
    assert first.endswith(", first try")
    assert command == f"  command  {shlex.join(run.spec.argv)}"
    assert shlex.split(again.removeprefix("  again")) == [
        "qinspect", "run", "--name", "first try", "--cwd", run.spec.cwd, "--env", "WORD=a b", "--", *run.spec.argv,
    ]  # fmt: skip
    assert log.startswith(str(run.log_path))
    assert "$WORD is" in text


def test_its_words_start_it_again(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = json.loads(said(capsys, run.id, "--json"))["run"]["again"]
    (tmp_path / "made").unlink()
    assert main([*words[1:2], "-f", *words[2:]]) == 0
    assert (tmp_path / "made").read_text() == "a b\n"


def test_the_json_has_its_schema(run: Run, source_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads((source_root / "docs" / "schema" / "logs.json").read_text())
    for word in (run.id, str(run.log_path)):
        content = json.loads(said(capsys, word, "--json"))
        jsonschema.validate(content, schema)
        assert (content["run"] or {}).get("id") == (run.id if word == run.id else None)


def test_what_is_a_file_here_is_no_run(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("first try").write_text("ERROR: of the file\n")
    text = said(capsys, "first try")
    assert "of the file" in text
    assert run.id not in text


def test_what_is_neither_is_said(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cure = "`qinspect runs` lists the runs."
    assert said(capsys, "nosuch", code=2) == f"qinspect: nosuch: no such file, and no run is called so. {cure}\n"
    assert said(capsys, "a/nosuch", code=2) == "qinspect: a/nosuch: no such file\n"
    assert "a folder, not a log" in said(capsys, str(tmp_path), code=2)
    ended(shell("true", tmp_path, "first try"))
    assert "2 runs are called first try" in said(capsys, "first try", code=2)


def test_a_run_without_a_log_says_which_file_is_missing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.log_path.unlink()
    assert said(capsys, run.id, code=2).startswith(f"qinspect: {run.log_path}: no such file")


def test_a_run_whose_spec_is_gone_has_its_log_still(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (run.folder / "spec.json").unlink()
    text = said(capsys, str(run.folder))
    assert run.id in text.splitlines()[0]
    assert "again" not in text.splitlines()[1]
    assert json.loads(said(capsys, str(run.folder), "--json"))["run"]["again"] is None
