"""The user's files: the config, what is remembered, crash reports; and files saved from the screen."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pilots import ALPHA_A, ALPHA_B, open_app

from qinspect.inspector.config import config_path
from qinspect.tui import settings
from qinspect.tui.actions import ACTIONS, keys_now
from qinspect.tui.outside import MAX_CLIPBOARD_BYTES, osc52
from qinspect.tui.runs.form import StartScreen
from qinspect.tui.settings import BadConfig, State, clashing_keys, load_keys, load_state, save_state, write_crash_report


@pytest.fixture
def config(own_home: Path) -> Path:
    path = own_home / "config/qinspect/config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_files_are_where_the_platform_has_them(own_home: Path) -> None:
    assert config_path() == own_home / "config/qinspect/config.toml"
    assert settings.state_path() == own_home / "state/qinspect/screen.json"


def test_no_config_file_is_no_error() -> None:
    assert load_keys() == {}


def test_a_key_and_a_list_of_keys(config: Path) -> None:
    config.write_text('[keys]\nquit = "ctrl+x"\nhelp = ["f2", "h"]\n[else]\nx = 1\n')
    assert load_keys() == {"quit": "ctrl+x", "help": "f2,h"}


def test_every_action_can_be_named(config: Path) -> None:
    config.write_text("[keys]\n" + "".join(f'{a.name} = "f{i + 20}"\n' for i, a in enumerate(ACTIONS)))
    assert set(load_keys()) == {a.name for a in ACTIONS}


async def test_the_letters_that_keys_had_before_work_from_the_file(config: Path) -> None:
    config.write_text('[keys]\nstart_run = "s"\nview_spec = "c"\nlevel = "v"\nview_points = "p"\nfollow = "f"\n')
    assert clashing_keys(load_keys()) == ""
    async with open_app() as d:
        await d.press("c")
        assert d.runs.run_pane.seen.NAME == "spec"
        await d.press("p")
        assert d.runs.run_pane.seen.NAME == "points"
        assert keys_now(d.runs)["jump"] == ["ctrl+p"]
        assert keys_now(d.runs)["previous_match"] == ["N"]
        await d.press("s")
        assert isinstance(d.app.screen, StartScreen)


def test_one_key_in_two_spellings_is_one_key(config: Path) -> None:
    assert clashing_keys({"quit": "slash", "help": "f2,/"}).endswith(": quit and help have one key, /: it does help")
    assert clashing_keys({"quit": "x,x", "help": "f2"}) == ""
    assert clashing_keys({}) == ""
    said = clashing_keys({"up": "a,b", "down": "a", "top": "a", "bottom": "b"})
    assert said == (
        f"{config}: up, down and top have one key, a: it does down; up and bottom have one key, b: it does up"
    )


@pytest.mark.parametrize(
    "content",
    [b"[keys", b"keys = 1", b"keys = []", b'[keys]\nfly = "x"', b"[keys]\nquit = true", b"[keys]\nquit = []",
     b'[keys]\nquit = ["x", 1]', b"[keys]\nquit = { a = 1 }", b"\xff\xfe", b'[keys]\nquit = ""'],
)  # fmt: skip
def test_a_bad_config_names_the_file(content: bytes, config: Path) -> None:
    config.write_bytes(content)
    with pytest.raises(BadConfig) as caught:
        load_keys()
    assert str(caught.value).startswith(f"{config}: ")


def test_a_config_that_cannot_be_read(config: Path) -> None:
    config.mkdir()
    with pytest.raises(BadConfig):
        load_keys()


def test_state_is_remembered_and_replaced_whole(own_home: Path) -> None:
    assert load_state() == State()
    save_state(State({"many": "qinspect-light"}).with_view("a", "b", "codes"))
    last = (
        State({"many": "qinspect-ansi", "sixteen": "qinspect-dark"})
        .with_view("a", "b", "values")
        .with_view("a", None, "weight")
    )
    save_state(last)
    assert load_state() == last
    views = [load_state().view_of(*pair) for pair in (("a", "b"), ("a", None), ("b", "a"))]
    assert views == ["values", "weight", "detail"]
    assert os.listdir(settings.state_path().parent) == ["screen.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "\0", '{"view": "codes"}', '{"views": 3}', '{"views": ["codes"], "theme": 4}',
     '{"themes": ["mauve"]}', '{"themes": 3}', '{"views": {"a\\nb": "smell"}}', '{"views": {"a\\nb": ["codes"]}}'],
)  # fmt: skip
def test_unusable_state_is_the_default(content: str) -> None:
    save_state(State())
    settings.state_path().write_text(content)
    assert load_state().view_of("a", "b") == "detail"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_no_complaint(own_home: Path) -> None:
    (own_home / "state").mkdir()
    (own_home / "state").chmod(stat.S_IRUSR | stat.S_IXUSR)
    save_state(State())
    assert write_crash_report("text") is not None


def test_a_state_folder_that_is_a_file(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (own_home / "state").write_text("")
    save_state(State())
    assert load_state() == State()
    report = write_crash_report("why")
    assert report is not None
    assert report.parent == tmp_path
    assert report.read_text() == "why"


def test_two_crashes_in_a_second_leave_two_reports() -> None:
    first, second = write_crash_report("one"), write_crash_report("two")
    assert first is not None
    assert second is not None
    assert {first.read_text(), second.read_text()} == {"one", "two"}


# --- the clipboard ---


def test_osc52() -> None:
    assert osc52("x", tmux=False) == "\x1b]52;c;eA==\a"
    assert osc52("x", tmux=True) == "\x1bPtmux;\x1b\x1b]52;c;eA==\a\x1b\\"
    hostile = "\x1b]52;c;?\a\x1b[31m"
    inner = osc52(hostile, tmux=False)[7:-1]
    assert base64.b64decode(inner).decode() == hostile
    assert re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", inner)
    assert len(osc52("ä" * 100_000, tmux=False)) < MAX_CLIPBOARD_BYTES * 4 / 3 + 20


# --- saved views ---


async def test_views_are_saved_numbered_and_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        monkeypatch.chdir(tmp_path)
        await d.press("c")
        for key in "ccsjjmm":
            await d.press("e", key)
            assert d.screen.hints.status.startswith(("saved ", "..."))
        await d.press("e", "escape")
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "qinspect-view-1.csv", "qinspect-view-1.json", "qinspect-view-1.md",
            "qinspect-view.csv", "qinspect-view.json", "qinspect-view.md", "qinspect-view.svg",
        ]  # fmt: skip
        assert (tmp_path / "qinspect-view.csv").read_text() == (tmp_path / "qinspect-view-1.csv").read_text()
    rows = list(csv.reader(io.StringIO((tmp_path / "qinspect-view.csv").read_text())))
    assert [row[0] for row in rows[1:]] == [
        f"layers.{i}.mixer.{point}:input" for i in (0, 1) for point in ("x_proj", "ssm_state_act")
    ]
    content = json.loads((tmp_path / "qinspect-view.json").read_text())
    assert [x["role"] for x in content] == [row[0] for row in rows[1:]]
    lines = (tmp_path / "qinspect-view.md").read_text().splitlines()
    assert len(lines) == 6
    assert all(line.startswith("|") and line.endswith("|") for line in lines)
    svg = (tmp_path / "qinspect-view.svg").read_text()
    ElementTree.fromstring(svg)
    assert "+139.67" in svg
    assert "Save" not in svg


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    async with open_app(ALPHA_A, ALPHA_B) as d:
        monkeypatch.setattr(Path, "open", refuse)
        await d.press("e", "c")
        assert d.screen.hints.status == "not saved: Permission denied"


async def test_one_model_is_saved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(ALPHA_A) as d:
        monkeypatch.chdir(tmp_path)
        for key in "csjm":
            await d.press("e", key)
        assert len(list(tmp_path.iterdir())) == 4
        assert len((tmp_path / "qinspect-view.csv").read_text().splitlines()) == 33
        await d.press("2", "Y", "C")
