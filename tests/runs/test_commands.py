"""`qinspect run` and `qinspect runs` as docs/cli.md promises them."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hostile import HOSTILE_CHARACTERS, assert_clean
from run_processes import WAIT_FOR_FILE, ended, logged, shell

from qinspect.inspector.cli import main
from qinspect.inspector.runs import State, find, list_runs
from qinspect.inspector.runs.follow import TerminalText, offset_of_last_lines
from qinspect.inspector.runs.show import duration, progress_text

QINSPECT = str(Path(sys.executable).with_name("qinspect"))
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command in this process: exit code, stdout, stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def as_json(cli: Cli, source_root: Path) -> Callable[..., Any]:
    """What a command prints with --json, valid by its schema."""

    def call(schema: str, *words: str, code: int = 0) -> Any:
        found, out, err = cli(*words)
        assert (found, bool(err)) == (code, code == 2)
        content = json.loads(out, parse_constant=pytest.fail)
        definition = json.loads((source_root / "docs" / "schema" / f"{schema}.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(definition).validate(content)
        return content

    return call


def test_a_run_from_start_to_removal(cli: Cli, tmp_path: Path) -> None:
    script = f"echo one; {WAIT_FOR_FILE}; echo two; exit 3"
    code, out, err = cli(
        "run", "--name", "job", "--cwd", str(tmp_path), "--env", "A=b=c", "--", "/bin/sh", "-c", script
    )
    assert (code, err) == (0, "")
    run = find("job")
    assert out.splitlines()[0] == f"run {run.id} (job) has started"
    assert run.spec.env == {"A": "b=c"}
    logged(run, "one")
    assert "running" in cli("runs")[1]
    assert cli("runs", "logs", "job") == (0, "one\n", "")
    code, out, err = cli("runs", "rm", "job")
    assert (code, out) == (2, "")
    assert err == f"qinspect: {run.folder}: the run {run.id} is running. `qinspect runs cancel {run.id}` ends it.\n"
    (tmp_path / "go").touch()
    ended(run)
    shown = cli("runs", "show", "job")[1]
    for expected in ("failed", "exit code  3", "last line  two", f"in         {tmp_path}", "set        A=b=c"):
        assert expected in shown
    assert cli("runs", "logs", "-n", "1", "job")[1] == "two\n"
    assert cli("runs", "rm", "job")[1] == f"removed {run.id} (job)\n"
    assert cli("runs")[1] == "no runs: `qinspect run -- CMD ...` starts one\n"


def test_every_json_is_what_its_schema_says(as_json: Callable[..., Any], tmp_path: Path) -> None:
    assert as_json("runs", "runs", "--json")["runs"] == []
    started = as_json("run", "run", "--json", "--name", "a", "--", "/bin/sh", "-c", "exec sleep 600")
    assert (started["run"]["state"], started["run"]["live"], started["run"]["result"]) == ("running", True, None)
    assert as_json("run", "runs", "show", "a", "--json")["run"]["id"] == started["run"]["id"]
    cancelled = as_json("run", "runs", "cancel", "a", "--json", "--grace", "5")["run"]
    assert (cancelled["state"], cancelled["result"]["signal"]) == ("cancelled", "SIGTERM")
    assert as_json("error", "runs", "cancel", "a", "--json", code=2)["error"]["type"] == "RunIsNotLive"
    ended(shell("exit 1", tmp_path, name="b"))
    changes = as_json("runs_diff", "runs", "diff", "a", "b", "--json")["changes"]
    assert {"argv -c", "cwd"} <= {c["field"] for c in changes} <= {"argv -c", "cwd", "git_commit", "git_dirty"}
    assert [r["state"] for r in as_json("runs", "runs", "--json")["runs"]] == ["cancelled", "failed"]
    ids = [r.id for r in list_runs()]
    assert as_json("removed", "runs", "rm", "a", "b", "a", "--json")["removed"] == ids


def test_the_schema_lists_every_state(source_root: Path) -> None:
    schema = json.loads((source_root / "docs" / "schema" / "run.json").read_text())
    assert schema["$defs"]["run"]["properties"]["state"]["enum"] == [str(s) for s in State]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run",), "the command is missing"),
        (("run", "--"), "the command is missing"),
        (("run", "--env", "A", "--", "true"), "--env needs NAME=VALUE; found A"),
        (("run", "--cwd", "/no/such", "--", "true"), "not a folder; found /no/such"),
        (("run", "--", "no-such-program", "--json"), "no-such-program: there is no such program"),
        (("run", "ls", "--name", "x"), "the command of a run goes after --. qinspect run [options] -- CMD"),
        (("run", "--bogus", "--", "ls"), "Unknown option: --bogus"),
        (("runs", "show"), "RUN is missing"),
        (("runs", "show", "x"), "no run is called x"),
        (("runs", "rm"), "RUN is missing"),
        (("runs", "logs", "x", "-n", "-1"), "at least 0"),
        (("runs", "cancel", "x", "--grace", "-1"), "--grace must be"),
        (("runs", "cancel", "x", "--grace", "nan"), "--grace must be"),
    ],
)
def test_errors_are_one_line(words: tuple[str, ...], expected: str, cli: Cli) -> None:
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert expected in line


def test_following_gives_the_outcome_as_exit_code(cli: Cli) -> None:
    code, out, err = cli("run", "-f", "--", "/bin/sh", "-c", "echo one; exit 7")
    assert (code, out) == (1, "one\n")
    assert "failed after" in err
    assert "exit code 7" in err
    assert cli("run", "-f", "--", "/bin/sh", "-c", "echo --json")[:2] == (0, "--json\n")


def test_logs_are_followed_to_the_end_of_the_run(tmp_path: Path) -> None:
    run = shell(f"echo one; {WAIT_FOR_FILE}; echo two", tmp_path)
    follower = subprocess.Popen([QINSPECT, "runs", "logs", "-f", run.id], stdout=subprocess.PIPE)
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"one\n"
    (tmp_path / "go").touch()
    assert follower.stdout.read() == b"two\n"
    assert follower.wait() == 0
    follower.stdout.close()


def test_ctrl_c_ends_the_following_and_not_the_run(tmp_path: Path) -> None:
    words = [QINSPECT, "run", "-f", "--name", "job", "--", "/bin/sh", "-c", f"echo one; {WAIT_FOR_FILE}"]
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        assert follower.stdout.readline() == b"one\n"
        os.killpg(follower.pid, signal.SIGINT)
        assert follower.wait() == 130
        said = follower.stderr.read().decode()
    run = find("job")
    assert f"stopped following; run {run.id} is still running" in said
    assert run.state().state is State.RUNNING
    assert run.cancel().state is State.CANCELLED


def test_a_terminal_that_is_closed_leaves_the_run(tmp_path: Path) -> None:
    words = [QINSPECT, "run", "-f", "--name", "job", "--", "/bin/sh", "-c", f"echo one; {WAIT_FOR_FILE}; echo two"]
    ours, theirs = pty.openpty()
    follower = subprocess.Popen(["setsid", "--ctty", *words], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"one\r\n" not in shown:
        shown += os.read(ours, 4096)
    os.close(ours)  # the connection is lost
    assert follower.wait() != 0
    run = find("job")
    assert run.state().state is State.RUNNING
    (tmp_path / "go").touch()
    assert ended(run).state is State.FINISHED
    assert run.log_path.read_text() == "one\ntwo\n"


def test_raw_bytes_into_a_pipe_and_harmless_text_on_a_terminal() -> None:
    raw = b"\x1b]0;title\x07\x1b[31mred\x1b[0m\r\n 1%\r 50%\r100%\n\xff\x00 no end"
    run = shell("printf '" + "".join(f"\\{b:03o}" for b in raw) + "'")
    ended(run)
    words = [QINSPECT, "runs", "logs", run.id]
    assert subprocess.run(words, capture_output=True, check=True).stdout == raw
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while more := os.read(ours, 4096):
                shown += more
        except OSError:  # the other side was closed
            pass
        assert process.wait() == 0
    os.close(ours)
    assert shown.decode().split("\r\n") == ["\\x1b]0;title\\x07red", "100%", "\\xff\\x00 no end", ""]


def test_hostile_names_are_text(cli: Cli) -> None:
    name = HOSTILE_CHARACTERS.replace("\x00", "").replace("\ud800", "") + "x"
    ended(shell(f"true '{name}'", name=name))
    (run,) = list_runs()
    for words in (("runs",), ("runs", "show", run.id), ("runs", "diff", run.id, run.id), ("runs", "show", name),
                  ("runs", "show", name + "y"), ("runs", "rm", run.id)):  # fmt: skip
        _, out, err = cli(*words)
        assert_clean(out)
        assert_clean(err)
    assert list_runs() == []


def test_a_reader_that_leaves_early_is_no_error() -> None:
    run = shell("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done")
    ended(run)
    found = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {QINSPECT} runs logs {run.id} | head -c 1"], capture_output=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"0", b"")


def test_runs_stay_out_of_other_commands(tmp_path: Path) -> None:
    code = "import sys; from qinspect.inspector.cli import main; main(['tree', 'none']); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "qinspect.inspector.cli" in found
    assert not [m for m in found if m.startswith(("qinspect.inspector.runs", "psutil", "pynvml", "platformdirs"))]


# --- text ---


def terminal(*pieces: bytes, live: bool = False, width: int = 40) -> str:
    out = io.StringIO()
    text = TerminalText(out.write, width, live)
    for piece in pieces:
        text(piece)
    text.close()
    return out.getvalue()


def test_a_split_letter_or_line_is_the_same() -> None:
    raw = "ä\x1b[1;31m€\r\n\tx\r\r\ny".encode()
    assert terminal(raw) == "ä€\n        x\ny\n"
    for i in range(len(raw)):
        assert terminal(raw[:i], raw[i:]) == terminal(raw)


def test_a_bar_is_drawn_on_one_line_while_it_is_followed() -> None:
    shown = terminal(b"\r 1%", b"\r 2%" + b"x" * 100, b"\r 3%\nnext", live=True, width=20)
    assert shown == "\r\x1b[K 1%\r\x1b[K 2%" + "x" * 16 + "\r\x1b[K 3%\n\r\x1b[Knext\r\x1b[Knext\n"


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    out = io.StringIO()
    text = TerminalText(out.write, 80, live=False)
    for _ in range(10):
        text(b"x" * 50_000)
    assert len(text._rest) < 100_000
    text.close()
    assert out.getvalue().count("x") == 500_000


@pytest.mark.parametrize("raw", [b"", b"\n", b"a", b"a\nb\nc", b"a\nb\nc\n", b"\n\n\n", b"x\n" * 300_000])
def test_the_last_lines_are_those_of_tail(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(raw)
    for n in (0, 1, 2, 3, 4, 1000):
        found = raw[offset_of_last_lines(path, n) :]
        assert found == b"".join(raw.splitlines(keepends=True)[-n:] if n else []), n


def test_times_and_progress_in_words() -> None:
    assert [duration(s) for s in (0.04, 59.9, 60, 3599, 3600, 90000)] == [
        "0.0 s", "59.9 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "1 d 1 h",
    ]  # fmt: skip
    assert (
        progress_text({"done": 250, "total": 1000, "unit": "it", "rate": 5.0})
        == "250/1,000 it, 25 %, 5/s, 2 min 30 s left"
    )
    assert progress_text({"done": 3}) == "3"
    assert progress_text({"done": None, "total": "x"}) == ""
    assert progress_text({"done": 5, "total": 0, "rate": 0}) == "5"
