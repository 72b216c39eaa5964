"""The README's sessions are what the program prints."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from quamba_files import DATA

from qinspect.inspector.cli import main

README = Path(__file__).parent.parent / "README.md"
SESSIONS = re.findall(r"^```\n\$ qinspect ([^\n;]*)([^\n]*)\n(.*?)\n```", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_has_sessions() -> None:
    assert len(SESSIONS) == 3


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
