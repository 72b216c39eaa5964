"""The real program in a pseudo-terminal: what it writes, how it leaves, what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pilots import ALPHA_A, ALPHA_B, MIDDLE, PATIENCE_S, SMALL
from terminals import ENTER_SCREEN, LEAVE_SCREEN, PROGRAM, Start, Terminal, plain


@pytest.fixture
def start() -> Iterator[Start]:
    """start(*words, size, program, **environment): the program in a terminal."""
    started: list[Terminal] = []

    def run(*words: str, size: tuple[int, int] = SMALL, program: Sequence[str] = PROGRAM, **env: str) -> Terminal:
        started.append(Terminal([*program, *words], size, env))
        return started[-1]

    yield run
    for terminal in started:
        terminal.close()


VERDICT = "This is what a change of percentile_alpha looks like"


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
def test_open_look_around_and_leave(start: Start, size: tuple[int, int], own_home: Path) -> None:
    t = start(ALPHA_A, ALPHA_B, size=size)
    t.see(VERDICT)
    t.press("1", "whole model")
    t.press("n", "layers.0.mixer.x_proj:input")
    t.press("w", "[44, 384]")
    t.press("M", "largest: +139.67 %")
    t.press("?", "Keys. escape closes.")
    t.close_over("Keys. escape closes.")
    t.press("d", "   of  ")
    maps = Path(f"/proc/{t.process.pid}/maps").read_text()
    assert "numpy" in maps
    assert "torch" not in maps
    t.send("q")
    assert t.leave() == 0
    t.assert_restored()
    # No theme was chosen
    assert json.loads((own_home / "state/qinspect/screen.json").read_text()) == {"themes": {}, "views": {}}


@pytest.mark.parametrize("second", [(), (ALPHA_B,)], ids=["A", "A B"])
def test_a_model_that_cannot_be_opened_is_exit_code_2_as_on_the_command_line(
    second: tuple[str, ...], start: Start
) -> None:
    words = ("./nowhere", *second)
    t = start(*words)
    t.see("no such file or folder")
    t.send("q")
    assert t.leave() == 2
    t.assert_restored()
    line = subprocess.run([sys.executable, *PROGRAM, *words], capture_output=True, check=False, timeout=PATIENCE_S)
    assert line.returncode == 2


def test_the_installed_command_is_the_same_program(start: Start) -> None:
    command = Path(sys.executable).with_name("qinspect")
    if not command.exists():
        pytest.skip("not installed with its script")
    t = start(ALPHA_A, program=(str(command),))
    t.see("0 overview")
    t.send("q")
    assert t.leave() == 0
    t.assert_restored()


def test_a_resize_is_followed(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B)
    t.see(VERDICT)
    t.press("1", "whole model")
    assert "activation  " not in t.screen
    t.resize((150, 50))
    t.see("activation  ")  # a column that only a wide table has
    t.send("q")
    assert t.leave() == 0


def test_what_another_program_wrote_is_painted_over(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B)
    t.see(VERDICT)
    t.press("1", "whole model")
    t.press("n", "layers.0.mixer.x_proj:input")
    t.see("of          activation at x_proj:input")
    before = t.screen
    os.write(t.slave, b"\x1b[2;3HBroadcast message from root\x1b[m")
    t.see("Broadcast message from root")
    t.send("\x0c")
    t.until(lambda: t.screen == before, "the whole screen again")
    t.send("q")
    assert t.leave() == 0


def test_a_key_writes_what_changed(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B, size=MIDDLE)
    t.see(VERDICT)
    t.press("1", "whole model")
    t.press("n", "layers.0.mixer.x_proj:input")
    t.see("of          activation at x_proj:input")
    start_up = len(t.out)
    t.send("2")
    t.press("j", "of          weight backbone.layers.0.mixer.x_proj.weight")
    t.press("k", "of          activation at x_proj:input")
    assert len(t.out) - start_up < 4_000
    assert start_up > 4_000
    t.send("q")
    assert t.leave() == 0


def views_left(home: Path) -> list[str]:
    """What is remembered of pairs of models."""
    return list(json.loads((home / "state/qinspect/screen.json").read_text())["views"].values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_view_and_restores_the_terminal(
    start: Start, number: signal.Signals, own_home: Path
) -> None:
    nothing_else_happens = (
        "import sys; from qinspect.tui import entry; from qinspect.tui.compare import head\n"
        "head.WATCH_EVERY_S = 3600.0\n"
        "sys.exit(entry.main())"
    )
    t = start(ALPHA_A, ALPHA_B, program=("-c", nothing_else_happens))
    t.see(VERDICT)
    t.press("1", "whole model")
    t.press("n", "layers.0.mixer.x_proj:input")
    t.press("o", "256 levels")
    t.process.send_signal(number)
    assert t.leave() == 128 + number
    t.assert_restored()
    assert views_left(own_home) == ["codes"]


def test_a_lost_connection_ends_it_and_saves_the_view(start: Start, own_home: Path) -> None:
    t = start(ALPHA_A, ALPHA_B)
    t.see(VERDICT)
    t.press("v", "0.0354614")
    t.hang_up()
    assert t.leave() != 0
    assert views_left(own_home) == ["values"]
    assert not list((own_home / "state/qinspect").glob("qinspect-crash-*"))


def test_ctrl_c_does_not_kill_it(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B)
    t.see(VERDICT)
    t.send("\x03")
    t.press("?", "Keys. escape closes.")
    t.close_over("Keys. escape closes.")
    t.press("M", "largest: +139.67 %")
    t.send("q")
    assert t.leave() == 0


def test_leaving_while_it_still_opens(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B)
    t.until(lambda: ENTER_SCREEN in t.out, "the alternate screen")
    t.send("q")
    assert t.leave() == 0
    t.assert_restored()


def test_a_plain_locale_gets_ascii_only(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B, LANG="C", LC_ALL="", size=MIDDLE)
    t.see(VERDICT)
    t.press("1", "whole model")
    t.press("n", "layers.0.mixer.x_proj:input")
    t.press("w", "[44, 384]")
    t.press("o", "256 levels")
    t.press("r", "One number")
    t.press("t", "The directory names claim")
    t.press("?", "Keys. escape closes.")
    t.close_over("Keys. escape closes.")
    t.press("f", "letters of a scale")
    t.close_over("letters of a scale")
    t.press("e", "Save to the current folder")
    t.close_over("Save to the current folder")
    t.press("/", "words, or name:")
    t.close_over("words, or name:")
    t.press("M", "largest: +139.67 %")
    t.send("q")
    assert t.leave() == 0
    other = sorted({c for c in t.text if ord(c) > 0x7E})
    assert other == []


def test_no_color_is_heeded(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B, NO_COLOR="1", size=MIDDLE)
    t.see(VERDICT)
    t.press("1", "whole model")
    t.press("n", "layers.0.mixer.x_proj:input")
    t.press("w", "[44, 384]")
    t.send("q")
    assert t.leave() == 0
    colours = {m for m in re.findall(rb"[34]8;2;(\d+;\d+;\d+)", t.out) if len(set(m.split(b";"))) > 1}
    assert not colours, "not a grey"


def test_low_bandwidth_takes_the_sixteen_colours_and_does_not_make_them_the_habit(start: Start, own_home: Path) -> None:
    t = start(ALPHA_A, ALPHA_B, "--low-bandwidth")
    t.see(VERDICT)
    t.send("q")
    assert t.leave() == 0
    assert not re.search(rb"[34]8;[25];", t.out)
    assert json.loads((own_home / "state/qinspect/screen.json").read_text())["themes"] == {}


def test_copying_goes_through_tmux(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B, TMUX="/tmp/tmux-0/default,1,0")
    t.see(VERDICT)
    t.press("Y", "clipboard")
    t.send("q")
    assert t.leave() == 0
    assert re.search(rb"\x1bPtmux;\x1b\x1b\]52;c;[A-Za-z0-9+/=]+\x07\x1b\\", t.out)


def test_a_crash_restores_the_terminal_and_says_where_its_report_is(start: Start, own_home: Path) -> None:
    broken = (
        "import sys; from qinspect.tui import entry; from qinspect.tui.compare.table_pane import TablePane\n"
        "def fail(self): raise ValueError('a bug of this test')\n"
        "TablePane.action_bookmark = fail\n"
        "sys.exit(entry.main())"
    )
    t = start(ALPHA_A, ALPHA_B, program=("-c", broken))
    t.see(VERDICT)
    t.press("2", "whole model")
    t.send('"')
    assert t.leave() == 1
    t.assert_restored()
    (report,) = (own_home / "state/qinspect").glob("qinspect-crash-*.txt")
    last = plain(t.out[t.out.rindex(LEAVE_SCREEN) :])
    assert str(report) in last.replace("\r\n", "")
    assert "Traceback" not in last
    assert "ValueError: a bug of this test" in report.read_text()


# --- where there is no screen ---


def test_a_dumb_terminal_gets_the_report(start: Start) -> None:
    t = start(ALPHA_A, ALPHA_B, TERM="dumb")
    t.see("VERDICT")
    assert t.leave() == 0
    assert ENTER_SCREEN not in t.out
    assert "DIFFERENCES" in t.text


@pytest.mark.parametrize("piped", ["stdout", "stdin", "stderr"])
def test_a_pipe_gets_the_report(start: Start, piped: str, tmp_path: Path) -> None:
    """Also stderr: that is what the screen is painted on."""
    away = {"stdout": "sys.stdout", "stdin": "sys.stdin", "stderr": "sys.stderr"}[piped]
    code = (
        f"import os, sys; f = os.open({str(tmp_path / 'file')!r}, os.O_RDWR | os.O_CREAT); os.dup2(f, {away}.fileno());"
        "from qinspect.tui.entry import main; sys.exit(main())"
    )
    t = start(ALPHA_A, ALPHA_B, program=("-c", code))
    assert t.leave() == 0
    said = t.text + (tmp_path / "file").read_text()
    assert ENTER_SCREEN not in t.out
    assert "VERDICT" in said
