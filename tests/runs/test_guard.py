"""A state folder that others own or can write into is not believed, and the sentence says what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from run_processes import WAIT_FOR_FILE, ended, reopened, shell

from qinspect.inspector.cli import main
from qinspect.inspector.errors import CannotRead, CannotStartRun
from qinspect.inspector.runs import Run, State, list_runs
from qinspect.inspector.runs.guard import unsafe_folder
from qinspect.inspector.runs.show import look

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


@pytest.fixture
def run(own_runs: Path) -> Run:
    made = shell("true", name="mine")
    ended(made)
    return made


def test_what_we_make_is_ours_alone(run: Run, own_runs: Path) -> None:
    for place in (own_runs.parent, own_runs, run.folder):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert unsafe_folder(place) is None


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
@pytest.mark.parametrize("part", [0, 1])
def test_a_folder_that_others_can_write(
    mode: int, part: int, run: Run, own_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = (own_runs.parent, own_runs)[part]
    place.chmod(mode)
    with pytest.raises(CannotRead) as caught:
        list_runs()
    assert str(caught.value) == f"{place}: can be written by others (mode {mode:04o}). chmod go-w {place}"
    with pytest.raises(CannotStartRun, match="chmod go-w"):
        shell("true")
    for words in (["runs"], ["runs", "cancel", "mine"], ["calibrate", "--resume", "mine"]):
        assert main(words) == 2
        assert "can be written by others" in capsys.readouterr().err
    place.chmod(0o700)
    assert list_runs() == [run]


def test_a_run_that_others_can_write_is_marked_and_not_cancelled(tmp_path: Path) -> None:
    run = shell(WAIT_FOR_FILE, tmp_path)
    run.folder.chmod(0o777)
    assert look(reopened(run)).damage == ("can be written by others (mode 0777)",)
    with pytest.raises(CannotRead, match="chmod go-w"):
        reopened(run).cancel()
    run.folder.chmod(0o700)
    assert reopened(run).cancel().state is State.CANCELLED


@as_root
def test_a_folder_that_is_somebody_elses(run: Run, own_runs: Path) -> None:
    for place in (own_runs, own_runs.parent):
        os.chown(place, NOBODY, NOBODY)
        with pytest.raises(CannotRead, match=rf"belongs to .*user {NOBODY}\), and you are") as caught:
            list_runs()
        assert "QINSPECT_STATE_DIR" in str(caught.value)
        with pytest.raises(CannotStartRun, match="belongs to"):
            shell("true")
        os.chown(place, os.getuid(), os.getgid())
    assert list_runs() == [run]


@as_root
def test_a_group_that_others_are_in(run: Run, own_runs: Path) -> None:
    own_runs.chmod(0o770)
    assert unsafe_folder(own_runs) is None  # a group of the user's own name, as many systems have
    os.chown(own_runs, -1, NOBODY)
    with pytest.raises(CannotRead, match="can be written by others"):
        list_runs()
    own_runs.chmod(0o750)
    assert list_runs() == [run]


def test_through_links(run: Run, own_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to(own_runs.parent)
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(link))
    assert [r.id for r in list_runs()] == [run.id]
    own_runs.parent.chmod(0o777)
    with pytest.raises(CannotRead, match=f"chmod go-w {own_runs.parent}"):
        list_runs()
    own_runs.parent.chmod(0o700)
    if os.getuid() == 0:
        os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
        with pytest.raises(CannotRead, match="is a link that belongs to"):
            list_runs()
        os.chown(link, os.getuid(), os.getgid(), follow_symlinks=False)


def test_the_folders_are_made_for_us_alone_whatever_the_mask(own_runs: Path) -> None:
    before = os.umask(0)
    try:
        run = shell("true")
        ended(run)
    finally:
        os.umask(before)
    assert stat.S_IMODE(own_runs.parent.stat().st_mode) == 0o700
    assert list_runs() == [run]


def test_a_file_where_the_state_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no runs, but that is not what is wrong."""
    (tmp_path / "not a folder").write_text("a file")
    with monkeypatch.context() as m:
        m.setenv("QINSPECT_STATE_DIR", str(tmp_path / "not a folder"))
        with pytest.raises(CannotRead, match=r"part of its path is a file.*QINSPECT_STATE_DIR"):
            list_runs()
