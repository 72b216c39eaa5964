"""The runs screen through a pseudo-terminal: keys while a run prints without end, a huge log, memory, silence.

    python benchmarks/runs_screen.py [--megabytes 1000] [--repeat 20] [--workdir DIR]

A run prints 2,000 lines a second, then 100,000, then as many as it can; meanwhile keys are pressed whose effect can be
told from the log's own moving: the time of a key is from its being written to its effect being on an emulated screen
(pyte; its own time is in it). `follows` and `stays` are the bytes a second that the program writes while it follows the
log, and while one reads further up. A log of a GB: from the start of the program to its last line on the screen, beside
the same with a small log; to its first line (`g`: all lines counted). 120x40, truecolor, page cache warm.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import pyte

COLUMNS, LINES = 120, 40
PRINT = """
import sys, time
rate = float(sys.argv[1])
line = "2026-11-22 07:19:28,123 - qinspect.sub.module - INFO - step {} of the run, loss=0.1234, learning rate=0.0003\\n"
n, start = 0, time.perf_counter()
while True:
    due = int((time.perf_counter() - start) * rate) if rate else n + 1000
    if due > n:
        sys.stdout.write("".join(line.format(i) for i in range(n, due)))
        sys.stdout.flush()
        n = due
    if rate:
        time.sleep(0.01)
"""


class Terminal:
    """The program, and what its terminal shows."""

    def __init__(self, state: Path) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self.n_bytes = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("TMUX", "SSH_CONNECTION", "SSH_TTY", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ.update(
                TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8", QINSPECT_STATE_DIR=str(state)
            )
            os.execv(sys.executable, [sys.executable, "-m", "qinspect.tui.entry"])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def read(self, seconds: float) -> None:
        if select.select([self.fd], [], [], seconds)[0]:
            data = os.read(self.fd, 1 << 16)
            self.n_bytes += len(data)
            # pyte knows no private markers but `?`
            self._stream.feed(re.sub(rb"\x1b\[[<>=][0-9;]*[A-Za-z]", b"", data))

    def until(self, seen: Callable[[str], object], patience: float = 60.0) -> float:
        """Seconds until the screen shows it."""
        start = time.perf_counter()
        while not seen("\n".join(self.screen.display)):
            assert time.perf_counter() - start < patience, "\n".join(self.screen.display)
            self.read(0.005)
        return time.perf_counter() - start

    def press(self, key: str, text: str) -> float:
        os.write(self.fd, key.encode())
        return self.until(lambda shown: text in shown)

    def rate(self, seconds: float) -> float:
        """Bytes a second while nothing is pressed."""
        before, end = self.n_bytes, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)
        return (self.n_bytes - before) / seconds

    def memory(self, what: str = "VmRSS") -> float:
        """Megabytes."""
        found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1000 if found else 0.0

    def leave(self) -> None:
        os.write(self.fd, b"q")
        try:
            while True:
                self.read(0.2)
        except OSError:  # it is gone
            pass
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def row(what: str, value: str) -> None:
    print(f"{what:<64}{value:>24}", flush=True)


def keys_in_a_flood(work: Path, rate: int, repeat: int) -> None:
    from qinspect.inspector.runs import make_spec, start

    state = work / f"state{rate}"
    os.environ["QINSPECT_STATE_DIR"] = str(state)
    script = work / "print.py"
    script.write_text(PRINT)
    run = start(make_spec([sys.executable, str(script), str(rate)], name="flood"))
    label = f"{rate:,} lines/s" if rate else "as fast as it can"
    try:
        t = Terminal(state)
        t.until(lambda shown: " - step " in shown)
        row(f"{label}: follows, bytes/s", f"{t.rate(5):,.0f}")
        times = []
        for _ in range(repeat):
            times.append(t.press("d", "[spec]"))
            times.append(t.press("P", "[log]"))
            times.append(t.press("2F", "stays here"))
            times.append(t.press("G", "follows"))
        cuts = quantiles(times, n=20)
        row(
            f"{label}: a key, median / p95 / longest, ms",
            " / ".join(f"{1000 * x:.0f}" for x in (median(times), cuts[-1], max(times))),
        )
        t.press("F", "stays here")
        row(f"{label}: stays, bytes/s", f"{t.rate(5):,.0f}")
        row(f"{label}: memory, MB", f"{t.memory():.0f}")
        t.leave()
    finally:
        run.cancel(grace_s=1)
        row(f"{label}: the log at the end, MB", f"{run.log_path.stat().st_size / 1e6:,.0f}")
        run.remove()


def huge_log(work: Path, megabytes: int) -> None:
    from qinspect.inspector.runs import make_spec, start

    for label, n_bytes in (("a small log", 10_000), (f"a log of {megabytes:,} MB", megabytes * 1_000_000)):
        state = work / "state-huge"
        os.environ["QINSPECT_STATE_DIR"] = str(state)
        run = start(make_spec(["true"], name="huge"))
        while run.state().state.is_live:
            time.sleep(0.05)
        line = b"2026-11-22 07:19:28,123 - qinspect.sub.module - INFO - step of the run, loss=0.1234, lr=0.0003\n"
        with run.log_path.open("wb") as f:
            f.write(b"the very first line\n")
            block = line * 10_000
            for _ in range(max(1, n_bytes // len(block))):
                f.write(block)
            f.write(b"the very last line\n")
        begin = time.perf_counter()
        t = Terminal(state)
        t.until(lambda shown: "the very last line" in shown)
        row(f"{label}: from the start of the program to its end on the screen, s", f"{time.perf_counter() - begin:.2f}")
        os.write(t.fd, b"2")
        row(f"{label}: g, to its first line, s", f"{t.press('g', 'the very first line'):.3f}")
        row(f"{label}: G, to its end, s", f"{t.press('G', 'the very last line'):.3f}")
        row(f"{label}: memory, the most, MB", f"{t.memory('VmHWM'):.0f}")
        t.rate(3)
        row(f"{label}: nothing happens for 20 s, bytes", f"{20 * t.rate(20):,.0f}")
        t.leave()
        run.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--workdir", type=Path)
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=arguments.workdir))
    try:
        for rate in (2_000, 100_000, 0):
            keys_in_a_flood(work, rate, arguments.repeat)
        huge_log(work, arguments.megabytes)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
