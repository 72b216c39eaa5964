"""The README's sessions are what the program prints."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from quamba_files import DATA

from qinspect.inspector.cli import main
from qinspect.tui.actions import RUN_ACTIONS, RUNS_IN_README, bindings, key_table, key_text

README = Path(__file__).parent.parent / "README.md"
SESSIONS = re.findall(r"^```\n\$ qinspect ([^\n;]*)([^\n]*)\n(.*?)\n```", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_has_sessions() -> None:
    assert len(SESSIONS) == 4


@pytest.mark.parametrize(("arguments", "rest", "printed"), SESSIONS)
def test_session(
    arguments: str,
    rest: str,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"):
        shutil.copytree(DATA / name, tmp_path / name)
    for name in ("pa0.9995", "pa0.99999"):  # Quamba saves the same bytes for both alphas
        shutil.copytree(DATA / "m2_w4a8_gh_pa0.9995" / "quamba2-tiny-w4a8", tmp_path / name / "quamba2-tiny-w4a8")
    monkeypatch.chdir(tmp_path)
    code = main(shlex.split(arguments))
    out = capsys.readouterr().out
    if "exit code" in rest:
        out += f"exit code {code}\n"
    assert out.rstrip("\n") == printed


def test_the_key_table_is_that_of_the_actions() -> None:
    text = README.read_text(encoding="utf-8")
    for table in (key_table(), key_table(RUN_ACTIONS, RUNS_IN_README)):
        assert table in text, f"README.md shall have this table:\n{table}"


def test_the_pictures_and_pages_that_the_readme_names_exist() -> None:
    named = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert sum(name.endswith(".svg") for name in named) >= 2
    assert [name for name in named if not (README.parent / name).exists()] == []


def test_every_key_in_the_table_is_bound() -> None:
    rows = [line for line in key_table().splitlines() if "`" in line]
    keys = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    bound = {key_text(key) for b in bindings() for key in b.key.split(",")}
    assert keys <= bound
    assert {"?", "q", "n", "/", "j", "w"} <= keys
