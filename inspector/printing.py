"""How commands print: data to stdout, narration to stderr, progress on a terminal only.

The border of the command line: nothing else in the program writes to these streams (a test holds it to that), and what
is written here has no character that a terminal would obey but those that are ours: line ends, the colours of a table,
the returns of a progress line.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeVar, cast

from qinspect.inspector.json_text import json_text, large_json_text
from qinspect.inspector.text import visible, visible_lines

if TYPE_CHECKING:
    from qinspect.inspector.errors import QinspectError
    from qinspect.inspector.table import Table

PIPE_WIDTH = 100
"""Columns at which sentences are folded where there is no terminal."""
_INDENT = 13
_BARS = re.compile("(?:\n|\x1b\\[A)*")
"""How tqdm goes to the line of one of several bars and back."""
_BOLD = re.compile("(\x1b\\[[01]m)")
"""How a table's header begins and ends on a terminal."""
T = TypeVar("T")


def write(text: str) -> None:
    """Text to stdout whatever its encoding can show, each line `visible` but for the bold of a table's header."""
    parts = _BOLD.split(text)
    write_safe("".join(part if i % 2 else visible_lines(part) for i, part in enumerate(parts)))


def write_safe(text: str) -> None:
    """Text that is safe already and has sequences of ours in it: a log's text in its colours, a table's header."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def print_text(text: str) -> None:
    """Text and the end of its line."""
    write(f"{text}\n")


def print_json(content: object) -> None:
    """One JSON object, in ASCII."""
    sys.stdout.write(json_text(content))
    sys.stdout.write("\n")


def print_large_json(content: object) -> None:
    """`print_json` of an object with many parts and no fractions."""
    sys.stdout.write(large_json_text(content))
    sys.stdout.write("\n")


def folded(label: str, content: str, width: int) -> list[str]:
    """Lines of `content` behind a label, folded at `width` columns; paths and names are never cut, and no number is
    parted from its percent sign."""
    lines = textwrap.wrap(
        visible(content).replace(" %", "\N{NO-BREAK SPACE}%"), width=max(40, width), initial_indent=label,
        subsequent_indent=" " * min(len(label), _INDENT), break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def print_answer(as_json: bool, payload: Callable[[], object], text: Callable[[int | None], str]) -> None:
    """The answer of a command: its object, or its text, which is given the columns of the terminal."""
    if as_json:
        print_json(payload())
    else:
        print_text(text(terminal_width()))


def print_error(error: QinspectError, as_json: bool) -> int:
    """One line on stderr, and with --json an object on stdout; the exit code of a command that failed."""
    narrate(str(error))
    try:
        if as_json:
            print_json({"schema": "qinspect.error/1", "error": error.as_dict()})
        sys.stdout.flush()
    except OSError:  # stdout is what failed
        discard_stdout()
    return 2


def discard_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of failing once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_table(table: Table) -> None:
    """A table: as wide as the terminal, unfolded in a pipe."""
    width = terminal_width()
    if width:
        write_safe(f"{table.without_empty().rich(width)}\n")
    else:
        print_text(table.without_empty().text(""))


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def narrate(text: str) -> None:
    """One line on stderr."""
    print(f"qinspect: {visible(text)}", file=sys.stderr, flush=True)


class Foreign:
    """A stream for what libraries have to say, who know of no border: their progress bars get through, of everything
    else only what `visible` leaves, line by line. The rest of it is that of the stream behind."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """A return is a progress bar's where it begins what is written at once."""
        bare = text.removeprefix("\r")
        safe = text if _BARS.fullmatch(text) else text[: len(text) - len(bare)] + visible_lines(bare)
        self._stream.write(safe)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """One after another."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def foreign_stderr() -> Iterator[None]:
    """What others write to stderr meanwhile goes through `Foreign`. Ours does too, and is not changed by it."""
    before = sys.stderr
    sys.stderr = cast("TextIO", Foreign(before))
    try:
        yield
    finally:
        sys.stderr = before


def progress(text: str, ends: bool) -> None:
    """A line on stderr over the one before it; `ends`: nothing comes over it."""
    sys.stderr.write(f"\r{visible(text)}{chr(10) if ends else ''}")
    sys.stderr.flush()


def end_progress() -> None:
    """What is written next begins a line."""
    sys.stderr.write("\n")


class Meter:
    """Progress on a terminal's stderr, from the first second on, at most ten lines a second, erased at the end."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.shown = False

    def __call__(self, phase: str, done: int, total: int) -> None:
        """`done` of `total` of a phase are behind us."""
        now = time.monotonic()
        if now - self.start < 1 or now - self.last < 0.1 or not sys.stderr.isatty():
            return
        self.last = now
        self.shown = True
        rate = done / (now - self.start)
        left = f", {(total - done) / rate:.0f} s left" if rate and total > done else ""
        print(
            f"\r\x1b[K{visible(phase)}: {100 * done // max(1, total)} %{left} (ctrl-c stops)",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def clear(self) -> None:
        """Erase what is shown."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def with_meter(work: Callable[[Meter], T]) -> T:
    """What `work` returns, with a meter to report to."""
    meter = Meter()
    try:
        return work(meter)
    finally:
        meter.clear()
