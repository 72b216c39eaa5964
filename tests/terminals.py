"""The real program in a pseudo-terminal, for tests: what it writes, what there is to see, how it leaves."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence

from pilots import PATIENCE_S as PATIENCE_S

PROGRAM = ("-m", "qinspect.tui.entry")
ATTACH = (
    "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Makes the terminal the controlling one of the new session, as a login does, and runs what follows."""

ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
MOUSE_OFF, PASTE_OFF = b"\x1b[?1000l", b"\x1b[?2004l"
_SEQUENCES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[@-Z\\-_])")


_TOKEN = re.compile(
    r"\x1b\[([?<>=]?)([\d;]*)[ -/]*([@-~])|\x1b[P\]][^\x1b\x07]*(?:\x1b\\|\x07)|\x1b[@-_]|[\r\n]|[^\x1b\r\n]+"
)


class Screen:
    """What a terminal shows: as much of one as the program needs (text, line ends, cursor positions, clearing)."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[int, str]] = {}
        self.x = self.y = 0

    def feed(self, text: str) -> None:
        for found in _TOKEN.finditer(text):
            private, numbers, final = found.groups()
            if final == "H":
                self.y, self.x = ([int(n) - 1 for n in numbers.split(";")] + [0, 0])[:2] if numbers else (0, 0)
            elif (final == "J" and not private) or (final == "h" and numbers == "1049"):
                self.rows.clear()
            elif found[0] in "\r\n":
                self.x, self.y = (0, self.y) if found[0] == "\r" else (self.x, self.y + 1)
            elif found[0][0] != "\x1b":
                row = self.rows.setdefault(self.y, {})
                for c in found[0]:
                    row[self.x] = c
                    self.x += 1

    def __str__(self) -> str:
        lines = []
        for y in range(max(self.rows, default=-1) + 1):
            row = self.rows.get(y, {})
            lines.append("".join(row.get(x, " ") for x in range(max(row, default=-1) + 1)))
        return "\n".join(lines)


class Terminal:
    """A process in a pseudo-terminal. `out` is everything that it wrote so far; `screen` what there is to see."""

    def __init__(self, words: Sequence[str], size: tuple[int, int], env: Mapping[str, str]) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(size)
        self.before = termios.tcgetattr(self.slave)
        self.out = b""
        self._screen = Screen()
        self._shown = 0
        self._seen = ""
        self.hung_up = False
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ATTACH, *words],
            stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, env={**inherited, "TERM": "xterm-256color", **env},
        )  # fmt: skip

    def resize(self, size: tuple[int, int]) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))

    def send(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def _read(self, seconds: float) -> None:
        if not self.hung_up and select.select([self.master], [], [], seconds)[0]:
            self.out += os.read(self.master, 1 << 16)

    def until(self, found: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not found():
            assert time.monotonic() < end, f"never came: {what}\n{self.screen}"
            self._read(0.02)

    @property
    def screen(self) -> str:
        end = max(self._shown, self.out.rfind(b"\x1b"))  # what follows may be cut in two
        if self.process.poll() is not None:
            end = len(self.out)
        if end > self._shown:
            self._screen.feed(self.out[self._shown : end].decode(errors="replace"))
            self._shown, self._seen = end, str(self._screen)
        return self._seen

    def see(self, text: str) -> None:
        """Wait until it is on the screen."""
        self.until(lambda: text in self.screen, text)

    def press(self, keys: str, then: str) -> None:
        """Type, and wait for a text."""
        self.send(keys)
        self.see(then)

    def close_over(self, text: str) -> None:
        """Press escape, and wait until what lay over the screen is gone, and nothing more comes: half a frame in which
        a box moves shows none either."""
        assert text in self.screen
        self.send("\x1b")
        self.until(lambda: text not in self.screen and self.is_quiet(), f"the end of {text}")

    def is_quiet(self) -> bool:
        """Whether nothing was written for a moment."""
        before = len(self.out)
        self._read(0.2)
        return len(self.out) == before

    def hang_up(self) -> None:
        """The connection is lost."""
        os.close(self.master)
        self.hung_up = True

    def leave(self) -> int:
        """Wait for the end; returns the exit code."""
        if self.hung_up:
            return self.process.wait(PATIENCE_S)
        self.until(lambda: self.process.poll() is not None, "the end of the process")
        self._read(0)
        return self.process.returncode

    @property
    def text(self) -> str:
        """What was written, without sequences."""
        return plain(self.out)

    def assert_restored(self) -> None:
        """The normal screen, a visible cursor, no mouse reports, no bracketed paste, and a terminal that echoes."""
        at = self.out.rindex(ENTER_SCREEN)
        for sequence in (LEAVE_SCREEN, SHOW_CURSOR, MOUSE_OFF, PASTE_OFF):
            assert sequence in self.out[at:], sequence
        assert termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        if not self.hung_up:
            os.close(self.master)
        os.close(self.slave)


def plain(out: bytes) -> str:
    return _SEQUENCES.sub(b"", out).decode(errors="replace")


Start = Callable[..., Terminal]
