"""The `qinspect` command. No Textual here: the app is imported only when the screen is really opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

COMMANDS = frozenset(
    {
        "tree",
        "scales",
        "diff",
        "show",
        "dequantize",
        "run",
        "runs",
        "logs",
        "verify",
        "calibrate",
        "whence",
        "alpha",
        "demo",
    }
)
"""First words that are commands (`./diff` is a path). A test holds them against the command line's own."""

SCREEN_OPTIONS = frozenset({"--low-bandwidth"})


def main() -> int:
    """Open the screen for `qinspect [A [B]]`, `qinspect alpha RUN` and `qinspect demo` on a terminal, else run the
    command line. Returns the exit code."""
    words = sys.argv[1:]
    paths = [w for w in words if w not in SCREEN_OPTIONS]
    low_bandwidth = "--low-bandwidth" in words
    if wants_screen(words) and is_terminal():
        return _screen(paths, low_bandwidth)
    if words[:1] == ["alpha"] and is_terminal():
        from qinspect.tui.explore.wanted import wanted_of

        wanted = wanted_of(paths[1:])
        if wanted is not None:
            from qinspect.tui.start import run

            return run(None, None, low_bandwidth=low_bandwidth, wanted=wanted)
    from qinspect.inspector.cli import main as run_command_line

    if paths == ["demo"] and is_terminal():
        from qinspect.inspector.demo.prepare import prepared

        return run_command_line(["demo", "--prepare"]) or _screen([str(p) for p in prepared()], low_bandwidth)
    end = words.index("--") if "--" in words else len(words)  # what follows is the command of a run
    return run_command_line([*(w for w in words[:end] if w not in SCREEN_OPTIONS), *words[end:]])


def _screen(paths: Sequence[str], low_bandwidth: bool) -> int:
    from qinspect.tui.start import run

    a, b = (*paths, None, None)[:2]
    return run(a, b, low_bandwidth=low_bandwidth)


def wants_screen(words: Sequence[str]) -> bool:
    """Whether the words are at most two models, none for the runs, and nothing that only the command line knows."""
    paths = [w for w in words if w not in SCREEN_OPTIONS]
    return len(paths) <= 2 and COMMANDS.isdisjoint(paths[:1]) and not any(w.startswith("-") for w in paths)


def is_terminal() -> bool:
    """Whether a full-screen program can talk to a person here. Textual paints on stderr."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(s is not None and s.isatty() for s in streams) and os.environ.get("TERM") not in (None, "", "dumb")


if __name__ == "__main__":
    sys.exit(main())
