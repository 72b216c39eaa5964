"""How the screen behaves through a pseudo-terminal: time to first paint and to rows, bytes and time per key, memory.

    python benchmarks/tui.py [--only small,file,large] [--peers SAFE_VIEW SFT] [--workdir DIR]

small: a pair of 400 tensors, 194 MB each. file: a pair of 60,000 small tensors, one file each. large: the sharded
60,000-tensor pair of open_compare.py (100 GB each, sparse), for us alone: the peers open single files. They open one
model, we two. Each program gets the same terminal (160x48, truecolor) and the same script of keys where it has the
action. The time of a key is from its being written to the last byte before 60 ms of silence; the first byte is timed
apart. Peers are optional: paths of installed `safe-view` and `sft` programs.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from safetensors.numpy import save_file

COLUMNS, LINES = 160, 48
QUIET_S = 0.06
Keys = list[tuple[str, bytes, int]]
"""(action, key, how often)."""

OUR_KEYS: Keys = [
    ("cursor down in the map", b"j", 10),
    ("cursor right in the map", b"l", 3),
    ("next measure", b"m", 1),
    ("to the panes", b"1", 1),
    ("cursor down in the tree", b"j", 20),
    ("first row", b"g", 1),
    ("next pane", b"\t", 4),
    ("cursor down in the scales", b"j", 30),
    ("page down", b"\x1b[6~", 3),
    ("end", b"G", 1),
    ("home", b"g", 1),
    ("next difference", b"n", 5),
    ("histogram of a scale", b"i", 1),
    ("detail again", b"d", 1),
    ("to the tree", b"1", 1),
    ("cursor down", b"j", 3),
    ("expand a layer", b"l", 1),
    ("collapse it", b"h", 1),
    ("filter, one letter", b"/", 1),
    ("filter, one letter", b"e", 1),
    ("filter, one letter", b"x", 1),
    ("leave the filter", b"\x1b", 1),
]
PEER_KEYS: Keys = [
    ("cursor down", b"\x1b[B", 10),
    ("page down", b"\x1b[6~", 3),
    ("filter, one letter", b"/", 1),
    ("filter, one letter", b"e", 1),
]
PEER_ARGUMENTS = {"sft": ["browse"]}


@dataclass
class Terminal:
    """A program in a pseudo-terminal."""

    argv: list[str]
    fd: int = -1
    pid: int = -1
    output: bytearray = field(default_factory=bytearray)

    def start(self) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("TMUX", "SSH_CONNECTION", "SSH_TTY", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8")
            os.execv(self.argv[0], self.argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def read(self, timeout: float) -> bytes:
        ready, _, _ = select.select([self.fd], [], [], timeout)
        if not ready:
            return b""
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:
            return b""
        self.output += data
        return data

    def wait_for(self, text: bytes, timeout: float) -> bool:
        end = time.perf_counter() + timeout
        while text not in self.output and time.perf_counter() < end and self.is_running():
            self.read(0.02)
        return text in self.output

    def is_running(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def settle(self, quiet: float = 0.5, timeout: float = 60) -> None:
        """Until nothing was written for `quiet` seconds."""
        end = time.perf_counter() + timeout
        while time.perf_counter() < end and self.read(quiet):
            pass

    def press(self, key: bytes, patience: float = 2.0) -> tuple[float, float, int]:
        """(seconds to the first byte, to the last, bytes). No byte within `patience` seconds counts as that long."""
        start = time.perf_counter()
        os.write(self.fd, key)
        first = last = 0.0
        n = 0
        data = self.read(patience)
        while data:
            last = time.perf_counter() - start
            first = first or last
            n += len(data)
            data = self.read(QUIET_S)
        return first or patience, last or patience, n

    def usage(self) -> tuple[float, float]:
        """(CPU seconds, peak resident MB) so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{self.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return cpu, peak / 1000

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def measure(
    argv: list[str], marks: list[tuple[str, bytes]], keys: Keys, patience: float, key_patience: float = 2.0
) -> list[str]:
    """Lines of the report on one program."""
    terminal = Terminal(argv)
    start = time.perf_counter()
    terminal.start()
    lines = []
    while not terminal.output and time.perf_counter() - start < patience:
        terminal.read(0.02)
    lines.append(f"  {'first byte':34} {time.perf_counter() - start:7.2f} s")
    for name, text in marks:
        found = terminal.wait_for(text, patience)
        if not terminal.is_running():
            raise SystemExit(f"{argv} ended: {terminal.output[-500:].decode(errors='replace')}")
        cpu, peak = terminal.usage()
        took = f"{time.perf_counter() - start:7.2f} s" if found else f"not in {patience:.0f} s"
        lines.append(f"  {name:34} {took}   {cpu:5.2f} s CPU   {peak:6.0f} MB peak")
        if not found:
            terminal.stop()
            return lines
    terminal.settle()
    lines.append(f"  {'start-up output':34} {len(terminal.output) / 1000:7.1f} kB")
    for action, key, times in keys:
        samples: list[tuple[float, float, int]] = []
        while len(samples) < times:
            sample = terminal.press(key, key_patience)
            if not sample[2]:
                break  # the end of a list, or stuck
            samples.append(sample)
        lines.append(f"  {action:34} {_in_words(samples, times, key_patience)}")
    terminal.settle()
    before = len(terminal.output)
    end = time.perf_counter() + 5
    while time.perf_counter() < end:
        terminal.read(0.1)
    lines.append(f"  {'idle for 5 s':34} {len(terminal.output) - before} B")
    cpu, peak = terminal.usage()
    lines.append(f"  {'in all':34} {cpu:7.2f} s CPU, {peak:.0f} MB peak")
    terminal.stop()
    return lines


def _in_words(samples: list[tuple[float, float, int]], times: int, patience: float) -> str:
    """What a key took. Where the last press gave no byte, a list may have ended."""
    if not samples:
        return f"no byte in {patience:.0f} s"
    firsts, lasts, sizes = ([s[i] for s in samples] for i in range(3))
    worst = quantiles(firsts, n=20)[-1] if len(firsts) > 1 else firsts[0]
    silent = "" if len(samples) == times else f", nothing after {len(samples)} presses"
    return (
        f"first byte {1000 * median(firsts):6.0f} ms (p95 {1000 * worst:.0f}), "
        f"all {1000 * median(lasts):6.0f} ms, {median(sizes) / 1000:7.2f} kB{silent}"
    )


def small_pair(folder: Path) -> tuple[str, str]:
    """400 tensors, 194 MB each: 40 layers of 4 weights with scales and biases; B's scales differ a little."""
    rng = np.random.default_rng(0)
    for name, factor in (("A", 1.0), ("B", 1.002)):
        tensors: dict[str, Any] = {}
        for layer in range(40):
            for module in ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj"):
                key = f"model.layers.{layer}.{module}"
                tensors[f"{key}.weight"] = rng.integers(-127, 127, (968, 1000), dtype=np.int8)
                tensors[f"{key}.weight_scale"] = (np.arange(1, 969, dtype=np.float32) * factor).reshape(-1, 1)
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / name / "model.safetensors")
    return str(folder / "A"), str(folder / "B")


