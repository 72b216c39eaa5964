"""Speed and memory of understanding logs and of showing any part of a huge one, beside what the system's tools take.

    python benchmarks/logs.py [--megabytes 1000] [--repeat 5] [--workdir DIR]

Parsing: MB/s and lines/s of `LogParser` on logs of 20 MB, in chunks of 64 kB: bars that overwrite themselves, plain
lines of a logger, tracebacks, lines behind who speaks; beside Python's own reading of the lines ('times' is how much
longer the parser takes: unlike MB/s it hardly depends on the machine). Files: one log of a GB of plain lines; every
figure is of a process of its own: seconds inside it without its start, and its peak resident memory beyond that of a
process that imported the same and did nothing. `tail -n`, `wc -l` and `grep` on the same file say what the machine
can do; their seconds hold their start. Medians; the page cache is warm, contestants take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 65_536
PARSED_BYTES = 20_000_000
LINE = (
    b"2026-11-22 07:19:28,%03d - qinspect.sub.module - INFO - step %d of the run, loss=0.%04d, learning rate=0.0003\n"
)
TRACEBACK = (
    b"Traceback (most recent call last):\n"
    + b'  File "/site/module.py", line 2618, in forward\n    return self.layers[i](x, state)\n' * 12
    + b"RuntimeError: shapes do not match\n"
)
INSIDE = r"""
import json, re, sys, time
from qinspect.inspector.logs import LogFile, clean
path, what = sys.argv[1:]
start = time.perf_counter()
if what != "nothing":
    log = LogFile(path)
    if what == "open":
        shown = [clean(line.data) for line in log.tail(50)]
        assert len(shown) == 50
    else:
        assert log.build_index()
        if what != "index":
            start = time.perf_counter()
    if what == "middle":
        assert len(log.lines(log.n_lines // 2, 50)) == 50
    elif what == "find":
        assert log.search("the needle", case=True) == log.n_lines - 1
    elif what == "find any case":
        assert log.search("THE NEEDLE") == log.n_lines - 1
    elif what == "find back":
        assert log.search("no such text", log.n_lines - 1, -1, case=True) is None
    elif what == "find regex":
        assert log.search("the ne+dle", regex=True, case=True) == log.n_lines - 1
seconds = time.perf_counter() - start
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) / 1000
print(json.dumps([seconds, peak]))
"""


def plain(n_bytes: int) -> bytes:
    lines, size, i = [], 0, 0
    while size < n_bytes:
        lines.append(LINE % (i % 1000, i, i % 10_000))
        size += len(lines[-1])
        i += 1
    return b"".join(lines)


def workers(n_bytes: int) -> bytes:
    """Lines that several processes write, behind a collector."""
    lines, size, i = [], 0, 0
    while size < n_bytes:
        lines.append(
            b"api-1  | (Worker_TP%d pid=%d) INFO 05-27 22:31:%02d [loader.py:280] Loading weights took %d.60 seconds\n"
            % (i % 8, 300 + i % 8, i % 60, i)
        )
        size += len(lines[-1])
        i += 1
    return b"".join(lines)


def words(n_bytes: int) -> bytes:
    """Lines of no logger."""
    lines, size, i = [], 0, 0
    while size < n_bytes:
        lines.append(b"layer %d of the model has %d weights of bfloat16 and goes to the device\n" % (i % 64, i))
        size += len(lines[-1])
        i += 1
    return b"".join(lines)


def bars(n_bytes: int) -> bytes:
    states, size, i = [], 0, 0
    while size < n_bytes:
        done = i % 5000
        states.append(b"\rcalibrating: %3d%%|%-10s| %d/5000 [%02d:%02d<00:07, 98.52it/s]"
                      % (done // 50, b"#" * (done // 500), done, done // 6000, done // 100 % 60))  # fmt: skip
        states[-1] += b"\n" if done == 4999 else b""
        size += len(states[-1])
        i += 1
    return b"".join(states)


def parse(data: bytes) -> float:
    from qinspect.inspector.logs import LogParser
    from qinspect.inspector.logs.patterns import builtin_patterns

    parser = LogParser(builtin_patterns())
    start = time.perf_counter()
    for at in range(0, len(data), CHUNK_BYTES):
        parser.feed(data[at : at + CHUNK_BYTES])
    parser.close()
    return time.perf_counter() - start


def read_lines(data: bytes) -> float:
    start = time.perf_counter()
    for line in data.replace(b"\r", b"\n").split(b"\n"):
        line.decode("utf-8", "replace")
    return time.perf_counter() - start


def median_of(repeat: int, work: Callable[[], float]) -> float:
    return statistics.median(work() for _ in range(repeat))


def parsing(repeat: int) -> None:
    print(f"Parsing {PARSED_BYTES // 1_000_000} MB in chunks of 64 kB; 'lines' are parts between returns too")
    print(f"    {'log':<26}{'s':>8}{'MB/s':>8}{'lines/s':>12}{'split and decode alone, s':>28}{'times':>8}")
    tracebacks = TRACEBACK * (PARSED_BYTES // len(TRACEBACK))
    logs = {
        "plain lines": plain(PARSED_BYTES),
        "lines of workers": workers(PARSED_BYTES),
        "lines of no logger": words(PARSED_BYTES),
        "bars": bars(PARSED_BYTES),
        "tracebacks": tracebacks,
    }
    for name, data in logs.items():
        seconds = median_of(repeat, lambda data=data: parse(data))  # type: ignore[misc]
        alone = median_of(repeat, lambda data=data: read_lines(data))  # type: ignore[misc]
        n_lines = data.count(b"\n") + data.count(b"\r")
        print(
            f"    {name:<26}{seconds:>8.2f}{len(data) / 1e6 / seconds:>8.0f}{n_lines / seconds:>12,.0f}"
            f"{alone:>28.2f}{seconds / alone:>8.0f}"
        )


def write_log(path: Path, megabytes: int) -> None:
    piece = plain(1_000_000)
    with path.open("wb") as out:
        for _ in range(megabytes):
            out.write(piece)
        out.write(b"the needle\n")


def ours(path: Path, what: str) -> tuple[float, float]:
    found = subprocess.run([sys.executable, "-c", INSIDE, path, what], capture_output=True, text=True, check=True)
    seconds, megabytes = json.loads(found.stdout)
    return seconds, megabytes


def tool(*command: str | Path) -> tuple[float, float]:
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - start, usage.ru_maxrss / 1000


def files(megabytes: int, repeat: int, folder: Path) -> None:
    path = folder / "huge.log"
    write_log(path, megabytes)
    with path.open("rb") as warm:
        while warm.read(1 << 20):
            pass
    whats = ("open", "index", "middle", "find", "find any case", "find back", "find regex")
    contestants: dict[str, Callable[[], tuple[float, float]]] = {
        "nothing": lambda: ours(path, "nothing"),
        **{what: (lambda what=what: ours(path, what)) for what in whats},  # type: ignore[misc]
        "tail -n 50": lambda: tool("tail", "-n", "50", path),
        "wc -l": lambda: tool("wc", "-l", path),
        "grep -c 'the needle'": lambda: tool("grep", "-c", "the needle", path),
        "grep -ci 'the needle'": lambda: tool("grep", "-ci", "the needle", path),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(repeat):
        for name, run in contestants.items():
            measured[name].append(run())
    base = max(m for _, m in measured["nothing"])
    names = {
        "open": "open, the last 50 lines shown",
        "index": "open and index every line",
        "middle": "50 lines from the middle (indexed)",
        "find": "find the last line (indexed)",
        "find any case": "the same in any case",
        "find back": "search back, nothing there",
        "find regex": "find by a regex",
    }
    n_lines = int(subprocess.run(["wc", "-l", path], capture_output=True, text=True, check=True).stdout.split()[0])
    print(f"\nA log of {path.stat().st_size / 1e6:,.0f} MB, {n_lines:,} lines (memory of ours: beyond {base:.0f} MB)")
    print(f"    {'':<40}{'s':>10}{'GB/s':>8}{'MB':>8}")
    for name in contestants:
        if name == "nothing":
            continue
        seconds = statistics.median(s for s, _ in measured[name])
        # Of the tools, the peak is that of the process that started them, see above.
        memory = f"{max(0, max(m for _, m in measured[name]) - base):.1f}" if name in names else ""
        speed = "" if name in ("open", "middle", "tail -n 50") else f"{path.stat().st_size / 1e9 / seconds:.2f}"
        print(f"    {names.get(name, name):<40}{seconds:>10.4f}{speed:>8}{memory:>8}")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--megabytes", type=int, default=1000)
    words.add_argument("--repeat", type=int, default=5)
    words.add_argument("--workdir", type=Path)
    words.add_argument("--parse-only", action="store_true", help="Only the first part.")
    asked = words.parse_args()
    if not asked.parse_only:
        about = f"{os.cpu_count()} cores, Python {sys.version.split()[0]}"
        print(f"Median of {asked.repeat}, page cache warm. {about}.\n", flush=True)
    if asked.parse_only:
        parsing(asked.repeat)
        return
    # In a process of its own: on exec Linux hands the peak of the forking process down, so this one must stay small.
    subprocess.run([sys.executable, __file__, "--parse-only", "--repeat", str(asked.repeat)], check=True)
    with tempfile.TemporaryDirectory(dir=asked.workdir) as folder:
        files(asked.megabytes, asked.repeat, Path(folder))


if __name__ == "__main__":
    main()
