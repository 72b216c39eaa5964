"""`qinspect logs`: text for people, JSON by its schema, errors in one line."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qinspect.inspector.cli import main
from qinspect.inspector.logs import LogParser, load_patterns


def names(folder: str = "data/logs") -> list[str]:
    return sorted(p.name for p in (Path(__file__).parent.parent / folder).iterdir())


@pytest.fixture
def logs(source_root: Path) -> Path:
    return source_root / "tests" / "data" / "logs"


def run(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    found = main(["logs", *map(str, words)])
    out, err = capsys.readouterr()
    assert (found, bool(err)) == (code, code != 0)
    return out + err


def as_json(capsys: pytest.CaptureFixture[str], path: Path, source_root: Path) -> Any:
    content = json.loads(run(capsys, path, "--json"))
    schema = json.loads((source_root / "docs" / "schema" / "logs.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(content)
    return content


@pytest.mark.parametrize("name", names())
def test_text_and_json_say_the_same(
    name: str, logs: Path, source_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = as_json(capsys, logs / name, source_root)
    text = run(capsys, logs / name)
    assert all(n["text"] in text for n in content["notes"])
    assert all(p["name"] in text for p in (*content["phases"], *content["points"]))
    assert "\x1b" not in text
    assert "\r" not in text


def test_levels_and_points(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = logs / "se_mamba1_w8a8_pa1.log"
    assert "phases" in run(capsys, path)
    warnings = run(capsys, path, "--level", "warning")
    assert "phases" not in warnings
    assert "12 warnings, 6 different" in warnings
    assert "warning" not in run(capsys, path, "--level", "error")
    many = tmp_path / "many.log"
    many.write_bytes(b"PerTensorPercentileObserver: percentile_alpha=0.99950, w_max=1.5\n" * 48)
    assert "observer: 48 rows, the first and last 6; --points prints all" in run(capsys, many)
    assert run(capsys, many, "--points").count("0.9995") == 50


def test_stdin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"ERROR: a\x1b[2J\x00b\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", stdin)
    text = run(capsys, "-")
    assert text.startswith("stdin  15 B, 1 line\n")
    assert "line 1  a\\x00b" in text


def test_an_awkward_log_in_json(tmp_path: Path, source_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(
        b"\r\n\x00\xff\n{'a': {1: (2, nan)}}\n| a |\n|---|\n| 1 | 2 |\n{\"x\": [1e999]}\n"
        b"\r 10%|#| 1/10 [00:01<?, ?it/s]"
    )
    content = as_json(capsys, path, source_root)
    assert content["notes"][0]["text"] == "the run is incomplete: the log ends in 'progress' at 1 of 10"
    path.write_bytes(b"")
    assert as_json(capsys, path, source_root)["lines"] == 0


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, tmp_path / "none", code=2) == f"qinspect: {tmp_path}/none: no such file\n"
    assert run(capsys, tmp_path, code=2) == f"qinspect: {tmp_path}: a folder, not a log. Name a file in it.\n"


def test_a_wrong_pattern_of_the_user_is_said_on_stderr(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[[log_pattern]]\nname = 'a'\nkind = 'point'\nregex = '('\n")
    monkeypatch.setattr("qinspect.inspector.logs.patterns.config_path", lambda: config)
    assert main(["logs", str(logs / "quamba_mamba2_w4a8_again.log")]) == 0
    out, err = capsys.readouterr()
    assert out.count("conclusions") == 1
    assert err.startswith(f"qinspect: {config}: log_pattern 'a': the regex is not valid")
    assert err.count("\n") == 1


def test_the_page_prints_what_the_command_prints(
    logs: Path, source_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (source_root / "docs" / "logs.md").read_text(encoding="utf-8")
    ((words, printed),) = re.findall(r"^```\n\$ qinspect logs ([^\n]*)\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(logs)
    assert run(capsys, words) == printed


def test_the_pattern_on_the_page_works(source_root: Path, tmp_path: Path) -> None:
    page = (source_root / "docs" / "logs.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "config.toml").write_text(table)
    patterns = load_patterns(tmp_path / "config.toml")
    assert patterns.problems == ()
    (point,) = LogParser(patterns).feed(b"layer 3 error=0.25\n")
    assert point.fields["fields"] == {"layer": 3, "error": 0.25}