def file_pair(folder: Path) -> tuple[str, str]:
    """60,000 tensors of 160 bytes in one file each; every 20th scale of B is 0.2 % larger."""
    for name, factor in (("A", 1.0), ("B", 1.002)):
        tensors: dict[str, Any] = {}
        for i in range(30_000):
            key = f"model.layers.{i // 300}.mlp.experts.{i // 3 % 100}.{('up', 'gate', 'down')[i % 3]}_proj"
            scale = np.arange(1, 41, dtype=np.float32)
            tensors[f"{key}.weight"] = np.full((4, 40), i % 100, dtype=np.int8)
            tensors[f"{key}.weight_scale"] = scale * np.float32(factor if i % 20 == 0 else 1.0)
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / name / "model.safetensors")
    return str(folder / "A"), str(folder / "B")


def large_pair(folder: Path) -> tuple[str, str]:
    inputs = Path(__file__).with_name("open_compare_inputs.py")
    if not (folder / "B").exists():
        subprocess.run([sys.executable, str(inputs), "safetensors-channel", str(folder), "1.0"], check=True)
    return str(folder / "A"), str(folder / "B")


CASES = {
    "small": (small_pair, "small", b"DIFFERENT"),
    "file": (file_pair, "file", b"DIFFERENT"),
    "large": (large_pair, "safetensors-channel", b"not compared"),
}
"""name: (maker, folder, words of the verdict)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--only", default="small,file,large")
    parser.add_argument("--peers", nargs="*", default=[], help="paths of safe-view and sft")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds until a program counts as stuck")
    options = parser.parse_args()
    ours = str(Path(sys.executable).with_name("qinspect"))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, terminal {COLUMNS}x{LINES}")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.workdir or Path(temporary)
        for case in options.only.split(","):
            make, folder, verdict = CASES[case]
            a, b = make(work / folder)
            print(f"\n{case}: qinspect A B")
            marks = [("overview", b"0 overview"), ("map", b"weight_scale"), ("verdict", verdict)]
            print("\n".join(measure([ours, a, b], marks, OUR_KEYS, options.patience)), flush=True)
            for peer in options.peers if case != "large" else ():
                name = Path(peer).name
                print(f"\n{case}: {name} A")
                argv = [peer, *PEER_ARGUMENTS.get(name, ()), f"{a}/model.safetensors"]
                lines = measure(argv, [("rows", b"weight")], PEER_KEYS, options.patience, 40)
                print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
