"""docs/runs.md says what the code does."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from run_processes import kill_all

from qinspect.inspector.cli import main
from qinspect.inspector.runs import State
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.gpus import GpuSample
from qinspect.inspector.runs.spec import INHERITED


@pytest.fixture
def page(source_root: Path) -> str:
    return (source_root / "docs" / "runs.md").read_text(encoding="utf-8")


def test_every_state_file_and_variable_is_on_the_page(page: str) -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", page.partition("## States")[2].partition("## ")[0], re.MULTILINE) == [
        str(s) for s in State
    ]
    listed = re.findall(r"^\| `([a-z.]+)` \|", page.partition("## The folder")[2].partition("## ")[0], re.MULTILINE)
    names = [files.SPEC, files.LOG, files.EVENTS, files.PROCESS, files.HEARTBEAT, files.CANCEL, files.RESULT]
    assert listed == [*names, files.SUPERVISOR_LOG, files.RESERVE]
    variables = page.partition("only CUDA_VISIBLE")[2].partition(".\n")[0]
    assert re.findall(r"[A-Z_]{5,}", f"CUDA_VISIBLE{variables}") == list(INHERITED)


def test_the_session_is_what_is_printed(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids, paths, hosts, times and what the parser of logs finds are left out; the rest is compared line by line."""
    (tmp_path / "main.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # the page says `python`
    monkeypatch.setattr("qinspect.inspector.runs.run.sample", lambda: GpuSample(0, ()))
    commands = re.findall(
        r"^\$ qinspect (run .*|runs diff .*|runs cancel .*|runs rm .*)\n((?:(?!\$|```).*\n)*)", page, re.M
    )
    assert len(commands) == 6
    made: list[str] = []
    try:
        first, failed, second, *rest = commands
        for line, printed in (first, failed, second, *rest):
            words = line.partition(";")[0].split()
            code = main(words)
            out, err = capsys.readouterr()
            made += re.findall(r"run (\d{8}-\d{6}-[0-9a-f]{4}) \(\S+\) has started", out)
            expected = re.sub(r"exit code (\d)\n$", "", printed)
            assert code == (2 if expected != printed else 0)
            assert _without_particulars(err + out) == _without_particulars(expected), line
    finally:
        kill_all()
    assert len(made) == 2


def _without_particulars(text: str) -> str:
    text = re.sub(r"\d{8}-\d{6}-[0-9a-f]{4}", "ID", text)
    text = re.sub(r"(?<= )[0-9a-f]{4}$", "LAST", text, flags=re.MULTILINE)
    return re.sub(r"/\S*/runs/", "/RUNS/", re.sub(r"\d+\.\d s", "N s", text))
