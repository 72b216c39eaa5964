"""Speed and memory of opening and comparing two checkpoints, against what one would write instead.

    python benchmarks/open_compare.py [--scale 0.1] [--only a,c] [--repeat 5] [--workdir DIR] [--keep]

(a) two 100 GB safetensors models of 60,000 tensors in 20 shards, 20,000 of them scales; (b) the same as torch zips;
(c) two Quamba2-2.7B W8A8 checkpoints. (a) and (b) come in two granularities, see open_compare_inputs.py. Files are
sparse: a full run takes 7 GB of disk at a time. Every contestant is a process: seconds from its start to its exit, and
of a processor (its own and the system's, the least of all runs: what a machine that others use too says best); memory
is its peak resident set. Contestants take turns. Before each of them the page cache is warmed in the same way,
since reading ahead or mapping a sparse file fills it with pages of holes and drives out what the next one needs.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
RIVALS = [sys.executable, str(HERE / "open_compare_rivals.py")]
CASES = {
    "a": ("safetensors-group", "100 GB safetensors, 20 shards, 60,000 tensors, per-group scales"),
    "a-channel": ("safetensors-channel", "the same with per-channel scales"),
    "b": ("bin-group", "100 GB .bin zips, 20 shards, 60,000 tensors, per-group scales"),
    "b-channel": ("bin-channel", "the same with per-channel scales"),
    "c": ("quamba", "Quamba2-2.7B W8A8, head groups"),
}
OURS = "qinspect diff"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An installed program is compiled, as the rivals' libraries are."""


@dataclass
class Contestant:
    """One command and what its runs took: seconds, seconds of a processor, and MB."""

    name: str
    command: list[str]
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    differing: int | None = None

    @property
    def time(self) -> float:
        return statistics.median(self.seconds)

    @property
    def processor_time(self) -> float:
        return min(self.processor_seconds)

    @property
    def memory(self) -> float:
        return max(self.megabytes)


