"""The `qinspect` command. No Textual here: the app is imported only when the screen is really opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

COMMANDS = frozenset((
    *("tree", "scales", "diff", "show", "dequantize", "run", "runs", "logs", "verify", "calibrate", "whence"),
    *("alpha", "apply", "explain", "accuracy", "fidelity", "lint", "experts", "loaders", "evaluate", "demo"),
))  # fmt: skip
"""First words that are commands (`./diff` is a path). A test holds them against the command line's own."""

LOW_BANDWIDTH, NOISE, RUN = "--low-bandwidth", "--noise", "--run"


@dataclass(frozen=True, slots=True)
class ScreenWords:
    """What a command line has for the screen. paths: none, one or two models. noise, run: as `qinspect diff` takes
    them. rest: options that only the command line knows."""

    paths: tuple[str, ...]
    noise: tuple[str, ...]
    run: str | None
    low_bandwidth: bool
    rest: tuple[str, ...]

    @classmethod
    def of(cls, words: Sequence[str]) -> ScreenWords:
        """Sort the words. What follows --noise, up to the next option, are repeats."""
        paths, noise, rest = list[str](), list[str](), list[str]()
        run, taking = None, paths
        left = iter(words)
        for word in left:
            if word == NOISE:
                taking = noise
            elif word == RUN:
                run, taking = next(left, ""), paths
            elif word.startswith("-"):
                taking = paths
                if word != LOW_BANDWIDTH:
                    rest.append(word)
            else:
                taking.append(word)
        return cls(tuple(paths), tuple(noise), run, LOW_BANDWIDTH in words, tuple(rest))

    @property
    def wants_screen(self) -> bool:
        """Whether these are at most two models, none for the runs, and nothing that only the command line knows. Noise
        is that of two models."""
        is_command = not COMMANDS.isdisjoint(self.paths[:1])
        of_noise = bool(self.noise) or self.run is not None
        return not (is_command or self.rest) and len(self.paths) <= 2 and (len(self.paths) == 2 or not of_noise)


def main() -> int:
    """Open the screen for `qinspect [A [B]]`, `qinspect alpha RUN` and `qinspect demo` on a terminal, else run the
    command line. Returns the exit code."""
    words = sys.argv[1:]
    asked = ScreenWords.of(words)
    if asked.wants_screen and is_terminal():
        return _screen(asked)
    if words[:1] == ["alpha"] and is_terminal():
        from qinspect.tui.alpha.alpha_words import alpha_words_of

        wanted = alpha_words_of([w for w in words[1:] if w != LOW_BANDWIDTH])
        if wanted is not None:
            from qinspect.tui.start import run

            return run(None, None, low_bandwidth=asked.low_bandwidth, wanted=wanted)
    from qinspect.inspector.cli import main as run_command_line

    if asked.paths == ("demo",) and not (asked.rest or asked.noise or asked.run) and is_terminal():
        from qinspect.inspector.demo.prepare import prepared

        code = run_command_line(["demo", "--prepare"])
        return code or _screen(replace(asked, paths=tuple(map(str, prepared()))))
    end = words.index("--") if "--" in words else len(words)  # what follows is the command of a run
    return run_command_line([*(w for w in words[:end] if w != LOW_BANDWIDTH), *words[end:]])


def _screen(asked: ScreenWords) -> int:
    from qinspect.tui.start import run

    a, b = (*asked.paths, None, None)[:2]
    return run(a, b, low_bandwidth=asked.low_bandwidth, noise=asked.noise, noise_run=asked.run)


def is_terminal() -> bool:
    """Whether a full-screen program can talk to a person here. Textual paints on stderr."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(s is not None and s.isatty() for s in streams) and os.environ.get("TERM") not in (None, "", "dumb")


if __name__ == "__main__":
    sys.exit(main())
