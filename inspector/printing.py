"""How commands print: data to stdout, narration to stderr, progress on a terminal only."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from qinspect.inspector.json_text import json_text
from qinspect.inspector.text import visible

if TYPE_CHECKING:
    from qinspect.inspector.formats import Format
    from qinspect.inspector.table import Table

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON (schemas in docs/schema).")]
PIPE_WIDTH = 100
"""Columns at which sentences are folded where there is no terminal."""
_INDENT = 13
T = TypeVar("T")


def write(text: str) -> None:
    """Text to stdout whatever its encoding can show."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def print_text(text: str) -> None:
    """Text and the end of its line."""
    write(f"{text}\n")


def print_json(content: object) -> None:
    """One JSON object, in ASCII."""
    sys.stdout.write(json_text(content))
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


def print_table(table: Table) -> None:
    """A table: as wide as the terminal, unfolded in a pipe."""
    width = terminal_width()
    print_text(table.without_empty().rich(width) if width else table.without_empty().text(""))


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def narrate(text: str) -> None:
    """One line on stderr."""
    print(f"qinspect: {visible(text)}", file=sys.stderr, flush=True)


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
            f"\r\x1b[K{phase}: {100 * done // max(1, total)} %{left} (ctrl-c stops)",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def clear(self) -> None:
        """Erase what is shown."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def opened_model(path: str, meter: Meter) -> Format:
    """A checkpoint, with its progress on the meter. Raises as `open_checkpoint`."""
    from qinspect.inspector.checkpoint import open_checkpoint
    from qinspect.inspector.formats import format_of

    return format_of(open_checkpoint(path, lambda d, t: meter(f"opening {visible(path, 60)}", d, t)))


def with_meter(work: Callable[[Meter], T]) -> T:
    """What `work` returns, with a meter to report to."""
    meter = Meter()
    try:
        return work(meter)
    finally:
        meter.clear()