def run_once(contestant: Contestant, log: Path) -> None:
    """Run the command to its end. Raises SystemExit where it fails.

    On exec Linux hands the peak of the forking process down, so this process must stay small: it imports no numpy.
    """
    with log.open("w+") as out:
        start = time.perf_counter()
        process = subprocess.Popen(contestant.command, stdout=out, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        printed = out.read()
    ours = contestant.name.startswith(OURS)
    if process.returncode not in ((0, 1) if ours else (0,)):
        raise SystemExit(f"{contestant.name} failed:\n{printed[-2000:]}")
    if found := re.search(r"(\d+) different\b" if ours else r"(\d+) differ", printed):
        contestant.differing = int(found[1])
    contestant.seconds.append(seconds)
    contestant.processor_seconds.append(usage.ru_utime + usage.ru_stime)
    contestant.megabytes.append(usage.ru_maxrss * 1024 / 1e6)


def contestants_of(case: str, a: str, b: str, listed: str) -> list[Contestant]:
    """Who runs in a case. The first is ours."""
    qinspect = shutil.which("qinspect", path=str(Path(sys.executable).parent)) or "qinspect"
    ours = Contestant(OURS, [qinspect, "diff", a, b, "--no-codes"])
    plain = Contestant("plain pread of the same bytes", [*RIVALS, "pread", listed])
    if case == "c":
        codes = Contestant(f"{OURS} --codes", [qinspect, "diff", a, b, "--codes"])
        everything = Contestant("load everything (torch.load)", [*RIVALS, "torch_load", a, b, "all"])
        return [ours, codes, plain, everything]
    if case.startswith("a"):
        return [
            ours,
            plain,
            Contestant("lazy script (safe_open, torch)", [*RIVALS, "safe_open", a, b, "pt"]),
            Contestant("lazy script (safe_open, numpy)", [*RIVALS, "safe_open", a, b, "np"]),
        ]
    return [ours, plain, Contestant("lazy script (torch.load mmap)", [*RIVALS, "torch_load", a, b, "lazy"])]


def measure(case: str, work: Path, fraction: float, repeat: int) -> list[Contestant]:
    """Make the inputs of a case, run everyone, and return them with their numbers."""
    kind, _ = CASES[case]
    folder = work / kind
    if not folder.exists():
        print(f"({case}) making the inputs", file=sys.stderr)
        made = [sys.executable, str(HERE / "open_compare_inputs.py"), kind, str(folder), str(fraction)]
        subprocess.run(made, check=True)
    listed = str(work / f"{kind}.reads")
    contestants = contestants_of(case, str(folder / "A"), str(folder / "B"), listed)
    subprocess.run(
        [*RIVALS, "trace", listed, *contestants[0].command[1:]], check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT
    )
    warm = [*RIVALS, "read_all", str(folder)] if case == "c" else [*RIVALS, "warm", listed]
    log = work / "output.txt"
    for turn in range(repeat):
        print(f"({case}) run {turn + 1} of {repeat}", file=sys.stderr)
        for c in contestants:
            subprocess.run(warm, check=True)
            run_once(c, log)
    answers = {c.differing for c in contestants} - {None}
    if len(answers) != 1:
        raise SystemExit(f"({case}) the contestants disagree: {[(c.name, c.differing) for c in contestants]}")
    return contestants


def report(case: str, contestants: list[Contestant]) -> list[str]:
    """The table of one case and its aims."""
    ours = contestants[0]
    lines = [
        f"({case}) {CASES[case][1]}",
        f"{'':4}{'':34}{'s':>8} {'CPU s':>8} {'MB':>8} {'CPU/ours':>9} {'MB / ours':>9}",
    ]
    lines += [
        f"    {c.name:<34}{c.time:>8.3f} {c.processor_time:>8.3f} {c.memory:>8.0f} "
        f"{c.processor_time / ours.processor_time:>9.2f} {c.memory / ours.memory:>9.2f}"
        for c in contestants
    ]
    by_name = {c.name.partition(" (")[0]: c for c in reversed(contestants)}
    if case == "c":
        rival = by_name["load everything"]
        aims = [
            (f"20x faster than loading: {rival.time / ours.time:.1f}x", rival.time >= 20 * ours.time),
            (f"10x smaller than loading: {rival.memory / ours.memory:.1f}x", rival.memory >= 10 * ours.memory),
        ]
    else:
        plain = by_name["plain pread of the same bytes"]
        lazy = [c for c in contestants if c.name.startswith("lazy")]
        aims = [
            (f"under 150 MB: {ours.memory:.0f} MB", ours.memory < 150),
            (f"within 3x of the pread: {ours.time / plain.time:.2f}x", ours.time <= 3 * plain.time),
            *((f"faster than the {c.name}: {c.time / ours.time:.2f}x", ours.time < c.time) for c in lazy),
        ]
        if case == "a-channel":
            times = ours.processor_time / lazy[-1].processor_time
            aims.append((f"within 1.5x of the {lazy[-1].name} on the processor: {times:.2f}x", times <= 1.5))
    lines += [f"    aim {'met    ' if met else 'NOT MET'}  {text}" for text, met in aims]
    return [*lines, ""]


def machine() -> str:
    """Cores, Python and kernel: what the numbers depend on."""
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {python}, Linux {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, help="where the inputs go (default: a temporary folder)")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of shards and layers, for a quick run")
    parser.add_argument("--only", default=",".join(CASES), help=f"cases, of {','.join(CASES)}")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="keep the inputs, and use those that are there")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.workdir)) if not options.keep else options.workdir or Path.cwd()
    how = f"Median of {options.repeat} interleaved runs, least of their CPU time, page cache warm; peak memory."
    lines = [f"{how} {machine()}.", ""]
    if options.scale != 1:
        lines[0] += f" Inputs at {options.scale:g} of their size."
    try:
        for case in options.only.split(","):
            found = report(case, measure(case, work, options.scale, options.repeat))
            print("\n".join(found), flush=True)
            lines += found
            if not options.keep:
                shutil.rmtree(work / CASES[case][0])
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    if options.out:
        options.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
