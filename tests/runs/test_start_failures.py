"""What cannot be started: one sentence that names the file and a cure, and nothing left behind."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import psutil
import pytest
from hostile import HOSTILE_CHARACTERS, assert_one_line
from run_processes import begin, ended, shell, until

from qinspect.inspector.errors import CannotStartRun, UsageError
from qinspect.inspector.runs import State, launch, list_runs, logind, make_spec


def refused(*argv: str, cwd: Path | None = None) -> str:
    """Starting raises CannotStartRun; returns its line."""
    with pytest.raises(CannotStartRun) as caught:
        begin(*argv, cwd=cwd)
    assert list_runs() == []
    return assert_one_line(caught.value)


def test_a_missing_program(tmp_path: Path) -> None:
    assert refused("no-such-program").startswith(
        "no-such-program: there is no such program; expected a program in PATH"
    )
    line = refused("./missing", cwd=tmp_path)
    assert line.startswith(f"{tmp_path}/missing: there is no such program")


def test_a_missing_program_where_a_folder_of_path_may_not_be_entered() -> None:
    answer = {"problem": "Permission denied", "errno": errno.EACCES, "file": "no-such-program"}
    error = launch._cannot_start(answer, make_spec(["no-such-program"]), Path("/none"))
    assert "there is no such program" in str(error)
    assert "chmod" in str(launch._cannot_start(answer, make_spec(["ls"]), Path("/none")))


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"\x00\x01")
    assert "chmod +x" in refused(str(script))
    script.chmod(0o755)
    assert "#!/bin/sh" in refused(str(script))
    script.write_text("#!/no/such/interpreter\n")
    assert "its interpreter does not exist" in refused(str(script))


def test_hostile_names_stay_in_one_line(tmp_path: Path) -> None:
    name = HOSTILE_CHARACTERS.replace("\x00", "").replace("\ud800", "")
    refused(name)
    refused(f"./{name}", cwd=tmp_path)
    run = begin("/bin/sh", "-c", "true", name=name)
    assert ended(run).state is State.FINISHED
    assert list_runs()[0].spec.name == name.strip()


def test_what_no_command_can_be(tmp_path: Path) -> None:
    for words in ([], [""], ["a\0b"]):
        with pytest.raises(UsageError):
            make_spec(words)
    with pytest.raises(UsageError, match="not a folder"):
        make_spec(["true"], cwd=tmp_path / "none")
    for env in ({"A": "\0"}, {"": "x"}, {"A=B": "x"}):
        with pytest.raises(UsageError):
            make_spec(["true"], env=env)


def test_a_working_folder_that_went_away(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    spec = make_spec(["true"], cwd=folder)
    folder.rmdir()
    with pytest.raises(CannotStartRun, match=r"another --cwd"):
        launch.launch(spec)


def test_a_state_folder_that_cannot_be_made(own_runs: Path) -> None:
    own_runs.parent.write_text("a file where the folder should be")
    with pytest.raises(CannotStartRun) as caught:
        shell("true")
    assert caught.value.file is not None
    assert caught.value.file.startswith(str(own_runs.parent))
    assert "QINSPECT_STATE_DIR" in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_state_folder_that_may_not_be_written(own_runs: Path) -> None:
    own_runs.mkdir(parents=True)
    own_runs.chmod(0o500)
    with pytest.raises(CannotStartRun, match="make this one writable"):
        shell("true")
    own_runs.chmod(0o700)


def test_a_state_folder_on_a_read_only_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", "/proc/none")
    with pytest.raises(CannotStartRun) as caught:
        shell("true")
    assert "/proc/none" in assert_one_line(caught.value)


def test_a_supervisor_that_dies_without_a_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'the interpreter is broken' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    assert "found the interpreter is broken" in refused("true")


def test_a_systemd_run_that_does_not_work_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.inspector.runs.logind import Survival

    monkeypatch.setattr(logind, "here", lambda: Survival(("/bin/false",)))
    assert ended(shell("exit 0")).state is State.FINISHED
    monkeypatch.setattr(logind, "here", lambda: Survival(("/usr/bin/env",)))
    assert ended(shell("exit 0")).state is State.FINISHED


def test_nothing_of_a_failed_start_goes_on(own_runs: Path) -> None:
    refused("no-such-program")

    def left() -> list[list[str]]:
        lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
        return [words for words in lines if any(str(own_runs) in w for w in words)]

    until(lambda: not left(), "the end of the supervisor")
