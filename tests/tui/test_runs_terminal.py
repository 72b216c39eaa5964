"""Runs in the real program in a pseudo-terminal: what survives the screen, and what of a log reaches the terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pilots import ALPHA_A, MIDDLE, SMALL
from run_processes import WAIT_FOR_FILE, shell, until
from terminals import ENTER_SCREEN, LEAVE_SCREEN, PROGRAM, Start, Terminal, plain

from qinspect.inspector.runs import State, list_runs

BAR = (
    "import sys, time, pathlib\n"
    "n = 0\n"
    "while not pathlib.Path('go').exists():\n"
    "    n = min(n + 1, 99)\n"
    "    print(f'\\rquantize: {n}%|###| {n}/100 [00:01<00:01, 50.0it/s]', end='', flush=True)\n"
    "    time.sleep(0.02)\n"
    "print()\n"
)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Terminal] = []

    def run(*words: str, size: tuple[int, int] = SMALL, **env: str) -> Terminal:
        started.append(Terminal([*PROGRAM, *words], size, env))
        return started[-1]

    yield run
    for terminal in started:
        terminal.close()


def start_a_bar(t: Terminal, tmp_path: Path) -> None:
    """From the form, as a person does."""
    (tmp_path / "bar.py").write_text(BAR)
    t.see("no run yet: ! starts one")
    t.press("!", "Start a run: command")
    t.send(f"{sys.executable} {tmp_path / 'bar.py'}")
    t.see("bar.py")
    t.send("\x1b[B")  # to the name
    t.send("bar")
    t.send("\x1b[B")
    t.press("\x15", "the folder it runs in")  # emptied
    t.send(str(tmp_path))
    t.press("\r", "running")
    t.until(lambda: re.search(r"running +bar.* \d+ %", t.screen), "its progress")


@pytest.mark.parametrize("how", ["hang up", "SIGHUP to the session", "kill -9"])
def test_a_run_outlives_the_screen_and_is_there_again_live(start: Start, how: str, tmp_path: Path) -> None:
    t = start()
    start_a_bar(t, tmp_path)
    (run,) = list_runs()
    if how == "hang up":
        t.hang_up()
    elif how == "kill -9":
        t.process.kill()
    else:
        os.killpg(t.process.pid, signal.SIGHUP)
    assert t.leave() != 0
    assert run.state().state is State.RUNNING
    again = start()
    again.until(lambda: re.search(r"running +bar.* \d+ %", again.screen), "the run with its progress")
    again.see("99/100")
    (tmp_path / "go").touch()
    again.see("bar finished after")
    again.send("q")
    assert again.leave() == 0


def test_leaving_says_what_goes_on_and_kills_nothing(start: Start, tmp_path: Path) -> None:
    t = start()
    start_a_bar(t, tmp_path)
    t.send("q")
    assert t.leave() == 0
    t.assert_restored()
    after = plain(t.out[t.out.rindex(LEAVE_SCREEN) :])
    assert "qinspect: 1 run is still running. `qinspect runs` lists them, `qinspect` shows them." in after
    (run,) = list_runs()
    assert run.state().state is State.RUNNING


def test_hostile_logs_never_reach_the_terminal_raw(start: Start, tmp_path: Path) -> None:
    hostile = (
        b"\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b[?1049lescaped\n\x1b[31mred\x1b[m\x9b2Jc1\nnul\x00bell\x07\n"
        b"\xff\xfe bad utf-8\n" + b"x" * 10_000_000 + b"\nrtl\xe2\x80\xae\nhalf a line \x1b]8;;http://evil"
    )
    (tmp_path / "hostile").write_bytes(hostile)
    shell(f"cat hostile; {WAIT_FOR_FILE}", cwd=tmp_path, name="bad \x1b]0;name\x07")
    t = start(size=MIDDLE)
    t.see("half a line")
    t.press("Z", "(a line of 10,000,000 bytes)")
    t.press("Z", "escaped")
    t.press(";", "[events")
    t.press("d", "[spec]")
    t.press("P", "[log]")
    t.send("q")
    assert t.leave() == 0
    painted = t.out[t.out.index(ENTER_SCREEN) :]
    assert b"owned" not in painted
    assert b"\x1b]0;" not in painted
    assert b"\x1b]8;" not in painted
    assert b"\x00" not in painted
    assert set(re.findall(rb"\x1b\][^\x07]*\x07", painted)) <= {b"\x1b]22;default\x07"}, (
        "a pointer's shape is Textual's"
    )
    assert b"\x07" not in painted.replace(b"\x1b]22;default\x07", b"")
    assert b"\xff" not in painted
    assert "\u202e".encode() not in painted
    assert b"\x1b]52" not in painted
    assert painted.count(LEAVE_SCREEN) == 1


def test_keys_work_during_a_flood(start: Start, tmp_path: Path) -> None:
    flood = "import sys\nfor i in range(200000): sys.stdout.write(f'flood line {i} of many, as fast as it goes\\n')\n"
    (tmp_path / "flood.py").write_text(flood)
    shell(f"{sys.executable} flood.py; {sys.executable} flood.py; {WAIT_FOR_FILE}", cwd=tmp_path, name="flood")
    t = start()
    t.see("flood line")
    t.press("?", "In this pane")
    t.close_over("In this pane")
    t.press("d", "[spec]")
    t.press("P", "[log]")
    t.press("F", "stays here")
    t.send("2")
    t.press("g", "flood line 0 of many")
    t.press("G", "flood line 199999 of many")
    (tmp_path / "go").touch()
    t.see("flood finished after")
    t.send("q")
    assert t.leave() == 0
    assert len(t.out) < 3_000_000, "what nobody can read is not written"


def test_ascii_only_where_the_locale_is_plain(start: Start, tmp_path: Path) -> None:
    shell(f"echo plain text; {WAIT_FOR_FILE}", cwd=tmp_path, name="plain")
    t = start(LANG="C", LC_ALL="", size=MIDDLE)
    t.see("plain text")
    for key, then in (("v", "[points]"), ("d", "[spec]"), (";", "[events"), ("u", "[gpus]"), ("?", "In this pane")):
        t.press(key, then)
    t.close_over("In this pane")
    t.press("!", "Start a run")
    t.close_over("Start a run")
    t.see("2 log conclusions points spec")
    t.press("X", "SIGKILL after 10 s")
    t.send("n")
    t.until(lambda: "SIGKILL" not in t.screen, "no question any more")
    t.send("q")
    assert t.leave() == 0
    assert sorted({c for c in t.text if ord(c) > 0x7E}) == []


def test_nothing_is_written_while_nothing_happens(start: Start) -> None:
    """With a run that ended, and many looks at it: a look is a look into its folder, which this test can see."""
    run = shell("echo done", name="over")
    until(lambda: not run.state().state.is_live)
    quick = "from qinspect.tui.runs import service; service.IDLE_S = 0.01"
    started = Terminal(
        ["-c", f"import sys; {quick}; from qinspect.tui.entry import main; sys.exit(main())"], MIDDLE, {}
    )
    try:
        started.see("done")
        started.see("n/a")
        before = len(started.out)
        for _ in range(50):
            started._read(0.02)
        assert len(started.out) - before < 60, "a minute of its age may be written, nothing else"
        started.send("q")
        assert started.leave() == 0
    finally:
        started.close()


def test_the_models_first_and_the_runs_with_a_key(start: Start, tmp_path: Path) -> None:
    shell(f"echo beside the models; {WAIT_FOR_FILE}", cwd=tmp_path, name="beside")
    t = start(ALPHA_A, size=MIDDLE)
    t.see("0 overview")
    t.press("1", "whole model")
    t.see("4 runs")
    t.press("R", "beside the models")
    t.send("\x1b")
    t.see("whole model")
    t.press("R", "beside the models")
    t.press("q", "whole model")
    t.send("q")
    assert t.leave() == 0
    assert "1 run is still running" in t.text
