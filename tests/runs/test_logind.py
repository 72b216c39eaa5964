"""Whether logout kills: read from a system that is a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qinspect.inspector.runs.logind import Survival, kill_setting, survival

KILL = "[Login]\nKillUserProcesses=yes\n"
USER = {"XDG_RUNTIME_DIR": "/run/user/7"}
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    make("run/systemd/system/x", "")
    return make


def installed(name: str) -> str | None:
    return f"/bin/{name}"


def missing(name: str) -> str | None:
    return None


def test_nothing_is_said_where_nothing_kills(write: Write, tmp_path: Path) -> None:
    assert survival(tmp_path, "me", {}, installed) == Survival()
    write("etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\nKillUserProcesses=no\n")
    assert survival(tmp_path, "me", USER, installed) == Survival()
    write("etc/systemd/logind.conf", "[Other]\nKillUserProcesses=yes\n")
    assert survival(tmp_path, "me", USER, installed) == Survival()


def test_a_system_without_systemd_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd").mkdir(parents=True)
    (tmp_path / "etc/systemd/logind.conf").write_text(KILL)
    assert survival(tmp_path, "me", USER, installed) == Survival()


def test_without_systemd_run_it_is_said(write: Write, tmp_path: Path) -> None:
    write("etc/systemd/logind.conf", KILL)
    for found in (survival(tmp_path, "me", USER, missing), survival(tmp_path, "me", {}, installed)):
        assert found.prefix == ()
        assert "KillUserProcesses=yes in /etc/systemd/logind.conf" in found.warning
        assert "this run too" in found.warning


def test_with_a_user_manager_the_run_goes_there(write: Write, tmp_path: Path) -> None:
    write("etc/systemd/logind.conf", KILL)
    write("run/user/7/bus", "")
    found = survival(tmp_path, "me", USER, installed)
    assert found.prefix[:3] == ("/bin/systemd-run", "--user", "--scope")
    assert "enable-linger" in found.warning
    write("var/lib/systemd/linger/me", "")
    assert survival(tmp_path, "me", USER, installed).warning == ""


def test_who_is_killed(write: Write, tmp_path: Path) -> None:
    path = write("etc/systemd/logind.conf", KILL)
    assert kill_setting(tmp_path, "me") == path
    assert kill_setting(tmp_path, "root") is None
    write("etc/systemd/logind.conf", KILL + "KillExcludeUsers=me you\n")
    assert kill_setting(tmp_path, "me") is None
    assert kill_setting(tmp_path, "root") == path
    write("etc/systemd/logind.conf", KILL + "KillOnlyUsers=you\n")
    assert kill_setting(tmp_path, "me") is None


def test_drop_ins_count_by_name_and_the_nearer_folder_wins(write: Write, tmp_path: Path) -> None:
    write("usr/lib/systemd/logind.conf", KILL)
    assert kill_setting(tmp_path, "me") is not None
    write("etc/systemd/logind.conf", "[Login]\n")
    assert kill_setting(tmp_path, "me") is None
    last = write("usr/lib/systemd/logind.conf.d/50-kill.conf", KILL)
    assert kill_setting(tmp_path, "me") == last
    write("etc/systemd/logind.conf.d/10-keep.conf", "[Login]\nKillUserProcesses=no\n")
    assert kill_setting(tmp_path, "me") == last
    write("etc/systemd/logind.conf.d/50-kill.conf", "[Login]\nKillUserProcesses=no\n")
    assert kill_setting(tmp_path, "me") is None
