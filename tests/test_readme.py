"""What README and docs show is what the program prints, and what they name is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from quamba_files import DATA

from qinspect.inspector.cli import main
from qinspect.tui.actions import RUN_ACTIONS, bindings, key_text
from qinspect.tui.entry import COMMANDS
from qinspect.tui.glyphs import SIGNS, sign_table
from qinspect.tui.key_pages import RUNS_IN_KEY_TABLE, key_table, keys_page

ROOT = Path(__file__).parent.parent
README, SCREEN = ROOT / "README.md", ROOT / "docs" / "screen.md"
WITH_SESSIONS = (README, ROOT / "docs" / "sessions.md")
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
SESSION = re.compile(r"^```\n\$ qinspect ([^\n;|]*)([^\n]*)\n(.*?)\n```", re.MULTILINE | re.DOTALL)
SESSIONS = [(page, *found) for page in WITH_SESSIONS for found in SESSION.findall(page.read_text(encoding="utf-8"))]


def test_there_are_sessions() -> None:
    assert len(SESSIONS) == 6


@pytest.mark.parametrize(
    ("page", "arguments", "rest", "printed"), SESSIONS, ids=[f"{s[0].stem}-{s[1]}" for s in SESSIONS]
)
def test_session(
    page: Path,
    arguments: str,
    rest: str,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """QINSPECT_UPDATE_SNAPSHOTS=1 writes what is printed into the page."""
    for name in ("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"):
        shutil.copytree(DATA / name, tmp_path / name)
    shutil.copytree(DATA.parent / "models" / "base_mamba1" / "mamba-tiny", tmp_path / "mamba-tiny")
    for name in ("pa0.9995", "pa0.99999"):  # Quamba saves the same bytes for both alphas
        shutil.copytree(DATA / "m2_w4a8_gh_pa0.9995" / "quamba2-tiny-w4a8", tmp_path / name / "quamba2-tiny-w4a8")
    monkeypatch.chdir(tmp_path)
    code = main(shlex.split(arguments))
    out = capsys.readouterr().out
    if "exit code" in rest:
        out += f"exit code {code}\n"
    if cut := re.fullmatch(r"\| head -(\d+)", rest):
        out = "".join(out.splitlines(keepends=True)[: int(cut[1])])
    out = out.rstrip("\n")
    if os.environ.get("QINSPECT_UPDATE_SNAPSHOTS"):
        text, command = page.read_text(encoding="utf-8"), f"$ qinspect {arguments}{rest}\n"
        page.write_text(text.replace(command + printed, command + out), encoding="utf-8")
        return
    assert out == printed


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_key_tables_are_those_of_the_actions() -> None:
    text = SCREEN.read_text(encoding="utf-8")
    for table in (key_table(), key_table(RUN_ACTIONS, RUNS_IN_KEY_TABLE)):
        assert table in text, f"docs/screen.md shall have this table:\n{table}"


def test_the_tables_of_signs_are_those_of_the_help() -> None:
    text = SCREEN.read_text(encoding="utf-8")
    for where in dict.fromkeys(sign.where for sign in SIGNS):
        assert sign_table(where) in text, f"docs/screen.md shall have this table:\n{sign_table(where)}"


def test_the_page_of_keys_is_made_of_the_actions() -> None:
    """QINSPECT_UPDATE_SNAPSHOTS=1 writes it."""
    page = ROOT / "docs" / "keys.md"
    if os.environ.get("QINSPECT_UPDATE_SNAPSHOTS"):
        page.write_text(keys_page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == keys_page()


def test_the_table_of_commands_has_them_all() -> None:
    text = README.read_text(encoding="utf-8")
    assert [c for c in sorted(COMMANDS) if f"| `qinspect {c}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_a_page_links_to_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", text)
    places = [(page.parent / name, anchor) for name, anchor in named if not name.startswith("http")]
    assert [str(place) for place, _ in places if not place.exists()] == []
    lost = [f"{place}#{anchor}" for place, anchor in places if anchor and anchor not in anchors(place)]
    assert lost == []


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_readme_has_a_picture() -> None:
    assert "](docs/screens/overview.svg)" in README.read_text(encoding="utf-8").split("## ", 1)[0]


def test_every_key_in_the_table_is_bound() -> None:
    rows = [line for line in key_table().splitlines() if "`" in line]
    keys = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    bound = {key_text(key) for b in bindings() for key in b.key.split(",")}
    assert keys <= bound
    assert {"?", "q", "n", "/", "j", "w"} <= keys
