"""A damaged run in the list of the screen: one marked row among the others, looked at anew until it is mended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from run_processes import ended, shell

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.runs import folder as files
from qinspect.tui.glyphs import ASCII
from qinspect.tui.runs.log_facts import LogFacts
from qinspect.tui.runs.run_list import run_line
from qinspect.tui.runs.spec_lines import spec_lines
from qinspect.tui.runs.watch import Looked, RunWatch


def rows(looked: Looked, width: int) -> list[str]:
    runs = sorted(looked.runs, key=lambda seen: seen.run.id, reverse=True)
    return ["".join(text for text, _ in run_line(seen, width, ASCII, 0.0)) for seen in runs]


def test_one_row_is_marked_and_the_others_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "state"))
    good = shell("true", name="good")
    ended(good)
    bad = good.folder.with_name("20200101-000000-aaaa")
    shutil.copytree(good.folder, bad)
    whole = (bad / files.RESULT).read_text()
    (bad / files.RESULT).write_text(json.dumps({**json.loads(whole), "exit_code": float("inf")}))
    watch = RunWatch()
    for _ in range(2):
        looked = watch.look()
        first, second = rows(looked, 150)
        assert "finished" in first
        assert "damaged " in second
        assert "damaged: result.json: exit_code is Infinity" in second
        assert "damaged" in rows(looked, 40)[1]
        (damaged,) = (seen for seen in looked.runs if seen.run.folder == bad)
        lines = [
            "".join(text for text, _ in line) for line in spec_lines(damaged, looked.runs, LogFacts(damaged.run), 200)
        ]
        assert any("result.json: exit_code is Infinity; expected an exit code" in line for line in lines)
    (bad / files.RESULT).write_text(whole)
    assert "damaged" not in rows(watch.look(), 150)[1]
    shutil.rmtree(bad)
    assert len(watch.look().runs) == 1
    good.folder.parent.chmod(0o777)
    with pytest.raises(CannotRead, match="chmod go-w"):
        watch.look()
    good.folder.parent.chmod(0o700)
