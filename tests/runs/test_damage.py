"""Whatever lies in one run's folder, the others are listed, shown and started; the one is a row that says what it is.

Nothing in here may wait: a pipe in place of a file would make a reader wait for ever.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_processes import WAIT_FOR_FILE, begin, ended, reopened, shell, until

from qinspect.inspector.cli import main
from qinspect.inspector.runs import Run, State, check_before_start, find, list_runs, make_spec
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.follow import copy_log, offset_of_last_lines
from qinspect.inspector.runs.show import look, look_at_all, run_json, run_text, runs_table
from qinspect.inspector.runs.stored import stored_json

STORED = (files.SPEC, files.RESULT, files.PROCESS, files.CANCEL, files.EVENTS, files.HEARTBEAT, files.LOG)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QINSPECT_STATE_DIR", str(tmp_path_factory.mktemp("state", numbered=True)))
        run = shell("true", name="good")
        ended(run)
        until(lambda: not (run.folder / files.RESERVE).exists(), "the last of its supervisor")
    return run.folder


@pytest.fixture
def good(once: Path, own_runs: Path) -> Run:
    own_runs.mkdir(parents=True, mode=0o700)
    shutil.copytree(once, own_runs / once.name)
    return find(once.name)


def copy_of(run: Run, name: str = "20200101-000000-aaaa") -> Path:
    """A second run whose files are those of the first, older."""
    place = run.folder.with_name(name)
    shutil.copytree(run.folder, place)
    return place


def everything(bad: Path, good: Run) -> str:
    """All that looks at runs, on all of them; the row of the bad one."""
    rows = look_at_all()
    assert good.id in {s.run.id for s in rows}
    (seen,) = (s for s in rows if s.run.folder == bad)
    table = runs_table(rows)
    assert any(cells[0] == good.id and cells[2] == "finished" for cells in table.rows)
    json.dumps([run_json(s) for s in rows], allow_nan=False)
    run_text(seen)
    assert find(good.id).state().state is State.FINISHED
    find(bad.name).state()
    check_before_start(make_spec(["true"]))
    return next(" ".join(cells) for cells in table.rows if cells[0] == bad.name)


NUMBERS = ("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1e308", "9" * 400, "-1e18", '"x"', "[1]", "{}", "true")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("key", ["exit_code", "ended", "duration_s"])
def test_a_number_that_is_none_in_a_result(number: str, key: str, good: Run) -> None:
    bad = copy_of(good)
    (bad / files.RESULT).write_text(f'{{"outcome": "failed", "{key}": {number}}}')
    row = everything(bad, good)
    assert f"failed, damaged {row.partition('damaged ')[2]}" in row
    assert f"damaged: {files.RESULT}: {key} is " in row


def test_the_sentence_of_a_damaged_run(good: Run, capsys: pytest.CaptureFixture[str]) -> None:
    bad = copy_of(good)
    (bad / files.RESULT).write_text('{"outcome": "failed", "exit_code": Infinity}')
    assert "damaged: result.json: exit_code is Infinity; expected an exit code" in everything(bad, good)
    assert main(["runs", "show", bad.name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["run"]
    assert (shown["state"], shown["result"]["exit_code"]) == ("failed", None)
    assert shown["damage"] == ["result.json: exit_code is Infinity; expected an exit code"]
    assert main(["runs", "rm", bad.name]) == 0


@pytest.mark.parametrize("pid", [2**31, 99999999999, 10**30, -1, 0, 1, True, "7", 1.5])
def test_a_number_that_is_no_process(pid: object, good: Run) -> None:
    bad = copy_of(good)
    (bad / files.RESULT).unlink()
    (bad / files.PROCESS).write_text(json.dumps({"command": {"pid": pid, "create_time": 1}}))
    row = everything(bad, good)
    assert "damaged" in row
    assert "process.json: command is not a process" in row
    assert main(["runs", "cancel", bad.name, "--grace", "0"]) == 2


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "more").write_text("x")


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("put", [pipe, folder, link_to_nothing, link_to_itself, a_socket, device])
@pytest.mark.parametrize("name", STORED)
def test_something_else_in_place_of_a_file(name: str, put: Callable[[Path], None], good: Run) -> None:
    bad = copy_of(good)
    (bad / name).unlink(missing_ok=True)
    put(bad / name)
    row = everything(bad, good)
    if name in (files.SPEC, files.RESULT, files.EVENTS, files.LOG):
        assert f"{name}: " in row
    found = find(bad.name)
    for words in (["logs", bad.name], ["logs", bad.name, "-n", "3"], ["show", bad.name], ["diff", bad.name, good.id]):
        assert main(["runs", *words]) in (0, 2)
    found.remove()
    assert not bad.exists()


TEXTS = {
    "nothing": b"",
    "zeros": bytes(300),
    "half": b'{"argv": ["x',
    "a list": b"[]",
    "null": b"null",
    "no UTF-8": b'{"outcome": "\xff\xfe"}',
    "deep": b'{"a":' * 100_000,
    "deep lists": b'{"argv": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a long number": b'{"created": ' + b"9" * 5000 + b"}",
    "numbers": b'{"argv": 5, "name": 7, "created": "x", "outcome": 3, "ended": "no", "host": [], "env": [1]}',
    "a key twice": b'{"argv": ["true"], "outcome": "finished", "argv": ["rm", "-rf", "/"], "outcome": "failed"}',
    "newer": b'{"schema": "qinspect.run/99", "outcome": "suspended", "argv": ["x"], "version": "99.1", "new": {}}',
    "events": b'{"seq": 1, "time": 1e999, "kind": "progress", "done": NaN, "total": 1e400}\n'
    b'{"seq": 99999999999999999999999999, "time": 1, "kind": "phase", "name": 1e400}\n'
    b'{"seq": 2, "time": 2, "kind": "progress", "done": ' + b"9" * 300 + b', "total": 1e300, "rate": 1e-300}\n',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("name", STORED)
def test_damaged_content(name: str, text: bytes, good: Run) -> None:
    bad = copy_of(good)
    (bad / name).write_bytes(text)
    row = everything(bad, good)
    if name in (files.SPEC, files.RESULT) and text != TEXTS["events"]:
        assert f"{name}: " in row


def test_a_key_that_stands_twice_is_not_believed(good: Run) -> None:
    bad = copy_of(good)
    spec = (bad / files.SPEC).read_text().rstrip().removesuffix("}")
    (bad / files.SPEC).write_text(spec + ', "argv": ["rm", "-rf", "/home/x"]}')
    assert "spec.json: has the key 'argv' twice" in run_text(look(find(bad.name)))
    assert "rm -rf" not in run_text(look(find(bad.name)))


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_journal_that_was_cut_is_said(kept: float, good: Run) -> None:
    said = "the journal ends before the run did"
    assert said not in run_text(look(good))
    whole = good.events_path.read_bytes()
    good.events_path.write_bytes(whole[: int(len(whole) * kept)])
    assert said in run_text(look(good))


def test_a_newer_version_is_said(good: Run) -> None:
    bad = copy_of(good)
    spec = json.loads((bad / files.SPEC).read_text())
    (bad / files.SPEC).write_text(json.dumps({**spec, "version": "99.1", "new_field": [1]}))
    assert "spec.json: was written by qinspect 99.1, newer than this one" in everything(bad, good)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(STORED),
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["argv", "env", "outcome", "exit_code", "ended", "created", "host", "pid", "command", "seq"]
                )
                | st.text(max_size=4),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)
def test_any_content(name: str, content: bytes, good: Run) -> None:
    bad = good.folder.with_name("20200101-000000-aaaa")
    shutil.rmtree(bad, ignore_errors=True)
    copy_of(good)
    (bad / name).write_bytes(content)
    everything(bad, good)


@pytest.mark.parametrize("name", [*STORED, "."])
def test_what_may_not_be_read(name: str, good: Run) -> None:
    """As another user, for root may read everything."""
    bad = copy_of(good)
    code = (
        "import os, sys, json; from qinspect.inspector.cli import main\n"
        "if os.getuid() == 0:\n"
        "    import ctypes; libc = ctypes.CDLL(None)\n"
        "    [libc.prctl(24, number, 0, 0, 0) for number in range(41)]\n"  # PR_CAPBSET_DROP
        "    os.execv(sys.executable, [sys.executable, '-c', 'import sys; from qinspect.inspector.cli import main; "
        'sys.exit(main(["runs"]))\'])\n'
        "sys.exit(main(['runs']))"
    )
    (bad / name).touch()
    os.chmod(bad / name, 0)
    try:
        said = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "300"},
        )
    finally:
        os.chmod(bad / name, 0o700)
    if (os.getuid() == 0) and "permission denied" not in said.stdout and name in (files.SPEC, files.RESULT):
        pytest.skip("root keeps its rights here")
    assert (said.returncode, said.stderr) == (0, "")
    assert good.id in said.stdout
    assert bad.name in said.stdout
    if name in (files.SPEC, files.RESULT, files.LOG, files.EVENTS):
        assert f"damaged: {name}: permission denied" in said.stdout


def test_a_live_run_with_a_broken_spec_is_listed_marked_and_cancelled(tmp_path: Path) -> None:
    run = shell(WAIT_FOR_FILE, tmp_path, name="mine")
    for text in (b"", b"{", b'{"argv": Infinity, "host": 3}'):
        (run.folder / files.SPEC).write_bytes(text)
        found = reopened(run)
        assert found.state().state is State.RUNNING
        assert look(found).damage
        assert look(found).run.spec.created == pytest.approx(run.spec.created, abs=2)
    assert reopened(run).cancel().state is State.CANCELLED


def test_a_live_run_without_its_process_file_is_found_by_its_processes(tmp_path: Path) -> None:
    run = shell(WAIT_FOR_FILE, tmp_path)
    (run.folder / files.PROCESS).write_bytes(b"\0" * 100)
    found = run.state()
    assert found.state is State.RUNNING
    assert found.damage == ("process.json: is empty",)
    assert run.cancel().state is State.CANCELLED


def test_folders_that_go_while_they_are_listed(good: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.inspector.runs import run as module

    others = [copy_of(good, f"20200101-00000{i}-aaaa") for i in range(4)]
    opened = module._open

    def opening(place: Path) -> Run | None:
        if place == others[1]:
            shutil.rmtree(others[0])
            shutil.rmtree(others[1])
        return opened(place)

    monkeypatch.setattr(module, "_open", opening)
    assert {s.run.folder for s in look_at_all()} >= {good.folder, *others[2:]}
    assert not {s.run.folder for s in look_at_all()} & set(others[:2])


def test_errors_of_a_network_disk(good: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    bad = copy_of(good)
    real = os.open

    def stale(path: object, *words: object, **more: object) -> int:
        if str(path).startswith(str(bad)):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return real(path, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", stale)
    assert "damaged: spec.json: Stale file handle" in everything(bad, good)


def test_other_things_among_the_runs(good: Run) -> None:
    place = good.folder.parent
    (place / "notes.txt").write_text("mine")
    (place / "lost+found").mkdir()
    (place / "20200101-000000-bbbb").write_text("a file with the name of a run")
    empty = place / "20200101-000000-cccc"
    empty.mkdir()
    assert {r.id for r in list_runs()} == {good.id}  # it may be being made
    os.utime(empty, (0, 0))
    assert {r.id for r in list_runs()} == {good.id, empty.name}
    assert look(find(empty.name)).damage == ("spec.json: there is none",)
    find(empty.name).remove()


def test_a_run_that_is_deleted_while_its_log_is_followed(tmp_path: Path) -> None:
    run = shell(f"echo one; {WAIT_FOR_FILE}", tmp_path)
    qinspect = Path(sys.executable).with_name("qinspect")
    moved = run.folder.with_name("moved")
    for change in (lambda: run.folder.rename(moved), lambda: shutil.rmtree(run.folder)):
        with subprocess.Popen(
            [qinspect, "runs", "logs", "-f", run.id], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as following:
            assert following.stdout is not None
            assert following.stdout.readline() == "one\n"
            change()
            _, said = following.communicate()
        assert following.returncode == 2
        assert f"the run {run.id} was deleted or renamed while it was followed" in said
        if moved.exists():
            moved.rename(run.folder)
    (tmp_path / "go").touch()


def test_reading_a_log_never_waits(tmp_path: Path) -> None:
    from qinspect.inspector.errors import CannotRead

    os.mkfifo(tmp_path / "log")
    with pytest.raises(CannotRead, match="is a pipe, not a file"):
        copy_log(tmp_path / "log", 0, print)
    with pytest.raises(CannotRead, match="is a pipe, not a file"):
        offset_of_last_lines(tmp_path / "log", 1)
    assert stored_json(tmp_path / "log").problem == "log: is a pipe, not a file"


def test_a_start_beside_a_damaged_run(good: Run) -> None:
    bad = copy_of(good)
    (bad / files.PROCESS).write_text('{"command": {"pid": 99999999999, "create_time": 1}}')
    (bad / files.RESULT).unlink()
    assert main(["run", "--", "true"]) == 0
    assert ended(begin("true")).state is State.FINISHED
    for run in list_runs():
        ended(run)


def test_a_link_among_the_runs_is_removed_and_what_it_leads_to_stays(good: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(good.folder, elsewhere)
    for name, target in (("20200101-000000-bbbb", elsewhere), ("20200101-000000-cccc", Path("20200101-000000-cccc"))):
        link = good.folder.with_name(name)
        link.symlink_to(target)
        find(name).remove()
        assert not link.is_symlink()
    assert (elsewhere / files.SPEC).is_file()
    assert [r.id for r in list_runs()] == [good.id]
    assert not list(good.folder.parent.glob(".2020*"))
