"""ctrl+z in a real shell with job control: the terminal is given back, `fg` comes back to the same screen."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pilots import ALPHA_A, ALPHA_B, SMALL
from terminals import ENTER_SCREEN, LEAVE_SCREEN, MOUSE_OFF, PROGRAM, SHOW_CURSOR, Terminal

from qinspect.tui.suspending import NO_SHELL

VERDICT = "This is what a change of percentile_alpha looks like"
SHELL = "import os; os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])"
START = shlex.join([sys.executable, *PROGRAM, ALPHA_A, ALPHA_B])
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def shell(own_home: Path) -> Iterator[Terminal]:
    """A shell in a terminal, with the screen open in it."""
    t = Terminal(["-c", SHELL], SMALL, {"PS1": "shell$ ", "HISTFILE": "/dev/null"})
    try:
        begin(t, START)
        yield t
    finally:
        t.close()


def begin(t: Terminal, command: str) -> None:
    """Type a command that opens the screen."""
    t.until(lambda: b"shell$" in t.out, "the shell")
    t.send(f"{command}\r")
    t.see(VERDICT)


def suspend(t: Terminal, keys: str = "\x1a") -> None:
    """Press ctrl+z, and wait for the shell."""
    at = len(t.out)
    t.send(keys)
    t.until(lambda: b"Stopped" in t.out[at:] and b"shell$" in t.out[at:], "the shell")
    for sequence in (LEAVE_SCREEN, SHOW_CURSOR, MOUSE_OFF):
        assert sequence in t.out[at:]


def come_back(t: Terminal) -> bytes:
    """`fg`; returns what was written since."""
    at = len(t.out)
    t.send("fg\r")
    t.until(lambda: ENTER_SCREEN in t.out[at:], "the screen")
    t.until(
        lambda: VERDICT in t.screen and t.is_quiet(), "the screen, painted"
    )  # what was there before is seen at once
    return t.out[at:]


def leave(t: Terminal) -> None:
    at = len(t.out)
    t.send("q")
    t.until(lambda: LEAVE_SCREEN in t.out[at:] and b"shell$" in t.out[at:], "the shell")
    t.send("echo code $?\r")
    t.until(lambda: b"code 0" in t.out[at:], "the exit code")


def test_ctrl_z_and_back(shell: Terminal) -> None:
    t = shell
    t.press("1", "whole model")
    t.press("n", "layers.0.mixer.x_proj:input")
    t.until(t.is_quiet, "quiet")
    before = t.screen
    suspend(t)
    t.send("jobs\r")
    t.until(lambda: t.text.count("Stopped") >= 2, "the job")
    come_back(t)
    t.until(lambda: t.screen == before, "the same screen")
    t.press("?", "Keys. escape closes.")
    t.close_over("Keys. escape closes.")
    leave(t)


def test_behind_the_shell_it_stops_again(shell: Terminal) -> None:
    t = shell
    for _ in range(2):
        suspend(t)
        at = len(t.out)
        t.send("bg\r")
        t.until(lambda: b"&" in t.out[at:] and b"shell$" in t.out[at:], "the shell")  # noqa: B023 - called at once
        (job,) = psutil.Process(t.process.pid).children()
        t.until(lambda: job.status() == psutil.STATUS_STOPPED, "stopped again")  # noqa: B023
        assert ENTER_SCREEN not in t.out[at:]
        come_back(t)
    leave(t)


def test_a_terminal_that_was_resized_meanwhile(shell: Terminal) -> None:
    t = shell
    t.press("1", "whole model")
    assert "activation  " not in t.screen
    suspend(t)
    t.resize((150, 50))
    come_back(t)
    t.see("activation  ")  # a column that only a wide table has
    leave(t)


def test_keys_behind_ctrl_z_do_not_act(shell: Terminal) -> None:
    t = shell
    suspend(t, "\x1aq")  # they arrive together
    come_back(t)
    t.press("?", "Keys. escape closes.")
    t.close_over("Keys. escape closes.")
    leave(t)


def test_ctrl_z_in_a_dialog(shell: Terminal) -> None:
    t = shell
    t.press("?", "Keys. escape closes.")
    suspend(t)
    at = len(t.out)
    t.send("fg\r")
    t.until(lambda: ENTER_SCREEN in t.out[at:], "the screen")
    t.see("Keys. escape closes.")
    t.close_over("Keys. escape closes.")
    leave(t)


def test_a_script_that_started_it_stops_too(own_home: Path, tmp_path: Path) -> None:
    (tmp_path / "go.sh").write_text(f"{START}\necho after it\n")
    t = Terminal(["-c", SHELL], SMALL, {"PS1": "shell$ ", "HISTFILE": "/dev/null"})
    try:
        begin(t, f"sh {tmp_path}/go.sh")
        suspend(t)
        assert "after it" not in t.text
        come_back(t)
        t.send("q")
        t.until(lambda: "after it" in t.text, "the rest of the script")
    finally:
        t.close()


def test_without_a_shell_it_says_so_and_goes_on(own_home: Path) -> None:
    t = Terminal([*PROGRAM, ALPHA_A, ALPHA_B], SMALL, {})
    try:
        t.see(VERDICT)
        t.send("\x1a")
        t.see(NO_SHELL.partition(" to go")[0])
        os.kill(t.process.pid, signal.SIGTSTP)  # from outside the same: nobody could let it go on
        t.press("1", "whole model")
        t.press("n", "layers.0.mixer.x_proj:input")
        t.send("q")
        assert t.leave() == 0
        t.assert_restored()
    finally:
        t.close()
